"""Measures of overlap against their definitions by brute force, and the relations between them."""

from __future__ import annotations

from dataclasses import astuple
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from momus.stats.detection import auc, average_precision, best_threshold, correlations, cross_validate_threshold, ranks
from momus.stats.overlap import derangement, log_ratio_interval, one_to_one, overlap

TABLES = arrays.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5)))
SIMILARITY = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=12)


def brute_force_matching(kept):
    rows, columns = kept.shape
    if rows > columns:
        return brute_force_matching(kept.T)
    return max(sum(kept[i, j] for i, j in enumerate(order)) for order in permutations(range(columns), rows))


@given(TABLES)
def test_one_to_one_equals_brute_force(kept):
    assert one_to_one(kept) == brute_force_matching(kept)


@given(TABLES)
def test_overlap_measures_are_ordered_and_symmetric(kept):
    here, there = overlap(kept), overlap(kept.T)
    assert (here.overlap, here.jaccard, here.dice) == (there.overlap, there.jaccard, there.dice)
    assert 0 <= here.jaccard <= here.dice <= here.overlap <= 1
    assert here.jaccard == pytest.approx(here.dice / (2 - here.dice))
    assert here.hit_rate == sum(any(row) for row in kept.tolist()) / len(kept)
    if kept.sum(0).max() <= 1 and kept.sum(1).max() <= 1:  # one to one as it is
        assert here.overlap == pytest.approx(max(here.hit_rate, there.hit_rate))


@given(st.integers(1, 6), TABLES)
def test_overlap_of_a_list_with_itself_is_one(size, kept):
    itself = np.eye(size, dtype=bool)
    itself[: min(size, len(kept)), : min(size, kept.shape[1])] |= kept[:size, :size]
    assert astuple(overlap(itself)) == (1, 1, 1, 1)


@given(TABLES, st.data())
def test_overlap_never_rises_with_fewer_matches(kept, data):
    fewer = kept & data.draw(arrays.arrays(bool, kept.shape))
    more, less = overlap(kept), overlap(fewer)
    assert less.hit_rate <= more.hit_rate and less.overlap <= more.overlap and less.jaccard <= more.jaccard


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_overlap_without_points_is_nan(shape):
    assert all(np.isnan(astuple(overlap(np.zeros(shape, bool)))))


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(0, 5))
def test_derangement_assigns_each_another_of_its_stratum_once(strata, seed):
    assigned = derangement(strata, seed)
    dealt = [there for there in assigned if there is not None]
    assert len(set(dealt)) == len(dealt)
    for here, there in enumerate(assigned):
        if there is None:
            assert strata.count(strata[here]) == 1
        else:
            assert there != here and strata[there] == strata[here]


def test_log_ratio_interval_is_antisymmetric_and_nan_without_occurrences():
    mine, theirs = ([2, 0, 1, 1], [4, 4, 4, 4]), ([4, 4, 4, 4], [8, 8, 8, 8])
    interval = log_ratio_interval(mine, theirs)
    assert interval.value == pytest.approx(np.log(0.5)) and interval.low <= interval.value <= interval.high
    back = log_ratio_interval(theirs, mine)
    assert (back.value, back.low, back.high) == pytest.approx((-interval.value, -interval.high, -interval.low))
    never = log_ratio_interval(([0, 0], [3, 3]), ([1, 1], [3, 3]))
    assert np.isnan([never.value, never.low, never.high]).all()
    rare = log_ratio_interval(([1, 0, 0], [3, 3, 3]), ([1, 1, 1], [3, 3, 3]))
    assert np.isfinite(rare.value) and rare.low == -np.inf


@given(SIMILARITY)
def test_auc_and_average_precision_equal_brute_force(pairs):
    similarity, same = zip(*pairs, strict=True)
    positive = [x for x, truth in pairs if truth]
    negative = [x for x, truth in pairs if not truth]
    if positive and negative:
        wins = [(x > y) + (x == y) / 2 for x in positive for y in negative]
        assert auc(similarity, same) == pytest.approx(np.mean(wins))
    else:
        assert np.isnan(auc(similarity, same))
    if positive:
        precision = [np.mean([truth for y, truth in pairs if y >= x]) for x in positive]
        assert average_precision(similarity, same) == pytest.approx(np.mean(precision))


@given(SIMILARITY)
def test_best_threshold_maximises_f1(pairs):
    similarity, same = map(np.array, zip(*pairs, strict=True))
    if not same.any() or not similarity.any():
        return

    def f1(cut):
        return 2 * (same & (similarity >= cut)).sum() / ((similarity >= cut).sum() + same.sum())

    assert f1(best_threshold(similarity, same)) == pytest.approx(max(f1(cut) for cut in similarity if cut))
    assert best_threshold(similarity, same) > 0


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), min_size=4, max_size=24))
def test_cross_validate_threshold_leaves_each_group_out(rows):
    similarity, same, groups = map(np.array, zip(*rows, strict=True))
    if len(set(groups[same])) < 2 or len(set(groups[similarity > 0])) < 2:
        return
    detection = cross_validate_threshold(similarity, same, groups, replicates=20)
    kept = np.zeros(len(rows), bool)
    for group in set(groups):
        kept[groups == group] = similarity[groups == group] >= best_threshold(
            similarity[groups != group], same[groups != group]
        )
    assert detection.recall.value == pytest.approx((kept & same).sum() / same.sum())
    if kept.any():
        assert detection.precision.value == pytest.approx((kept & same).sum() / kept.sum())


def test_correlations_equal_numpy_and_ignore_repeated_items():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, 60).astype(float)
    y = np.exp(x + rng.normal(size=60))
    pearson, spearman = correlations(x, y, np.arange(60))
    assert pearson.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert spearman.value == pytest.approx(np.corrcoef(ranks(x), ranks(y))[0, 1])
    assert pearson.low < pearson.value < pearson.high and spearman.low < spearman.value < spearman.high
    thrice = correlations(*(np.repeat(row, 3) for row in (x, y)), np.repeat(np.arange(60), 3))
    for one, other in zip((pearson, spearman), thrice, strict=True):  # repeated items add no evidence
        assert astuple(other) == pytest.approx(astuple(one), abs=1e-9)
    assert ranks([3, 1, 3]).tolist() == [2.5, 1, 2.5]


def test_ranks_of_ties_keep_their_sum():
    for values in combinations([1, 1, 2, 3, 3], 4):
        assert ranks(values).sum() == 10


def test_correlations_leave_out_resamples_without_variance():
    # Resamples that repeat one of the three items have no variance; the others give ±1 or the value of all three.
    x, y = np.array([0.1, 0.7, 0.3]) / 3, np.array([1.1, 2.3, 7.9]) / 7
    pearson, _ = correlations(x, y, np.arange(3), replicates=400)
    assert -1 - 1e-9 <= pearson.low <= pearson.high <= 1 + 1e-9


def test_best_threshold_between_adjacent_floats_is_the_higher():
    low = 0.1
    for _ in range(20):
        high = np.nextafter(low, 1)
        assert best_threshold([high, low], [True, False]) == high
        low = high
