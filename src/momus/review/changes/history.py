"""What the commits of a repository changed, a bug put into half of it, to measure a dial on.

A commit is taken to be right. Of every function that it touched there is the text that it left, with the lines that it
wrote; in every second one a bug is put into those lines, where a reviewer of the commit would have to find it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from momus.critique import Span, lines_of
from momus.errors import UserError
from momus.evaluate.critics.changes import ChangedAnswer, carry_lines
from momus.records import Tamper, Task
from momus.review.changes.change import change_since
from momus.review.changes.git import Repository
from momus.review.reviewer import changed_tasks_of
from momus.tamper.insert import insert
from momus.tamper.sites import find_edits

PYTHON = "Python"
FEW = 3
"""Functions of each commit that are taken before more are taken of any."""


def changes_of_commits(
    folder: Path, commits: str, paths: Sequence[Path], fits: Callable[[Task], bool], most: int, seed: int
) -> tuple[list[ChangedAnswer], int]:
    """Gather changed functions, every second one with a bug on a line that its commit wrote.

    Args:
        folder: A directory of the repository's working tree.
        commits: A range such as `main~200..main`; merges and first commits aside.
        paths: What the commits are limited to; none of them for all.
        fits: Whether the critic can read a task.
        most: How many functions at most; the commits are taken in random order.
        seed: Decides which, and the bugs.

    Returns:
        The changes, and how many commits they are from.

    Raises:
        UserError: There is no repository or no such range, or too little in it to measure on.
    """
    rng = random.Random(f"commits {seed}")
    names = Repository(folder).commits(commits)
    rng.shuffle(names)
    made: list[ChangedAnswer] = []
    seen: set[str] = set()
    used: set[str] = set()
    for of_one, name in itertools.product((FEW, most), names):  # one large commit is not all that is measured
        if len(made) == most:
            break
        functions = list(_functions(folder, name, paths, fits))
        enough = min(most, len(made) + of_one)
        for task, changed in rng.sample(functions, len(functions)):
            if task.answer in seen or len(made) == enough:
                continue
            seen.add(task.answer)
            clean = ChangedAnswer(Tamper(task=task, answer=task.answer, bugs=()), changed)
            if change := _with_bug(task, changed, rng, fits) if len(made) % 2 else clean:
                made.append(change)
                used.add(name)
    if len(made) < 2:
        raise UserError(f"--commits {commits}: {len(names)} commits, and no two changed Python functions to measure on")
    return made, len(used)


def _functions(
    folder: Path, commit: str, paths: Sequence[Path], fits: Callable[[Task], bool]
) -> Iterator[tuple[Task, frozenset[int]]]:
    """Yield the functions that a commit touched, named by it, with the indices of the lines that it wrote."""
    change = change_since(folder, f"{commit}^..{commit}")
    change.limit(paths)
    for target in change.targets:
        if target.source.language == PYTHON:
            for task, changed in changed_tasks_of(target, fits):
                yield task.model_copy(update={"id": f"{commit[:12]} {task.id}"}), changed


def _with_bug(
    task: Task, changed: frozenset[int], rng: random.Random, fits: Callable[[Task], bool]
) -> ChangedAnswer | None:
    """Return the change with a bug on one of its lines; None where there is no room for one."""
    try:
        edits = [edit for edit in find_edits(task.answer) if changed.issuperset(_lines(edit.footprint, task.answer))]
    except UserError:  # a part of a function that does not parse by itself
        return None
    inserted = insert(task.answer, edits, 1, rng)
    if inserted is None or not fits(task.model_copy(update={"answer": inserted[0]})):
        return None
    answer, bugs = inserted
    return ChangedAnswer(Tamper(task=task, answer=answer, bugs=bugs), carry_lines(changed, task.answer, answer))


def _lines(footprint: tuple[int, int], answer: str) -> range:
    start, stop = footprint
    return lines_of(Span(start, max(stop, start + 1)), answer)
