"""Changes to measure a critic on: of a function with a known bug, one that puts it in, or one that takes it out.

A review of a change shows comments on changed lines alone. So does this: whatever a critic says of other lines is not
counted, for a bug is found, or a false comment made, where something was changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from momus.critique import Critique, lines_of
from momus.records import Tamper


@dataclass(frozen=True)
class ChangedAnswer:
    """An answer after a change: `changed` are the indices of the lines that the change wrote, or took others beside."""

    after: Tamper
    changed: frozenset[int]


def changes_of(tampers: Sequence[Tamper]) -> list[ChangedAnswer]:
    """Make a change of every tamper that has bugs: in turn one that puts them in, and one that takes them out."""
    changes = []
    for number, tamper in enumerate(one for one in tampers if one.bugs and one.answer != one.task.answer):
        before, after = tamper.task.answer, tamper
        if number % 2:
            before, after = tamper.answer, Tamper(task=tamper.task, answer=tamper.task.answer, bugs=())
        changes.append(ChangedAnswer(after, changed_lines(before, after.answer)))
    return changes


def changed_lines(before: str, after: str) -> frozenset[int]:
    """Return the indices of the lines of `after` that are new, and those beside which lines were taken out."""
    old, new = before.split("\n"), after.split("\n")
    changed: set[int] = set()
    for kind, _, _, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "delete":
            changed |= {start - 1, start} & set(range(len(new)))
        elif kind != "equal":
            changed.update(range(start, stop))
    return frozenset(changed)


def carry_lines(lines: frozenset[int], before: str, after: str) -> frozenset[int]:
    """Return the indices of the lines of `after` that are these lines of `before`, or new."""
    old, new = before.split("\n"), after.split("\n")
    matches = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    same = {b + i for a, b, size in matches for i in range(size) if a + i in lines}
    return changed_lines(before, after) | same


def on_lines(critique: Critique, answer: str, lines: frozenset[int]) -> Critique:
    """Return the comments of a critique that are about some lines."""
    kept = tuple(c for c in critique.anchored if c.span is not None and lines & set(lines_of(c.span, answer)))
    return critique.model_copy(update={"comments": kept})
