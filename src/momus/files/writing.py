"""Files and directories that are written whole or not at all.

Each is written under the name `NAME.tmp`, flushed to disk, and renamed, and the renaming is flushed too. So a reader
sees the old or the new, after a power failure as well. What a kill leaves under the other name is overwritten by the
next writer.
"""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from momus.errors import UserError
from momus.files.locks import open_locked

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("No space left", "Disk quota exceeded")


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to fill; on leaving it is flushed to disk and takes the place of `path` in one step.

    On an error nothing changes. Missing parents are created; a link is followed; a pipe or a device is written into.

    Raises:
        UserError: The disk is full, or another process is writing this file.
    """
    with disk_errors(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".tmp")
        with open_locked(partial, "ab") as file:
            try:
                file.truncate(0)
                yield file
                file.flush()
                os.fsync(file.fileno())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        _sync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, its newlines as they are; see `atomic_file`."""
    write_bytes(path, text.encode())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as they come, each ended by a newline; see `atomic_file`."""
    with atomic_file(path) as file:
        for line in lines:
            file.write(line.encode() + b"\n")


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write a value as JSON, what JSON does not know as its string; see `atomic_file`.

    Numbers that are not finite, which JSON does not have, become null.
    """
    write_bytes(path, _json(_finite(value), indent))


def fill_json(path: Path, value: Any) -> None:
    """Write a value as JSON into a directory that `atomic_directory` yields and flushes to disk."""
    path.write_bytes(_json(value, None))


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory to fill; on leaving it is flushed to disk and takes the place of `path`.

    On an error nothing changes. Missing parents are created. Where the system cannot swap two directories in one step,
    a kill in between leaves the old one as `NAME.old`, which the next writer, or `restore_directory`, puts back.

    Raises:
        UserError: The disk is full.
    """
    partial, old = path.with_name(path.name + ".tmp"), path.with_name(path.name + ".old")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        restore_directory(path)
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            partial.mkdir()
            yield partial
            for file in sorted(partial.rglob("*")):
                _sync(file)
            _sync(partial)
            if path.exists() and not _swap(partial, path):
                path.rename(old)
            if not path.exists():
                partial.rename(path)
            _sync(path.parent)
        except BaseException:
            restore_directory(path)
            raise
        finally:
            for leftover in (partial, old):
                shutil.rmtree(leftover, ignore_errors=True)


def copy_directory(source: Path, path: Path) -> None:
    """Put a copy of a directory in the place of `path`; see `atomic_directory`."""
    with atomic_directory(path) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)


def restore_directory(path: Path) -> None:
    """Put back the old directory where a kill came between the two steps of replacing it."""
    old = path.with_name(path.name + ".old")
    if old.exists() and not path.exists():
        old.rename(path)


@contextmanager
def scratch_directory(files: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Yield a temporary directory with these texts in it, for other programs to work on; it is removed on leaving."""
    with tempfile.TemporaryDirectory(prefix="momus-") as folder:
        for name, text in (files or {}).items():
            Path(folder, name).write_bytes(text.encode(errors="replace"))
        yield Path(folder)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, or a file that may not grow, into one line for the user; every other error stays itself."""
    try:
        yield
    except Exception as error:
        # safetensors and others raise types of their own, with the system's words.
        full = error.errno in _FULL if isinstance(error, OSError) else any(text in str(error) for text in _FULL_TEXTS)
        if full and not isinstance(error, UserError):
            raise UserError(f"no space left on the disk of {path.parent}: free some and run again") from error
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error
        raise


def _json(value: Any, indent: int | None) -> bytes:
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair, as in the name of a file that is not UTF-8
        return json.dumps(value, indent=indent, default=str).encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _swap(one: Path, other: Path) -> bool:
    """Swap two directories in one step, where the system can: Linux."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(swap(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _sync(path: Path) -> None:
    """Flush a file, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
