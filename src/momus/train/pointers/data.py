"""Answers for a pointer to learn from: functions with a fresh bug each, or records that have their bugs already.

Without files they are of the standard library and of installed packages with permissive licences; the modules of the
standard library's test split, on which pointers are measured, are never among them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from momus.data.dedup import Deduplicator
from momus.data.functions import Size
from momus.data.packages import package_functions
from momus.data.stdlib import functions_of_file, stdlib_tasks
from momus.data.variants import as_script, rename_locals
from momus.errors import UserError
from momus.records import Tamper, Task, read_jsonl
from momus.tamper.insert import tamper
from momus.train.pointers.settings import FEWEST, PointerData

_MOST_ROUNDS = 50
_SIZE = Size(min_lines=4, max_lines=40, max_chars=1600)


def gather_tampers(
    files: Sequence[Path], records: Sequence[Path], data: PointerData
) -> tuple[list[Tamper], list[Tamper]]:
    """Return answers to learn from, and others to choose by.

    Args:
        files: Python files and directories, their code taken to be free of bugs; a tenth of them is held out.
        records: In place of these, JSON Lines of Tamper records; those of the split "valid" are held out, or without
            any a tenth.
        data: How many, and what is done to them.

    Raises:
        UserError: There are too few, or both files and records were named.
    """
    if files and records:
        raise UserError("name Python files with --data, or --tampers with known bugs, not both")
    if records:
        tampers = [t for path in records for t in read_jsonl(path, Tamper)]
        held_out = [t for t in tampers if t.task.split == "valid"]
        train = [t for t in tampers if t.task.split == "train"]
        if not held_out:
            train, held_out = train[len(train) // 10 :], train[: len(train) // 10]
        chosen = train[: data.functions], held_out[: data.held_out]
    else:
        seen, unseen = _tasks_of_files(files, data.seed) if files else _tasks_at_hand(data)
        chosen = (
            list(_tampers(seen, data.functions, data, "train")),
            list(_tampers(unseen, data.held_out, data, "held out")),
        )
    for name, some in zip(("to learn from", "to hold out"), chosen, strict=True):
        if len(some) < FEWEST:
            raise UserError(f"only {len(some)} answers {name}: at least {FEWEST} are needed, so name more files")
    return chosen


def _tasks_at_hand(data: PointerData) -> tuple[list[Task], list[Task]]:
    """Return functions of the standard library and of installed packages: of its split "valid", and all others."""
    tasks = stdlib_tasks(_SIZE)
    deduplicate = Deduplicator()
    for task in tasks:
        deduplicate.add(task.answer)
    train = [task for task in tasks if task.split == "train"]
    train += [
        Task(id=f"{module}:{function.name}", question=function.question, answer=function.answer)
        for module, function in package_functions(_SIZE, max(600, data.functions // 10), data.seed)
        if deduplicate.add(function.answer)
    ]
    return train, [task for task in tasks if task.split == "valid"]


def _tasks_of_files(paths: Sequence[Path], seed: int) -> tuple[list[Task], list[Task]]:
    """Return the functions of files, a tenth of the files, or of the functions of few files, apart."""
    for path in paths:
        if not path.exists():
            raise UserError(f"--data {path}: no such file or directory")
    files = sorted({file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])})
    groups = [
        [Task(id=f"{file}:{f.name}", question=f.question, answer=f.answer) for f in functions_of_file(file, _SIZE)]
        for file in files
    ]
    groups = [group for group in groups if group]
    if len(groups) < FEWEST:
        groups = [[task] for group in groups for task in group]
    random.Random(seed).shuffle(groups)
    cut = -(-len(groups) // 10)
    return [task for group in groups[cut:] for task in group], [task for group in groups[:cut] for task in group]


def _tampers(tasks: Sequence[Task], count: int, data: PointerData, split: str) -> Iterator[Tamper]:
    """Yield `count` answers with a bug each, or none, going over the tasks again where need be."""
    order = random.Random(f"{data.seed} {split}").sample(list(tasks), len(tasks))
    made = 0
    for number, task in itertools.islice(enumerate(itertools.cycle(order)), _MOST_ROUNDS * len(order)):
        if made == count:
            return
        rng = random.Random(f"{data.seed} {split} {number}")
        answer = _rewritten(task.answer, data, rng) if split == "train" else task.answer
        tampered = tamper(task.model_copy(update={"answer": answer}), int(rng.random() >= data.clean), rng)
        if tampered is not None:
            made += 1
            yield tampered


def _rewritten(answer: str, data: PointerData, rng: random.Random) -> str:
    """Write a function as others would, now and then."""
    if rng.random() < data.scripts:
        answer = as_script(answer, rng) or answer
    if rng.random() < data.renamed:
        answer = rename_locals(answer, rng) or answer
    return answer
