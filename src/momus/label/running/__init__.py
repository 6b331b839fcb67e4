"""The run button: code that a labeler sees is run in the cage (`momus.sandbox`); without one there is no button."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Any

from momus.errors import UserError
from momus.sandbox import Limits, is_caged, run_python

LIMITS = Limits(seconds=5.0, memory_bytes=256 << 20, output_bytes=32 << 10)

_AT_ONCE = 2
_PATIENCE = 30.0  # seconds to wait for others' runs
_LONGEST = 200_000  # characters


class Runner:
    """Runs code in the cage, a few at once; others wait."""

    def __init__(self) -> None:
        self._places = threading.Semaphore(_AT_ONCE)

    def run(self, code: str, then: str) -> dict[str, Any]:
        """Run code and then some lines after it; returns what was written, and how it ended.

        Raises:
            UserError: It is too long, or others' runs take too long.
        """
        if len(code) + len(then) > _LONGEST:
            raise UserError("too long to be run")
        if not self._places.acquire(timeout=_PATIENCE):
            raise UserError("others are running code: try again")
        try:
            return asdict(run_python(f"{code}\n\n{then}\n", limits=LIMITS))
        finally:
            self._places.release()


def open_runner() -> Runner | None:
    """Return what runs code; None where the cage does not hold."""
    return Runner() if is_caged() else None
