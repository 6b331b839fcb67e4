"""Untrusted code, caged: no network, no home, a read-only minimal file system, and bounds on all that it may use.

The cage is bubblewrap's; where there is none, or where an attempt at escape succeeds, nothing runs. No command uses it
unless asked to.
"""

from momus.sandbox.escapes import Attempt, check_cage, is_caged, require_cage
from momus.sandbox.limits import Limits, Outcome
from momus.sandbox.run import NoCageError, run_unchecked
from momus.sandbox.testing import TestResult, run_tests, run_tests_on_each

__all__ = [
    "Attempt",
    "Limits",
    "NoCageError",
    "Outcome",
    "TestResult",
    "check_cage",
    "is_caged",
    "require_cage",
    "run_python",
    "run_tests",
    "run_tests_on_each",
]


def run_python(code: str, stdin: str = "", limits: Limits | None = None) -> Outcome:
    """Run a Python program in the cage.

    Args:
        code: The program; it finds the standard library of this Python, and nothing else.
        stdin: What it reads.
        limits: What it may use.

    Raises:
        NoCageError: There is no cage here, or it does not hold: tried on the first use in a process, which takes some
            seconds.
    """
    require_cage()
    return run_unchecked(code, stdin, limits)
