"""How far can a model be trusted to judge itself? Measured on labelled pairs, before anything is built on it.

Every pair is one prompt with a better and a worse answer. The judge is asked about each by itself, as a search would
(`search/rain/judge.py`), in both orders. A judge that cannot tell answers apart, or says the same label whatever it
stands for, is at one half in `pairs` and `answers`; then self-evaluation moves nothing, or moves it at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import bdtrc

from momus.errors import UnfitInputError
from momus.records import Content, Ranking, Record
from momus.search.rain.judge import JudgeVerdict, last_question
from momus.stats.bootstrap import SHARE, Interval, mean_interval

_CHANCE = 0.025
"""A coin may be taken for a judge this often: one side of a 95% interval."""


class Pair(NamedTuple):
    """One prompt's last turn, a better answer to it and a worse one."""

    asked: str
    better: str
    worse: str


class ShareEstimate(BaseModel):
    """A share and its 95% interval, resampled over pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float


class JudgeReport(Record):
    """What was measured; all shares are from 0 to 1.

    Attributes:
        measured: Pairs judged; `unfit` more did not fit the model.
        pairs: The better answer has the higher value; ties count half.
        coin: The chance that a coin, of the pairs without a tie, gets at least so many right: an exact sign test.
        answers: A single answer is judged right, as good or bad; an undecided one counts half.
        better: Better answers judged right; `worse` worse answers.
        soft: The better answer has the higher mean probability of the good statement: what a finer value could use.
        unbiased: The better answer has the higher log-odds of the good statement, averaged over both orders: what a
            model adds to a label, whatever it stands for, cancels out.
        unbiased_answers: A single answer is told right by the sign of these log-odds.
        decided: Answers on which both orders agree.
        first_label: Mean probability of A, against B: one half for a judge without a liking for a label.
        mass: Mean probability of A and B together; `low_mass` its 5th percentile.
        abstained: Answers with too little of it.
    """

    measured: int
    unfit: int
    pairs: ShareEstimate
    coin: float
    answers: ShareEstimate
    better: ShareEstimate
    worse: ShareEstimate
    soft: ShareEstimate
    unbiased: ShareEstimate
    unbiased_answers: ShareEstimate
    decided: ShareEstimate
    first_label: ShareEstimate
    mass: ShareEstimate
    low_mass: float
    abstained: ShareEstimate

    @property
    def advice(self) -> str:
        """Say whether the judge may be relied on."""
        if self.abstained.value > 0.5:
            return "it does not answer the question: do not let it judge"
        if self.coin > _CHANCE:
            return "it cannot be told from a coin: do not let it judge"
        return f"better than a coin: of two answers it prefers the better one in {self.pairs.value:.0%}"


def pairs_of(rankings: Iterable[Ranking]) -> Iterator[Pair]:
    """Yield the best and the worst candidate of every ranking that has both and whose prompt asks something."""
    for ranking in rankings:
        best, worst = (pick(range(len(ranking.ranks)), key=ranking.ranks.__getitem__) for pick in (min, max))
        asked = isinstance(ranking.prompt, str) or any(message.role in ("user", "tool") for message in ranking.prompt)
        if asked and ranking.ranks[best] < ranking.ranks[worst]:
            yield Pair(last_question(ranking.prompt), _text(ranking.candidates[best]), _text(ranking.candidates[worst]))


def _text(content: Content) -> str:
    return content if isinstance(content, str) else content[-1].content


def calibrate_judge(
    judge: Callable[[str, str], JudgeVerdict],
    pairs: Sequence[Pair],
    progress: Callable[[int], None] = lambda done: None,
) -> JudgeReport:
    """Ask a judge about both answers of every pair.

    Raises:
        UserError: Not one pair fits the model.
    """
    verdicts: list[tuple[JudgeVerdict, JudgeVerdict]] = []
    problem = ""
    for number, pair in enumerate(pairs, 1):
        try:
            verdicts.append((judge(pair.asked, pair.better), judge(pair.asked, pair.worse)))
        except UnfitInputError as error:
            problem = str(error)
        progress(number)
    if not verdicts:
        raise UnfitInputError(f"none of {len(pairs)} pairs could be judged: {problem or 'there are none'}")
    return report(verdicts, len(pairs) - len(verdicts))


def report(verdicts: Sequence[tuple[JudgeVerdict, JudgeVerdict]], unfit: int = 0) -> JudgeReport:
    """Sum up the verdicts on the better and the worse answer of some pairs."""
    values = np.array([[verdict.value for verdict in both] for both in verdicts])
    probabilities = np.array([[_probabilities(verdict) for verdict in both] for both in verdicts])  # [pairs, 2, order]
    masses = np.array([[min(verdict.first.mass, verdict.second.mass) for verdict in both] for both in verdicts])
    above = _above(values[:, 0] - values[:, 1])
    won, lost = int((above == 1).sum()), int((above == 0).sum())
    soft = (probabilities[..., 0] + 1 - probabilities[..., 1]) / 2
    right = _told_right(values)
    unbiased = np.array([[verdict.log_odds for verdict in both] for both in verdicts])
    flags = np.array([[(v.abstained, not v.abstained and not v.disagreed) for v in both] for both in verdicts], float)
    return JudgeReport(
        measured=len(verdicts),
        unfit=unfit,
        pairs=_share(above),
        coin=float(bdtrc(won - 1, won + lost, 0.5)) if won else 1.0,
        answers=_share(right.mean(1)),
        better=_share(right[:, 0]),
        worse=_share(right[:, 1]),
        soft=_share(_above(soft[:, 0] - soft[:, 1])),
        unbiased=_share(_above(unbiased[:, 0] - unbiased[:, 1])),
        unbiased_answers=_share(_told_right(unbiased).mean(1)),
        decided=_share(flags[..., 1].mean(1)),
        first_label=_share(probabilities.mean((1, 2))),
        mass=_share(masses.mean(1)),
        low_mass=float(np.percentile(masses, 5)),
        abstained=_share(flags[..., 0].mean(1)),
    )


def _probabilities(verdict: JudgeVerdict) -> tuple[float, float]:
    return verdict.first.probability, verdict.second.probability


def _told_right(
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return whether the better and the worse answer of each pair, `[pairs, 2]`, are on their side of 0."""
    return np.stack([_above(values[:, 0]), _above(-values[:, 1])], 1)


def _above(difference: np.ndarray[tuple[int], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return 1 where a difference is positive, 0 where it is negative, else one half."""
    return (np.sign(difference) + 1) / 2


def _share(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> ShareEstimate:
    interval: Interval = mean_interval(values, bounds=SHARE)
    return ShareEstimate(value=interval.value, low=interval.low, high=interval.high)
