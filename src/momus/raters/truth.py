"""The truth as a reward of critiques, where the bugs of an answer are known: bugs caught minus false comments.

A critic is trained against it (`momus train ppo --reward truth`) to see what a learned reward model costs or adds: with
one, what is learnt is what raters prefer. It is as strict as what counts as found: the right line alone is worth half
of a bug whose repair is named, and a comment that says nothing is a false one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from momus.critics.reading import read_comments
from momus.critics.training_records import demonstrations_of
from momus.critics.vacuous import is_vacuous
from momus.files import digest
from momus.records import Content, Demonstration, Tamper
from momus.tamper.truth import Verdict, judge

CAUGHT = {Verdict.MISSED: 0.0, Verdict.LOCATED: 0.5, Verdict.NAMED: 1.0}
"""What a bug is worth, by how far the critique gets with it."""

FALSE = 0.5
"""What every other comment costs: one is worth making where it names a bug in more than a third of the cases."""

UNREADABLE = -1.0
"""The score of an answer that is no critique."""


def score(written: str, tamper: Tamper) -> float:
    """Return bugs caught minus false comments, for what a model answered when it was asked for comments as JSON.

    Nothing said of an answer without bugs scores 0, like nothing said of one with bugs.
    """
    critique = read_comments(written, tamper.answer)
    if critique is None:
        return UNREADABLE
    said = [comment for comment in critique.comments if not is_vacuous(comment, tamper.answer)]
    truth = judge(critique.model_copy(update={"comments": tuple(said)}), tamper)
    false = truth.fakes + truth.nitpicks + len(critique.comments) - len(said)
    return sum(CAUGHT[verdict] for verdict in truth.verdicts) - FALSE * false


class TruthReward:
    """Scores critiques of answers whose bugs are known (`momus.train.judges.TextReward`).

    Args:
        tampers: The answers, by the prompts that ask for critiques of them, in a model's tokens.
    """

    def __init__(self, tampers: Mapping[tuple[int, ...], Tamper]) -> None:
        self._tampers = dict(tampers)
        rows = [(prompt, tamper.model_dump_json()) for prompt, tamper in self._tampers.items()]
        self.identity = f"truth {digest(rows, sorted(CAUGHT.values()), FALSE, UNREADABLE)}"

    def __call__(self, prompt: tuple[int, ...], answer: str) -> float:
        """Return the score of what a model answered to a prompt."""
        return score(answer, self._tampers[prompt])


def truth_about(
    tampers: Iterable[Tamper], tokens: Callable[[Content], tuple[int, ...]]
) -> tuple[list[Demonstration], TruthReward]:
    """Return demonstrations of what the bugs' author would say, and the truth about whatever a model says instead.

    Args:
        tampers: Answers with known bugs.
        tokens: Returns a prompt in the tokens of that model.
    """
    known = list(tampers)
    shown = list(demonstrations_of(known))
    by_prompt: dict[tuple[int, ...], Tamper] = {}
    for one, tamper in zip(shown, known, strict=True):
        by_prompt.setdefault(tokens(one.prompt), tamper)
    return shown, TruthReward(by_prompt)
