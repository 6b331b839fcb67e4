"""The model matchers: a language model compares two lists at once, and several shuffled readings are put to the vote.

One question holds both lists; the model names the pairs that say the same, each with a score from 5 to 10 and a
reason (LLM scientific feedback, arXiv 2310.01783; the wording is ours). Models favour what stands first, and lists have
an order, so the voting matcher asks several times with the points shuffled and the sides swapped every other time, and
gives a pair the highest score that enough readings agree it has at least (the idea of MARG, arXiv 2401.04259, which
counts how often a pair is named). MARG then looks at each pair by itself: `momus.match.pairwise`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from momus.match.ask import Asker, numbered
from momus.match.aspects import ASPECTS, Aspects
from momus.match.matcher import LEAST, MOST, Compared, Lists, Scale, no_reason

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
class VotingConfig:
    """How often the lists are read; the defaults are MARG's."""

    readings: int = 5
    """Times the lists are read, shuffled anew each time."""
    agree: int = 2
    """Readings that must give a pair at least a score, for it to have it."""
    seed: int = 0


class ModelMatcher:
    """Compares lists by asking a model once.

    Args:
        asker: The model.
        name: What names the model.
        scale: Which likeness scores 7; by default the model's score is taken as it is.
    """

    def __init__(self, asker: Asker, name: str, scale: Scale | None = None) -> None:
        self._asker, self._name, self._scale = asker, name, scale or Scale(0.5)

    @property
    def scale(self) -> Scale:
        """The scale of its likeness."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[Compared]:
        """Compare many pairs of lists; the result for one does not depend on the others."""
        return [_compared(own, found) for own, found in zip(lists, read_pairs(self._asker, lists), strict=True)]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher and its model."""
        return {"kind": "model", "model": self._name}


class VotingMatcher:
    """Compares lists by asking a model several times, shuffled and swapped.

    Args:
        asker: The model.
        name: What names the model.
        scale: Which likeness scores 7; by default the model's score is taken as it is.
        config: How often to ask.
    """

    def __init__(self, asker: Asker, name: str, scale: Scale | None = None, config: VotingConfig | None = None) -> None:
        self._asker, self._name, self._scale = asker, name, scale or Scale(0.5)
        self._config = config or VotingConfig()

    @property
    def scale(self) -> Scale:
        """The scale of its likeness."""
        return self._scale

    def compare(self, lists: Sequence[Lists]) -> list[Compared]:
        """Compare many pairs of lists; the result for one does not depend on the others."""
        config = self._config
        orders = [[_shuffled(own, config.seed, reading) for reading in range(config.readings)] for own in lists]
        asked: list[Lists] = []
        for own, shuffles in zip(lists, orders, strict=True):
            for reading, (first, second) in enumerate(shuffles):
                sides = ([own[0][i] for i in first], [own[1][j] for j in second])
                asked.append(sides[::-1] if reading % 2 else sides)
        found = iter(read_pairs(self._asker, asked))
        return [
            self._vote(own, [_put_back(next(found), order, reading % 2 == 1) for reading, order in enumerate(shuffles)])
            for own, shuffles in zip(lists, orders, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher, its model and how often it is asked."""
        config = self._config
        return {"kind": "voting", "model": self._name, "readings": config.readings, "agree": config.agree}

    def _vote(self, lists: Lists, readings: Sequence[_Pairs | None]) -> Compared:
        usable = [pairs for pairs in readings if pairs is not None]
        if len(usable) < self._config.agree:
            return _compared(lists, None)
        agreed: _Pairs = {}
        for pair in dict.fromkeys(pair for pairs in usable for pair in pairs):
            votes = sorted((pairs[pair] for pairs in usable if pair in pairs), key=lambda vote: -vote[0])
            if len(votes) >= self._config.agree:
                score, reason = votes[self._config.agree - 1]
                agreed[pair] = (score, f"{reason} (in {len(votes)} of {len(usable)} readings)".strip())
        return _compared(lists, agreed)


class ModelTagger:
    """Says what points are about by asking a model about each.

    Args:
        asker: The model.
        name: What names the model.
    """

    def __init__(self, asker: Asker, name: str) -> None:
        self._asker, self._name = asker, name

    def tag(self, points: Sequence[str]) -> list[Aspects | None]:
        """Return each point's aspects, maybe none; None where there is no usable answer."""
        aspects = "\n".join(f"{number}  {aspect}" for number, aspect in enumerate(ASPECTS, 1))
        questions = [_TAG.format(aspects=aspects, point=" ".join(point.split())) for point in points]
        return self._asker.ask(questions, lambda _, value: _aspects(value))

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of tagger and its model."""
        return {"kind": "model", "model": self._name}


def read_pairs(asker: Asker, lists: Sequence[Lists]) -> list[_Pairs | None]:
    """Ask a model for the pairs of many pairs of lists, each with its score and reason; None where it failed.

    Lists without points are not asked about: they have no pairs.
    """
    found: list[_Pairs | None] = [{} for _ in lists]
    asked = [i for i, (first, second) in enumerate(lists) if first and second]
    questions = [_MATCH.format(first=numbered("A", lists[i][0]), second=numbered("B", lists[i][1])) for i in asked]
    answers = asker.ask(questions, lambda number, value: _pairs(value, lists[asked[number]]))
    for i, answer in zip(asked, answers, strict=True):
        found[i] = answer
    return found


def _pairs(value: Any, lists: Lists) -> _Pairs | None:
    """Read an answer; pairs of points or with scores that do not exist are left out, the highest score counts.

    Where none of several pairs is one of these lists, it is no answer.
    """
    entries = value.get("pairs") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        return None
    found: _Pairs = {}
    known = 0
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        a, b, score = (_integer(entry.get(key), key) for key in ("a", "b", "score"))
        if a is None or b is None or score is None or not (1 <= a <= len(lists[0]) and 1 <= b <= len(lists[1])):
            continue
        known += 1
        if LEAST <= score <= MOST:
            reason = " ".join(str(entry.get("why", "")).split())
            found[a - 1, b - 1] = max(found.get((a - 1, b - 1), (0, "")), (score, reason))
    return found if known or not entries else None


def _aspects(value: Any) -> Aspects | None:
    numbers = value.get("aspects") if isinstance(value, dict) else None
    if not isinstance(numbers, list):
        return None
    known = [number for own in numbers if (number := _integer(own)) is not None and 1 <= number <= len(ASPECTS)]
    return frozenset(ASPECTS[number - 1] for number in known) if known or not numbers else None


def _integer(value: Any, label: str = "") -> int | None:
    """Read 7, 7.0, "7" and, of the list A, "A7" as 7."""
    if isinstance(value, str):
        value = value.strip().casefold().removeprefix(label)
    try:
        number = float(value)
        return int(number) if number == int(number) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _shuffled(lists: Lists, seed: int, reading: int) -> tuple[list[int], list[int]]:
    """Return the orders of a reading; they depend on nothing but the lists' lengths, the seed and the reading."""
    first, second = (list(range(len(own))) for own in lists)
    rng = random.Random(seed * 1_000_003 + reading)
    rng.shuffle(first)
    rng.shuffle(second)
    return first, second


def _put_back(pairs: _Pairs | None, order: tuple[list[int], list[int]], swapped: bool) -> _Pairs | None:
    """Turn the places of a shuffled, maybe swapped reading into those of the lists."""
    if pairs is None:
        return None
    first, second = order
    return {(first[b], second[a]) if swapped else (first[a], second[b]): vote for (a, b), vote in pairs.items()}


def _compared(lists: Lists, pairs: _Pairs | None) -> Compared:
    likeness = np.zeros((len(lists[0]), len(lists[1])))
    if pairs is None:
        return Compared(likeness, no_reason, failed=True)
    for (i, j), (score, _) in pairs.items():
        likeness[i, j] = (score - 4) / 6
    return Compared(likeness, partial(_why, pairs))


def _why(pairs: _Pairs, i: int, j: int) -> str:
    return pairs.get((i, j), (0, ""))[1]
