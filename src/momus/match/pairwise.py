"""The pairwise matcher: every pair that the vote keeps is judged once more, by itself.

A model that reads whole lists also pairs points that share a subject only. MARG (arXiv 2401.04259) therefore shows the
model each voted pair alone and keeps those whose relatedness it calls medium or high. This matcher does the same; the
wording is ours. Two differences: relatedness becomes the pair's score ("medium" 7, "high" 9), and relative specificity
is not asked. MARG drops pairs whose generated point is the less specific; a matcher does not know which side was
generated, and dropping by side would make it asymmetric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from momus.match.ask import JsonAsker
from momus.match.matcher import ListComparison, Lists, ScoreScale, no_reason
from momus.match.model import VotingMatcher, VotingMatcherConfig

_JUDGE = """\
Two reviewers have each made a point about the same piece of work.

The first point: {first}

The second point: {second}

How far do they make the same point? That both are about the same part of the work is not enough: ask whether one \
change would answer both.

none    they make different points
weak    they share a subject, and hardly more
medium  they make mainly the same point, with different details
high    they make the same point

Answer with JSON only, of this form: {{"related": "medium", "why": "one short sentence"}}
"""

_SCORES = {"none": 4, "weak": 5, "medium": 7, "high": 9}
"""The score of each relatedness; 4 is no pair."""

_Judgement = tuple[int, str]


class PairwiseMatcher:
    """Compares lists by a vote over shuffled readings, and then judges each voted pair by itself.

    Args:
        asker: The model.
        name: The model's name.
        scale: The similarity that scores 7; by default the model's score is used unchanged.
        config: The vote.
    """

    def __init__(
        self, asker: JsonAsker, name: str, scale: ScoreScale | None = None, config: VotingMatcherConfig | None = None
    ) -> None:
        self._asker, self._scale = asker, scale or ScoreScale(0.5)
        self._voting = VotingMatcher(asker, name, config=config)

    @property
    def scale(self) -> ScoreScale:
        """Return the scale from similarity to score."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[ListComparison]:
        """Compare many pairs of lists; a comparison fails if one of its pairs gets no usable judgement."""
        voted = self._voting.compare(lists)
        pairs = [[(int(i), int(j)) for i, j in np.argwhere(vote.similarity > 0)] for vote in voted]
        questions = [
            _JUDGE.format(first=" ".join(first[i].split()), second=" ".join(second[j].split()))
            for (first, second), voted_pairs in zip(lists, pairs, strict=True)
            for i, j in voted_pairs
        ]
        judgements = iter(self._asker.ask(questions, lambda _, value: _read(value)))
        return [
            _judged(vote, {pair: next(judgements) for pair in voted_pairs}, vote.problem or self._asker.problem)
            for vote, voted_pairs in zip(voted, pairs, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher, its model and how often it is asked."""
        return {**self._voting.identity(), "kind": "pairwise"}


def _judged(
    voted: ListComparison, judgements: Mapping[tuple[int, int], _Judgement | None], problem: str
) -> ListComparison:
    if voted.failed or any(judgement is None for judgement in judgements.values()):
        return ListComparison(np.zeros_like(voted.similarity), no_reason, failed=True, problem=problem)
    known = {pair: judgement for pair, judgement in judgements.items() if judgement is not None}
    similarity = np.zeros_like(voted.similarity)
    for pair, (score, _) in known.items():
        similarity[pair] = (score - 4) / 6
    return ListComparison(similarity, partial(_why, known))


def _read(value: Any) -> _Judgement | None:
    related = value.get("related") if isinstance(value, dict) else None
    score = _SCORES.get(related.strip().casefold()) if isinstance(related, str) else None
    return None if score is None else (score, " ".join(str(value.get("why", "")).split()))


def _why(judgements: Mapping[tuple[int, int], _Judgement], i: int, j: int) -> str:
    return judgements.get((i, j), (0, ""))[1]
