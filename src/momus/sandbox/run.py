"""Run a program in a cage and watch it: `run_unchecked` is what `run_python` and the attempts at escape go through."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from momus.errors import UserError
from momus.sandbox import inside
from momus.sandbox.bubblewrap import LAUNCHER, PROGRAM, command, why_no_cage
from momus.sandbox.limits import Limits, Outcome, Stopped
from momus.sandbox.seccomp import filter_for

_PATIENCE = 10.0  # seconds for the system to clear a cage away
_KILL_EVERY = 0.2  # seconds between two attempts to end one
_LOOK_EVERY = 0.02  # seconds between two looks at its memory
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class NoCageError(UserError):
    """There is no cage here, or it does not hold."""


def run_unchecked(code: str, stdin: str = "", limits: Limits | None = None) -> Outcome:
    """Run a Python program in a cage, without trying first whether the cage holds; see `run_python`.

    Raises:
        NoCageError: None can be built.
    """
    if reason := why_no_cage():
        raise NoCageError(reason)
    limits = limits or Limits()
    with ExitStack() as stack:
        data = {
            PROGRAM: stack.enter_context(_in_memory(code.encode(errors="replace"))),
            LAUNCHER: stack.enter_context(_in_memory(Path(inside.__path__[0], "launch.py").read_bytes())),
        }
        filter_bytes = filter_for()
        filter_fd = None if filter_bytes is None else stack.enter_context(_in_memory(filter_bytes))
        given = stack.enter_context(_in_memory(stdin.encode(errors="replace")))
        # A file and no pipe: bubblewrap would end half-way, for ever, where this process is killed and nobody reads it.
        status = os.memfd_create("status", os.MFD_CLOEXEC)
        stack.callback(os.close, status)
        process = subprocess.Popen(
            command(limits, data, filter_fd, status),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[*data.values(), status, *([] if filter_fd is None else [filter_fd])],
            env={},  # bubblewrap's own can be read in the cage's /proc
            cwd="/",
            start_new_session=True,
        )
        watch = _Watch(process, limits)
        try:
            watch.until_it_ends()
        finally:
            watch.end()
        return _outcome(watch, _exit_code(status))


@contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """Yield a descriptor from which the data can be read, and to which nothing can be written any more."""
    fd = os.memfd_create("momus", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@dataclass
class _Watch:
    """Reads what a process writes, and ends it at its limits."""

    process: subprocess.Popen[bytes]
    limits: Limits
    written: dict[str, bytearray] = field(default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()})
    stopped: Stopped = ""
    peak: int = 0
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def until_it_ends(self) -> None:
        """Read until the process closes its streams or a limit is passed."""
        assert self.process.stdout is not None and self.process.stderr is not None
        with selectors.DefaultSelector() as streams:
            streams.register(self.process.stdout, selectors.EVENT_READ, "stdout")
            streams.register(self.process.stderr, selectors.EVENT_READ, "stderr")
            while not self.stopped and streams.get_map():
                for key, _ in streams.select(_LOOK_EVERY):
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        streams.unregister(key.fileobj)
                    self._keep(key.data, chunk)
                self._look()
        while not self.stopped and self.process.poll() is None:  # it closed its streams and goes on
            time.sleep(_LOOK_EVERY)
            self._look()

    def end(self) -> None:
        """End the process, and all in the cage with it."""
        deadline = time.monotonic() + _PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:  # again, if the cage was not built yet
            self.process.send_signal(signal.SIGSTOP)  # so that it starts nothing more
            for process in _descendants(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.process.send_signal(signal.SIGCONT)  # it ends when all in the cage has ended
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_KILL_EVERY)
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        self.seconds = time.monotonic() - self.started

    def _keep(self, name: str, chunk: bytes) -> None:
        kept = self.written[name]
        kept += chunk[: self.limits.output_bytes - len(kept) + 1]
        if len(kept) > self.limits.output_bytes:
            del kept[self.limits.output_bytes :]
            self.stopped = "output"

    def _look(self) -> None:
        if time.monotonic() - self.started > self.limits.seconds:
            self.stopped = "time"
            return
        now = sum(map(_resident_bytes, _descendants(self.process.pid)))
        self.peak = max(self.peak, now)
        if now > self.limits.memory_bytes:
            self.stopped = "memory"


def _descendants(process: int) -> Iterator[int]:
    """Yield the processes below one; of those that end meanwhile nothing."""
    try:
        threads = Path(f"/proc/{process}/task").iterdir()
        below = [(thread / "children").read_text().split() for thread in threads]
    except OSError:
        return
    for child in (int(name) for names in below for name in names):
        yield child
        yield from _descendants(child)


def _resident_bytes(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _exit_code(status: int) -> int | None:
    """Return the exit code that bubblewrap reports of the program; None where it never started it."""
    reports = [json.loads(line) for line in os.pread(status, 1 << 16, 0).splitlines() if line.strip().startswith(b"{")]
    return next((int(report["exit-code"]) for report in reports if "exit-code" in report), None)


def _outcome(watch: _Watch, code: int | None) -> Outcome:
    stdout, stderr = (watch.written[name].decode(errors="replace") for name in ("stdout", "stderr"))
    if watch.stopped:
        return Outcome(stdout, stderr, -1, watch.stopped, watch.seconds, watch.peak)
    if code is None:
        words = " ".join(stderr.split())[:200] or f"bubblewrap ended with {watch.process.returncode}"
        raise NoCageError(f"no cage could be built: {words}")
    return Outcome(stdout, stderr, code, "", watch.seconds, watch.peak)
