"""Tamper with whole answers and files."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence

from momus.errors import UserError
from momus.records import Bug, Tamper, Task
from momus.tamper.apply import apply_edits, choose_edits, valid
from momus.tamper.edits import Edit
from momus.tamper.sites import find_edits

_TRIES = 20


def tamper(task: Task, count: int, rng: random.Random) -> Tamper | None:
    """Put `count` bugs into a task's answer; zero makes a clean control.

    Args:
        task: The task whose answer is tampered with.
        count: How many bugs, each on its own lines.
        rng: Source of all choices.

    Returns:
        The tampered answer with its bugs, or None where the answer has no room for that many.

    Raises:
        UserError: The answer is not Python 3.
    """
    made = tamper_file(task.answer, count, rng)
    if made is None:
        return None
    text, bugs = made
    return Tamper(task=task, answer=text, bugs=bugs)


def tamper_tasks(tasks: Iterable[Task], shares: Sequence[float], rng: random.Random) -> Iterator[Tamper]:
    """Put bugs into tasks, as many into each as is drawn; a task without room for that many is left out.

    Args:
        tasks: The tasks, in the order they are tampered with.
        shares: Of the tasks, those drawn to have 0, 1, 2 … bugs.
        rng: Source of all choices.

    Raises:
        UserError: An answer is not Python 3.
    """
    for task in tasks:
        made = tamper(task, rng.choices(range(len(shares)), shares)[0], rng)
        if made is not None:
            yield made


def tamper_file(source: str, count: int, rng: random.Random) -> tuple[str, tuple[Bug, ...]] | None:
    """Put `count` bugs anywhere into a file, script or function.

    Returns:
        The new text and the bugs in it, or None where there is no room for that many.

    Raises:
        UserError: `source` is not Python 3, or mixes line endings.
    """
    if count == 0:
        return source, ()
    return insert(source, find_edits(source), count, rng)


def tamper_code(code: str, bugs: int = 1, seed: int = 0) -> Tamper:
    """Put bugs into Python code.

    Args:
        code: A file, script or function.
        bugs: How many, each on its own lines.
        seed: Other seeds, other bugs.

    Returns:
        The task with the code as it was, the tampered code as the `answer`, and the `bugs` in it: each a span of
        characters of that answer and a description, written as a reviewer would.

    Raises:
        UserError: The code is not Python 3, or has no room for so many bugs.
    """
    made = tamper(Task(id="code", question="", answer=code), bugs, random.Random(seed))
    if made is None:
        raise UserError(f"no room for {bugs} bug{'s' * (bugs > 1)}")
    return made


def insert(source: str, edits: list[Edit], count: int, rng: random.Random) -> tuple[str, tuple[Bug, ...]] | None:
    """Choose among known edits of `source` until the result is valid; None when that fails too often."""
    if count < 0:
        raise UserError(f"the number of bugs must not be negative, got {count}")
    fair = list(edits)
    for _ in range(_TRIES):
        chosen = choose_edits(fair, count, rng, source)
        if len(chosen) < count:
            return None
        text, bugs = apply_edits(source, chosen)
        if valid(source, text):
            return text, bugs
        fair = [edit for edit in fair if edit not in chosen or valid(source, apply_edits(source, [edit])[0])]
    return None
