"""An audit of answers that are held to be flawless: a critic flags some, and people judge, blind, whether it is right.

CriticGPT's critics found problems in a quarter of the answers they flagged among training data that people had rated
flawless (arXiv 2407.00215). A critic reads every answer and flags those it comments on, the strongest first (`flag`).
Of what it flags and of what it leaves alone the same number goes on a sheet, shuffled, without a word of whose is which
(`sheet.py`), so that what is found among the flagged can be told from what is found wherever one looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Any

from momus.critics.critic import Critic, Dial, confidence_of
from momus.critics.prompted import PromptKind
from momus.critics.vacuous import drop_vacuous
from momus.critique import Critique
from momus.data.answers import code_of
from momus.data.prompts import plain
from momus.errors import UserError
from momus.files import Ledger, digest
from momus.lm.chats.costs import OVER_BUDGET
from momus.records import Content, Demonstration, Origin, Ranking, Record, Task
from momus.search.result import Candidate, SearchResult

AT_ONCE = 8
"""Answers that a critic is given, and that are kept, together."""

TOO_LONG = "too long for this critic"
"""The problem of answers that it cannot read."""

_SEVERITY = {"error": 2, "warning": 1}


class Audited(Record):
    """An answer of an audit, and what the critic says of it.

    Attributes:
        task: The question, and the answer that is held to be flawless.
        critique: What the critic says at its setting; comments that say nothing are left out.
        strength: How far its surest comment can be believed, 0 to 1; None where nothing says so.
        problem: Why it was not read, or "".
        number: Its place on the sheet, from 1; None where it is not on it.
    """

    task: Task
    critique: Critique = Critique()
    strength: float | None = None
    problem: str = ""
    number: int | None = None

    @property
    def is_flagged(self) -> bool:
        """Whether the critic found something in it."""
        return bool(self.critique.anchored)


def flawless(records: Iterable[Record]) -> list[Task]:
    """Return the answers that are held to be flawless: the first of every ranking or, without rankings, every one."""
    first: list[Task] = []
    others: list[Task] = []
    for record in records:
        if isinstance(record, Ranking):
            best = min(record.ranks)
            places = (i for i, rank in enumerate(record.ranks) if rank == best)
            first += [_task(record.prompt, record.candidates[i], record.origin) for i in places]
        elif isinstance(record, Demonstration):
            others.append(_task(record.prompt, record.answer, record.origin))
        elif isinstance(record, Task):
            others.append(record)
    return [task for task in first or others if task.answer.strip()]


def readable(tasks: Sequence[Task], kind: PromptKind | None) -> tuple[list[Task], PromptKind]:
    """Return answers as a critic reads them, each once, and what they are: of code the code alone, no words around it.

    Args:
        tasks: Questions and answers.
        kind: What the answers are; None takes them for code where most are Python.

    Raises:
        UserError: There is nothing to read.
    """
    if kind == "answer":
        chosen = list(tasks)
    else:
        code = [(task, code_of(task.answer)) for task in tasks]
        chosen = [task.model_copy(update={"answer": answer}) for task, answer in code if answer]
        if kind is None and 2 * len(chosen) <= len(tasks):
            chosen, kind = list(tasks), "answer"
    if not chosen:
        raise UserError("there are no answers to audit: demonstrations, rankings or tasks are needed, of code Python")
    return list({(task.question, task.answer): task for task in chosen}.values()), kind or "code"


def drawn(tasks: Sequence[Task], limit: int | None, seed: int) -> list[Task]:
    """Return at most so many answers, drawn at random, in their order."""
    if limit is None or limit >= len(tasks):
        return list(tasks)
    return [tasks[i] for i in sorted(Random(f"{seed} {len(tasks)}").sample(range(len(tasks)), limit))]


def read_answers(
    critic: Critic,
    tasks: Sequence[Task],
    ledger: Ledger,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Have a critic read the answers that are not in the ledger yet; those a budget did not reach stay out of it.

    Raises:
        UserError: The critic cannot be asked; what it has read stays.
    """
    waiting = unread(tasks, ledger)
    for start in range(0, len(waiting), AT_ONCE):
        progress(len(tasks) - len(waiting) + start, len(tasks))
        part = waiting[start : start + AT_ONCE]
        fitting = [task for task in part if critic.fits(task)]
        results = {name_of(task): SearchResult((), TOO_LONG) for task in part}
        results |= zip(map(name_of, fitting), critic.write(fitting) if fitting else (), strict=True)
        ledger.add({name: _pack(result) for name, result in results.items() if result.problem != OVER_BUDGET})
    progress(len(tasks), len(tasks))


def unread(tasks: Sequence[Task], ledger: Mapping[str, Any]) -> list[Task]:
    """Return the answers that are not in the ledger."""
    return [task for task in tasks if name_of(task) not in ledger]


def flag(tasks: Sequence[Task], ledger: Mapping[str, Any], dial: Dial, setting: float) -> list[Audited]:
    """Return the answers with what a critic says of them at a setting of its dial.

    The flagged ones come first, the strongest foremost, then those it found nothing in, then those it did not read.
    """
    audited = [_audited(task, ledger.get(name_of(task)), dial, setting) for task in tasks]
    return sorted(audited, key=_weakness)


def draw(audited: Sequence[Audited], most: int, seed: int) -> list[Audited]:
    """Return the same answers, those drawn for the sheet numbered in the order in which they are to be judged.

    These are the flagged ones, the strongest `most` of them, and as many of those the critic read and left alone.
    """
    random = Random(seed)
    flagged = [one for one in audited if one.is_flagged][:most]
    alone = [one for one in audited if not (one.is_flagged or one.problem)]
    drawn = [*flagged, *random.sample(alone, min(len(flagged), len(alone)))]
    random.shuffle(drawn)
    numbers = {name_of(one.task): number for number, one in enumerate(drawn, 1)}
    return [one.model_copy(update={"number": numbers.get(name_of(one.task))}) for one in audited]


def name_of(task: Task) -> str:
    """Return the name of an answer in a ledger: what was asked and answered decides it."""
    return digest(task.question, task.answer)


def _task(prompt: Content, answer: Content, origin: Origin) -> Task:
    return Task(id=origin.id or origin.place, question=plain(prompt), answer=plain(answer))


def _audited(task: Task, kept: Any, dial: Dial, setting: float) -> Audited:
    if kept is None:
        return Audited(task=task, problem=OVER_BUDGET)
    written = drop_vacuous(_unpack(kept), task.answer)
    if not written.candidates:
        return Audited(task=task, problem=written.problem or "the critic wrote nothing")
    critique = dial.choose(written, task.answer, setting)
    sure = [confidence_of(comment, written, task.answer, dial) for comment in critique.anchored]
    return Audited(task=task, critique=critique, strength=max((s for s in sure if s is not None), default=None))


def _weakness(one: Audited) -> tuple[bool, bool, float, int, int]:
    """Return what sorts answers, the strongest flag first: surest comment, worst severity, number of comments."""
    comments = one.critique.anchored
    worst = max((_SEVERITY.get(comment.severity or "", 0) for comment in comments), default=0)
    return bool(one.problem), not one.is_flagged, -(one.strength or 0.0), -worst, -len(comments)


def _pack(result: SearchResult) -> dict[str, Any]:
    """Return what a critic wrote as JSON can hold it."""
    candidates = [
        {"text": c.text, "score": c.score, "critique": c.critique.model_dump(mode="json"), "scores": c.scores}
        for c in result.candidates
    ]
    return {"problem": result.problem, "candidates": candidates}


def _unpack(kept: Any) -> SearchResult:
    candidates = tuple(
        Candidate(c["text"], (), c["score"], Critique.model_validate(c["critique"]), scores=tuple(c["scores"]))
        for c in kept["candidates"]
    )
    return SearchResult(candidates, kept["problem"])
