"""What one command holds for itself, so that a second one in the same place is refused."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Any, ClassVar
from weakref import WeakValueDictionary, finalize

from momus.errors import UserError


def hold(file: IO[Any], place: Path) -> None:
    """Hold an open file for this process alone until it is closed, as it is when the process ends, however it does.

    Args:
        file: The file.
        place: What it stands for, to be named.

    Raises:
        UserError: Another process holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another command is at work in {place}: wait for it, or name another --out") from None


class HeldDirectory:
    """A directory held for this process, by a file `lock` in it, as long as anything refers to this.

    Raises:
        UserError: Another process holds it.
    """

    _all: ClassVar[WeakValueDictionary[Path, HeldDirectory]] = WeakValueDictionary()

    def __init__(self, path: Path) -> None:
        file = (path / "lock").open("w")
        finalize(self, file.close)
        hold(file, path)

    @classmethod
    def of(cls, path: Path) -> HeldDirectory:
        """Hold a directory; for one that this process holds already, that is what is returned.

        Raises:
            UserError: Another process holds it.
        """
        key = path.resolve()
        held = cls._all.get(key) or cls(path)
        cls._all[key] = held
        return held
