"""Measures of overlap against their definitions by brute force, and the relations between them."""

from __future__ import annotations

from dataclasses import astuple
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from momus.stats.detection import auc, average_precision, best_threshold, correlations, cross_validated, ranks
from momus.stats.overlap import derangement, log_ratio_interval, one_to_one, overlap

TABLES = arrays.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5)))
LIKENESS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=12)


def brute_force_matching(kept):
    rows, columns = kept.shape
    if rows > columns:
        return brute_force_matching(kept.T)
    return max(sum(kept[i, j] for i, j in enumerate(order)) for order in permutations(range(columns), rows))


@given(TABLES)
def test_the_largest_matching_is_that_of_brute_force(kept):
    assert one_to_one(kept) == brute_force_matching(kept)


@given(TABLES)
def test_how_the_measures_relate(kept):
    here, there = overlap(kept), overlap(kept.T)
    assert (here.overlap, here.jaccard, here.dice) == (there.overlap, there.jaccard, there.dice)
    assert 0 <= here.jaccard <= here.dice <= here.overlap <= 1
    assert here.jaccard == pytest.approx(here.dice / (2 - here.dice))
    assert here.hit_rate == sum(any(row) for row in kept.tolist()) / len(kept)
    if kept.sum(0).max() <= 1 and kept.sum(1).max() <= 1:  # one to one as it is
        assert here.overlap == pytest.approx(max(here.hit_rate, there.hit_rate))


@given(st.integers(1, 6), TABLES)
def test_a_list_against_itself_is_one(size, kept):
    itself = np.eye(size, dtype=bool)
    itself[: min(size, len(kept)), : min(size, kept.shape[1])] |= kept[:size, :size]
    own = overlap(itself)
    assert (own.hit_rate, own.overlap, own.jaccard, own.dice) == (1, 1, 1, 1)


@given(TABLES, st.data())
def test_fewer_matches_never_raise_a_measure(kept, data):
    fewer = kept & data.draw(arrays.arrays(bool, kept.shape))
    more, less = overlap(kept), overlap(fewer)
    assert less.hit_rate <= more.hit_rate and less.overlap <= more.overlap and less.jaccard <= more.jaccard


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_without_points_everything_is_undefined(shape):
    own = overlap(np.zeros(shape, bool))
    assert all(np.isnan([own.hit_rate, own.overlap, own.jaccard, own.dice]))


@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(0, 5))
def test_everybody_gets_another_of_the_same_stratum_once(strata, seed):
    given_ = derangement(strata, seed)
    dealt = [there for there in given_ if there is not None]
    assert len(set(dealt)) == len(dealt)
    for here, there in enumerate(given_):
        if there is None:
            assert strata.count(strata[here]) == 1
        else:
            assert there != here and strata[there] == strata[here]


def test_ratios_of_frequencies():
    mine, theirs = ([2, 0, 1, 1], [4, 4, 4, 4]), ([4, 4, 4, 4], [8, 8, 8, 8])
    found = log_ratio_interval(mine, theirs)
    assert found.value == pytest.approx(np.log(0.5)) and found.low <= found.value <= found.high
    back = log_ratio_interval(theirs, mine)
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))
    never = log_ratio_interval(([0, 0], [3, 3]), ([1, 1], [3, 3]))
    assert np.isnan([never.value, never.low, never.high]).all()
    rare = log_ratio_interval(([1, 0, 0], [3, 3, 3]), ([1, 1, 1], [3, 3, 3]))
    assert np.isfinite(rare.value) and rare.low == -np.inf


@given(LIKENESS)
def test_ranking_measures_are_those_of_all_pairs(pairs):
    likeness, same = zip(*pairs, strict=True)
    positive = [x for x, truth in pairs if truth]
    negative = [x for x, truth in pairs if not truth]
    if positive and negative:
        wins = [(x > y) + (x == y) / 2 for x in positive for y in negative]
        assert auc(likeness, same) == pytest.approx(np.mean(wins))
    else:
        assert np.isnan(auc(likeness, same))
    if positive:
        precision = [np.mean([truth for y, truth in pairs if y >= x]) for x in positive]
        assert average_precision(likeness, same) == pytest.approx(np.mean(precision))


@given(LIKENESS)
def test_no_threshold_has_a_better_f1(pairs):
    likeness, same = map(np.array, zip(*pairs, strict=True))
    if not same.any() or not likeness.any():
        return

    def f1(cut):
        return 2 * (same & (likeness >= cut)).sum() / ((likeness >= cut).sum() + same.sum())

    assert f1(best_threshold(likeness, same)) == pytest.approx(max(f1(cut) for cut in likeness if cut))
    assert best_threshold(likeness, same) > 0


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 3)), min_size=4, max_size=24))
def test_no_group_is_judged_by_a_threshold_that_saw_it(rows):
    likeness, same, groups = map(np.array, zip(*rows, strict=True))
    if len(set(groups[same])) < 2 or len(set(groups[likeness > 0])) < 2:
        return
    found = cross_validated(likeness, same, groups, replicates=20)
    kept = np.zeros(len(rows), bool)
    for group in set(groups):
        kept[groups == group] = likeness[groups == group] >= best_threshold(
            likeness[groups != group], same[groups != group]
        )
    assert found.recall.value == pytest.approx((kept & same).sum() / same.sum())
    if kept.any():
        assert found.precision.value == pytest.approx((kept & same).sum() / kept.sum())


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, 60).astype(float)
    y = np.exp(x + rng.normal(size=60))
    pearson, spearman = correlations(x, y, np.arange(60))
    assert pearson.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert spearman.value == pytest.approx(np.corrcoef(ranks(x), ranks(y))[0, 1])
    assert pearson.low < pearson.value < pearson.high and spearman.low < spearman.value < spearman.high
    thrice = correlations(*(np.repeat(own, 3) for own in (x, y)), np.repeat(np.arange(60), 3))
    for one, other in zip((pearson, spearman), thrice, strict=True):  # the same items three times are no more evidence
        assert astuple(other) == pytest.approx(astuple(one), abs=1e-9)
    assert ranks([3, 1, 3]).tolist() == [2.5, 1, 2.5]


def test_ranks_of_ties_sum_as_without_ties():
    for values in combinations([1, 1, 2, 3, 3], 4):
        assert ranks(values).sum() == 10


def test_what_rounding_leaves_of_no_spread_is_no_correlation():
    # Resamples of one of three items only have no spread; what is left are two points or three: ±1, or that of all.
    x, y = np.array([0.1, 0.7, 0.3]) / 3, np.array([1.1, 2.3, 7.9]) / 7
    pearson, _ = correlations(x, y, np.arange(3), replicates=400)
    assert -1 - 1e-9 <= pearson.low <= pearson.high <= 1 + 1e-9


def test_between_neighbours_the_higher_is_the_threshold():
    low = 0.1
    for _ in range(20):
        high = np.nextafter(low, 1)
        assert best_threshold([high, low], [True, False]) == high
        low = high
