"""Programming problems with tests, as MBPP has them (Austin et al., arXiv 2108.07732; CC BY 4.0)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from momus.errors import UserError
from momus.files import JsonError, json_lines
from momus.records import Split

_TEST, _VALID = range(11, 511), range(511, 601)


@dataclass(frozen=True)
class Problem:
    """A problem: its text, a right solution, tests that raise where an answer is wrong, and code to run before."""

    id: str
    text: str
    code: str
    tests: tuple[str, ...]
    setup: str = ""
    split: Split = "train"


def read_problems(path: Path) -> list[Problem]:
    """Read problems in MBPP's format; the splits are the published ones (1–10 are few-shot examples: training).

    Raises:
        UserError: A line is no problem.
    """
    problems = []
    for number, row in json_lines(path):
        if isinstance(row, JsonError):
            raise UserError(f"{path}:{number}: {row}")
        problems.append(_problem(row, f"{path}:{number}"))
    if not problems:
        raise UserError(f"{path}: no problems in it")
    return problems


def _problem(row: Any, place: str) -> Problem:
    try:
        tests = tuple(_plain(test) for test in row["test_list"])
        number = int(row["task_id"])
        text, code, setup = (_plain(row[name]) for name in ("text", "code", "test_setup_code"))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"{place}: not a problem with text, code, test_list and task_id: {error}") from error
    if not tests:
        raise UserError(f"{place}: a problem without tests")
    split: Split = "test" if number in _TEST else "valid" if number in _VALID else "train"
    return Problem(f"mbpp/{number}", text, code, tests, setup, split)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")
