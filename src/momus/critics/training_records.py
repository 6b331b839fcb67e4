"""Known bugs and rated critiques as what a chat model is trained on: a prompted critic becomes a trained one.

The prompt is the one that `momus review --model` asks with, its lines numbered, and the answer the JSON that it reads,
with the number of a line before its quote: where to look is then a token or two, chosen after all of the code was read.
So any chat model is trained by the usual steps (`momus train sft | reward | ppo | dpo`), and what comes out is reviewed
with as it was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from momus.critics.prompted import write_prompt
from momus.critics.reading import write_comments
from momus.critique import parse_critique
from momus.errors import UserError
from momus.records import Comparison, Demonstration, Origin, Ranking, Tamper

DATASET = "critiques"


def demonstrations_of(tampers: Iterable[Tamper], rules: str = "") -> Iterator[Demonstration]:
    """Yield for each answer the critique that the author of its bugs would write, in chat form.

    Args:
        tampers: Answers with known bugs; one without bugs demonstrates that there is nothing to say.
        rules: The house's own rules, for the prompt.
    """
    for tamper in tampers:
        answer = write_comments(tamper.gold_critique(), tamper.answer)
        yield Demonstration(prompt=_prompt(tamper, rules), answer=answer, author="gold", origin=_origin(tamper))


def rankings_of(comparisons: Iterable[Comparison], rules: str = "") -> Iterator[Ranking]:
    """Yield each comparison as a ranking by the overall rating, equal ratings tied, in chat form.

    Args:
        comparisons: Critiques of one answer, rated side by side.
        rules: As in `demonstrations_of`.
    """
    for comparison in comparisons:
        answer, ratings = comparison.tamper.answer, [rating.overall for rating in comparison.ratings]
        places = sorted(set(ratings), reverse=True)
        yield Ranking(
            prompt=_prompt(comparison.tamper, rules),
            candidates=tuple(write_comments(parse_critique(text, answer), answer) for text in comparison.critiques),
            ranks=tuple(places.index(rating) + 1 for rating in ratings),
            scores=tuple(float(rating) for rating in ratings),
            authors=comparison.sources,
            labeler=comparison.labeler,
            origin=_origin(comparison.tamper),
            labeling=comparison.labeling,
        )


def records_of(records: Iterable[object], rules: str = "") -> Iterator[Demonstration | Ranking]:
    """Yield what `demonstrations_of` and `rankings_of` make of answers with known bugs and of comparisons, in order.

    Raises:
        UserError: A record is of another kind.
    """
    for record in records:
        if isinstance(record, Tamper):
            yield from demonstrations_of([record], rules)
        elif isinstance(record, Comparison):
            yield from rankings_of([record], rules)
        else:
            raise UserError(f"a record is a {type(record).__name__}: give answers with known bugs, or comparisons")


def _prompt(tamper: Tamper, rules: str) -> str:
    return write_prompt(tamper.task.model_copy(update={"answer": tamper.answer}), rules=rules)


def _origin(tamper: Tamper) -> Origin:
    """Return an origin whose group keeps all that is made of one answer in one split."""
    return Origin(dataset=DATASET, id=tamper.task.id, group=tamper.task.module or tamper.task.id)
