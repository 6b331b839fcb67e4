"""Locks that one process holds and every other is refused; the system lets go of them when the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import warnings
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar
from weakref import WeakValueDictionary, finalize

from momus.errors import UserError

LOCK = "lock"
"""The name of the file in a directory by which the directory is held; it stays, and means nothing when nobody has it
open."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def lock(file: IO[Any], place: Path) -> None:
    """Lock an open file for this process until the file is closed.

    A file system without locks is written on without one, with a warning.

    Args:
        file: The file.
        place: What is locked with it, to be named.

    Raises:
        UserError: Another process, or another opening of the file in this one, holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another command is at work in {place}: wait for it, or name another --out") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warnings.warn(f"the file system of {place} has no locks: let only one command work there", stacklevel=2)


def open_locked(path: Path, mode: str, buffering: int = -1) -> IO[bytes]:
    """Open a file, created if need be, and lock it; it still has its name when it is locked.

    Args:
        path: The file.
        mode: As for `open`, to append to a binary file.
        buffering: As for `open`.

    Raises:
        UserError: Another process holds it.
    """
    while True:
        file = path.open(mode, buffering)
        try:
            lock(file, path)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # not renamed or removed before the lock
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


class DirectoryLock:
    """A directory held for this process by a file `lock` in it: until it is closed, or nothing refers to it any more.

    Raises:
        UserError: Another process holds it.
    """

    _shared: ClassVar[WeakValueDictionary[Path, DirectoryLock]] = WeakValueDictionary()

    def __init__(self, path: Path) -> None:
        file = (path / LOCK).open("ab")
        self.close = finalize(self, file.close)
        try:
            lock(file, path)
        except BaseException:
            self.close()
            raise

    @classmethod
    def shared(cls, path: Path) -> DirectoryLock:
        """Hold a directory; where this process shares one already, return that.

        Raises:
            UserError: Another process holds it.
        """
        key = path.resolve()
        held = cls._shared.get(key) or cls(path)
        cls._shared[key] = held
        return held

    def __enter__(self) -> DirectoryLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
