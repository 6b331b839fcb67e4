"""How far two lists of points agree: hit rate, Szymkiewicz-Simpson, Jaccard, Sørensen-Dice.

The measures of LLM scientific feedback (arXiv 2310.01783), which writes them with |A ∩ B|. Matching is many-to-many,
so |A ∩ B| depends on the side it is counted from; here each measure states its count. With `kept[i, j]` whether
point i of A and point j of B are the same::

    hit rate of A      points of A with a match in B, of |A|
    overlap            k / min(|A|, |B|)            (Szymkiewicz-Simpson)
    Jaccard            k / (|A| + |B| - k)
    Dice               2 k / (|A| + |B|)            (Sørensen-Dice)

where k is the size of a maximum one-to-one matching, the same from both sides. So Jaccard <= Dice <= overlap,
Jaccard = Dice / (2 - Dice), and a list against itself is 1. Where either list is empty every measure is NaN; callers
that average leave such pairs out and report how many there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from momus.stats.bootstrap import LEVEL, REPLICATES, Interval, resampled

Kept = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """How far list A agrees with list B; all NaN if either is empty."""

    hit_rate: float
    overlap: float
    jaccard: float
    dice: float


UNDEFINED = Overlap(np.nan, np.nan, np.nan, np.nan)


def overlap(kept: ArrayLike) -> Overlap:
    """Return the measures of `[A, B]` booleans; see the module."""
    table = np.asarray(kept, dtype=bool)
    if table.ndim != 2:
        raise ValueError(f"a table of points of A by points of B, not {table.shape}")
    first, second = table.shape
    if not table.size:
        return UNDEFINED
    k = one_to_one(table)
    return Overlap(
        hit_rate=float(table.any(1).mean()),
        overlap=k / min(first, second),
        jaccard=k / (first + second - k),
        dice=2 * k / (first + second),
    )


def one_to_one(kept: Kept) -> int:
    """Return the size of a maximum matching: how many pairs can be chosen with no point in two of them."""
    used = kept[kept.any(1)][:, kept.any(0)]
    if not used.size or (used.sum(0) == 1).all():  # every column belongs to one row: no choice to make
        return len(used)
    return int((maximum_bipartite_matching(csr_array(used), perm_type="column") >= 0).sum())


def derangement(strata: Sequence[str], seed: int) -> list[int | None]:
    """Assign every document another one of its stratum, each used once; None where the stratum has no other.

    Args:
        strata: The stratum of each document.
        seed: Seed of the shuffle.

    Returns:
        For each document the index of the one assigned to it.
    """
    rng = np.random.default_rng(seed)
    assigned: list[int | None] = [None] * len(strata)
    groups: dict[str, list[int]] = {}
    for number, stratum in enumerate(strata):
        groups.setdefault(stratum, []).append(number)
    for group in groups.values():
        if len(group) > 1:
            # A cycle through a random order leaves no document in its place.
            order = rng.permutation(group).tolist()
            for here, there in zip(order, order[1:] + order[:1], strict=True):
                assigned[here] = there
    return assigned


def log_ratio_interval(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the natural logarithm of the ratio of two frequencies, with its bootstrap interval over documents.

    Args:
        first: Points of each document with some property, and all its points, `[documents]` each.
        second: The same for the points to compare with.
        replicates: Resamples of the documents.
        level: Coverage of the interval.
        seed: Seed of the resampling.

    Returns:
        All NaN where either frequency is 0. An end is infinite where that many resamples have a frequency of 0, and NaN
        where all resamples agree, as with a single document.
    """
    (top, bottom), (other_top, other_bottom) = (
        tuple(np.asarray(part, dtype=float) for part in pair) for pair in (first, second)
    )
    if not top.sum() or not other_top.sum():
        return Interval(np.nan, np.nan, np.nan)
    tops, bottoms, other_tops, others = resampled(np.stack([top, bottom, other_top, other_bottom]), replicates, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(top.sum() / bottom.sum()) - np.log(other_top.sum() / other_bottom.sum())
        draws = np.log(tops / bottoms) - np.log(other_tops / others)
    draws = draws[~np.isnan(draws)]
    # No interpolation between draws, for some may be infinite.
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return Interval(float(value), float(low), float(high)) if low < high else Interval(float(value), np.nan, np.nan)
