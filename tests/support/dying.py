"""Work in a child process, in which a chosen call of the system fails, or is the last thing that happens."""

from __future__ import annotations

import errno
import fcntl
import gc
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

CALLS = {
    os: ("open", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "stat", "fstat", "truncate", "ftruncate"),
    fcntl: ("flock",),
}


def at_call(number: int, ends: str, work: Callable[[], object]) -> bool:
    """Do work whose `number`-th call of the system fails (`ends` is "error") or kills the process ("kill").

    Writing to a file counts as a call, and does half of its work before it ends. Returns whether there were fewer
    calls, so that all was done undisturbed.
    """
    child = os.fork()
    if child == 0:
        gc.disable()  # it would copy all memory of the parent
        code = 3
        try:
            made = _break(number, ends)
            work()
            code = 0 if made() < number else 1  # it may do without the call that failed
        except OSError:
            code = 1
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1 if ends == "error" else -signal.SIGKILL), status
    return status == 0


def _break(number: int, ends: str) -> Callable[[], int]:
    """Make one call end badly; returns what counts the calls."""
    made = 0

    def counted() -> bool:
        nonlocal made
        made += 1
        return made == number

    def end() -> None:
        if ends == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.EIO, "Input/output error")

    def breaking(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if counted():
                end()
            return real(*arguments, **options)

        return call

    for module, names in CALLS.items():
        for name in names:
            setattr(module, name, breaking(getattr(module, name)))

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            if counted():
                super().write(bytes(data)[: len(data) // 2])
                end()
            return super().write(data)

    def opened(self: Path, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any) -> Any:
        if counted():
            end()
        if "b" not in mode or "r" in mode:
            return io.open(self, mode, buffering, *arguments, **options)  # noqa: UP020 - Path.open is this function
        raw = Raw(self, mode.replace("b", ""))
        return raw if buffering == 0 else io.BufferedWriter(raw, 1000)

    Path.open = opened  # type: ignore[method-assign,assignment]
    return lambda: made
