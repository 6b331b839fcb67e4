"""Near-duplicate detection: Jaccard similarity of token shingles, candidates found by bottom-k sketches."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict

from momus.normalise import normalise

_TOKEN = re.compile(r"\w+|[^\w\s]")


class Deduplicator:
    """Remembers texts and says whether a new one is unlike all before it.

    Two texts are near-duplicates when the Jaccard similarity of their sets of five-token shingles reaches
    `threshold`. Candidates share one of the `sketch` smallest shingle hashes (for similarity J the chance to
    miss a pair is below ``(1 - J) ** sketch``), and each candidate is then compared exactly.
    """

    def __init__(self, threshold: float = 0.7, sketch: int = 8) -> None:
        self._threshold = threshold
        self._sketch = sketch
        self._index: defaultdict[int, list[int]] = defaultdict(list)
        self._texts: list[frozenset[int]] = []

    def add(self, text: str) -> bool:
        """Remember `text` and return True, or return False when it is a near-duplicate of one before."""
        shingles = _shingles(text)
        smallest = sorted(shingles)[: self._sketch]
        candidates = {number for value in smallest for number in self._index[value]}
        if any(_jaccard(shingles, self._texts[number]) >= self._threshold for number in candidates):
            return False
        for value in smallest:
            self._index[value].append(len(self._texts))
        self._texts.append(shingles)
        return True


def _shingles(text: str, width: int = 5) -> frozenset[int]:
    tokens = _TOKEN.findall(normalise(text, case=True))
    count = max(1, len(tokens) - width + 1)
    return frozenset(zlib.crc32(" ".join(tokens[i : i + width]).encode()) for i in range(count))


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    common = len(a & b)
    return common / (len(a) + len(b) - common)
