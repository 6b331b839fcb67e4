"""BLEU of a corpus from counts that add up over its sentences, so that sentences can be resampled.

A sentence is ten counts: matches of 1- to 4-grams, 1- to 4-grams in the answer, words of the answer, words of the
reference (sacreBLEU's `13a` words). The score is sacreBLEU's of the sums: the geometric mean of the precisions, those
without a match smoothed to half, a quarter … of one match, times the penalty for brevity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from momus.stats.bootstrap import Floats

ORDER = 4


def sentence_counts(answer: str, references: list[str]) -> tuple[float, ...]:
    """Return the ten counts of an answer against its references, `[10]`."""
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU(effective_order=True).sentence_score(answer, references)
    return (*map(float, score.counts), *map(float, score.totals), float(score.sys_len), float(score.ref_len))


def corpus_bleu(sums: ArrayLike) -> Floats:
    """Return BLEU, 0 to 100, of sums of counts, `[10, ...]` to `[...]`."""
    counts = np.asarray(sums, dtype=float)
    matches, totals, answer, reference = counts[:ORDER], counts[ORDER : 2 * ORDER], counts[-2], counts[-1]
    missed = np.cumsum(matches == 0, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(matches > 0, matches, 0.5**missed) / totals
        mean = np.exp(np.log(precision).mean(0))
        brevity = np.where(answer < reference, np.exp(1 - reference / answer), 1.0)
    score: Floats = np.where((totals > 0).all(0) & (matches > 0).any(0), 100 * brevity * mean, 0.0)
    return score
