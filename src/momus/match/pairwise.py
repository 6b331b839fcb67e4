"""A second look: every pair that the vote found is judged again, by itself.

Lists read at once invite pairs that share a subject and not a point. MARG (arXiv 2401.04259) therefore shows the model
each pair that was voted for alone and keeps those whose relatedness it calls medium or high. So here; the wording is
ours. Two differences: relatedness becomes the pair's score, "medium" 7 and "high" 9, and how specific one point is
beside the other is not asked. MARG drops pairs whose generated point is the less specific; which side is the generated
one is not known to a matcher, and dropping by side would make it unsymmetric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from momus.match.ask import Asker
from momus.match.matcher import Compared, Lists, Scale, no_reason
from momus.match.model import VotingConfig, VotingMatcher

_LOOK = """\
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
"""What a relatedness scores; 4 is no pair."""

_Look = tuple[int, str]


class PairwiseMatcher:
    """Compares lists by the vote of shuffled readings, and then each pair voted for by itself.

    Args:
        asker: The model.
        name: What names the model.
        scale: Which likeness scores 7; by default the model's score is taken as it is.
        config: How often to ask for the vote.
    """

    def __init__(self, asker: Asker, name: str, scale: Scale | None = None, config: VotingConfig | None = None) -> None:
        self._asker, self._scale = asker, scale or Scale(0.5)
        self._voting = VotingMatcher(asker, name, config=config)

    @property
    def scale(self) -> Scale:
        """The scale of its likeness."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[Compared]:
        """Compare many pairs of lists; a list is failed where one of its pairs gets no usable second look."""
        voted = self._voting.compare(lists)
        pairs = [[(int(i), int(j)) for i, j in np.argwhere(own.likeness > 0)] for own in voted]
        questions = [
            _LOOK.format(first=" ".join(first[i].split()), second=" ".join(second[j].split()))
            for (first, second), own in zip(lists, pairs, strict=True)
            for i, j in own
        ]
        looks = iter(self._asker.ask(questions, lambda _, value: _look(value)))
        return [
            _looked_at(compared, {pair: next(looks) for pair in own})
            for compared, own in zip(voted, pairs, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher, its model and how often it is asked."""
        return {**self._voting.identity(), "kind": "pairwise"}


def _looked_at(voted: Compared, looks: Mapping[tuple[int, int], _Look | None]) -> Compared:
    if voted.failed or any(look is None for look in looks.values()):
        return Compared(np.zeros_like(voted.likeness), no_reason, failed=True)
    known = {pair: look for pair, look in looks.items() if look is not None}
    likeness = np.zeros_like(voted.likeness)
    for pair, (score, _) in known.items():
        likeness[pair] = (score - 4) / 6
    return Compared(likeness, partial(_why, known))


def _look(value: Any) -> _Look | None:
    related = value.get("related") if isinstance(value, dict) else None
    score = _SCORES.get(related.strip().casefold()) if isinstance(related, str) else None
    return None if score is None else (score, " ".join(str(value.get("why", "")).split()))


def _why(looks: Mapping[tuple[int, int], _Look], i: int, j: int) -> str:
    return looks.get((i, j), (0, ""))[1]
