"""How far raters agree: pairwise preferences, Krippendorff's alpha, Cohen's kappa."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from momus.stats.bootstrap import REPLICATES, SHARE, Interval, ratio_interval

Pair = tuple[Sequence[float], Sequence[float]]
"""The scores that two raters gave the same items in the same order."""


def preference_agreement(pairs: Iterable[Pair]) -> float:
    """Return how often two raters prefer the same of two critiques, ties broken at random.

    The measure of CriticGPT, appendix 7.5, in expectation over the tie-breaks: a pair that either rater
    tied counts one half, so no randomness is left in the number.

    Args:
        pairs: For each comparison the scores of the two raters, the same items in the same order.

    Returns:
        A share between 0 and 1; NaN when nothing was compared.
    """
    agreed, total = _agreed(pairs)
    return agreed / total if total else float("nan")


def agreement_interval(
    tasks: Iterable[Iterable[Pair]], *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Interval, int]:
    """Return `preference_agreement` over all tasks with its interval, and the number of pairs of items compared.

    Args:
        tasks: For each task (what is resampled) the pairs of raters that judged the same items of it.
        replicates: Resamples of the tasks.
        seed: Seed of the resampling.
    """
    counts = np.array([_agreed(pairs) for pairs in tasks], dtype=float).reshape(-1, 2)
    share = ratio_interval(counts[:, 0], counts[:, 1], bounds=SHARE, replicates=replicates, seed=seed)
    return share, int(counts[:, 1].sum())


def _agreed(pairs: Iterable[Pair]) -> tuple[float, int]:
    """Count the pairs of items that two raters order alike, a tie of either counting one half, and all of them."""
    agreed, total = 0.0, 0
    for first, second in pairs:
        for i, j in combinations(range(len(first)), 2):
            product = (first[i] - first[j]) * (second[i] - second[j])
            agreed += (float(np.sign(product)) + 1) / 2
            total += 1
    return agreed, total


def ordinal_alpha(ratings: ArrayLike) -> float:
    """Return Krippendorff's alpha with the ordinal metric.

    Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).

    Args:
        ratings: `[raters, units]`, NaN where a rater did not rate a unit.

    Returns:
        1 for perfect agreement, 0 for chance; NaN when no two raters share a unit or nothing varies.
    """
    table = np.asarray(ratings, dtype=float)
    values = np.unique(table[~np.isnan(table)])
    counts = np.stack([(table == v).sum(0) for v in values], axis=1) if len(values) else np.zeros((1, 0))
    counts = counts[counts.sum(1) >= 2].astype(float)
    raters = counts.sum(1)
    coincidence = np.einsum("uc,uk->ck", counts / (raters - 1)[:, None], counts)
    coincidence -= np.diag((counts / (raters - 1)[:, None]).sum(0))
    totals = coincidence.sum(1)
    middle = np.cumsum(totals) - totals / 2
    distance = (middle[:, None] - middle[None, :]) ** 2
    expected = float((np.outer(totals, totals) * distance).sum())
    if expected == 0:
        return float("nan")
    observed = float((coincidence * distance).sum())
    return 1 - (float(totals.sum()) - 1) * observed / expected


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return Cohen's kappa of two raters' labels of the same items; NaN when chance alone explains all."""
    if len(first) != len(second) or not first:
        raise ValueError("two raters must label the same items, at least one")
    labels = set(first) | set(second)
    n = len(first)
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    chance = sum(list(first).count(label) * list(second).count(label) for label in labels) / n**2
    return float("nan") if chance == 1 else (observed - chance) / (1 - chance)
