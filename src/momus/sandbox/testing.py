"""Does an answer pass its tests? The answer's code and the tests run in the cage."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from momus.sandbox import inside
from momus.sandbox.escapes import require_cage
from momus.sandbox.limits import MB, Limits, Outcome
from momus.sandbox.run import run_unchecked

Verdict = Literal["passed", "failed", "error", "time", "memory"]

TEST_LIMITS = Limits(seconds=5.0)
_START = 60.0  # seconds for the cage and Python to start, however busy the machine
_PATIENCE = 10  # seconds by the clock for each of processor time
_LARGEST_BATCH = 64


@dataclass(frozen=True)
class TestResult:
    """What became of an answer's tests, in their order.

    Attributes:
        verdicts: A test failed by an assertion, ended by another error, or was cut off by a limit.
        messages: What each said, on one line; "" for one that passed.
    """

    __test__: ClassVar[bool] = False  # for pytest: not a test

    verdicts: tuple[Verdict, ...]
    messages: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether there are tests and all passed."""
        return bool(self.verdicts) and all(verdict == "passed" for verdict in self.verdicts)


def run_tests(answer: str, tests: Sequence[str], setup: str = "", limits: Limits = TEST_LIMITS) -> TestResult:
    """Run an answer and then each of its tests, in one process of the cage.

    Args:
        answer: Python code.
        tests: Statements that raise where the answer is wrong, such as `assert f(1) == 2`.
        setup: Code to run before the answer, such as imports.
        limits: What it may use; the seconds are of processor time for the answer with all its tests, and ten times as
            many by the clock.

    Raises:
        NoCageError: There is no cage here, or it does not hold.
    """
    return run_tests_on_each([answer], tests, setup, limits)[0]


def run_tests_on_each(
    answers: Sequence[str], tests: Sequence[str], setup: str = "", limits: Limits = TEST_LIMITS
) -> list[TestResult]:
    """Run the same tests on several answers to one question, which share a cage and get a process each.

    As `run_tests`, but much faster for many; an answer that means harm could get at the next one's results.

    Raises:
        NoCageError: There is no cage here, or it does not hold.
    """
    require_cage()
    program = Path(inside.__path__[0], "run_tests.py").read_text(encoding="utf-8")
    results: list[TestResult] = []
    while len(results) < len(answers):
        batch = answers[len(results) : len(results) + _LARGEST_BATCH]
        token = secrets.token_hex(8)
        job = {"answers": batch, "tests": tests, "setup": setup, "seconds": limits.seconds, "token": token}
        whole = replace(limits, seconds=_START + _PATIENCE * limits.seconds * len(batch), output_bytes=16 * MB)
        outcome = run_unchecked(program, json.dumps(job), whole)
        results += (read := _read(outcome, token))
        if len(read) < len(batch):  # the next one is what ended the run
            results.append(_cut_off(outcome, len(tests)))
    return results


def _read(outcome: Outcome, token: str) -> list[TestResult]:
    lines = [line.removeprefix(token) for line in outcome.stdout.split("\n")[:-1] if line.startswith(token)]
    results = []
    for line in lines:
        pairs = json.loads(line)
        results.append(TestResult(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)))
    return results


def _cut_off(outcome: Outcome, tests: int) -> TestResult:
    verdict: Verdict = outcome.stopped if outcome.stopped in ("time", "memory") else "error"
    last = outcome.stderr.strip().splitlines()[-1:] or [f"the run ended with {outcome.exit}"]
    words = f"the limit of {verdict} was passed" if verdict != "error" else last[0][:200]
    return TestResult((verdict,) * tests, (words,) * tests)
