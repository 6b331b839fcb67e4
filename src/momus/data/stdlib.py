"""The embedded corpus: functions of the Python standard library on the user's own machine.

Which split a function belongs to depends only on the name of its top-level module, so that whatever was held
out when the shipped weights were trained is held out in every later run, on any Python version.
"""

from __future__ import annotations

import hashlib
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from momus.data.dedup import Deduplicator
from momus.data.functions import Function, Size, functions
from momus.errors import UserError
from momus.records import Split, Task

_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "ensurepip", "site-packages", "pydoc_data"}


def split_of(module: str) -> Split:
    """Return the split of a dotted module name, a fixed function of its first part: 80/8/12 of 100 by hash."""
    digest = hashlib.sha256(f"momus split {module.split('.')[0]}".encode()).digest()
    place = int.from_bytes(digest[:4], "big") % 100
    return "train" if place < 80 else "valid" if place < 88 else "test"


def modules() -> Iterator[tuple[str, Path]]:
    """Yield (dotted name, path) of the standard library's modules in a fixed order, without test code.

    Raises:
        UserError: This Python has no standard library in source form.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    any_source = False
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(part in _SKIPPED or "-" in part or part.startswith("test_") for part in parts):
            continue
        any_source = True
        yield ".".join(parts if parts[-1] != "__init__" else parts[:-1]), path
    if not any_source:
        raise UserError(f"no standard library sources under {root}: install Python with its .py files")


def functions_of_file(path: Path, size: Size) -> list[Function]:
    """Return the functions of one file; a file this interpreter cannot read or parse has none."""
    try:
        with tokenize.open(path) as file:
            return list(functions(file.read(), size))
    except (SyntaxError, ValueError, RecursionError):
        return []


def stdlib_tasks(size: Size) -> list[Task]:
    """Return the tasks of all splits, held-out modules first in line: a near-duplicate is kept only once.

    Near-duplicates (see `dedup`) are dropped within and across splits; where a training function resembles a
    held-out one it is the training function that goes.
    """
    by_split: dict[Split, list[Task]] = {"test": [], "valid": [], "train": []}
    for module, path in modules():
        split = split_of(module)
        for function in functions_of_file(path, size):
            by_split[split].append(
                Task(
                    id=f"{module}:{function.name}",
                    question=function.question,
                    answer=function.answer,
                    module=module,
                    split=split,
                )
            )
    deduplicate = Deduplicator()
    return [task for split in by_split.values() for task in split if deduplicate.add(task.answer)]
