"""The blind sheet of an audit: what people are shown and asked of each answer, and what their judgements say.

A sheet holds items of the workbench's kind `survey`. They are judged there or in a terminal, and either way a judgement
names its item by the title, which holds the sheet's name: judgements of other items are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from momus.critique import fence_for
from momus.errors import UserError
from momus.evaluate.critics.audit import Audited
from momus.files import digest
from momus.stats.bootstrap import SHARE, Interval, difference_interval, ratio_interval

YES, NO, UNSURE = "yes", "no", "unsure"

QUESTIONS = (
    {
        "name": "problem",
        "text": "Is there a real problem in the answer, one that would have to be mended?",
        "type": "choice",
        "options": [YES, NO, UNSURE],
    },
    {"name": "what", "text": "What is wrong?", "type": "text", "optional": True},
)
"""What is asked about every answer."""


class SheetItem(BaseModel):
    """An answer on the sheet: an item of the kind `survey`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    text: str
    questions: tuple[dict[str, Any], ...] = QUESTIONS


class SheetJudgement(BaseModel):
    """One labeler's judgement of an item, as the workbench exports it; more may stand beside it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str = ""
    labeler: str = ""
    values: dict[str, Any] = Field(default_factory=dict)

    @property
    def verdict(self) -> bool | None:
        """Whether there is a problem; None where the labeler was unsure."""
        return {YES: True, NO: False}.get(str(self.values.get("problem")))


@dataclass(frozen=True)
class AuditCount:
    """What people say of a sheet, answers that they are unsure of aside.

    Attributes:
        flagged: Share of the flagged answers with a real problem.
        unflagged: The same share of those in which the critic found nothing.
        more: By how much the first share is above the second.
        judged: How many of either were judged, flagged ones first.
        true: How many of these have a real problem: of the flagged ones the rest are false flags.
        unsure: How many of either nobody was sure of, or as many say one thing as the other.
        labelers: Whose judgements these are.
        other: Judgements of items that are not on this sheet.
    """

    flagged: Interval
    unflagged: Interval
    more: Interval
    judged: tuple[int, int]
    true: tuple[int, int]
    unsure: tuple[int, int]
    labelers: tuple[str, ...]
    other: int


def sheet_of(audited: Sequence[Audited], *, code: bool) -> list[SheetItem]:
    """Return the sheet: question and answer of those with a number, in that order, and nothing of what was flagged."""
    drawn = sorted((one for one in audited if one.number is not None), key=lambda one: one.number or 0)
    name = digest([(one.task.question, one.task.answer) for one in drawn])[:6]
    items = []
    for one in drawn:
        question = f"**Question**\n\n{one.task.question}\n\n" if one.task.question.strip() else ""
        fence = fence_for(one.task.answer)
        answer = f"{fence}python\n{one.task.answer}\n{fence}" if code else one.task.answer
        text = f"{question}**Answer**\n\n{answer}"
        items.append(SheetItem(title=f"Audit {name}, answer {one.number}", text=text))
    return items


def count(audited: Sequence[Audited], sheet: Sequence[SheetItem], judgements: Iterable[SheetJudgement]) -> AuditCount:
    """Count what was found among flagged answers and among the others.

    Several labelers of one answer decide by majority; the last word of each counts.

    Raises:
        UserError: No judgement is of an answer of this sheet.
    """
    said: dict[str, dict[str, bool | None]] = {item.title: {} for item in sheet}
    other = 0
    for judgement in judgements:
        if judgement.title in said:
            said[judgement.title][judgement.labeler] = judgement.verdict
        else:
            other += 1
    flagged = {one.number: one.is_flagged for one in audited if one.number is not None}
    judged = [
        (flagged[number], _majority(said[item.title])) for number, item in enumerate(sheet, 1) if said[item.title]
    ]
    if not judged:
        raise UserError("none of these judgements is of an answer on this sheet")
    sides = [[verdict for side, verdict in judged if side is which] for which in (True, False)]
    decided = [(side, verdict) for side, verdict in judged if verdict is not None]
    ratios = [
        ([side is which and verdict for side, verdict in decided], [side is which for side, _ in decided])
        for which in (True, False)
    ]
    return AuditCount(
        flagged=ratio_interval(*ratios[0], bounds=SHARE),
        unflagged=ratio_interval(*ratios[1], bounds=SHARE),
        more=difference_interval(*ratios),
        judged=(len(sides[0]), len(sides[1])),
        true=(sides[0].count(True), sides[1].count(True)),
        unsure=(sides[0].count(None), sides[1].count(None)),
        labelers=tuple(sorted({name for names in said.values() for name in names})),
        other=other,
    )


def _majority(verdicts: Mapping[str, bool | None]) -> bool | None:
    """Return what more labelers say than the contrary; None for neither."""
    balance = sum(0 if verdict is None else 1 if verdict else -1 for verdict in verdicts.values())
    return None if balance == 0 else balance > 0
