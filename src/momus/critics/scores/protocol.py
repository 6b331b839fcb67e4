"""What a score of comments is: a number from 0 to 1 for each comment, higher where it can be believed more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from momus.critique import Comment
from momus.records import Task

CERTAIN = 1e-6
"""Scores nearer to 0 or 1 than this are taken to be so near where their odds are needed."""


@dataclass(frozen=True)
class Opinion:
    """What several reviews of one task say, what means the same at one line only once.

    Attributes:
        comments: The different comments, all anchored, in the order of the lines they are on.
        counts: How many of the reviews make each.
        reviews: How many reviews there are.
        index: For every comment of a review with a place which of `comments` it is the same as.
    """

    comments: tuple[Comment, ...]
    counts: tuple[int, ...]
    reviews: int
    index: Mapping[Comment, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """The scores of one task's comments, in their order; where there are none, `problem` says why."""

    values: tuple[float, ...]
    problem: str = ""


class CommentScore(Protocol):
    """Says how far comments can be believed.

    Attributes:
        exact: Whether comments that mean about the same may have unlike scores: a search then asks about each.
    """

    exact: bool

    def score(self, tasks: Sequence[Task], opinions: Sequence[Opinion]) -> list[Scored]:
        """Return scores from 0 to 1 for the comments on every task; those on one do not depend on the others."""

    def identity(self) -> Mapping[str, Any]:
        """Return all that decides the scores, as what JSON can hold."""


def log_odds(probability: float) -> float:
    """Return the logarithm of the odds, of a probability that is taken to be no nearer to 0 or 1 than `CERTAIN`."""
    inside = min(max(probability, CERTAIN), 1 - CERTAIN)
    return math.log(inside / (1 - inside))


def sigmoid(odds: float) -> float:
    """Return the probability whose log-odds these are."""
    if odds < 0:
        return math.exp(odds) / (1 + math.exp(odds))
    return 1 / (1 + math.exp(-odds))
