"""What caged code may use, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from momus.errors import UserError

MB = 1 << 20

Stopped = Literal["", "time", "memory", "output"]
"""The limit that ended a run, "" where none did."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on one run.

    Attributes:
        seconds: By the clock, sleep included.
        memory_bytes: Of all its processes together, and the address space of each.
        processes: Processes and threads at one time.
        output_bytes: Of stdout, and of stderr.
        disk_bytes: In its scratch folder, which is in memory; and of one file.

    Raises:
        UserError: A bound is not positive, or leaves no room for Python itself.
    """

    seconds: float = 10.0
    memory_bytes: int = 512 * MB
    processes: int = 16
    output_bytes: int = 1 * MB
    disk_bytes: int = 32 * MB

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise UserError(f"a run's seconds must be positive, not {self.seconds}")
        if self.memory_bytes < 64 * MB:
            raise UserError(f"{self.memory_bytes / MB:.0f} MiB of memory: Python itself needs 64")
        if min(self.processes, self.output_bytes, self.disk_bytes) < 1:
            raise UserError("a run's processes, output and disk must be at least 1")


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        stdout: What it wrote, as text; cut at the limit.
        stderr: Likewise.
        exit: Its exit code; 128 and the signal's number where a signal ended it; -1 where a limit did.
        stopped: The limit that ended it, if any.
        seconds: How long it took by the clock, the cage included.
        peak_bytes: The most memory its processes were seen to have together; 0 for a run too short to look.
    """

    stdout: str
    stderr: str
    exit: int
    stopped: Stopped = ""
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def timed_out(self) -> bool:
        """Whether the limit of time ended it."""
        return self.stopped == "time"

    @property
    def ok(self) -> bool:
        """Whether it ended by itself, with 0."""
        return not self.stopped and self.exit == 0
