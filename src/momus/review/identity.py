"""What identifies a finding over time: where its code stands in the program.

That is the file, the enclosing definition, the lines without their indentation and spacing, and their number among
equal ones of that definition. So a finding stays itself when lines above it come and go, when its code is indented
anew, and, where it is known which file became which, when the file is renamed. A line's number and what the critic
wrote are no part of it: the same problem said in other words is not a new one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

_DISMISSAL = re.compile(r"(?:#|//|/\*) ?momus: ?ignore\[[^\]\n]{1,200}\].*")
_AT_END = re.compile(r"(?<!\s)\s*(?:#|//|/\*) ?momus: ?ignore\[[^\]\n]{1,200}\][^\"'`]*$")

DIGITS = 16
"""Hexadecimal digits of a fingerprint."""


@dataclass(frozen=True)
class Identity:
    """What a finding is known by.

    Attributes:
        path: The file, from the root of the repository, with forward slashes.
        function: The enclosing definition's dotted name; empty for a script.
        code: The lines that it is about, normalised (`normalise_code`).
        number: How many equal pieces of code stand before this one in the definition.
        nth: How many findings about this very piece come before this one.
    """

    path: str
    function: str
    code: str
    number: int = 0
    nth: int = 0

    @property
    def fingerprint(self) -> str:
        """The identity in 16 hexadecimal digits."""
        parts = [self.path, self.function, self.code, self.number, self.nth]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:DIGITS]


ThingT = TypeVar("ThingT")


def normalise_code(lines: Sequence[str]) -> str:
    """Return lines of code without indentation, with single spaces, without blank lines and dismissals in them."""
    return "\n".join(filter(None, (_DISMISSAL.sub("", " ".join(line.split())).rstrip() for line in lines)))


def strip_dismissal(line: str) -> str:
    """Return a line of code without the dismissal that it ends with."""
    return _AT_END.sub("", line) if "momus:" in line else line


def match(
    before: Sequence[Identity],
    after: Sequence[Identity],
    renamed: Mapping[str, str] | None = None,
    exists: Callable[[str], bool] | None = None,
) -> dict[Identity, Identity]:
    """Return for identities of earlier which of now is the same; those that are gone are left out.

    Args:
        before: Of earlier, each once.
        after: Of now, each once.
        renamed: For paths of earlier the path of now, where that is known. A file that is not there any more can be
            recognised without it: by findings that one other file alone has.
        exists: Whether a path is there now; by default those that `after` names are.
    """
    known = renamed or {}
    current = set(after)
    paired = {old: moved for old in before if (moved := replace(old, path=known.get(old.path, old.path))) in current}
    taken = set(paired.values())
    paths = {identity.path for identity in after}
    is_there = exists or paths.__contains__
    by_place: dict[Identity, list[Identity]] = {}
    for new in after:
        if new not in taken:
            by_place.setdefault(replace(new, path=""), []).append(new)
    gone = [old for old in before if old not in paired and not is_there(old.path) and old.path not in known]
    alike = Counter(replace(old, path="") for old in gone)
    for old in gone:
        candidates = by_place.get(replace(old, path=""), [])
        if len(candidates) == 1 and alike[replace(old, path="")] == 1:
            paired[old] = candidates[0]
    return paired


class ByFile(Generic[ThingT]):
    """Things of earlier with an identity, so that a file is compared with few of them and not with all.

    Args:
        things: In their order.
        identity_of: The identity of one.
        renamed: As `match` gets it.
        exists: As `match` gets it.
    """

    def __init__(
        self,
        things: Sequence[ThingT],
        identity_of: Callable[[ThingT], Identity],
        renamed: Mapping[str, str],
        exists: Callable[[str], bool],
    ) -> None:
        self._things = things
        self._gone: list[int] = []
        self._numbers: dict[str, list[int]] = {}
        for number, thing in enumerate(things):
            path = identity_of(thing).path
            self._numbers.setdefault(renamed.get(path, path), []).append(number)
            if path not in renamed and not exists(path):
                self._gone.append(number)

    def that_may_be_in(self, path: str) -> list[ThingT]:
        """Return the things that `match` can find among findings of a file: its own, and those whose file is gone."""
        return [self._things[number] for number in sorted({*self._numbers.get(path, ()), *self._gone})]
