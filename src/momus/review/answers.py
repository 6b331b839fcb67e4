"""Answers to measure a reviewing critic on: code as `momus review` would read it, some of it with bugs put in."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from momus.critics.critic import Critic
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.errors import UserError
from momus.records import Tamper, Task, read_jsonl
from momus.review.files import Skipped, read_sources, spelled
from momus.review.reviewer import tasks_of
from momus.tamper.insert import tamper

SHARES = (0.5, 0.35, 0.15)
"""Shares of the answers that get 0, 1, 2 bugs: half stay clean."""
ALL_WITH_A_BUG = (0.0, 1.0)
"""The same where clean answers are made otherwise."""


def answers(
    paths: Sequence[Path],
    tampers: Path | None,
    critic: Critic,
    most: int,
    seed: int,
    shares: Sequence[float] = SHARES,
) -> tuple[list[Tamper], str, list[Skipped]]:
    """Gather answers with known bugs, and clean ones, that the critic can read.

    Args:
        paths: Python files and directories, taken to be free of bugs: half of what is taken gets some. None of them
            and no `tampers` means the standard library's held-out modules.
        tampers: Records with their bugs, such as `momus tamper` writes, taken as they are.
        critic: Who has to read them.
        most: How many at most, chosen at random.
        seed: Decides which, and the bugs.
        shares: Of the answers that get 0, 1, … bugs.

    Returns:
        The answers, where they are from in words, and the files that could not be read.

    Raises:
        UserError: Both were named, or there is nothing to measure on.
    """
    if paths and tampers:
        raise UserError("name Python files, or --tampers with known bugs, not both")
    rng, skipped = random.Random(f"calibrate {seed}"), list[Skipped]()
    if tampers is not None:
        known = [t for t in read_jsonl(tampers, Tamper) if critic.fits(task_to_read(t))]
        rng.shuffle(known)
        digest = hashlib.sha256(tampers.read_bytes()).hexdigest()[:12]
        return known[:most], f"{spelled(Path(tampers.name))} (sha256 {digest})", skipped
    if paths:
        sources, skipped = read_sources(paths)
        tasks = [task for source in sources for task in tasks_of(source, critic.fits)[0]]
        where = ", ".join(map(spelled, paths))
    else:
        tasks = [task for task in stdlib_tasks(Size(max_chars=10_000, max_lines=80)) if task.split == "test"]
        where = "held-out modules of the standard library"
    rng.shuffle(tasks)
    fitting: list[Tamper] = []
    for tampered in _with_bugs(tasks, rng, shares):
        if critic.fits(task_to_read(tampered)):
            fitting.append(tampered)
        if len(fitting) == most:
            break
    return fitting, f"{where}, bugs inserted", skipped


def _with_bugs(tasks: Sequence[Task], rng: random.Random, shares: Sequence[float]) -> Iterator[Tamper]:
    for task in tasks:
        try:
            made = tamper(task, rng.choices(range(len(shares)), shares)[0], rng)
        except UserError:  # a part of a function that does not parse by itself
            continue
        if made is not None:
            yield made


def task_to_read(tamper: Tamper) -> Task:
    """Return the task of judging a tamper's answer."""
    return tamper.task.model_copy(update={"answer": tamper.answer})
