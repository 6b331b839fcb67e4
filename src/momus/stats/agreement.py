"""How often two raters prefer the same of two things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from momus.stats.bootstrap import REPLICATES, SHARE, Interval, ratio_interval

ScorePair = tuple[Sequence[float], Sequence[float]]
"""The scores that two raters gave the same items in the same order."""


def preference_agreement(pairs: Iterable[ScorePair]) -> float:
    """Return how often two raters prefer the same of two critiques, ties broken at random.

    The measure of CriticGPT, appendix 7.5, in expectation over the tie-breaks: a pair that either rater
    tied counts one half, so no randomness is left in the number.

    Args:
        pairs: For each comparison the scores of the two raters, the same items in the same order.

    Returns:
        A share between 0 and 1; NaN when nothing was compared.
    """
    agreed, total = _count_agreements(pairs)
    return agreed / total if total else float("nan")


def agreement_interval(
    tasks: Iterable[Iterable[ScorePair]], *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Interval, int]:
    """Return `preference_agreement` over all tasks with its interval, and the number of pairs of items compared.

    Where no two raters both prefer one of two items, ties alone would make the agreement one half: it is NaN.

    Args:
        tasks: For each task (what is resampled) the pairs of raters that judged the same items of it.
        replicates: Resamples of the tasks.
        seed: Seed of the resampling.
    """
    pairs_by_task = [list(pairs) for pairs in tasks]
    counts = np.array([_count_agreements(pairs) for pairs in pairs_by_task], dtype=float).reshape(-1, 2)
    if not any(_decide_a_pair(*pair) for pairs in pairs_by_task for pair in pairs):
        return Interval(np.nan, np.nan, np.nan), int(counts[:, 1].sum())
    share = ratio_interval(counts[:, 0], counts[:, 1], bounds=SHARE, replicates=replicates, seed=seed)
    return share, int(counts[:, 1].sum())


def _decide_a_pair(first: Sequence[float], second: Sequence[float]) -> bool:
    """Return whether there are two items of which both raters prefer one."""
    return any(first[i] != first[j] and second[i] != second[j] for i, j in combinations(range(len(first)), 2))


def _count_agreements(pairs: Iterable[ScorePair]) -> tuple[float, int]:
    """Return how many item pairs two raters order alike (a tie of either counts one half), and of how many."""
    agreed, total = 0.0, 0
    for first, second in pairs:
        for i, j in combinations(range(len(first)), 2):
            product = (first[i] - first[j]) * (second[i] - second[j])
            agreed += (float(np.sign(product)) + 1) / 2
            total += 1
    return agreed, total
