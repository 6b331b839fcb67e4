"""Patches as Git and `diff -u` write them, read exactly: what is parsed and applied to the old file gives the new one.

Lines are counted, so that code which looks like a patch's own lines is code. Everything is bytes: a file need not be
text. A merge's combined diff has no old file of its own and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from momus.errors import UserError

_HUNK = re.compile(rb"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_NOWHERE = b"/dev/null"
_EXTENDED = (
    "old mode", "new mode", "deleted file mode", "new file mode", "rename from", "rename to", "copy from", "copy to",
    "similarity index", "dissimilarity index", "index",
)  # fmt: skip

LINK, SUBMODULE = "120000", "160000"
"""Modes of what is no file: a symbolic link, another repository."""


class PatchError(UserError):
    """A patch that cannot be read, or does not fit the file."""


@dataclass(frozen=True)
class Hunk:
    """A run of lines of both sides.

    Attributes:
        old_start: The first line on the old side, from 1; where there are none, the line before.
        new_start: The same of the new side.
        lines: Each with its mark, a space, + or -, and with its newline if it has one.
    """

    old_start: int
    new_start: int
    lines: tuple[bytes, ...]

    @property
    def old(self) -> tuple[bytes, ...]:
        """The lines of the old side."""
        return tuple(line[1:] for line in self.lines if line[:1] != b"+")

    @property
    def new(self) -> tuple[bytes, ...]:
        """The lines of the new side."""
        return tuple(line[1:] for line in self.lines if line[:1] != b"-")


@dataclass(frozen=True)
class FilePatch:
    """What a patch says of one file.

    Attributes:
        old: Its path before; None where it is new.
        new: Its path after; None where it is deleted.
        old_mode: Its mode before, as Git writes it; empty where the patch does not say.
        new_mode: Its mode after.
        new_id: What Git calls its new content; empty where the patch does not say.
        binary: Whether its content changed and is not in the patch.
        hunks: The changes, in order.
    """

    old: bytes | None
    new: bytes | None
    old_mode: str = ""
    new_mode: str = ""
    new_id: str = ""
    binary: bool = False
    hunks: tuple[Hunk, ...] = field(default=())

    @property
    def mode(self) -> str:
        """The mode after, or that before where there is none."""
        return self.new_mode or self.old_mode

    def added(self) -> frozenset[int]:
        """Return the numbers of the lines that the change added, in the new file."""
        return frozenset(number for mark, number in self._numbered() if mark == b"+")

    def beside_removed(self) -> frozenset[int]:
        """Return the lines of the new file before and after places from which lines were only removed."""
        beside: set[int] = set()
        for hunk in self.hunks:
            runs = _runs(hunk)
            beside.update(
                number for first, removed, added in runs if removed and not added for number in (first - 1, first)
            )
        return frozenset(beside - {0})

    def apply(self, content: bytes) -> bytes:
        """Return the new file, of the old one's content.

        Raises:
            PatchError: The patch does not fit.
        """
        return b"".join(self._applied(split_lines(content)))

    def is_applied(self, content: bytes) -> bool:
        """Return whether a file already is as the patch makes it.

        Where both sides stand in it, as with lines that are only added and no context, the longer one decides.
        """
        lines = split_lines(content)
        if not all(_stands(hunk.new, lines, hunk.new_start) for hunk in self.hunks):
            return False
        before = all(_stands(hunk.old, lines, hunk.old_start) for hunk in self.hunks)
        return not before or sum(len(hunk.new) for hunk in self.hunks) > sum(len(hunk.old) for hunk in self.hunks)

    def _applied(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        position = 0
        for hunk in self.hunks:
            start = hunk.old_start - 1 if hunk.old else hunk.old_start
            if start < position or not _stands(hunk.old, lines, hunk.old_start):
                raise PatchError(f"the patch does not fit the file at line {hunk.old_start}")
            yield from lines[position:start]
            yield from hunk.new
            position = start + len(hunk.old)
        yield from lines[position:]

    def _numbered(self) -> Iterator[tuple[bytes, int]]:
        """Yield the mark of each line of the new side, and its number."""
        for hunk in self.hunks:
            number = hunk.new_start if hunk.new else hunk.new_start + 1
            for line in hunk.lines:
                if line[:1] != b"-":
                    yield line[:1], number
                    number += 1


def parse_patch(data: bytes) -> list[FilePatch]:
    """Read a patch: of several files, with or without Git's own lines, with text around.

    Raises:
        PatchError: It ends in the middle, or is a merge's combined diff.
    """
    return list(_Parser(data).files())


def split_lines(content: bytes) -> list[bytes]:
    """Return the lines of a file with their newlines: nothing but a newline ends one."""
    lines = content.split(b"\n")
    return [*(line + b"\n" for line in lines[:-1]), *([lines[-1]] if lines[-1] else [])]


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._lines, self._at = split_lines(data), 0

    def files(self) -> Iterator[FilePatch]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.startswith((b"diff --cc ", b"diff --combined ")):
                raise PatchError("a merge's combined diff cannot be reviewed: give one against one parent")
            if line.startswith(b"diff --git "):
                yield self._git_file()
            elif self._is_plain_header():
                yield self._with_hunks(FilePatch(None, None), plain=True)
            else:
                self._at += 1

    def _line(self) -> bytes:
        return self._lines[self._at] if self._at < len(self._lines) else b""

    def _is_plain_header(self) -> bool:
        one, two, three = [*self._lines[self._at : self._at + 3], b"", b"", b""][:3]
        return one.startswith(b"--- ") and two.startswith(b"+++ ") and bool(_HUNK.match(three))

    def _git_file(self) -> FilePatch:
        old, new = _names_of_git(self._line()[len(b"diff --git ") :].rstrip(b"\n"))
        patch = FilePatch(old, new)
        self._at += 1
        while self._at < len(self._lines):
            line = self._line().rstrip(b"\n")
            key, value = _extended(line)
            if key in ("old mode", "deleted file mode"):
                patch = replace(patch, old_mode=value.decode("ascii", "replace"))
            elif key in ("new mode", "new file mode"):
                patch = replace(patch, new_mode=value.decode("ascii", "replace"))
            elif key in ("rename from", "copy from"):
                patch = replace(patch, old=_unquote(value))
            elif key in ("rename to", "copy to"):
                patch = replace(patch, new=_unquote(value))
            elif key == "index":
                ids, _, mode = value.partition(b" ")
                patch = replace(patch, new_id=ids.partition(b"..")[2].decode("ascii", "replace"))
                if mode:
                    patch = replace(
                        patch, old_mode=mode.decode("ascii", "replace"), new_mode=mode.decode("ascii", "replace")
                    )
            elif key not in ("similarity index", "dissimilarity index"):
                break
            if key == "deleted file mode":
                patch = replace(patch, new=None)
            if key == "new file mode":
                patch = replace(patch, old=None)
            self._at += 1
        if self._line().startswith((b"Binary files ", b"GIT binary patch")):
            self._at += 1
            return replace(patch, binary=True)
        return self._with_hunks(patch, plain=False) if self._is_plain_header() else patch

    def _with_hunks(self, patch: FilePatch, plain: bool) -> FilePatch:
        old, new = (_name_of_line(line[4:].rstrip(b"\n"), plain) for line in self._lines[self._at : self._at + 2])
        self._at += 2
        hunks = []
        while matched := _HUNK.match(self._line()):
            hunks.append(self._hunk(matched))
        return replace(patch, old=old, new=new, hunks=tuple(hunks))

    def _hunk(self, matched: re.Match[bytes]) -> Hunk:
        old_start, old_left, new_start, new_left = (1 if group is None else int(group) for group in matched.groups())
        self._at += 1
        lines: list[bytes] = []
        while old_left or new_left:
            line = self._line()
            mark = line[:1]
            if line == b"\n":  # a blank line whose space an editor took away
                line, mark = b" \n", b" "
            if mark not in (b" ", b"+", b"-"):
                raise PatchError(f"the patch ends in the middle of a hunk, at its line {self._at + 1}")
            old_left -= mark != b"+"
            new_left -= mark != b"-"
            if old_left < 0 or new_left < 0:
                raise PatchError(f"the patch has more lines than a hunk says, at its line {self._at + 1}")
            self._at += 1
            if self._line().startswith(b"\\"):
                line = line[:-1]
                self._at += 1
            lines.append(line)
        return Hunk(old_start, new_start, tuple(lines))


def _runs(hunk: Hunk) -> Iterator[tuple[int, bool, bool]]:
    """Yield each run of changed lines: the number in the new file of the line after it, and what is in it."""
    number = hunk.new_start if hunk.new else hunk.new_start + 1
    removed = added = False
    for line in (*hunk.lines, b" "):
        if line[:1] == b" ":
            if removed or added:
                yield number, removed, added
            removed = added = False
            number += 1
        else:
            removed, added = removed or line[:1] == b"-", added or line[:1] == b"+"
            number += line[:1] == b"+"


def _stands(lines: Sequence[bytes], content: Sequence[bytes], start: int) -> bool:
    return not lines or (start > 0 and tuple(content[start - 1 : start - 1 + len(lines)]) == tuple(lines))


def _extended(line: bytes) -> tuple[str, bytes]:
    for key in _EXTENDED:
        if line.startswith(key.encode() + b" "):
            return key, line[len(key) + 1 :]
    return "", b""


def _names_of_git(names: bytes) -> tuple[bytes | None, bytes | None]:
    """Return both paths of Git's first line, where they are equal but for a/ and b/; else they are told elsewhere."""
    if end := _QUOTED.match(names):
        names = _unquote(names[: end.end()]) + b" " + _unquote(names[end.end() + 1 :])
    middle = len(names) // 2
    old, new = names[:middle], names[middle + 1 :]
    same = old.partition(b"/")[2] == new.partition(b"/")[2]
    return (_strip(old), _strip(new)) if same and names[middle : middle + 1] == b" " else (None, None)


def _name_of_line(name: bytes, plain: bool) -> bytes | None:
    """Return the path in a line that starts with --- or +++; None for no file. After a tab stands a time."""
    quoted = _QUOTED.match(name)
    name = _unquote(quoted[0]) if quoted else name.partition(b"\t")[0].rstrip(b"\r")
    if name == _NOWHERE:
        return None
    return name if plain and not name.startswith((b"a/", b"b/")) else _strip(name)


def _strip(name: bytes) -> bytes:
    return name.partition(b"/")[2]


def _unquote(name: bytes) -> bytes:
    if not (len(name) > 1 and name.startswith(b'"') and name.endswith(b'"')):
        return name
    return _ESCAPE.sub(lambda escape: _unescape(escape[1]), name[1:-1])


def _unescape(code: bytes) -> bytes:
    return bytes([int(code, 8) & 255]) if len(code) == 3 else _ESCAPES.get(code, code)
