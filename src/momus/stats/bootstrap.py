"""Cluster bootstrap over tasks.

Critiques of one answer, and comparisons between them, are not independent, so the task is the unit that is
resampled: intervals that resample single judgements are too narrow. A replicate is a vector of multinomial weights on
the tasks, so a statistic of many replicates is one matrix product.

When all tasks have the same value, or there is only one, every resample has it too, and the percentile interval has no
width. That is never reported. Callers that know the bounds of the measured quantity pass them and get the exact
interval instead (`exact_if_degenerate`); without bounds the ends of the interval are NaN: it is not determined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPLICATES = 1000
LEVEL = 0.95

Bounds = tuple[float, float]
"""The least and the greatest value that the measured quantity can take."""

SHARE: Bounds = (0.0, 1.0)
COUNT: Bounds = (0.0, np.inf)

Floats = NDArray[np.float64]

_CELLS = 2**20
"""Weights drawn at once."""
_MANY = 10_000
"""From this many clusters on, they are drawn one by one and counted."""
_ROUNDING = 1e-9
"""Intervals up to this width count as degenerate."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided interval.

    All are NaN without data to estimate from. The ends alone are NaN where the data do not determine an interval.
    """

    value: float
    low: float
    high: float

    @property
    def has_ends(self) -> bool:
        """Whether the data determine an interval."""
        return not (np.isnan(self.low) or np.isnan(self.high))

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not determined"
        ends = f"[{self.low:.3f}, {self.high:.3f}]" if self.has_ends else "(no interval)"
        return f"{self.value:.3f} {ends}"


def resamples(clusters: int, replicates: int = REPLICATES, seed: int = 0) -> Iterator[Floats]:
    """Draw how often each cluster occurs in each resample.

    Yields:
        Blocks of counts `[rows, clusters]`, `replicates` rows in all, each summing to `clusters`; blocks are small
        enough to keep memory bounded.
    """
    rows = max(1, _CELLS // clusters)
    if replicates <= rows:
        yield _one_block(clusters, replicates, seed)
        return
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, rows):
        yield _draw(rng, clusters, min(rows, replicates - start))


@lru_cache(maxsize=1)
def _one_block(clusters: int, replicates: int, seed: int) -> Floats:
    """Return all resamples where one block holds them: many intervals of the same tasks use the same."""
    block = _draw(np.random.default_rng(seed), clusters, replicates)
    block.flags.writeable = False
    return block


def _draw(rng: np.random.Generator, clusters: int, size: int) -> Floats:
    if clusters > _MANY:  # the same distribution, several times as fast
        drawn = [np.bincount(rng.integers(clusters, size=clusters), minlength=clusters) for _ in range(size)]
        return np.array(drawn, dtype=float)
    return rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=size).astype(float)


def resampled(totals: Floats, replicates: int = REPLICATES, seed: int = 0) -> Floats:
    """Return the sums of `totals` `[statistics, clusters]` over every resample, `[statistics, replicates]`."""
    parts = [[part @ row for row in totals] for part in resamples(totals.shape[1], replicates, seed)]
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

    For the share of bugs caught, for example, pass the bugs caught and the bugs present in every task.

    Args:
        numerator: One total per task, `[tasks]`.
        denominator: One total per task, `[tasks]`, none negative.
        bounds: The range of the ratio of one task, where known; see `exact_if_degenerate`.
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
    value = float(top.sum() / bottom.sum())
    return interval_of_draws(value, draws, level, tasks=int(np.count_nonzero(bottom)), bounds=bounds)


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


def exact_if_degenerate(interval: Interval, tasks: int, bounds: Bounds, level: float = LEVEL) -> Interval:
    """Return the interval itself or, when it has no width, the exact one.

    An interval has no width when all tasks have the same value, and resampling then shows nothing. The share of other
    tasks has an exact upper bound `1 - ((1 - level) / 2) ** (1 / tasks)` (Clopper and Pearson, 1934), and their values
    lie within `bounds`. A count has no upper bound; its exact interval is that of a Poisson mean (Garwood, 1936).

    Args:
        interval: The bootstrap interval.
        tasks: Number of tasks with a value.
        bounds: The least and the greatest value of one task.
        level: Coverage of the interval.
    """
    if not interval.high - interval.low <= _ROUNDING:
        return interval
    value, tail = interval.value, (1 - level) / 2
    least, most = bounds
    if np.isinf(most):
        from scipy.special import gammaincinv

        total = round((value - least) * tasks)
        low = float(gammaincinv(total, tail)) / tasks if total else 0.0
        return Interval(value, least + low, least + float(gammaincinv(total + 1, 1 - tail)) / tasks)
    others = 1 - tail ** (1 / tasks)
    return Interval(value, value - others * (value - least), value + others * (most - value))


def difference_interval(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    *,
    bounds: Bounds | None = None,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the difference of two ratios over the same tasks with its interval; both use the same resamples.

    Args:
        first: Numerators and denominators, one total per task each, `[tasks]`, as for `ratio_interval`.
        second: Those of the ratio to subtract.
        bounds: The range of the difference of one task, where known; see `exact_if_degenerate`.
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
    value = float(top.sum() / bottom.sum() - other_top.sum() / other_bottom.sum())
    tasks = int(np.count_nonzero((bottom > 0) & (other_bottom > 0)))
    return interval_of_draws(value, draws, level, tasks=tasks, bounds=bounds)


def statistic_interval(
    totals: Floats,
    statistic: Callable[[Floats], Floats],
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return any statistic of sums over tasks, with its bootstrap interval.

    Args:
        totals: `[sums, tasks]`: what each task adds to every sum.
        statistic: Turns sums `[sums, ...]` into values `[...]`.
        replicates: Number of resamples of the tasks.
        level: Coverage of the interval.
        seed: Two calls with the same seed resample the same tasks.
    """
    if not totals.shape[1]:
        return Interval(np.nan, np.nan, np.nan)
    value = float(statistic(totals.sum(1)))
    return interval_of_draws(value, statistic(resampled(totals, replicates, seed)), level)


def interval_of_draws(
    value: float, draws: Floats, level: float = LEVEL, *, tasks: int = 0, bounds: Bounds | None = None
) -> Interval:
    """Return an estimate with the percentile interval of its bootstrap draws `[replicates]`; NaN draws are left out.

    Without width the interval is the exact one if `bounds` are known and some of the `tasks` have a value; otherwise
    its ends are NaN.
    """
    known = draws[~np.isnan(draws)]
    if not known.size:
        return Interval(value, np.nan, np.nan)
    low, high = percentile_interval(known, level)
    interval = Interval(value, float(low), float(high))
    if interval.high - interval.low > _ROUNDING:
        return interval
    return exact_if_degenerate(interval, tasks, bounds, level) if bounds and tasks else Interval(value, np.nan, np.nan)


def percentile_interval(
    draws: NDArray[np.float64], level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower and upper percentiles of bootstrap draws `[replicates, ...]`, each `[...]`."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
