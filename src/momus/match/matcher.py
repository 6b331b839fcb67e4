"""The protocol of matchers: the similarity of the points of two lists, and its scale from 5 to 10.

The scale is the one of LLM scientific feedback (arXiv 2310.01783): 5 somewhat related, 6 moderately, 7 strongly, 8
very strongly, 9 almost identical, 10 identical; pairs from 7 up count as the same point. Similarities of
different matchers are not comparable, so each has a *threshold*, the similarity that scores 7; `momus.match.calibrate`
chooses it from people's labels. Below and above it the score is linear in the similarity: 4 at 0, 10 at 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from momus.errors import UserError

MIN_SCORE, SAME_SCORE, MAX_SCORE = 5, 7, 10
"""The lowest score of a pair, the score from which two points are the same, and the highest."""

Lists = tuple[Sequence[str], Sequence[str]]
Floats = NDArray[np.float64]
Scores = NDArray[np.int8]


@dataclass(frozen=True)
class ScoreScale:
    """The map from similarity to score; `threshold`, above 0 and at most 1, scores 7."""

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise UserError(f"a threshold of similarity must be above 0 and at most 1, not {self.threshold}")

    def scores(self, similarity: Floats) -> Scores:
        """Return scores of the same shape: 5 to 10, or 0 for unrelated points."""
        cut = self.threshold
        below = np.minimum(np.floor(4 + 3 * similarity / cut + 1e-9), SAME_SCORE - 1)
        above = np.floor(SAME_SCORE + 3 * (similarity - cut) / max(1 - cut, 1e-12) + 1e-9)
        scores = np.where(similarity >= cut, np.minimum(above, MAX_SCORE), below)
        scores = np.where(similarity >= 1, MAX_SCORE, scores)
        return np.where(scores < MIN_SCORE, 0, scores).astype(np.int8)


@dataclass(frozen=True)
class ListComparison:
    """One list of points compared with another.

    Attributes:
        similarity: `[first, second]`, 0 unrelated to 1 identical.
        reason: Returns why the pair (i, j) is similar, or "".
        failed: The matcher gave no usable answer; the similarity is meaningless.
        problem: Why, in words, where a model said it.
    """

    similarity: Floats
    reason: Callable[[int, int], str]
    failed: bool = False
    problem: str = ""


class Matcher(Protocol):
    """Measures the similarity of the points of two lists."""

    @property
    def scale(self) -> ScoreScale:
        """Return the scale from similarity to score."""

    def compare(self, lists: Sequence[Lists]) -> list[ListComparison]:
        """Compare many pairs of lists; the result for one does not depend on the others."""

    def identity(self) -> Mapping[str, Any]:
        """Return everything that determines the similarities, as JSON values."""


@dataclass(frozen=True)
class Match:
    """A pair of points: their indices in the two lists, the score from 5 to 10 and the reason."""

    first: int
    second: int
    score: int
    reason: str


def find_matches(
    matcher: Matcher, first: Sequence[str], second: Sequence[str], threshold: int = SAME_SCORE
) -> list[Match]:
    """Return the pairs of two lists that score at least `threshold`, the highest first.

    Args:
        matcher: Measures how similar two points are.
        first: Points of feedback, each a text.
        second: Other points.
        threshold: The lowest score, 5 to 10; from 7 on two points say the same (arXiv 2310.01783).

    Raises:
        UserError: The threshold is no score, the model gave no usable answer, or the lists do not fit it.
    """
    check_threshold(threshold)
    compared = matcher.compare([(first, second)])[0]
    if compared.failed:
        if compared.problem:
            raise UserError(f"the model gave no answer: {compared.problem}")
        raise UserError("the model gave no answer that can be read, or the lists do not fit it: try another model")
    scores = matcher.scale.scores(compared.similarity)
    pairs = [(int(i), int(j)) for i, j in np.argwhere(scores >= threshold)]
    pairs.sort(key=lambda pair: (-scores[pair], -compared.similarity[pair], pair))
    return [Match(i, j, int(scores[i, j]), compared.reason(i, j)) for i, j in pairs]


def check_threshold(threshold: int) -> None:
    """Refuse a threshold that is no score.

    Raises:
        UserError: It is not from 5 to 10.
    """
    if not MIN_SCORE <= threshold <= MAX_SCORE:
        raise UserError(f"--threshold {threshold}: must be from {MIN_SCORE} to {MAX_SCORE}")


def no_reason(first: int, second: int) -> str:
    """Return no reason: ""."""
    return ""
