"""The model matchers: a language model compares two lists at once, or several times shuffled, with a vote.

One question holds both lists; the model names the pairs that make the same point, each with a score from 5 to 10 and a
reason (LLM scientific feedback, arXiv 2310.01783; the wording is ours). Models favour the first items of a list, so the
voting matcher asks several times with the points shuffled and the sides swapped every other time, and gives a pair the
highest score that enough readings give it at least (the idea of MARG, arXiv 2401.04259, which counts how often a pair
is named). MARG then judges each pair by itself: `momus.match.pairwise`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from momus.match.ask import JsonAsker, numbered
from momus.match.aspects import ASPECTS, Aspects
from momus.match.matcher import MAX_SCORE, MIN_SCORE, ListComparison, Lists, ScoreScale, no_reason

_MATCH = """\
Two reviewers, A and B, have each made a list of points about the same piece of work. Find the pairs of one point of A \
and one point of B that make the same point. Rate every pair you find:

5  they touch on the same theme, from different sides
6  their concerns overlap in part
7  they make mainly the same point, with different details
8  they make the same point with nearly the same details
9  they differ in wording only
10 they are identical

Leave out pairs below 5. A point may be in several pairs, or in none. That both are about the same part of the work is \
not enough: ask whether one change would answer both.

Points of A:
{first}

Points of B:
{second}

Answer with JSON only, of this form, with an empty list if no points match:
{{"pairs": [{{"a": 1, "b": 2, "score": 7, "why": "one short sentence"}}]}}
"""

_TAG = """\
Below is a point from a review of a piece of work. Which of these aspects is it about? Name every one that applies, by \
number; none may apply.

{aspects}

The point: {point}

Answer with JSON only, of this form: {{"aspects": [1, 2]}}
"""

_Pairs = dict[tuple[int, int], tuple[int, str]]


@dataclass(frozen=True)
class VotingMatcherConfig:
    """How often the lists are read; the defaults are MARG's."""

    readings: int = 5
    """How often the lists are read, shuffled anew each time."""
    agree: int = 2
    """How many readings must give a pair a score or a higher one, for it to get that score."""
    seed: int = 0


class ModelMatcher:
    """Compares lists by asking a model once.

    Args:
        asker: The model.
        name: The model's name.
        scale: The similarity that scores 7; by default the model's score is used unchanged.
    """

    def __init__(self, asker: JsonAsker, name: str, scale: ScoreScale | None = None) -> None:
        self._asker, self._name, self._scale = asker, name, scale or ScoreScale(0.5)

    @property
    def scale(self) -> ScoreScale:
        """Return the scale from similarity to score."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[ListComparison]:
        """Compare many pairs of lists; the result for one does not depend on the others."""
        answers = read_pairs(self._asker, lists)
        return [_compared(*pair, self._asker.problem) for pair in zip(lists, answers, strict=True)]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher and its model."""
        return {"kind": "model", "model": self._name}


class VotingMatcher:
    """Compares lists by asking a model several times, shuffled and swapped.

    Args:
        asker: The model.
        name: The model's name.
        scale: The similarity that scores 7; by default the model's score is used unchanged.
        config: How often to ask.
    """

    def __init__(
        self, asker: JsonAsker, name: str, scale: ScoreScale | None = None, config: VotingMatcherConfig | None = None
    ) -> None:
        self._asker, self._name, self._scale = asker, name, scale or ScoreScale(0.5)
        self._config = config or VotingMatcherConfig()

    @property
    def scale(self) -> ScoreScale:
        """Return the scale from similarity to score."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[ListComparison]:
        """Compare many pairs of lists; the result for one does not depend on the others."""
        config = self._config
        orders = [[_shuffled(pair, config.seed, reading) for reading in range(config.readings)] for pair in lists]
        asked: list[Lists] = []
        for pair, shuffles in zip(lists, orders, strict=True):
            for reading, (first, second) in enumerate(shuffles):
                sides = ([pair[0][i] for i in first], [pair[1][j] for j in second])
                asked.append(sides[::-1] if reading % 2 else sides)
        answers = iter(read_pairs(self._asker, asked))
        return [
            self._vote(
                pair, [_unshuffled(next(answers), order, reading % 2 == 1) for reading, order in enumerate(shuffles)]
            )
            for pair, shuffles in zip(lists, orders, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher, its model and how often it is asked."""
        config = self._config
        return {"kind": "voting", "model": self._name, "readings": config.readings, "agree": config.agree}

    def _vote(self, lists: Lists, readings: Sequence[_Pairs | None]) -> ListComparison:
        usable = [pairs for pairs in readings if pairs is not None]
        if len(usable) < self._config.agree:
            return _compared(lists, None, self._asker.problem)
        agreed: _Pairs = {}
        for pair in dict.fromkeys(pair for pairs in usable for pair in pairs):
            votes = sorted((pairs[pair] for pairs in usable if pair in pairs), key=lambda vote: -vote[0])
            if len(votes) >= self._config.agree:
                score, reason = votes[self._config.agree - 1]
                agreed[pair] = (score, f"{reason} (in {len(votes)} of {len(usable)} readings)".strip())
        return _compared(lists, agreed, "")


class ModelTagger:
    """Tags points by asking a model about each.

    Args:
        asker: The model.
        name: The model's name.
    """

    def __init__(self, asker: JsonAsker, name: str) -> None:
        self._asker, self._name = asker, name

    def tag(self, points: Sequence[str]) -> list[Aspects | None]:
        """Return the set of aspects of each point, maybe empty; None without a usable answer."""
        aspects = "\n".join(f"{number}  {aspect}" for number, aspect in enumerate(ASPECTS, 1))
        questions = [_TAG.format(aspects=aspects, point=" ".join(point.split())) for point in points]
        return self._asker.ask(questions, lambda _, value: _aspects(value))

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of tagger and its model."""
        return {"kind": "model", "model": self._name}


def read_pairs(asker: JsonAsker, lists: Sequence[Lists]) -> list[_Pairs | None]:
    """Ask a model for the matching pairs of many pairs of lists, each with its score and reason; None where it failed.

    Empty lists have no pairs, and the model is not asked about them.
    """
    pairs: list[_Pairs | None] = [{} for _ in lists]
    asked = [i for i, (first, second) in enumerate(lists) if first and second]
    questions = [_MATCH.format(first=numbered("A", lists[i][0]), second=numbered("B", lists[i][1])) for i in asked]
    answers = asker.ask(questions, lambda number, value: _pairs(value, lists[asked[number]]))
    for i, answer in zip(asked, answers, strict=True):
        pairs[i] = answer
    return pairs


def _pairs(value: Any, lists: Lists) -> _Pairs | None:
    """Parse an answer: skip pairs with indices or scores out of range, and keep the highest score of each pair.

    Return None if there are entries and none of them names points of these lists.
    """
    entries = value.get("pairs") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    pairs: _Pairs = {}
    known = 0
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        a, b, score = (_integer(entry.get(key), key) for key in ("a", "b", "score"))
        if a is None or b is None or score is None or not (1 <= a <= len(lists[0]) and 1 <= b <= len(lists[1])):
            continue
        known += 1
        if MIN_SCORE <= score <= MAX_SCORE:
            reason = " ".join(str(entry.get("why", "")).split())
            pairs[a - 1, b - 1] = max(pairs.get((a - 1, b - 1), (0, "")), (score, reason))
    return pairs if known or not entries else None


def _aspects(value: Any) -> Aspects | None:
    numbers = value.get("aspects") if isinstance(value, dict) else None
    if not isinstance(numbers, list):
        return None
    known = [number for item in numbers if (number := _integer(item)) is not None and 1 <= number <= len(ASPECTS)]
    return frozenset(ASPECTS[number - 1] for number in known) if known or not numbers else None


def _integer(value: Any, label: str = "") -> int | None:
    """Read 7, 7.0, "7" and, with the label "a", "A7" as 7."""
    if isinstance(value, str):
        value = value.strip().casefold().removeprefix(label)
    try:
        number = float(value)
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _shuffled(lists: Lists, seed: int, reading: int) -> tuple[list[int], list[int]]:
    """Return the orders of both lists in one reading; they depend on the lengths, the seed and the reading alone."""
    first, second = (list(range(len(side))) for side in lists)
    rng = random.Random(seed * 1_000_003 + reading)
    rng.shuffle(first)
    rng.shuffle(second)
    return first, second


def _unshuffled(pairs: _Pairs | None, order: tuple[list[int], list[int]], swapped: bool) -> _Pairs | None:
    """Map the indices of a shuffled, maybe swapped reading back to those of the lists."""
    if pairs is None:
        return None
    first, second = order
    return {(first[b], second[a]) if swapped else (first[a], second[b]): vote for (a, b), vote in pairs.items()}


def _compared(lists: Lists, pairs: _Pairs | None, problem: str) -> ListComparison:
    similarity = np.zeros((len(lists[0]), len(lists[1])))
    if pairs is None:
        return ListComparison(similarity, no_reason, failed=True, problem=problem)
    for (i, j), (score, _) in pairs.items():
        similarity[i, j] = (score - 4) / 6
    return ListComparison(similarity, partial(_why, pairs))


def _why(pairs: _Pairs, i: int, j: int) -> str:
    return pairs.get((i, j), (0, ""))[1]
