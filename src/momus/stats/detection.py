"""How well a likeness finds the pairs that people call the same: precision, recall, F1, average precision, AUC.

The threshold is chosen where it is to be judged otherwise: leave one group (a document) out, take the threshold with
the best F1 on the others, apply it to the one left out. Precision and recall of all groups together are then those of
thresholds that never saw the group they were used on. Intervals resample groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from momus.stats.bootstrap import REPLICATES, SHARE, Interval, percentile_interval, ratio_interval, resampled

Floats = NDArray[np.float64]

_ROUNDING = 1e-12
"""Share of a sum of squares below which a variance is what rounding left of none."""


@dataclass(frozen=True)
class Detection:
    """How well thresholds chosen without a group find its positive pairs.

    Attributes:
        threshold: The one with the best F1 on all groups: what to use on new data.
        precision: Of the pairs kept, the share that is positive.
        recall: Of the positive pairs, the share kept.
        f1: Their harmonic mean.
        lowest: The lowest threshold of any fold.
        highest: The highest.
    """

    threshold: float
    precision: Interval
    recall: Interval
    f1: Interval
    lowest: float
    highest: float


def best_threshold(likeness: ArrayLike, same: ArrayLike) -> float:
    """Return the likeness from which pairs are kept that gives the best F1, halfway to the next lower one.

    Pairs with no likeness at all are never kept: the threshold is above 0.

    Raises:
        ValueError: There is no positive pair, or no pair with a likeness above 0.
    """
    values, truth = np.asarray(likeness, dtype=float), np.asarray(same, dtype=bool)
    if not truth.any():
        raise ValueError("no pair is positive")
    if not (values > 0).any():
        raise ValueError("no pair has any likeness")
    order = np.argsort(-values, kind="stable")
    found, kept = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    ranked = values[order]
    last = np.append(ranked[1:] < ranked[:-1], True)  # a threshold cannot part equal values
    f1 = np.where(last & (ranked > 0), 2 * found / (kept + truth.sum()), -1)
    best = int(f1.argmax())
    lower = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    middle = (ranked[best] + lower) / 2
    return float(middle if middle > lower else ranked[best])  # of neighbours the middle is one of the two


def cross_validated(
    likeness: ArrayLike, same: ArrayLike, groups: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0
) -> Detection:
    """Choose the threshold without each group in turn, and measure on that group; see the module.

    Args:
        likeness: `[pairs]`.
        same: Whether people call them the same, `[pairs]`.
        groups: What is left out, and resampled, together, `[pairs]`.
        replicates: Resamples of the groups.
        seed: Seed of the resampling.

    Raises:
        ValueError: The positive pairs, or those with a likeness above 0, are not of two groups at least.
    """
    values, truth = np.asarray(likeness, dtype=float), np.asarray(same, dtype=bool)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(np.unique(group[truth])) < 2:
        raise ValueError("positive pairs of one group only")
    if len(np.unique(group[values > 0])) < 2:
        raise ValueError("pairs with any likeness of one group only")
    count = int(group.max()) + 1
    thresholds = np.array([best_threshold(values[group != g], truth[group != g]) for g in range(count)])
    kept = values >= thresholds[group]

    def totals(which: NDArray[np.bool_]) -> Floats:
        return np.bincount(group, weights=which, minlength=count).astype(float)

    found, kept_in, positive = totals(kept & truth), totals(kept), totals(truth)

    def share(top: Floats, bottom: Floats) -> Interval:
        return ratio_interval(top, bottom, bounds=SHARE, replicates=replicates, seed=seed)

    return Detection(
        threshold=best_threshold(values, truth),
        precision=share(found, kept_in),
        recall=share(found, positive),
        f1=share(2 * found, kept_in + positive),
        lowest=float(thresholds.min()),
        highest=float(thresholds.max()),
    )


def auc(likeness: ArrayLike, same: ArrayLike) -> float:
    """Return how often a positive pair is more alike than a negative one, ties one half; NaN without either."""
    values, truth = np.asarray(likeness, dtype=float), np.asarray(same, dtype=bool)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    return float((ranks(values)[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(likeness: ArrayLike, same: ArrayLike) -> float:
    """Return the mean over positive pairs of the precision where each is first kept; NaN without any."""
    values, truth = np.asarray(likeness, dtype=float), np.asarray(same, dtype=bool)
    if not truth.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    found, kept = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # equal values are kept together
    return float((found[last] / kept[last])[truth[order]].mean())


def correlations(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Interval, Interval]:
    """Return Pearson's and Spearman's correlation of two rows of items with intervals that resample groups of them."""
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    return _pearson(x, y, group, replicates, seed), _pearson(ranks(x), ranks(y), group, replicates, seed)


def ranks(values: ArrayLike) -> Floats:
    """Return the ranks of values from 1, equal ones sharing the mean of theirs."""
    _, place, count = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    middle: Floats = np.cumsum(count) - (count - 1) / 2
    return middle[place]


def _pearson(x: Floats, y: Floats, group: NDArray[np.intp], replicates: int, seed: int) -> Interval:
    if len(x) < 3 or not x.std() or not y.std():
        return Interval(np.nan, np.nan, np.nan)
    x, y = x - x.mean(), y - y.mean()
    totals = np.stack([np.bincount(group, weights=own) for own in (np.ones_like(x), x, y, x * x, y * y, x * y)])
    count, sx, sy, sxx, syy, sxy = resampled(totals.astype(float), replicates, seed)
    left, right = sxx - sx**2 / count, syy - sy**2 / count
    spread = (left > _ROUNDING * sxx) & (right > _ROUNDING * syy)  # a resample of one item only has none
    draws = (sxy - sx * sy / count)[spread] / np.sqrt(left[spread] * right[spread])
    low, high = percentile_interval(draws)
    return Interval(float(np.corrcoef(x, y)[0, 1]), float(low), float(high))


def kappa_interval(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0
) -> Interval:
    """Return Cohen's kappa of two raters' yes or no, with an interval that resamples groups.

    Args:
        first: What one rater says, `[items]`.
        second: What the other says, `[items]`.
        groups: What is resampled together, `[items]`.
        replicates: Resamples of the groups.
        seed: Seed of the resampling.

    Returns:
        NaN where chance alone explains all.
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if not one.size:
        return Interval(np.nan, np.nan, np.nan)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    answers = (one & other, one & ~other, ~one & other, ~one & ~other)
    cells = np.stack([np.bincount(group, weights=own) for own in answers]).astype(float)
    point = _kappa(cells.sum(1, keepdims=True))[0]
    draws = _kappa(resampled(cells, replicates, seed))
    if np.isnan(point):
        return Interval(np.nan, np.nan, np.nan)
    low, high = percentile_interval(draws[~np.isnan(draws)])
    return Interval(float(point), float(low), float(high))


def _kappa(cells: Floats) -> Floats:
    """Return kappa of tables of counts `[4, tables]`: both yes, only the first, only the second, both no."""
    both, only, other, neither = cells
    total = cells.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (both + neither) / total
        chance = ((both + only) * (both + other) + (other + neither) * (only + neither)) / total**2
        kappa: Floats = (observed - chance) / (1 - chance)
    return np.where(np.isfinite(kappa), kappa, np.nan)
