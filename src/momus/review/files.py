"""Source files from the paths a user names, read and checked: the rest is refused in one line."""

from __future__ import annotations

import ast
import codecs
import errno
import io
import os
import re
import stat
import tokenize
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path

from momus.errors import UserError
from momus.review.languages.grammars import SUFFIXES, Language, is_installed, language_of
from momus.review.languages.outline import Outline, read_outline
from momus.review.syntax import explain

MAX_BYTES = 1_000_000

_EMPTY = "the file is empty: there is nothing to review"

_IGNORED = {"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist"}

_SUFFIXES = {".py", ".pyi", ".pyw"}
_SCRIPT = re.compile(rb"#!.*(python|pypy|uv run)")


@dataclass(frozen=True)
class Source:
    """A file: its text with plain newlines, how its bytes are made of the text, and what is in it.

    `endings` are the ends of its lines as they are in the file, the last one "" where no newline is at its end. It is
    parsed when that is first asked for, and was once before: what does not parse is refused where it is read.
    """

    path: Path
    text: str
    encoding: str = "utf-8"
    endings: tuple[str, ...] = ()
    grammar: Language | None = None

    @property
    def language(self) -> str:
        """The name of the language that the file is in."""
        return self.grammar.name if self.grammar else "Python"

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree of Python; in other languages an empty one."""
        return ast.Module([], []) if self.grammar else _parse(self.path, self.text)

    @cached_property
    def outline(self) -> Outline | None:
        """What is in a file of another language than Python."""
        return read_outline(self.grammar, self.text, str(self.path)) if self.grammar else None

    def check(self) -> None:
        """Parse it.

        Raises:
            UserError: It does not parse.
        """
        _ = self.outline or self.tree

    def encode(self, text: str) -> bytes:
        """Return the bytes of the file with `text` in place of its own: other lines keep their ends, BOM and encoding.

        A new line ends as the line that it replaces, or as the one before it.
        """
        before, after = self.text.split("\n"), text.split("\n")
        endings: list[str] = []
        for _, start, stop, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
            known = self.endings[start:stop] or self.endings[max(0, start - 1) : start] or ("\n",)
            endings += [known[min(place, len(known) - 1)] or "\n" for place in range(last - first)]
        endings[-1] = ""
        return "".join(line + end for line, end in zip(after, endings, strict=True)).encode(self.encoding)


@dataclass(frozen=True)
class Skipped:
    """A file met in a directory that cannot be reviewed, or a directory that cannot be read, and why.

    `by_design` says that such files are never read, so that leaving it out leaves nothing out.
    """

    path: Path
    reason: str
    is_directory: bool = False
    by_design: bool = False


def read_sources(
    paths: Sequence[Path], *, other_languages: bool = False, check: Callable[[Source], None] = Source.check
) -> tuple[list[Source], list[Skipped]]:
    """Read the files named, and all `.py` files of the directories named, each once and in a stable order.

    Hidden, cache, build, dependency and virtual-environment directories are passed over, and so are empty
    files in a directory. Links to directories are not followed, nor are links to files that lead out of the directory.

    Args:
        paths: Files and directories.
        other_languages: Read files in other languages too; in directories where their grammars are installed.
        check: Refuses a source that does not parse.

    Returns:
        The sources, and what was met in directories that cannot be read or reviewed.

    Raises:
        UserError: Nothing was named; a named path is missing or cannot be read; a directory has no Python.
    """
    if not paths:
        raise UserError("no files to review: name at least one Python file or directory")
    sources, skipped, seen = list[Source](), list[Skipped](), set[str]()
    suffixes = {".py"} | (SUFFIXES if other_languages and is_installed() else set())
    for named in paths:
        inside = os.path.isdir(named)  # noqa: PTH112 (Path.is_dir raises where a parent may not be searched)
        files, unreadable = _files_below(named, suffixes) if inside else ([named], [])
        skipped += unreadable
        if not files:
            why = f" ({unreadable[0].path}: {unreadable[0].reason})" if unreadable else ""
            kind = "Python files or other code" if len(suffixes) > 1 else "Python files"
            raise UserError(f"{named}: no {kind} in this directory{why}")
        for path in files:
            if (real := os.path.realpath(path)) in seen:  # which is the path itself where links lead in a circle
                continue
            if inside and not Path(real).is_relative_to(os.path.realpath(named)):
                reason = f"a link that leads out of {named}: not followed"
                skipped.append(Skipped(path, reason, by_design=True))
                continue
            seen.add(real)
            try:
                sources.append(read_source(path, other_languages=other_languages, check=check))
            except UserError as error:
                if not inside:
                    raise
                reason = str(error).removeprefix(str(path)).lstrip(":").strip()
                if reason != _EMPTY:
                    skipped.append(Skipped(path, reason))
    if not sources:
        raise UserError(f"{paths[0]}: nothing to review: {skipped[0].reason if skipped else 'its files are empty'}")
    return sources, skipped


def read_source(path: Path, *, other_languages: bool = False, check: Callable[[Source], None] = Source.check) -> Source:
    """Read and parse one file, honouring its encoding declaration (PEP 263).

    Args:
        path: The file.
        other_languages: Whether it may be in another language than Python, by its name.
        check: Refuses a source that does not parse.

    Raises:
        UserError: It is missing, not a regular file, empty, too large, not text, not Python 3, or in a language whose
            grammar is not installed.
    """
    source = _decoded(path, read_file(path), other_languages)
    check(source)
    return source


def source_of_bytes(path: Path, data: bytes, *, other_languages: bool = False) -> Source:
    """Parse the bytes of a file; see `read_source`.

    Raises:
        UserError: They are empty, too large, not text, not Python 3, or in a language whose grammar is not installed.
    """
    source = _decoded(path, data, other_languages)
    source.check()
    return source


def is_code(path: Path, data: bytes = b"") -> bool:
    """Return whether a file is in a language that can be reviewed here, by its name or its first line.

    That it parses says nothing: JSON, TOML and a page of single words often do.
    """
    python = path.suffix.lower() in _SUFFIXES or bool(_SCRIPT.match(data))
    return python or (is_installed() and language_of(path) is not None)


def source_of(code: str, name: str | Path = "code.py", *, other_languages: bool = False) -> Source:
    """Parse code that is text already, as an editor holds it: what it declares of its encoding is past.

    Args:
        code: The text.
        name: What it is called, or the file that holds it.
        other_languages: Whether it may be in another language than Python, by its name.

    Raises:
        UserError: It is empty, too large, not text, not Python 3, or in a language whose grammar is not installed.
    """
    path = Path(name)
    try:
        data = code.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: not text: {error.reason}") from error
    source = _decoded(path, data, other_languages, _utf_8(data))
    source.check()
    return source


def _decoded(path: Path, data: bytes, other_languages: bool, encoding: str | None = None) -> Source:
    """Return a file's bytes as text; by default in the encoding that it declares."""
    if len(data) > MAX_BYTES:
        raise _too_large(path, len(data))
    if other_languages and language_of(path):
        source = _decode(path, data, _utf_8(data))
        grammar = language_of(path, source.text)
        assert grammar is not None
        if not is_installed():
            raise UserError(f"{path}: reading {grammar.name} needs its grammar: pip install 'momus[review]'")
        return replace(source, grammar=grammar)
    if path.suffix.lower() == ".ipynb":
        raise UserError(f"{path}: a notebook: make it a script with jupyter nbconvert --to script")
    if path.suffix.lower() not in _SUFFIXES and not _SCRIPT.match(data):
        raise UserError(f"{path}: not Python by its name (.py, .pyi, .pyw) or its first line (#! and python)")
    return _decode(path, data, encoding)


def _utf_8(data: bytes) -> str:
    return "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"


def _parse(path: Path, text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like are the author's business
            return ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno or 1}: {explain(error, text)}") from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise UserError(f"{path}: too deeply nested to parse") from error


def spelled(path: Path) -> str:
    r"""Return a path as text that can be written anywhere: what in it is not UTF-8 is spelled out, as `caf\xe9.py`."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _files_below(root: Path, suffixes: Collection[str]) -> tuple[list[Path], list[Skipped]]:
    """Return the files with these suffixes below a directory, and what is unreadable.

    Each folder's files stand before those of its folders.

    Raises:
        UserError: The directory itself cannot be read.
    """
    files, unreadable, pending = list[Path](), list[Skipped](), [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise UserError(f"{root}: {error.strerror}") from error
            unreadable.append(Skipped(folder, f"cannot be read: {error.strerror}", is_directory=True))
            continue
        folders = [Path(entry) for entry in entries if _is_directory(entry) and not entry.is_symlink()]
        pending += [inner for inner in reversed(folders) if not _ignored(inner)]
        files += [Path(entry) for entry in entries if Path(entry.name).suffix in suffixes and not _is_directory(entry)]
    return files, unreadable


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _ignored(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name.endswith(".egg-info")
    return hidden or folder.name in _IGNORED or os.path.exists(folder / "pyvenv.cfg")  # noqa: PTH110 (as above)


def read_file(path: Path) -> bytes:
    """Read a regular file of at most `MAX_BYTES`; nothing else is opened, for it might block or do something.

    Raises:
        UserError: It is something else, too large, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: not a regular file")
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # replaced in between
                raise UserError(f"{path}: not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {_why_unreadable(path, error)}") from error
    if len(data) > MAX_BYTES:
        raise _too_large(path, max(status.st_size, len(data)))
    return data


def _too_large(path: Path, size: int) -> UserError:
    return UserError(f"{path}: {size / 1e6:.1f} MB is too large to review: the limit is {MAX_BYTES / 1e6:.0f} MB")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _why_unreadable(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link that leads in a circle"
    if error.errno == errno.ENOENT:
        return f"a link to {path.readlink()}, which is not there" if path.is_symlink() else "no such file or directory"
    return error.strerror or type(error).__name__


def _encoded(text: str, encoding: str) -> bytes:
    """Return a text's bytes; none where the encoding cannot say it, as "idna" of long lines."""
    try:
        return text.encode(encoding)
    except UnicodeError:
        return b""


def _decode(path: Path, data: bytes, encoding: str | None) -> Source:
    """Return a file with its text, its encoding (a byte-order mark counts) and how its lines end."""
    if b"\0" in data:
        raise UserError(f"{path}: a binary file, not {'Python ' if encoding is None else ''}source")
    try:
        if encoding is None:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        decoded = data.decode(encoding)
        if _encoded(decoded, encoding) != data:
            raise UserError(f"{path}: {encoding[:40]} does not give the file's bytes back: convert it to UTF-8")
    except (SyntaxError, LookupError) as error:
        raise UserError(f"{path}: {str(error)[:200]}") from error  # which has the encoding's name, of any length
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not {error.encoding} text (line {line}); declare its encoding, or convert it"
        ) from error
    except UnicodeError as error:  # "punycode" and its like, which are no encodings of files
        raise UserError(f"{path}: not {str(encoding)[:40]} text; declare its encoding, or convert it") from error
    text, endings = _plain_newlines(decoded)
    if not text.strip():
        raise UserError(f"{path}: {_EMPTY}")
    return Source(path, text, encoding, endings)


def _plain_newlines(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text whose lines all end with a newline, and how they end in it."""
    if "\r" not in text:
        return text, ("\n",) * text.count("\n") + ("",)
    lines = io.StringIO(text, newline="").readlines()
    texts = [line.rstrip("\r\n") for line in lines]
    endings = [line[len(text) :] for line, text in zip(lines, texts, strict=True)]
    last = [""] if endings[-1] else []  # what follows the last newline is a line as well
    return "".join(line + "\n" * bool(end) for line, end in zip(texts, endings, strict=True)), (*endings, *last)
