"""The records an evaluation reads: rankings, judgements and answers, from files of any known format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from momus.data.convert import BadRowsError, Problems, read, recognise
from momus.data.sources import Problem
from momus.files import digest
from momus.records import Comparison, Content, Demonstration, Judgement, Origin, Prompt, Ranking, Record, RecordT

SIMULATED = "by a simulated contractor"
"""The comment of a ranking that no person made."""


def records_of(files: Sequence[str], format_name: str | None = None) -> list[Record]:
    """Read all records of some files, in order; comparisons of critiques become rankings by their overall rating.

    Raises:
        BadRowsError: There are bad rows.
        UserError: A file cannot be read, or its format is not known.
    """
    records: list[Record] = []
    problems = Problems()
    for name in files:
        source, format_used = recognise(name, format_name)
        for item in read(source, format_used):
            if isinstance(item, Problem):
                problems.add(item)
            else:
                records.append(ranking_of(item) if isinstance(item, Comparison) else item)
    if problems.count:
        raise BadRowsError(problems.first, problems.count)
    return records


def of_kind(records: Sequence[Record], kind: type[RecordT]) -> list[RecordT]:
    """Return the records of one kind."""
    return [record for record in records if isinstance(record, kind)]


def prompts_in(records: Iterable[Record]) -> list[Prompt]:
    """Return the distinct prompts of records of any kind that has them, in order of first appearance."""
    prompts: dict[str, Prompt] = {}
    for item in records:
        if isinstance(item, Prompt | Demonstration | Judgement | Ranking):
            record = item if isinstance(item, Prompt) else Prompt(prompt=item.prompt, origin=item.origin)
            prompts.setdefault(prompt_key(item.prompt), record)
    return list(prompts.values())


def prompt_key(prompt: Content) -> str:
    """Return a short name for what a prompt says."""
    return digest(prompt if isinstance(prompt, str) else [message.model_dump() for message in prompt])


def ranking_of(comparison: Comparison) -> Ranking:
    """Return a comparison of critiques as a ranking by the overall rating, equal ratings tied."""
    scores = [float(rating.overall) for rating in comparison.ratings]
    task = comparison.tamper.task
    return Ranking(
        prompt=f"{task.question}\n\n{comparison.tamper.answer}",
        candidates=comparison.critiques,
        ranks=tuple(1 + sum(other > score for other in scores) for score in scores),
        scores=tuple(scores),
        authors=comparison.sources,
        labeler=comparison.labeler,
        comment=SIMULATED if comparison.simulated else "",
        origin=Origin(group=task.id),
    )
