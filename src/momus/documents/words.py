"""Lines joined to text: hyphens at the ends of lines are taken out where the word has none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_BROKEN = re.compile(r"([^\W_]+(?:-[^\W_]+)*)-$")
_LONGEST = 100
"""Characters of a word, so that joining does not read a long text again for every line."""

_NEXT = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


class Words:
    """The words of a document, by which a hyphen at the end of a line is judged.

    Args:
        lines: All of its lines; words broken at their ends do not count.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._known = {word.casefold() for line in lines for word in _WORD.findall(line.rstrip("-"))}

    def joined(self, lines: Sequence[str]) -> str:
        """Join the lines of a paragraph."""
        text = ""
        for line in lines:
            text = self.join(text, line)
        return text

    def join(self, text: str, line: str) -> str:
        """Add a line to a text; a hyphen stays where the document writes the word with it elsewhere, or must."""
        before, after = _BROKEN.search(text[-_LONGEST:]) if text.endswith("-") else None, _NEXT.match(line)
        if not before or not after:
            return f"{text} {line}".strip()
        left, right = before.group(1), after.group()
        compound, whole = f"{left}-{right}".casefold(), f"{left}{right}".casefold()
        if whole in self._known and compound not in self._known:
            return text[:-1] + line
        keep = compound in self._known or "-" in left or not right[0].islower() or any(own.isdigit() for own in left)
        return text + line if keep else text[:-1] + line
