"""Run tests on answers, inside the cage: a process of its own for each answer, one line of results for each.

stdin holds, as JSON, `answers`, `tests`, `setup`, the `seconds` for each answer, and a `token` that begins every line
of results, so that what an answer prints is not taken for one.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

PATIENCE = 10
"""Seconds by the clock for each of processor time: machines are busy."""


def run_answer(answer: str, job: dict[str, Any], report: Callable[[str, str], None]) -> None:
    """Run one answer's code, then each test after it; report each test's verdict and message as it is known."""
    space: dict[str, Any] = {"__name__": "answer", "__builtins__": __builtins__}
    try:
        exec(compile(job["setup"], "<setup>", "exec"), space)
        exec(compile(answer, "<answer>", "exec"), space)
    except BaseException as error:
        for _ in job["tests"]:
            report("error", describe(error))
        return
    for test in job["tests"]:
        try:
            exec(compile(test, "<test>", "exec"), space)
        except AssertionError as error:
            report("failed", str(error))
        except BaseException as error:
            report("error", describe(error))
        else:
            report("passed", "")


def describe(error: BaseException) -> str:
    """Return an exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def in_a_process(answer: str, job: dict[str, Any]) -> tuple[list[list[str]], str]:
    """Run one answer in a process of its own; returns the results that it came to, and what ended it early."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reader)
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, job["seconds"])
            lines = os.fdopen(writer, "w")
            token = job.pop("token")

            def report(verdict: str, message: str) -> None:
                lines.write(token + json.dumps([verdict, message]) + "\n")
                lines.flush()

            run_answer(answer, job, report)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    late = []

    def end(*_: object) -> None:
        late.append(child)
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * job["seconds"])
    with os.fdopen(reader, errors="replace") as lines:
        got = [json.loads(line.removeprefix(job["token"])) for line in lines if line.startswith(job["token"])]
    status = os.waitpid(child, 0)[1]
    signal.setitimer(signal.ITIMER_REAL, 0)
    too_long = late or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF)
    return got, "time" if too_long else "error"


if __name__ == "__main__":
    job = json.load(sys.stdin)
    for answer in job["answers"]:
        got, cause = in_a_process(answer, job)
        missing = len(job["tests"]) - len(got)
        words = "the limit of time was passed" if cause == "time" else "the process ended"
        print(job["token"] + json.dumps(got + [[cause, words]] * missing), flush=True)
