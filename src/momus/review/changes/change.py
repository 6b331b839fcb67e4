"""A change as targets of a review: which files it touches as they are after it, and which of their lines it added.

Whoever wrote the change may be a stranger. Nothing outside of the tree is read: paths that lead out of it are refused,
and so are symbolic links and what lies behind them. Of a patch that is not applied yet, the files are made in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from momus.errors import UserError
from momus.review.changes.git import Repository
from momus.review.changes.patch import LINK, SUBMODULE, FilePatch, PatchError, parse_patch
from momus.review.files import MAX_BYTES, Skipped, is_code, read_file, source_of_bytes, spelled
from momus.review.findings import Coverage, Unread, Why, join_lines
from momus.review.result import FileLines
from momus.review.reviewer import Target

STAGED, WORKING_TREE, PATCH = "staged", "working tree", "patch"


@dataclass
class Change:
    """What a change asks to review.

    Attributes:
        root: The directory from which paths are named.
        base: The commit it starts from; empty for a patch.
        head: The commit it ends at, or `STAGED`, `WORKING_TREE` or `PATCH`.
        targets: The files to review, in the order of their paths.
        skipped: Files of the change that should have been reviewed and cannot be.
        unread: Of files that are not reviewed, the lines that the change added, and why they are not read.
        renamed: For old paths the new ones.
        message: What the commits say.
        notes: What else has to be known, a line each.
        repository: Where it is from; None for a patch and for whole files.
        touched: The paths of all files that it alters or removes, before and after.
    """

    root: Path
    base: str = ""
    head: str = ""
    targets: list[Target] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unread: list[FileLines] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    message: str = ""
    notes: list[str] = field(default_factory=list)
    repository: Repository | None = None
    touched: set[str] = field(default_factory=set)

    def touches(self, name: str) -> bool:
        """Return whether the change alters a file, whatever the paths that it is limited to."""
        return name in self.touched

    def trusted_file(self, name: str) -> bytes | None:
        """Return a file as whoever proposes the change found it: of the commit that it starts from, where there is one.

        Raises:
            UserError: It is there and cannot be read.
        """
        if self.repository is not None and self.base:
            key = f"{self.base}:{name}"
            return self.repository.contents([key], MAX_BYTES)[key]
        return _read_inside(self.root, Path(name)) if os.path.lexists(self.root / name) else None

    def limit(self, paths: Sequence[Path]) -> None:
        """Leave out what is under none of these paths; none of them leaves all."""
        if not paths:
            return
        kept = [Path(os.path.realpath(path)) for path in paths]
        root = Path(os.path.realpath(self.root))

        def is_kept(path: Path) -> bool:
            return any(path.is_relative_to(place) for place in kept)

        self.targets = [target for target in self.targets if is_kept(root / target.name)]
        self.unread = [file for file in self.unread if is_kept(root / file.path)]
        self.skipped = [file for file in self.skipped if is_kept(Path(os.path.realpath(file.path)))]


def change_since(folder: Path, spec: str | None, staged: bool = False) -> Change:
    """Return a change of a repository.

    Args:
        folder: A directory of its working tree.
        spec: A revision: what was changed since the branches parted (the merge base), up to the working tree or what is
            staged; or two, `BASE..HEAD` as they are, `BASE...HEAD` from their merge base. None is the last commit.
        staged: End at what is staged.

    Raises:
        UserError: There is no repository, or no such revision.
    """
    repository = Repository(folder)
    base, head = _ends(repository, spec, staged)
    end = head or (STAGED if staged else WORKING_TREE)
    change = Change(repository.root, base, end, repository=repository)
    patches = _with_text_shown(repository, parse_patch(repository.diff(base, head, staged)), base, head, staged)
    ids = [patch.new_id for patch in patches if patch.new is not None and patch.mode != SUBMODULE]
    stored = repository.contents(ids, MAX_BYTES) if staged or head else None
    for patch in patches:
        _add(change, patch, stored)
    if spec is not None and base:
        change.message = repository.messages(base, head or "HEAD")
    if not (staged or head):
        unknown = [name for name in repository.untracked() if is_code(Path(os.fsdecode(name)))]
        if unknown:
            first = spelled(Path(os.fsdecode(unknown[0])))
            many = f"{len(unknown)} files that git does not track are not reviewed, such as {first}"
            one = f"1 file that git does not track is not reviewed: {first}"
            change.notes.append(one if len(unknown) == 1 else many)
    return change


def change_of_patch(data: bytes, folder: Path) -> Change:
    """Return the change that a patch makes to the files of a directory, whether or not it is applied already.

    Raises:
        PatchError: It cannot be read, or there is text and no patch in it.
    """
    change = Change(folder, head=PATCH)
    patches = parse_patch(data)
    if data.strip() and not patches:
        raise PatchError("there is no patch in it: give what git diff prints")
    for patch in patches:
        _add(change, patch, None)
    return change


def _ends(repository: Repository, spec: str | None, staged: bool) -> tuple[str, str]:
    """Return the commits that a change starts from and ends at; "" for an end that is no commit."""
    if spec is None:
        try:
            return repository.commit("HEAD"), ""
        except UserError:  # before the first commit
            return "", ""
    first, dots, last = spec.partition("...") if "..." in spec else spec.partition("..")
    if dots and staged:
        raise UserError(f"--staged ends at what is staged, and {spec!r} elsewhere: leave one of them out")
    start, end = repository.commit(first or "HEAD"), repository.commit(last or "HEAD")
    return (start if dots == ".." else repository.merge_base(start, end)), (end if dots else "")


def _with_text_shown(
    repository: Repository, patches: list[FilePatch], base: str, head: str, staged: bool
) -> list[FilePatch]:
    """Return patches with the lines of code that attributes call binary: they must not hide code from review."""
    hidden = [os.fsdecode(p.new) for p in patches if p.binary and p.new is not None and is_code(_path(p.new))]
    if not hidden:
        return patches
    shown = {patch.new: patch for patch in parse_patch(repository.diff(base, head, staged, text_of=hidden))}
    return [shown.get(patch.new, patch) if patch.binary else patch for patch in patches]


def _add(change: Change, patch: FilePatch, stored: Mapping[str, bytes | None] | None) -> None:
    """Add a file to a change: as a target, or to what is not read."""
    change.touched |= {spelled(_path(path)) for path in (patch.old, patch.new) if path is not None}
    if patch.new is None:  # deleted: there is nothing to read
        return
    path = _path(patch.new)
    name = spelled(path)
    try:
        _check_name(patch.new)
        if patch.old is not None and patch.old != patch.new:
            _check_name(patch.old)
            change.renamed[spelled(_path(patch.old))] = name
    except UserError as error:
        change.skipped.append(Skipped(path, str(error)))
        return
    if not patch.hunks and not patch.binary:  # only its name or mode changed, or it is empty
        return
    if patch.mode in (LINK, SUBMODULE):
        kind = "a symbolic link" if patch.mode == LINK else "another repository (a submodule)"
        change.unread.append(_unread(name, patch, Why.NOT_CODE, kind))
        return
    shown = _shown(change.root, path)
    try:
        data = _content(change, patch, path, stored)
        if not is_code(path, data) or patch.binary:
            change.unread.append(_unread(name, patch, Why.NOT_CODE, "binary" if patch.binary else ""))
            return
        if not data.strip():
            change.unread.append(_unread(name, patch, Why.BLANK))
            return
        source = source_of_bytes(shown, data, other_languages=True)
    except UserError as error:
        reason = str(error).removeprefix(str(shown)).lstrip(":").strip()
        if is_code(path):
            change.skipped.append(Skipped(shown, reason))
        why = Why.UNREADABLE if is_code(path) else Why.NOT_CODE
        change.unread.append(_unread(name, patch, why, reason))
        return
    lines = source.text.count("\n") + (not source.text.endswith("\n"))
    added = frozenset(number for number in patch.added() if number <= lines)
    change.targets.append(Target(source, name, added, patch.beside_removed()))


def _content(change: Change, patch: FilePatch, path: Path, stored: Mapping[str, bytes | None] | None) -> bytes:
    """Return a file after the change.

    Raises:
        UserError: It cannot be read, or the patch does not fit.
    """
    if stored is not None:
        data = stored.get(patch.new_id)
        if data is None:
            raise UserError(f"too large to review: the limit is {MAX_BYTES / 1e6:.0f} MB")
        return data
    if change.head != PATCH:
        return _read_inside(change.root, path)
    if patch.old is None:
        return patch.apply(b"")
    old = _path(patch.old)
    there = [place for place in dict.fromkeys((path, old)) if os.path.lexists(change.root / place)]
    if not there:
        raise PatchError("the patch is of a file that is not here")
    data = _read_inside(change.root, there[0])
    return data if patch.is_applied(data) else patch.apply(data)


def _read_inside(root: Path, path: Path) -> bytes:
    """Read a file of a tree, no part of whose path is a symbolic link.

    Raises:
        UserError: It is one, or cannot be read.
    """
    real = Path(os.path.realpath(root))
    if Path(os.path.realpath(real / path)) != real / path:
        raise UserError("a symbolic link, or behind one: not followed")
    return read_file(root / path)


def _check_name(name: bytes) -> None:
    parts = PurePosixPath(os.fsdecode(name)).parts
    outside = name.startswith(b"/") or ".." in parts or not parts or b"\0" in name
    if outside or parts[0].lower() == ".git":
        raise UserError("refused: a path out of the tree")


def _shown(root: Path, path: Path) -> Path:
    """Return a path of a tree as it is shown: from the working directory, where it is in it."""
    try:
        return (Path(os.path.realpath(root)) / path).relative_to(Path(os.path.realpath(".")))
    except ValueError:
        return root / path


def _path(name: bytes) -> Path:
    return Path(os.fsdecode(name))


def _unread(name: str, patch: FilePatch, why: Why, detail: str = "") -> FileLines:
    return FileLines(name, Coverage((), tuple(Unread(lines, why, detail) for lines in join_lines(patch.added()))))
