"""What `momus review` is told: the change to review, and what the review is written as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from momus.review.changes.change import Change
    from momus.review.files import Source

Format = Literal["text", "json", "sarif", "rdjsonl", "github", "gitlab", "markdown"]


@dataclass(frozen=True, kw_only=True)
class ChangeOptions:
    """A change to review, in place of whole files."""

    diff: str | None = None
    """Review what changed since this revision and HEAD parted, up to the working tree; or the change between two
    revisions, BASE..HEAD, or BASE...HEAD from where they parted. Paths limit it."""
    staged: bool = False
    """Review what is staged for the next commit."""
    patch: Path | None = None
    """Review what a patch changes, whether or not it is applied yet; - reads it from standard input."""
    about: str | None = None
    """For a model that chats: what the change is for. A text; or @FILE, @- from standard input, @commits what its
    commits say, @event the title and text of the pull request that a workflow on GitHub is run for."""

    @property
    def is_asked(self) -> bool:
        """Whether there is a change to review."""
        return self.diff is not None or self.staged or self.patch is not None

    def read(self, paths: list[Path], check: Callable[[Source], None]) -> Change:
        """Return the change, or whole files without one; `check` refuses one of these that does not parse.

        Raises:
            UserError: It cannot be read, or two changes are asked for.
        """
        from momus.errors import UserError
        from momus.review.changes.change import change_of_patch, change_since
        from momus.review.scope import find_root, whole_files

        if not (self.is_asked or paths):
            raise UserError(
                "nothing to review: name files or directories, or a change with --diff, --staged or --patch"
            )
        if not self.is_asked:
            return whole_files(paths, find_root(Path()), check)
        if self.patch is not None and (self.staged or self.diff is not None):
            raise UserError("--patch is a change by itself: leave --diff and --staged out")
        if self.patch is not None:
            change = change_of_patch(_read_patch(self.patch), find_root(Path()))
        else:
            change = change_since(Path(), self.diff, self.staged)
        change.limit(paths)
        return change


@dataclass(frozen=True, kw_only=True)
class DialOptions:
    """How much is said.

    Raises:
        UserError: A value is out of range.
    """

    max_comments: int | None = None
    """At most so many comments a file, the first ones in it."""
    confidence: float | None = None
    """Comment on what at least this share of several reviews agree on, or what scores at least as much where there is a
    --score: lower misses less, higher claims less. By default 0.75."""
    false_alarms: float | None = None
    """Comment as freely as can be with at most so many false comments per clean function, going by what was
    measured."""
    calibration: Path | None = None
    """What `momus calibrate` measured; for the shipped critic it is at hand."""

    def __post_init__(self) -> None:
        if self.max_comments is not None and self.max_comments < 1:
            from momus.errors import UserError

            raise UserError(f"--max-comments {self.max_comments}: must be at least 1")


@dataclass(frozen=True, kw_only=True)
class KnownOptions:
    """What is known of earlier reviews."""

    baseline: Path | None = None
    """The file of decisions, momus-baseline.jsonl in the root of the repository by default."""
    previous: Path | None = None
    """An earlier review's JSON to compare with; by default the last review here."""
    untrusted: bool = False
    """The code is a stranger's: no decision in it counts, and no comment in it dismisses anything."""


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What a review is written as."""

    format: Format = "text"
    """What is printed: text for people; json; sarif (2.1.0) for hosts and editors; rdjsonl for reviewdog; github for
    its annotations; gitlab for its code quality report; markdown for a summary."""
    json: bool = False
    """The same as --format json."""
    manifest: Path | None = None
    """Write to this file, as JSON, every line that was read and that was not, and why, who read, and what it cost."""
    html: Path | None = None
    """Write to this file the review as one page that opens offline: the comments under their lines."""
    interactive: bool = False
    """Go through the comments at a terminal, by the keyboard: accept, dismiss, ask why, next."""
    check: bool = False
    """Exit with 1 when there are comments."""
    advisory: bool = False
    """Exit with 0 whatever was found, or was not read."""

    @property
    def form(self) -> Format:
        """The form that is printed."""
        return "json" if self.json else self.format


def _read_patch(path: Path) -> bytes:
    import sys

    from momus.errors import UserError

    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UserError(f"--patch {path}: {error.strerror}") from error
