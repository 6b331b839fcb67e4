"""The lexical matcher: two points are alike when they share rare words. Offline, deterministic, Korean-aware.

A point is a vector of features (`momus.match.text`), each as often as it occurs times its rarity; likeness is the
cosine. Rarity is the geometric mean of two: in the collection the matcher was fitted to, where `the` is common and
`ablation` is rare, and in the two lists being compared, where the paper's own subject is common to all points and
tells none apart::

    weight(f) = count(f) * sqrt(log(1 + N / n(f)) * log(1 + M / m(f)))

with N texts in the collection, n(f) of them with the feature, and M and m(f) the same of the two lists. A matcher
that was not fitted takes the two lists for the collection. (The usual choice, rarity in the collection alone, agreed
less with the alignments of docs/experiments/matching.md; the saturation of BM25 did not help on texts this short.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from momus.match.matcher import Compared, Floats, Lists, Scale
from momus.match.text import BUCKETS, features, forms, words

THRESHOLD = 0.16
"""What scores 7 by default: near the best F1 against the alignments of 30 papers (docs/experiments/matching.md)."""

_SHOWN = 5


@dataclass(frozen=True)
class _Bag:
    """The features of one text, ascending, and how often each occurs."""

    numbers: NDArray[np.int64]
    counts: Floats


class LexicalMatcher:
    """Compares points by their words.

    Args:
        scale: Which likeness scores 7.
    """

    def __init__(self, scale: Scale | None = None) -> None:
        self._scale = scale or Scale(THRESHOLD)
        self._texts = 0
        self._holding = np.zeros(BUCKETS, np.int32)

    @property
    def scale(self) -> Scale:
        """The scale of its likeness."""
        return self._scale

    def fit(self, texts: Iterable[str]) -> LexicalMatcher:
        """Count in how many texts every feature occurs, besides those counted before; returns itself."""
        for text in texts:
            self._holding[np.unique(features(text))] += 1
            self._texts += 1
        return self

    def scaled(self, scale: Scale) -> LexicalMatcher:
        """Return this matcher with another scale; both share what was counted."""
        found = LexicalMatcher(scale)
        found._texts, found._holding = self._texts, self._holding
        return found

    def compare(self, lists: Sequence[Lists]) -> list[Compared]:
        """Compare many pairs of lists; the result for one does not depend on the others."""
        return [
            Compared(self._likeness(first, second), partial(self._reason, first, second)) for first, second in lists
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of matcher and the texts it was fitted to."""
        return {"kind": "lexical", "texts": self._texts}

    def _likeness(self, first: Sequence[str], second: Sequence[str]) -> Floats:
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
        likeness: Floats = np.clip(rows[: len(first)] @ rows[len(first) :].T, 0, 1)
        likeness[likeness > 1 - 1e-9] = 1  # the same words are the same, whatever rounding says
        return likeness

    def _reason(self, first: Sequence[str], second: Sequence[str], i: int, j: int) -> str:
        """Name the rarest words that both texts have."""
        said = forms(first[i])
        every = [set(words(text)) for text in (*first, *second)]
        shared = said.keys() & every[len(first) + j]
        rarest = sorted(shared, key=lambda word: (sum(word in own for own in every), -len(word), word))[:_SHOWN]
        return f"both say {', '.join(said[word] for word in rarest)}" if rarest else "similar spelling"


@lru_cache(maxsize=4096)
def _bag(text: str) -> _Bag:
    numbers, counts = np.unique(np.array(features(text), np.int64), return_counts=True)
    return _Bag(numbers, counts.astype(float))
