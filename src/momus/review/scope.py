"""Whole files as targets of a review, and the root from which their findings are named."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path

from momus.critics.critic import Critic
from momus.errors import UserError
from momus.review.changes.change import Change
from momus.review.files import Skipped, Source, read_file, read_sources, spelled
from momus.review.findings import Coverage, FileReview, Lines, Unread, Why, join_lines
from momus.review.result import FileLines
from momus.review.reviewer import Target, leave_out_unreadable


def whole_files(paths: Sequence[Path], root: Path, check: Callable[[Source], None] = Source.check) -> Change:
    """Return files, and the files of directories, all of whose lines are under review; see `read_sources`."""
    sources, skipped = read_sources(paths, other_languages=True, check=check)
    change = Change(root, skipped=skipped)
    change.targets = [Target(source, name_of(source.path, root)) for source in sources]
    change.unread = [_unread(file, root) for file in skipped if not (file.is_directory or file.by_design)]
    return change


def leave_out_unread(change: Change, critic: Critic) -> list[Skipped]:
    """Take files out of a review that are in a language which the critic does not read; return them, with the reason.

    Raises:
        UserError: Whole files are reviewed, and it reads none of them.
    """
    sources = [target.source for target in change.targets]
    try:
        readable, skipped = leave_out_unreadable(sources, critic)
    except UserError:
        if not change.head:
            raise
        readable, skipped = [], []
    kept = {source.path for source in readable}
    out = [target for target in change.targets if target.source.path not in kept]
    change.targets = [target for target in change.targets if target.source.path in kept]
    change.unread += [_all_lines(target, Why.NOT_CODE, target.source.language) for target in out]
    change.skipped += skipped
    return skipped


def find_root(folder: Path) -> Path:
    """Return the directory that findings' paths start from: the repository's, or the folder itself outside of one."""
    start = Path(os.path.realpath(folder))
    return next((place for place in (start, *start.parents) if os.path.lexists(place / ".git")), start)


def name_of(path: Path, root: Path) -> str:
    """Return a path from the root, with forward slashes; one that is outside of it as it is."""
    folder = Path(os.path.realpath(path.parent))
    try:
        return spelled((folder / path.name).relative_to(Path(os.path.realpath(root))))
    except ValueError:
        return spelled(path)


def exclude(change: Change, patterns: Sequence[str]) -> None:
    """Take the files out of a review that a pattern excludes."""
    for target in [target for target in change.targets if is_excluded(target.name, patterns)]:
        change.targets.remove(target)
        change.unread.append(_all_lines(target, Why.EXCLUDED))
    change.skipped = [file for file in change.skipped if not is_excluded(name_of(file.path, change.root), patterns)]
    change.unread = [_excluded(file) if is_excluded(file.path, patterns) else file for file in change.unread]


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Return whether a path from the root, or a directory of it, matches a pattern such as `docs/*`."""
    parts = name.split("/")
    places = ["/".join(parts[: size + 1]) for size in range(len(parts))]
    return any(fnmatch(place, pattern.rstrip("/")) for place in places for pattern in patterns)


def not_read(change: Change, problem: str) -> list[FileReview]:
    """Return the reviews of files whose critic could not be asked: nothing of them was read."""
    return [
        FileReview(
            target.source.path,
            (),
            1,
            unanswered=1,
            problems=(problem,),
            coverage=_all_lines(target, Why.NO_CRITIQUE, problem).coverage,
            name=target.name,
        )
        for target in change.targets
    ]


def _all_lines(target: Target, why: Why, detail: str = "") -> FileLines:
    """Return all lines of a target that are under review, as not read."""
    total = target.source.text.count("\n") + (not target.source.text.endswith("\n"))
    ranges = (Lines(1, total),) if target.changed is None else join_lines(target.changed)
    return FileLines(target.name, Coverage((), tuple(Unread(part, why, detail) for part in ranges)))


def _excluded(file: FileLines) -> FileLines:
    return FileLines(file.path, Coverage((), tuple(Unread(part.lines, Why.EXCLUDED) for part in file.coverage.unread)))


def _unread(file: Skipped, root: Path) -> FileLines:
    """Return the lines of a file that could not be reviewed, where they can be counted."""
    try:
        data = read_file(file.path)
    except UserError:
        data = b""
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    unread = (Unread(Lines(1, lines), Why.UNREADABLE, file.reason),) if data else ()
    return FileLines(name_of(file.path, root), Coverage((), unread))
