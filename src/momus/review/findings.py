"""What a review consists of: findings at their places, and of every line whether it was read.

A finding is *identified* by where its code stands in the program, never by its line's number or by what the critic
wrote (`identity`). What becomes of it over time is its status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

from momus.critique import Severity
from momus.review.identity import Identity, normalise_code

Status = Literal["new", "open", "dismissed", "accepted"]
"""Not seen before, still there, judged to be wrong or unimportant, judged to be right."""

HIDDEN: frozenset[Status] = frozenset({"dismissed"})
"""Statuses of findings that are counted and not shown."""


@dataclass(frozen=True)
class Finding:
    """A comment at its place in a file.

    Attributes:
        line: Its first line, from 1.
        end_line: Its last line, inclusive.
        function: The enclosing definition's dotted name; empty for a script.
        quote: The code it is about, verbatim.
        text: What the critic says.
        severity: How bad it is, where the critic says so.
        identity: What it is known by; None where that was not computed.
        status: What became of it.
        because: Why it was dismissed, where it was.
        in_source: Whether a comment in the code dismissed it.
        confidence: The highest setting of a dial from 0 to 1 that keeps it; None of a critic without such a dial.
        replacement: The lines that are proposed in place of `line` to `end_line`, where some are.
    """

    line: int
    end_line: int
    function: str
    quote: str
    text: str
    severity: Severity | None = None
    identity: Identity | None = None
    status: Status = "new"
    because: str = ""
    in_source: bool = False
    confidence: float | None = None
    replacement: str | None = None

    @property
    def id(self) -> str:
        """The fingerprint of its identity; empty without one."""
        return self.identity.fingerprint if self.identity else ""

    @property
    def hidden(self) -> bool:
        """Whether it is counted and not shown."""
        return self.status in HIDDEN


class Lines(NamedTuple):
    """Lines `first` to `last` of a file, from 1, both inclusive."""

    first: int
    last: int


@dataclass(frozen=True)
class Shown:
    """A finding that was shown before; `critic` is the digest of who wrote it, `setting` where its dial stood."""

    identity: Identity
    text: str
    quote: str
    critic: str
    setting: float
    confidence: float | None = None
    kind: str = ""


class Why(StrEnum):
    """Why lines were not read. Those of the first group are never read; of the others, the review is partly read."""

    BLANK = "blank"
    NOT_RUN = "imports, class bodies, docstrings and definitions that do nothing yet"
    NOT_CODE = "not code that the critic reads"
    EXCLUDED = "excluded by the configuration"

    TOO_LONG = "too long for the critic"
    BROKEN = "syntax errors"
    UNREADABLE = "the file cannot be read"
    NO_CRITIQUE = "the critic gave no critique"

    @property
    def by_design(self) -> bool:
        """Whether such lines are never read, so that leaving them out leaves nothing out."""
        return self in (Why.BLANK, Why.NOT_RUN, Why.NOT_CODE, Why.EXCLUDED)


@dataclass(frozen=True)
class Unread:
    """Lines that were not read, and why; `detail` says more, such as what was wrong with the file."""

    lines: Lines
    why: Why
    detail: str = ""


@dataclass(frozen=True)
class Coverage:
    """Which of the lines under review were read, and which were not: each is in one of both, once."""

    read: tuple[Lines, ...] = ()
    unread: tuple[Unread, ...] = ()

    @property
    def lines_read(self) -> int:
        """How many lines were read."""
        return sum(last - first + 1 for first, last in self.read)

    @property
    def lines_unread(self) -> int:
        """How many were not."""
        return sum(part.lines.last - part.lines.first + 1 for part in self.unread)

    @property
    def is_partial(self) -> bool:
        """Whether lines were left out that should have been read."""
        return any(not part.why.by_design for part in self.unread)


@dataclass(frozen=True)
class FileReview:
    """What was found in one file, ordered by line.

    Attributes:
        path: The file.
        findings: The comments; of a change those on changed lines.
        units: How many pieces of code were reviewed.
        unanchored: Comments whose quote is not in the code (dropped, never guessed at).
        omitted: Comments beyond the limit asked for.
        vacuous: Comments that say nothing or propose what already stands there (dropped).
        unanswered: Pieces of which the critic gave no critique; `problems` say why.
        problems: Each reason once.
        unread: Numbers of the lines too long for the critic.
        outside: Of a change, comments on lines that did not change: they belong in a summary.
        coverage: Which lines were read.
        name: Its path from the root of the repository, with forward slashes, which names it in reports.
        critic_read: The lines that the critic read, of a change also those that did not change.
    """

    path: Path
    findings: tuple[Finding, ...]
    units: int
    unanchored: int = 0
    omitted: int = 0
    vacuous: int = 0
    unanswered: int = 0
    problems: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()
    outside: tuple[Finding, ...] = ()
    coverage: Coverage = Coverage()
    name: str = ""
    critic_read: tuple[Lines, ...] = ()

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The comments that are not hidden."""
        return tuple(finding for finding in self.findings if not finding.hidden)


def join_lines(numbers: Iterable[int]) -> tuple[Lines, ...]:
    """Return the fewest ranges that hold exactly these numbers, in order."""
    ranges: list[Lines] = []
    for number in sorted(set(numbers)):
        if ranges and ranges[-1].last == number - 1:
            ranges[-1] = Lines(ranges[-1].first, number)
        else:
            ranges.append(Lines(number, number))
    return tuple(ranges)


def identify(findings: Sequence[Finding], path: str, text: str, functions: Mapping[int, str]) -> list[Finding]:
    """Return the findings of one file with their identities.

    Args:
        findings: In the order in which they are told apart where several are about the same lines.
        path: The file, from the root of the repository.
        text: The file's text.
        functions: For the numbers of the lines of definitions, the name of the definition.
    """
    lines = text.split("\n")
    seen: Counter[tuple[str, str, int]] = Counter()
    identified = []
    for finding in findings:
        code = normalise_code(lines[finding.line - 1 : finding.end_line])
        number = _count_before(finding, code, lines, functions)
        key = (finding.function, code, number)
        identity = Identity(path, finding.function, code, number, seen[key])
        seen[key] += 1
        identified.append(replace(finding, identity=identity))
    return identified


def _count_before(finding: Finding, code: str, lines: Sequence[str], functions: Mapping[int, str]) -> int:
    """Return how many times the code stands in the finding's definition before it."""
    size = finding.end_line - finding.line + 1
    first = code.split("\n", 1)[0]
    return sum(
        functions.get(number) == finding.function
        and normalise_code(lines[number - 1 : number]) == first
        and normalise_code(lines[number - 1 : number - 1 + size]) == code
        for number in range(1, finding.line)
    )
