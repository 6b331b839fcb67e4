"""The lexical matcher: two points are similar when they share rare words. Offline, deterministic, handles Korean.

A point is a vector of features (`momus.match.text`), each with its count times its rarity; similarity is the cosine.
Rarity is the geometric mean of two: the rarity in the collection the matcher was fitted to, where `the` is common and
`ablation` is rare, and that in the two lists compared, where words of the paper's subject are in all points and
distinguish none::

    weight(f) = count(f) * sqrt(log(1 + N / n(f)) * log(1 + M / m(f)))

with N texts in the collection, n(f) of them with the feature, and M and m(f) the same of the two lists. Without a
fit the two lists are the collection. (The usual choice, rarity in the collection alone, agreed less with the
alignments of docs/experiments/matching.md; the saturation of BM25 did not help on texts this short.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from momus.match.matcher import Floats, ListComparison, Lists, ScoreScale
from momus.match.text import BUCKETS, features, forms, words

LEXICAL_THRESHOLD = 0.16
"""The similarity that scores 7 by default: near the best F1 on 30 papers (docs/experiments/matching.md)."""

_SHOWN = 5


@dataclass(frozen=True)
class _Bag:
    """The features of one text, ascending, and their counts."""

    numbers: NDArray[np.int64]
    counts: Floats


class LexicalMatcher:
    """Compares points by their words.

    Args:
        scale: The similarity that scores 7.
    """

    def __init__(self, scale: ScoreScale | None = None) -> None:
        self._scale = scale or ScoreScale(LEXICAL_THRESHOLD)
        self._texts = 0
        self._holding = np.zeros(BUCKETS, np.int32)

    @property
    def scale(self) -> ScoreScale:
        """Return the scale from similarity to score."""
        return self._scale

    def fit(self, texts: Iterable[str]) -> LexicalMatcher:
        """Add texts to the collection that rarity is counted in; return the matcher."""
        for text in texts:
            self._holding[np.unique(features(text))] += 1
            self._texts += 1
        return self

    def scaled(self, scale: ScoreScale) -> LexicalMatcher:
        """Return this matcher with another scale; both share the collection."""
        matcher = LexicalMatcher(scale)
        matcher._texts, matcher._holding = self._texts, self._holding
        return matcher

    def compare(self, lists: Sequence[Lists]) -> list[ListComparison]:
        """Compare many pairs of lists; the result for one does not depend on the others."""
        return [
            ListComparison(self._similarity(first, second), partial(self._reason, first, second))
            for first, second in lists
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher and how many texts it was fitted to."""
        return {"kind": "lexical", "texts": self._texts}

    def _similarity(self, first: Sequence[str], second: Sequence[str]) -> Floats:
        bags = [_bag(text) for text in (*first, *second)]
        if not bags:
            return np.zeros((0, 0))
        every = np.concatenate([bag.numbers for bag in bags])
        known, place, here = np.unique(every, return_inverse=True, return_counts=True)
        rarity = np.log1p(len(bags) / here)
        if self._texts:
            rarity = np.sqrt(rarity * np.log1p(self._texts / np.maximum(self._holding[known], 1)))
        rows = np.zeros((len(bags), len(known)))
        row = np.repeat(np.arange(len(bags)), [len(bag.numbers) for bag in bags])
        rows[row, place] = np.concatenate([bag.counts for bag in bags]) * rarity[place]
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        similarity: Floats = np.clip(rows[: len(first)] @ rows[len(first) :].T, 0, 1)
        similarity[similarity > 1 - 1e-9] = 1  # equal texts are identical despite rounding
        return similarity

    def _reason(self, first: Sequence[str], second: Sequence[str], i: int, j: int) -> str:
        """Name the rarest words that both texts have."""
        by_stem = forms(first[i])
        every = [set(words(text)) for text in (*first, *second)]
        shared = by_stem.keys() & every[len(first) + j]
        rarest = sorted(shared, key=lambda word: (sum(word in stems for stems in every), -len(word), word))[:_SHOWN]
        return f"both say {', '.join(by_stem[word] for word in rarest)}" if rarest else "similar spelling"


@lru_cache(maxsize=4096)
def _bag(text: str) -> _Bag:
    numbers, counts = np.unique(np.array(features(text), np.int64), return_counts=True)
    return _Bag(numbers, counts.astype(float))
