"""How well a similarity detects the pairs that people call the same: precision, recall, F1, average precision, AUC.

The threshold is cross-validated: leave one group (a document) out, take the threshold with the best F1 on the others,
and apply it to the group left out. Precision and recall are counted over all groups, so no threshold is measured on a
group it was chosen on. Intervals resample groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from momus.stats.bootstrap import REPLICATES, SHARE, Floats, Interval, interval_of_draws, ratio_interval, resampled

_ROUNDING = 1e-12
"""A variance below this share of the sum of squares is a rounding error."""


@dataclass(frozen=True)
class Detection:
    """Precision, recall and F1 of thresholds that were chosen without the group they are applied to.

    Attributes:
        threshold: The threshold with the best F1 on all groups, to use on new data.
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


def best_threshold(similarity: ArrayLike, same: ArrayLike) -> float:
    """Return the similarity threshold with the best F1, halfway to the next lower similarity.

    The threshold is above 0, so pairs with a similarity of 0 are never kept.

    Raises:
        ValueError: There is no positive pair, or no pair has a similarity above 0.
    """
    values, truth = np.asarray(similarity, dtype=float), np.asarray(same, dtype=bool)
    if not truth.any():
        raise ValueError("no pair is positive")
    if not (values > 0).any():
        raise ValueError("no pair has a similarity above 0")
    order = np.argsort(-values, kind="stable")
    hits, kept = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    ranked = values[order]
    last = np.append(ranked[1:] < ranked[:-1], True)  # a threshold cannot part equal values
    f1 = np.where(last & (ranked > 0), 2 * hits / (kept + truth.sum()), -1)
    best = int(f1.argmax())
    lower = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    middle = (ranked[best] + lower) / 2
    return float(middle if middle > lower else ranked[best])  # adjacent floats have no middle


def cross_validate_threshold(
    similarity: ArrayLike, same: ArrayLike, groups: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0
) -> Detection:
    """Leave each group out, choose the threshold on the others, and measure on it; see the module.

    Args:
        similarity: `[pairs]`.
        same: Whether people call the pair the same, `[pairs]`.
        groups: The group of each pair, left out and resampled as one, `[pairs]`.
        replicates: Resamples of the groups.
        seed: Seed of the resampling.

    Raises:
        ValueError: The positive pairs, or those with a similarity above 0, are in fewer than two groups.
    """
    values, truth = np.asarray(similarity, dtype=float), np.asarray(same, dtype=bool)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(np.unique(group[truth])) < 2:
        raise ValueError("positive pairs of one group only")
    if len(np.unique(group[values > 0])) < 2:
        raise ValueError("pairs with a similarity above 0 of one group only")
    count = int(group.max()) + 1
    thresholds = np.array([best_threshold(values[group != g], truth[group != g]) for g in range(count)])
    kept = values >= thresholds[group]

    def totals(mask: NDArray[np.bool_]) -> Floats:
        return np.bincount(group, weights=mask, minlength=count).astype(float)

    hits, selected, positive = totals(kept & truth), totals(kept), totals(truth)

    def share(top: Floats, bottom: Floats) -> Interval:
        return ratio_interval(top, bottom, bounds=SHARE, replicates=replicates, seed=seed)

    return Detection(
        threshold=best_threshold(values, truth),
        precision=share(hits, selected),
        recall=share(hits, positive),
        f1=share(2 * hits, selected + positive),
        lowest=float(thresholds.min()),
        highest=float(thresholds.max()),
    )


def auc(similarity: ArrayLike, same: ArrayLike) -> float:
    """Return how often a positive pair is more similar than a negative one, ties one half; NaN if either is missing."""
    values, truth = np.asarray(similarity, dtype=float), np.asarray(same, dtype=bool)
    positive, negative = int(truth.sum()), int((~truth).sum())
    if not positive or not negative:
        return float("nan")
    return float((ranks(values)[truth].sum() - positive * (positive + 1) / 2) / (positive * negative))


def average_precision(similarity: ArrayLike, same: ArrayLike) -> float:
    """Return the mean over positive pairs of the precision at their similarity; NaN without positive pairs."""
    values, truth = np.asarray(similarity, dtype=float), np.asarray(same, dtype=bool)
    if not truth.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    hits, kept = np.cumsum(truth[order]), np.arange(1, len(order) + 1)
    last = np.searchsorted(-ranked, -ranked, side="right") - 1  # equal values are kept together
    return float((hits[last] / kept[last])[truth[order]].mean())


def correlations(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Interval, Interval]:
    """Return Pearson's and Spearman's correlation of two rows of values, with intervals that resample groups.

    All NaN with fewer than three items, or where one of the rows is constant. No ends where all resamples agree, as
    with a single group.
    """
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    return _pearson(x, y, group, replicates, seed), _pearson(ranks(x), ranks(y), group, replicates, seed)


def ranks(values: ArrayLike) -> Floats:
    """Return the ranks of values from 1; equal values share the mean of their ranks."""
    _, place, count = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    middle: Floats = np.cumsum(count) - (count - 1) / 2
    return middle[place]


def _pearson(x: Floats, y: Floats, group: NDArray[np.intp], replicates: int, seed: int) -> Interval:
    if len(x) < 3 or not x.std() or not y.std():
        return Interval(np.nan, np.nan, np.nan)
    x, y = x - x.mean(), y - y.mean()
    totals = np.stack([np.bincount(group, weights=column) for column in (np.ones_like(x), x, y, x * x, y * y, x * y)])
    count, sx, sy, sxx, syy, sxy = resampled(totals.astype(float), replicates, seed)
    left, right = sxx - sx**2 / count, syy - sy**2 / count
    spread = (left > _ROUNDING * sxx) & (right > _ROUNDING * syy)  # a resample that repeats one item has no variance
    draws = (sxy - sx * sy / count)[spread] / np.sqrt(left[spread] * right[spread])
    return interval_of_draws(float(np.corrcoef(x, y)[0, 1]), draws)


def kappa_interval(
    first: ArrayLike, second: ArrayLike, groups: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0
) -> Interval:
    """Return Cohen's kappa of two raters' yes-or-no labels, with an interval that resamples groups.

    Args:
        first: Labels of one rater, `[items]`.
        second: Labels of the other, `[items]`.
        groups: The group of each item, resampled as one, `[items]`.
        replicates: Resamples of the groups.
        seed: Seed of the resampling.

    Returns:
        All NaN where agreement by chance is 1: both raters give all items the same label. No ends where all resamples
        agree, as with a single group.
    """
    one, other = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if not one.size:
        return Interval(np.nan, np.nan, np.nan)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    answers = (one & other, one & ~other, ~one & other, ~one & ~other)
    cells = np.stack([np.bincount(group, weights=cell) for cell in answers]).astype(float)
    point = _kappa(cells.sum(1, keepdims=True))[0]
    draws = _kappa(resampled(cells, replicates, seed))
    if np.isnan(point):
        return Interval(np.nan, np.nan, np.nan)
    return interval_of_draws(float(point), draws)


def _kappa(cells: Floats) -> Floats:
    """Return the kappa of tables of counts `[4, tables]`: both yes, only the first, only the second, both no."""
    both, only, other, neither = cells
    total = cells.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (both + neither) / total
        chance = ((both + only) * (both + other) + (other + neither) * (only + neither)) / total**2
        kappa: Floats = (observed - chance) / (1 - chance)
    return np.where(np.isfinite(kappa), kappa, np.nan)
