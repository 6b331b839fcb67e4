"""What a matcher is: it says how alike the points of two lists are, and a scale makes that a score from 5 to 10.

The scale is the one of LLM scientific feedback (arXiv 2310.01783): 5 somewhat related, 6 moderately, 7 strongly, 8
very strongly, 9 almost identical, 10 identical; pairs from 7 up count as the same point. What a person would call 7
depends on the matcher, so each has a *threshold*, the likeness that scores 7, which `momus.match.calibrate` finds from
people's labels. Below and above it the score is linear in the likeness: 4 at none, 10 at identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from momus.errors import UserError

LEAST, SAME, MOST = 5, 7, 10
"""The lowest score of a pair, the score from which two points are the same, and the highest."""

Lists = tuple[Sequence[str], Sequence[str]]
Floats = NDArray[np.float64]
Scores = NDArray[np.int8]


@dataclass(frozen=True)
class Scale:
    """From likeness to score; `threshold`, above 0 and at most 1, scores 7."""

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UserError(f"a threshold of likeness must be above 0 and at most 1, not {self.threshold}")

    def scores(self, likeness: Floats) -> Scores:
        """Return scores of the same shape: 5 to 10, or 0 where two points are not related."""
        cut = self.threshold
        below = np.minimum(np.floor(4 + 3 * likeness / cut + 1e-9), SAME - 1)
        above = np.floor(SAME + 3 * (likeness - cut) / max(1 - cut, 1e-12) + 1e-9)
        scores = np.where(likeness >= cut, np.minimum(above, MOST), below)
        scores = np.where(likeness >= 1, MOST, scores)
        return np.where(scores < LEAST, 0, scores).astype(np.int8)


@dataclass(frozen=True)
class Compared:
    """One list of points against another.

    Attributes:
        likeness: `[first, second]`, 0 unrelated to 1 identical.
        reason: Says why the pair (i, j) is alike; "" where nothing is known.
        failed: The matcher gave no usable answer: the likeness says nothing.
    """

    likeness: Floats
    reason: Callable[[int, int], str]
    failed: bool = False


class Matcher(Protocol):
    """Says how alike the points of two lists are."""

    @property
    def scale(self) -> Scale:
        """The scale of its likeness."""

    def compare(self, lists: Sequence[Lists]) -> list[Compared]:
        """Compare many pairs of lists; the result for one does not depend on the others."""

    def identity(self) -> Mapping[str, Any]:
        """Return all that decides what it says; what JSON can hold."""


@dataclass(frozen=True)
class Match:
    """A pair of points: their places in the two lists, the score from 5 to 10 and why."""

    first: int
    second: int
    score: int
    reason: str


def matches(matcher: Matcher, first: Sequence[str], second: Sequence[str], threshold: int = SAME) -> list[Match]:
    """Return the pairs of two lists that score at least `threshold`, the highest first.

    Raises:
        UserError: The threshold is no score, or no usable answer came: the model gave none, or the lists do not fit it.
    """
    check_threshold(threshold)
    compared = matcher.compare([(first, second)])[0]
    if compared.failed:
        raise UserError("the model gave no answer that can be read, or the lists do not fit it: try another model")
    scores = matcher.scale.scores(compared.likeness)
    found = [Match(int(i), int(j), int(scores[i, j]), "") for i, j in np.argwhere(scores >= threshold)]
    found.sort(key=lambda own: (-own.score, -compared.likeness[own.first, own.second], own.first, own.second))
    return [Match(own.first, own.second, own.score, compared.reason(own.first, own.second)) for own in found]


def check_threshold(threshold: int) -> None:
    """Refuse what is no score.

    Raises:
        UserError: It is not from 5 to 10.
    """
    if not LEAST <= threshold <= MOST:
        raise UserError(f"--threshold {threshold}: must be from {LEAST} to {MOST}")


def no_reason(first: int, second: int) -> str:
    """Give no reason."""
    return ""
