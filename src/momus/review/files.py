"""Python files from the paths a user names, read and checked: the rest is refused in one line."""

from __future__ import annotations

import ast
import io
import os
import re
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from momus.errors import UserError

MAX_BYTES = 1_000_000

_EMPTY = "the file is empty: there is nothing to review"

_IGNORED = {"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist"}

_SUFFIXES = {".py", ".pyi", ".pyw"}
_SCRIPT = re.compile(rb"#!.*(python|pypy|uv run)")

# What Python 3 says of Python 2's most common lines, and how the others look.
_PYTHON_2_MESSAGES = (
    "Missing parentheses in call to",
    "multiple exception types must be",
    "leading zeros in decimal",
)
_PYTHON_2_LINE = re.compile(
    r"^\s*(print|exec)\s+[^\s=(]|^\s*raise\s+[\w.]+\s*,|^\s*except\s.+,\s*\w+\s*:|<>|`\w+`|\bur['\"]"
)


@dataclass(frozen=True)
class Source:
    """A file that parses: its text with plain newlines, its syntax tree, and how its bytes are made of the text.

    `newline` is how its lines end, None where they end in more than one way.
    """

    path: Path
    text: str
    tree: ast.Module
    encoding: str = "utf-8"
    newline: str | None = "\n"


@dataclass(frozen=True)
class Skipped:
    """A file met in a directory that cannot be reviewed, and why."""

    path: Path
    reason: str


def read_sources(paths: Sequence[Path]) -> tuple[list[Source], list[Skipped]]:
    """Read the files named, and all `.py` files of the directories named, each once and in a stable order.

    Hidden, cache, build, dependency and virtual-environment directories are passed over, and so are empty
    files in a directory. Links to directories are not followed.

    Returns:
        The sources, and the files met in directories that cannot be reviewed.

    Raises:
        UserError: Nothing was named; a named path is missing or cannot be read; a directory has no Python.
    """
    if not paths:
        raise UserError("no files to review: name at least one Python file or directory")
    sources, skipped, seen = [], [], set()
    for named in paths:
        inside = named.is_dir()
        found = list(_python_files(named)) if inside else [named]
        if not found:
            raise UserError(f"{named}: no Python files in this directory")
        for path in found:
            if (real := path.resolve()) in seen:
                continue
            seen.add(real)
            try:
                sources.append(read_source(path))
            except UserError as error:
                if not inside:
                    raise
                reason = str(error).removeprefix(str(path)).lstrip(":").strip()
                if reason != _EMPTY:
                    skipped.append(Skipped(path, reason))
    if not sources:
        raise UserError(f"{paths[0]}: nothing to review: {skipped[0].reason if skipped else 'its files are empty'}")
    return sources, skipped


def read_source(path: Path) -> Source:
    """Read and parse one file, honouring its encoding declaration (PEP 263).

    Raises:
        UserError: It is missing, not a regular file, empty, too large, not text, or not Python 3.
    """
    data = _read(path)
    if path.suffix.lower() == ".ipynb":
        raise UserError(f"{path}: a notebook: make it a script with jupyter nbconvert --to script")
    # That it parses says nothing: JSON, TOML and a page of single words often do.
    if path.suffix.lower() not in _SUFFIXES and not _SCRIPT.match(data):
        raise UserError(f"{path}: not Python by its name (.py, .pyi, .pyw) or its first line (#! and python)")
    text, encoding, newline = _decode(path, data)
    if not text.strip():
        raise UserError(f"{path}: {_EMPTY}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like are the author's business
            tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno or 1}: {_syntax(error, text)}") from error
    except (RecursionError, MemoryError, ValueError) as error:
        raise UserError(f"{path}: too deeply nested to parse") from error
    return Source(path, text, tree, encoding, newline)


def spelled(path: Path) -> str:
    r"""Return a path as text that can be written anywhere: what in it is not UTF-8 is spelled out, as `caf\xe9.py`."""
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _python_files(root: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not _ignored(Path(folder, name)))
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def _ignored(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name.endswith(".egg-info")
    return hidden or folder.name in _IGNORED or (folder / "pyvenv.cfg").exists()


def _read(path: Path) -> bytes:
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file or directory")
        if not path.is_file():
            raise UserError(f"{path}: not a regular file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path}: {size / 1e6:.1f} MB is too large to review: the limit is {MAX_BYTES / 1e6:.0f} MB"
            )
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error


def _decode(path: Path, data: bytes) -> tuple[str, str, str | None]:
    """Return the text with plain newlines, its encoding (a byte-order mark counts) and its line ending."""
    if b"\0" in data:
        raise UserError(f"{path}: a binary file, not Python source")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        with io.TextIOWrapper(io.BytesIO(data), encoding) as file:
            text, endings = file.read(), file.newlines or "\n"
        return text, encoding, endings if isinstance(endings, str) else None
    except (SyntaxError, LookupError) as error:
        raise UserError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not {error.encoding} text (line {line}); declare its encoding, or convert it"
        ) from error


def _syntax(error: SyntaxError, text: str) -> str:
    lines = text.split("\n")
    line = lines[error.lineno - 1] if error.lineno and error.lineno <= len(lines) else ""
    if error.msg.startswith(_PYTHON_2_MESSAGES) or _PYTHON_2_LINE.search(line):
        return f"this looks like Python 2 ({error.msg}); only Python 3 can be reviewed"
    return f"syntax error: {error.msg}"
