"""A whole review: what was found, what was read and what was not, by whom, under which promise, and at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from momus import __version__
from momus.review.files import Skipped
from momus.review.findings import Coverage, FileReview, Finding, Shown


class Outcome(IntEnum):
    """How a review ended; the values are the exit codes of `momus review`, where 2 is bad input."""

    CLEAN = 0
    FINDINGS = 1
    PARTLY_READ = 3
    NOT_RUN = 4


@dataclass(frozen=True)
class FileLines:
    """Which lines of one file were under review, and of each whether it was read; `path` as findings name the file."""

    path: str
    coverage: Coverage


@dataclass(frozen=True)
class Manifest:
    """What a review stands on.

    Attributes:
        critic: Who read (`Critic.identity`).
        setting: Where the dial stood.
        promise: What that promises, in one line; empty where nothing was measured.
        base: The revision that a change starts from; empty where whole files were read.
        head: The revision that was read, or "staged", "working tree" or "patch".
        configuration: Where the settings came from.
        cost: What was asked of a model that chats, in words; empty for others.
        files: Every line under review.
        notes: What else has to be known, a line each.
    """

    critic: Mapping[str, Any] = field(default_factory=dict)
    setting: float = 0.0
    promise: str = ""
    base: str = ""
    head: str = ""
    configuration: str = ""
    cost: str = ""
    files: tuple[FileLines, ...] = ()
    notes: tuple[str, ...] = ()
    version: str = __version__

    @property
    def lines_read(self) -> int:
        """How many lines were read."""
        return sum(file.coverage.lines_read for file in self.files)

    @property
    def lines_unread(self) -> int:
        """How many lines under review were not."""
        return sum(file.coverage.lines_unread for file in self.files)


@dataclass(frozen=True)
class Review:
    """A whole review.

    Attributes:
        files: What was found, file by file, in the order of their paths.
        skipped: Files that could not be reviewed.
        manifest: What was read, by whom.
        fixed: Findings of earlier that are gone.
    """

    files: tuple[FileReview, ...]
    skipped: tuple[Skipped, ...] = ()
    manifest: Manifest = Manifest()
    fixed: tuple[Shown, ...] = ()

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The comments that are not hidden."""
        return tuple(finding for file in self.files for finding in file.shown)

    @property
    def outcome(self) -> Outcome:
        """How it ended: what was found goes before what was not read, and that nothing was read before everything."""
        units = sum(file.units for file in self.files)
        if units and all(file.units == file.unanswered for file in self.files):
            return Outcome.NOT_RUN
        if self.shown:
            return Outcome.FINDINGS
        return Outcome.PARTLY_READ if self.is_partial else Outcome.CLEAN

    @property
    def is_partial(self) -> bool:
        """Whether something under review was not read that should have been."""
        skipped = any(not file.by_design for file in self.skipped)
        return skipped or any(file.coverage.is_partial for file in self.manifest.files)

    def exit_code(self, check: bool) -> int:
        """Return the exit code of a command; findings are an error only where `check` asks for it."""
        if self.outcome is not Outcome.FINDINGS or check:
            return int(self.outcome)
        return int(Outcome.PARTLY_READ if self.is_partial else Outcome.CLEAN)


def collect(
    reviews: Iterable[FileReview],
    skipped: Sequence[Skipped],
    unread: Sequence[FileLines],
    manifest: Manifest,
    fixed: tuple[Shown, ...] = (),
) -> Review:
    """Put together a review of what came of each file, in the order of their paths.

    Args:
        reviews: Of every file that was read.
        skipped: Files that could not be.
        unread: Lines of files that were not read.
        manifest: Who read what; the files' lines are added to it.
        fixed: Findings of earlier that are gone.
    """
    files = tuple(sorted(reviews, key=lambda review: review.name))
    lines = sorted([*(FileLines(file.name, file.coverage) for file in files), *unread], key=lambda file: file.path)
    return Review(files, tuple(skipped), replace(manifest, files=tuple(lines)), fixed)
