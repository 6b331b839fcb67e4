"""A bug to put into a piece of source, as one text edit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """Replace `source[start:stop]` by `replacement`.

    Attributes:
        kind: The registered name of the mutation.
        start: First replaced character of the original source.
        stop: One past the last replaced character.
        replacement: What stands there afterwards; may be empty.
        anchor: What a reviewer should highlight: offsets relative to where `start` lies in the edited text.
            May reach outside the replacement (for a removal: the code that now runs without what was removed).
        description: What a reviewer would write: the repair first, then the consequence.
        multi: Whether several lines of code are removed, moved or changed.
    """

    kind: str
    start: int
    stop: int
    replacement: str
    anchor: tuple[int, int]
    description: str
    multi: bool = False

    @property
    def footprint(self) -> tuple[int, int]:
        """The range of the original that is replaced or highlighted."""
        first, last = map(self._original, self.anchor)
        return min(self.start, first), max(self.stop, last)

    def _original(self, offset: int) -> int:
        if offset <= 0:
            return self.start + offset
        return self.stop + max(0, offset - len(self.replacement))

    def to_list(self) -> list[str | int]:
        """Return the edit as a flat list that JSON can hold."""
        return [
            self.kind,
            self.start,
            self.stop,
            self.replacement,
            *self.anchor,
            self.description,
            int(self.multi),
        ]

    @classmethod
    def from_list(cls, values: list[str | int]) -> Edit:
        """Read what `to_list` wrote."""
        kind, start, stop, replacement, first, last, description, multi = values
        return cls(
            kind=str(kind),
            start=int(start),
            stop=int(stop),
            replacement=str(replacement),
            anchor=(int(first), int(last)),
            description=str(description),
            multi=bool(multi),
        )
