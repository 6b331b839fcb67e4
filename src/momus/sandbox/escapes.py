"""Does the cage hold? Attempts at escape, each made in a cage like those that are used, and watched from outside.

`inside/escapes.py` has the attempts. Here is what they are after, laid out for the time of the check: a secret file,
servers on this machine, a process, an open descriptor; and the verdicts. `check_cage` makes them all.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from momus.files import scratch_directory
from momus.sandbox import inside
from momus.sandbox.bubblewrap import ENVIRONMENT, why_no_cage
from momus.sandbox.limits import MB, Limits, Outcome
from momus.sandbox.run import NoCageError, run_unchecked
from momus.sandbox.seccomp import filter_for

LIMITS = Limits(seconds=60.0, memory_bytes=256 * MB, processes=12, output_bytes=64 << 10, disk_bytes=4 * MB)
"""The limits of the attempts, small, so that they are reached soon; the time is for busy machines."""

_SHORT, _SLACK = 2.0, 30.0
"""Seconds after which attempts that go on for ever are ended, and by which that may be late on a busy machine."""

_ENDLESS = ("endless_loop", "sleep_on")

QUICK = {
    "read_home": "read files in the home folder",
    "read_passwd": "read the machine's list of users",
    "write_outside": "write outside its scratch folder",
    "tcp": "connect over TCP",
    "udp": "send over UDP",
    "unix_sockets": "connect to another program's socket",
    "dns": "look up a name, or reach the machine's host",
    "ptrace_parent": "trace or read the process above",
    "signal_parent": "end a process outside",
    "processes_of_others": "see other processes in /proc",
    "symlinks": "reach out through links",
    "become_root": "gain privileges",
    "mount": "mount, or make namespaces of its own",
    "keyring": "use the kernel's keys",
    "environment": "read the caller's environment",
    "descriptors": "use the caller's open files",
    "clock": "set the clock",
    "core_dump": "leave a core dump",
}
"""Attempts that say themselves what they got hold of, and what each tries."""

BOUNDED = {
    "fork_bomb": "have too many processes",
    "memory_bomb": "take too much memory",
    "output_flood": "write without end",
    "endless_loop": "run without end",
    "sleep_on": "sleep without end",
    "background": "leave a process behind",
    "disk_filling": "fill the disk",
}
"""Attempts that a limit has to end."""

ESCAPES = QUICK | BOUNDED


@dataclass(frozen=True)
class Attempt:
    """One attempt: its name, what it tried, and what it got; "" where the cage held."""

    name: str
    tries: str
    got: str

    @property
    def held(self) -> bool:
        """Whether the cage held."""
        return not self.got


def check_cage() -> tuple[Attempt, ...]:
    """Try to escape from a cage in every way of `ESCAPES`; takes some seconds.

    Raises:
        NoCageError: No cage can be built here.
    """
    if reason := why_no_cage():
        raise NoCageError(reason)
    with _bait() as bait, ThreadPoolExecutor(4) as pool:
        quick = pool.submit(_run, tuple(QUICK), bait)
        bounded = {name: pool.submit(_run, (name,), bait) for name in BOUNDED}
        got = _read(quick.result(), tuple(QUICK))
        got |= {name: _verdict(name, future.result()) for name, future in bounded.items()}
        if bait.process.poll() is not None:
            got["signal_parent"] = "the process outside was ended"
        if Path(bait.facts["folder"], "escaped").exists():
            got["write_outside"] = "a file outside"
        if left := _end_what_is_left(bait.facts["token"][:15]):
            got["background"] = f"{left} processes are left"
        if filter_for() is None:
            got["keyring"] = got["keyring"] or "no filter of system calls is known for this machine's processor"
    return tuple(Attempt(name, tries, got[name]) for name, tries in ESCAPES.items())


@cache
def require_cage() -> None:
    """Refuse to go on unless a cage can be built and holds; tried once in a process.

    Raises:
        NoCageError: None can be built, or an attempt at escape succeeded.
    """
    if escaped := [attempt for attempt in check_cage() if not attempt.held]:
        ways = "; ".join(f"{attempt.tries} ({attempt.got})" for attempt in escaped[:3])
        raise NoCageError(f"the cage does not hold: code in it could {ways}: see momus doctor")


def is_caged() -> bool:
    """Whether code can be run: a cage can be built, and holds."""
    try:
        require_cage()
    except NoCageError:
        return False
    return True


@dataclass
class _Bait:
    """What the attempts are after; `facts` is what they know of it."""

    facts: dict[str, Any]
    process: subprocess.Popen[bytes]


@contextmanager
def _bait() -> Iterator[_Bait]:
    token = secrets.token_hex(8)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_directory({"secret": token}))
        folder.chmod(0o755)
        os.set_inheritable(opened := os.open(folder / "secret", os.O_RDONLY), True)
        stack.callback(os.close, opened)
        # It waits for the end of its input, which comes also where this process is killed.
        waiting = [sys.executable, "-I", "-S", "-c", f"import sys; sys.stdin.read()  # {token}"]
        process = stack.enter_context(subprocess.Popen(waiting, stdin=subprocess.PIPE))
        stack.callback(process.kill)
        home = Path.home()
        facts = {
            "token": token, "folder": str(folder), "secret_file": str(folder / "secret"), "home": str(home),
            "process": process.pid, "unix_socket": str(folder / "socket"), "abstract_socket": token,
            "variables": sorted(set(os.environ) - set(ENVIRONMENT) - {"PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}),
            "processes": LIMITS.processes, "memory_bytes": LIMITS.memory_bytes, "disk_bytes": LIMITS.disk_bytes,
        }  # fmt: skip
        places: tuple[tuple[str, int, int, Any], ...] = (
            ("tcp_port", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("udp_port", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("", socket.AF_UNIX, socket.SOCK_STREAM, facts["unix_socket"]),
            ("", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + token),
        )
        for name, family, kind, address in places:
            server = stack.enter_context(socket.socket(family, kind))
            server.bind(address)
            if kind == socket.SOCK_STREAM:
                server.listen()
            else:
                stack.callback(_echoing(server))
            if name:
                facts[name] = server.getsockname()[1]
        yield _Bait(facts, process)


def _echoing(server: socket.socket) -> Callable[[], None]:
    """Send back what comes to a datagram socket; returns what ends that."""
    server.settimeout(0.1)
    done = threading.Event()

    def echo() -> None:
        while not done.is_set():
            with suppress(OSError):
                server.sendto(*server.recvfrom(80))

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()

    def end() -> None:
        done.set()
        thread.join()

    return end


def _run(names: tuple[str, ...], bait: _Bait) -> Outcome:
    program = Path(inside.__path__[0], "escapes.py").read_text(encoding="utf-8")
    limits = replace(LIMITS, seconds=_SHORT) if names[0] in _ENDLESS else LIMITS
    return run_unchecked(f"{program}\n\nattempt(*{names!r})\n", json.dumps(bait.facts), limits)


def _read(outcome: Outcome, names: tuple[str, ...]) -> dict[str, str]:
    """Return what attempts say they got; attempts that did not end count as escapes, for nothing is known of them."""
    try:
        got = dict(json.loads(outcome.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        unknown = f"not known: {outcome.stopped or outcome.stderr.strip()[-80:] or outcome.exit}"
        return dict.fromkeys(names, unknown)
    return {name: str(got.get(name, "not tried")) for name in names}


def _verdict(name: str, outcome: Outcome) -> str:
    """Return what an attempt that a limit has to end got."""
    if name in _ENDLESS and outcome.seconds > _SHORT + _SLACK:
        return f"{outcome.seconds:.0f} s"
    if outcome.stopped:
        return ""
    if name in (*_ENDLESS, "output_flood"):
        return f"ended with {outcome.exit}, not by a limit"
    return _read(outcome, (name,))[name]


def _end_what_is_left(name: str) -> int:
    """End the processes of this name on the machine, and return how many there were."""
    left = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "comm").read_text().strip() == name:
                left += 1
                os.kill(int(process.name), signal.SIGKILL)
    return left
