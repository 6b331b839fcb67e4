"""Cluster bootstrap over tasks.

Critiques of one answer, and comparisons between them, are not independent, so the unit that is resampled is
the task: intervals that resample single judgements come out too narrow. A replicate is a vector of
multinomial weights on the tasks, so every statistic is a matrix product for many replicates at once.

Where all tasks say the same, every resample does too, and the percentiles are as near as if nothing were left to
doubt. Who knows the bounds of what is measured gives them, and has the exact interval then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPLICATES = 1000
LEVEL = 0.95

Bounds = tuple[float, float]
"""The least and the most that what is measured can be."""

SHARE: Bounds = (0.0, 1.0)
COUNT: Bounds = (0.0, np.inf)

Floats = NDArray[np.float64]

_CELLS = 2**20
"""Weights drawn at once."""
_MANY = 10_000
"""Clusters from which on they are drawn one by one and counted."""
_ROUNDING = 1e-9
"""The width of an interval that has none."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided percentile interval; all NaN when there was nothing to estimate from."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resamples(clusters: int, replicates: int = REPLICATES, seed: int = 0) -> Iterator[Floats]:
    """Draw how often each cluster occurs in each resample.

    Yields:
        Counts `[some, clusters]`, `replicates` rows in all, of which each sums to `clusters`; as many at once as keep
        memory bounded.
    """
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // clusters)
    for start in range(0, replicates, rows):
        size = min(rows, replicates - start)
        if clusters > _MANY:  # the same distribution, several times as fast
            drawn = [np.bincount(rng.integers(clusters, size=clusters), minlength=clusters) for _ in range(size)]
            yield np.array(drawn, dtype=float)
        else:
            yield rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size).astype(float)


def resampled(totals: Floats, replicates: int = REPLICATES, seed: int = 0) -> Floats:
    """Return the sums of `totals` `[statistics, clusters]` over every resample, `[statistics, replicates]`."""
    parts = [[part @ own for own in totals] for part in resamples(totals.shape[1], replicates, seed)]
    return np.concatenate(parts, axis=1)


def ratio_interval(
    numerator: ArrayLike,
    denominator: ArrayLike,
    *,
    bounds: Bounds | None = None,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return sum(numerator) / sum(denominator) with its cluster bootstrap interval.

    The share of bugs caught, for example, has bugs caught and bugs present of every task as its arguments.

    Args:
        numerator: One total per task, `[tasks]`.
        denominator: One total per task, `[tasks]`, none negative.
        bounds: What the ratio of a task lies between, where that is known; see `honest_interval`.
        replicates: Number of resamples of the tasks.
        level: Coverage of the interval.
        seed: Two calls with the same seed resample the same tasks.
    """
    top = np.asarray(numerator, dtype=float)
    bottom = np.asarray(denominator, dtype=float)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"numerator {top.shape} and denominator {bottom.shape} must be one row of tasks each")
    if bottom.sum() <= 0:
        return Interval(np.nan, np.nan, np.nan)
    tops, bottoms = resampled(np.stack([top, bottom]), replicates, seed)
    # A resample without any denominator (no bug drawn, say) estimates nothing and is left out.
    draws = tops[bottoms > 0] / bottoms[bottoms > 0]
    low, high = percentile_interval(draws, level)
    found = Interval(float(top.sum() / bottom.sum()), float(low), float(high))
    return found if bounds is None else honest_interval(found, int(np.count_nonzero(bottom)), bounds, level)


def mean_interval(
    values: ArrayLike,
    *,
    bounds: Bounds | None = None,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the mean of one value per task, `[tasks]`, with its bootstrap interval; see `ratio_interval`."""
    array = np.asarray(values, dtype=float)
    return ratio_interval(array, np.ones_like(array), bounds=bounds, replicates=replicates, level=level, seed=seed)


def honest_interval(interval: Interval, tasks: int, bounds: Bounds, level: float = LEVEL) -> Interval:
    """Return an interval that does not pretend to know what resampling cannot show.

    One without width is of tasks that all say the same. How many others may say something else has an exact bound
    (Clopper and Pearson, 1934), and what they say lies within `bounds`. A count has no upper one: where there were
    none, it is the exact bound of the mean of so many Poisson variables (Garwood, 1936); where all are as many, as
    where a quote is forced, nothing is known of others.

    Args:
        interval: What resampling gave.
        tasks: How many there were that say anything.
        bounds: The least and the most that a task may say.
        level: Coverage of the interval.
    """
    if not interval.high - interval.low <= _ROUNDING:
        return interval
    value, tail = interval.value, (1 - level) / 2
    least, most = bounds
    if np.isinf(most):
        return interval if value > least else Interval(value, value, least - float(np.log(tail)) / tasks)
    others = 1 - tail ** (1 / tasks)
    return Interval(value, value - others * (value - least), value + others * (most - value))


def difference_interval(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return a ratio minus another of the same tasks, with its interval: the same resamples serve both.

    Args:
        first: Numerators and denominators, one total per task each, `[tasks]`, as for `ratio_interval`.
        second: Those of the ratio to subtract.
        replicates: Number of resamples of the tasks.
        level: Coverage of the interval.
        seed: Seed of the resampling.
    """
    (top, bottom), (other_top, other_bottom) = (
        tuple(np.asarray(part, dtype=float) for part in pair) for pair in (first, second)
    )
    if not top.shape == bottom.shape == other_top.shape == other_bottom.shape or top.ndim != 1:
        raise ValueError("both ratios must be of one row of the same tasks")
    if bottom.sum() <= 0 or other_bottom.sum() <= 0:
        return Interval(np.nan, np.nan, np.nan)
    tops, bottoms, other_tops, others = resampled(np.stack([top, bottom, other_top, other_bottom]), replicates, seed)
    both = (bottoms > 0) & (others > 0)
    draws = tops[both] / bottoms[both] - other_tops[both] / others[both]
    low, high = percentile_interval(draws, level)
    value = top.sum() / bottom.sum() - other_top.sum() / other_bottom.sum()
    return Interval(float(value), float(low), float(high))


def percentile_interval(
    draws: NDArray[np.float64], level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper percentiles of bootstrap draws `[replicates, ...]`, each `[...]`."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
