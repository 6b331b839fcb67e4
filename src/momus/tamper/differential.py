"""Does a tamper make a difference? A function and its tampered version on the same made-up arguments, in the cage.

A tamper under which no call differs is no bug, as far as the calls can tell. Only functions that can be driven are
judged: no methods, and of the others those that return for some arguments of the common kinds, do the same twice, and
reach the changed lines.
"""

from __future__ import annotations

import ast
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from momus.records import Tamper
from momus.sandbox import Limits, inside, run_python

CALLS = 600
SECONDS = 10
"""Of processor time for one function with its tampers."""

TOGETHER = 64
"""Functions that share a cage."""

_TRIES = 4
_START, _PATIENCE = 60.0, 10.0  # seconds by the clock to start; and for each of processor time


@dataclass(frozen=True)
class Case:
    """A text with one function to call, and tampered versions of it.

    Attributes:
        original: The text as it was.
        versions: Tampered texts.
        module: The module of the standard library whose names the text uses, or "".
        file: The source whose names it uses, where there is no such module.
    """

    original: str
    versions: tuple[str, ...]
    module: str = ""
    file: str = ""


def make_a_difference(cases: Sequence[Case], calls: int = CALLS) -> list[list[bool | None]]:
    """Say of each version of each case whether some call tells it from the original; None where that is not known.

    Raises:
        NoCageError: There is no cage here, or it does not hold.
    """
    verdicts: list[list[bool | None]] = []
    while len(verdicts) < len(cases):
        batch = cases[len(verdicts) : len(verdicts) + TOGETHER]
        read = _compare(batch, calls)
        verdicts += read
        if len(read) < len(batch):  # the next one is what ended the run
            verdicts.append([None] * len(batch[len(read)].versions))
    return verdicts


def _compare(batch: Sequence[Case], calls: int) -> list[list[bool | None]]:
    token = secrets.token_hex(8)
    job = {"cases": [_described(case) for case in batch], "calls": calls, "seconds": SECONDS, "token": token}
    program = Path(inside.__path__[0], "compare.py").read_text(encoding="utf-8")
    outcome = run_python(program, json.dumps(job), Limits(seconds=_START + _PATIENCE * SECONDS * len(batch)))
    lines = [line.removeprefix(token) for line in outcome.stdout.split("\n")[:-1] if line.startswith(token)]
    return [json.loads(line) for line in lines]


def _described(case: Case) -> dict[str, object]:
    changed = [changed_lines(case.original, version) for version in case.versions]
    names = {_function_at(case.original, lines) for lines in changed}
    name = names.pop() if len(names) == 1 else ""
    versions = [{"text": text, "lines": lines} for text, lines in zip(case.versions, changed, strict=True)]
    return {"original": case.original, "versions": versions, "name": name, "module": case.module, "file": case.file}


def changed_lines(original: str, tampered: str) -> list[int]:
    """Return the lines of the original, from 1, that are changed; where lines are put in, those around."""
    before, after = original.split("\n"), tampered.split("\n")
    first = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(map(len, (before, after)))
    )
    last = next(
        (i for i, (a, b) in enumerate(zip(before[first:][::-1], after[first:][::-1], strict=False)) if a != b),
        min(len(before), len(after)) - first,
    )
    stop = len(before) - last
    return list(range(first + 1, stop + 1)) if stop > first else [max(first, 1), first + 1]


def _function_at(text: str, lines: Sequence[int]) -> str:
    """Return the name of the function at the top of a text that some lines lie in, "" where there is none."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    for node in statements:
        if isinstance(node, ast.FunctionDef) and node.lineno <= max(lines) and min(lines) <= (node.end_lineno or 0):
            return node.name
    return ""


@dataclass
class Counts:
    """What became of bugs: those seen to make a difference, those not known, those replaced or left out."""

    differ: int = 0
    unknown: int = 0
    replaced: int = 0
    left_out: int = 0

    def __str__(self) -> str:
        """Say it on one line."""
        shown, unknown, same = self.differ, self.unknown, self.replaced + self.left_out
        return (
            f"bugs: {shown} shown by a call, {unknown} not checked (calls do not get there); "
            f"{same} that no call showed: {self.replaced} replaced by others, {self.left_out} left out"
        )


def without_equivalent(
    tampers: Iterable[Tamper],
    again: Callable[[Tamper], Tamper | None],
    counts: Counts,
    files: Mapping[str, str] | None = None,
    together: int = TOGETHER,
) -> Iterator[Tamper]:
    """Yield tampers in their order, others in the place of those that change nothing.

    Args:
        tampers: Answers with a bug or none; those of a module of the standard library use its names.
        again: Returns another tamper of the same task, None where there is none.
        counts: What became of them, added to.
        files: The source that an answer's names come from, by its `module`, where that is a file.
        together: How many to check at a time.

    Raises:
        NoCageError: There is no cage here, or it does not hold.
    """
    batch: list[Tamper] = []
    for tamper in tampers:
        batch.append(tamper)
        if len(batch) == together:
            yield from _filtered(batch, again, counts, files or {})
            batch = []
    yield from _filtered(batch, again, counts, files or {})


def _filtered(
    batch: Sequence[Tamper], again: Callable[[Tamper], Tamper | None], counts: Counts, files: Mapping[str, str]
) -> Iterator[Tamper]:
    kept: list[Tamper | None] = list(batch)
    waiting = [number for number, tamper in enumerate(batch) if tamper.bugs]
    for left in range(_TRIES, 0, -1):
        cases = [_case(tamper, files) for number in waiting if (tamper := kept[number]) is not None]
        same = []
        for number, (verdict,) in zip(waiting, make_a_difference(cases), strict=True):
            counts.differ += verdict is True
            counts.unknown += verdict is None
            if verdict is False:
                tamper = kept[number]
                kept[number] = again(tamper) if tamper is not None and left > 1 else None
                counts.replaced += kept[number] is not None
                counts.left_out += kept[number] is None
                same += [number] if kept[number] is not None else []
        if not (waiting := same):
            break
    yield from (tamper for tamper in kept if tamper is not None)


def _case(tamper: Tamper, files: Mapping[str, str]) -> Case:
    module = tamper.task.module or ""
    source = files.get(module, "")
    return Case(tamper.task.answer, (tamper.answer,), "" if module in files else module, source)
