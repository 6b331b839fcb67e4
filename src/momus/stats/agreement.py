"""How far raters agree: on pairs, on orders, and on values beyond chance."""

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


def krippendorff_alpha(ratings: Sequence[Sequence[float | None]], level: str = "ordinal") -> float:
    """Return Krippendorff's alpha: 1 is perfect agreement, 0 what chance would give, less is systematic disagreement.

    Krippendorff, Content Analysis (2004), chapter 11: `1 - observed / expected` disagreement over the coincidence
    matrix of pairs of values that were given to the same unit, each unit weighted by 1 / (values - 1).

    Args:
        ratings: For each rater one value per unit; None where a rater did not rate a unit.
        level: "nominal" (values differ or not), "ordinal" (by how many values lie between), or "interval".

    Returns:
        NaN when no unit has two values, or when all values are the same and nothing could have differed.
    """
    units = [[value for value in unit if value is not None] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in units for value in unit})
    if len(values) < 2:
        return float("nan")
    coincidences = np.zeros((len(values), len(values)))
    for unit in units:
        counts = np.array([unit.count(value) for value in values], dtype=float)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = coincidences.sum(axis=0)
    if level == "nominal":
        distance = 1 - np.eye(len(values))
    elif level == "ordinal":
        middle = np.cumsum(totals) - totals / 2
        distance = (middle[:, None] - middle[None, :]) ** 2
    elif level == "interval":
        distance = np.subtract.outer(np.array(values), np.array(values)) ** 2
    else:
        raise ValueError(f"level {level!r}: nominal, ordinal or interval")
    expected = float((np.outer(totals, totals) * distance).sum()) / float(totals.sum() - 1)
    return 1 - float((coincidences * distance).sum()) / expected


def kendall_w(ranks: Sequence[Sequence[float]]) -> float:
    """Return Kendall's coefficient of concordance of several rankings of the same things, corrected for ties.

    Kendall and Babington Smith (1939). With m rankings of n things, R_i the sum of thing i's (mean) ranks and T_j the
    sum of t^3 - t over the ties of ranking j: `W = 12 S / (m^2 (n^3 - n) - m sum T_j)`, S the squared deviations of R.

    Args:
        ranks: For each rater a number for each thing, lower is better; equal numbers are ties.

    Returns:
        0 (no concordance) to 1; NaN for fewer than two raters or things, or when everybody ties everything.
    """
    from scipy.stats import rankdata

    table = np.array([rankdata(rater) for rater in ranks], dtype=float)
    if table.ndim != 2 or min(table.shape) < 2:
        return float("nan")
    raters, things = table.shape
    ties = sum(float(count**3 - count) for rater in table for count in np.unique(rater, return_counts=True)[1])
    deviation = float(((table.sum(axis=0) - raters * (things + 1) / 2) ** 2).sum())
    possible = raters**2 * (things**3 - things) - raters * ties
    return 12 * deviation / possible if possible > 0 else float("nan")


def kendall_tau_b(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Kendall's tau-b of two raters' scores of the same things, corrected for ties.

    Kendall (1945). With C pairs that both order alike, D that they order the other way round, and P and Q pairs that
    the first and the second rater do not tie: `tau_b = (C - D) / sqrt(P Q)`. SciPy computes it.

    Args:
        first: One rater's score of each thing.
        second: The other's, the same things in the same order.

    Returns:
        1 (the same order) to -1 (the opposite one); NaN for fewer than two things, or when a rater ties everything.

    Raises:
        ValueError: The raters scored different numbers of things.
    """
    from scipy.stats import kendalltau  # late: it takes a second to load

    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores and {len(second)}: of the same things they must be as many")
    return float(kendalltau(first, second, variant="b").statistic) if len(first) > 1 else float("nan")
