"""The examples of the report: critiques beside their code, wins and failures alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from momus.critique import Critique, lines_of
from momus.records import Tamper
from momus.report.data import Example, KnownBug, Remark
from momus.tamper.truth import CritiqueTruth, Label, judge

EXAMPLES = 12

_VERDICTS: dict[Label, Literal["real", "nitpick", "fake"]] = {
    Label.REAL: "real",
    Label.NITPICK: "nitpick",
    Label.FAKE: "fake",
}


def examples(critic: str, critiques: Sequence[Critique], tampers: Sequence[Tamper], seed: int) -> list[Example]:
    """Choose a critic's critiques at random: wins, half wins, failures and clean answers in turn.

    Args:
        critic: The critic's name.
        critiques: One critique per tamper.
        tampers: The answers, with their known bugs.
        seed: Decides which are shown.
    """
    groups: dict[str, list[Example]] = {"win": [], "partial": [], "failure": [], "clean": []}
    order = list(range(len(tampers)))
    random.Random(seed).shuffle(order)
    for index in order:
        tamper, critique = tampers[index], critiques[index]
        example = _example(critic, tamper, critique, judge(critique, tamper))
        groups[example.outcome if tamper.bugs else "clean"].append(example)
    chosen: list[Example] = []
    while len(chosen) < EXAMPLES and any(groups.values()):
        for group in groups.values():
            if group and len(chosen) < EXAMPLES:
                chosen.append(group.pop(0))
    return chosen


def _example(critic: str, tamper: Tamper, critique: Critique, judgement: CritiqueTruth) -> Example:
    bugs, caught, fakes = len(tamper.bugs), judgement.located, judgement.fakes
    outcome: Literal["win", "partial", "failure"]
    if not bugs:
        outcome = "failure" if fakes else "win"
        note = f"A clean answer, {fakes} false comment{'s' * (fakes != 1)}."
    else:
        outcome = "failure" if not caught else "win" if caught == bugs and not fakes else "partial"
        note = f"{caught} of {bugs} bug{'s' * (bugs != 1)} caught, {judgement.named} with the repair named"
        note += f"; {fakes} fake problem{'s' * (fakes != 1)}." if fakes else "."
    return Example(
        title=tamper.task.id,
        critic=critic,
        outcome=outcome,
        outcome_note=note,
        question=tamper.task.question,
        code=tamper.answer,
        bugs=tuple(
            KnownBug(
                lines=tuple(sorted({line + 1 for span in bug.spans for line in lines_of(span, tamper.answer)})),
                kind=bug.kind.replace("_", " "),
                description=bug.description,
            )
            for bug in tamper.bugs
        ),
        remarks=tuple(
            Remark(
                text=comment.text,
                highlight=comment.highlight,
                span=None if comment.span is None else (comment.span.start, comment.span.end),
                verdict=_VERDICTS[label],
            )
            for comment, label in zip(critique.comments, judgement.labels, strict=True)
        ),
        closing=critique.closing,
    )
