"""Krippendorff's alpha, Kendall's W and tau-b against worked examples, their definitions and other programs."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from momus.stats.agreement import kendall_tau_b, kendall_w, krippendorff_alpha

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units.

OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(level, alpha):
    assert krippendorff_alpha(OBSERVERS, level) == pytest.approx(alpha, abs=5e-4)


RATINGS = st.integers(2, 4).flatmap(
    lambda units: st.lists(
        st.lists(st.one_of(st.none(), st.integers(1, 7)), min_size=units, max_size=units), min_size=2, max_size=4
    )
)


@given(RATINGS)
def test_interval_alpha_is_one_minus_observed_over_expected_squares(ratings):
    units = [[v for v in unit if v is not None] for unit in zip(*ratings, strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    everything = [v for unit in units for v in unit]
    alpha = krippendorff_alpha(ratings, "interval")
    if len(set(everything)) < 2:
        assert math.isnan(alpha)
        return
    n = len(everything)
    observed = sum((a - b) ** 2 / (len(unit) - 1) for unit in units for a, b in product(unit, unit)) / n
    expected = sum((a - b) ** 2 for a, b in product(everything, everything)) / (n * (n - 1))
    assert alpha == pytest.approx(1 - observed / expected)


@given(RATINGS, st.permutations(range(7)))
def test_names_and_orders_do_not_matter(ratings, names):
    renamed = [[None if v is None else names[v - 1] for v in rater] for rater in ratings]
    for a, b in (
        (krippendorff_alpha(ratings, "nominal"), krippendorff_alpha(renamed, "nominal")),
        (krippendorff_alpha(ratings), krippendorff_alpha(ratings[::-1])),
        (krippendorff_alpha(ratings), krippendorff_alpha([rater[::-1] for rater in ratings])),
    ):
        assert a == pytest.approx(b, nan_ok=True)


@given(st.integers(2, 5).flatmap(
    lambda n: st.lists(st.permutations(range(n)), min_size=2, max_size=4)
))  # fmt: skip
def test_w_is_the_mean_spearman_correlation_rescaled(ranks):
    m = len(ranks)
    mean = np.mean([spearmanr(ranks[i], ranks[j])[0] for i in range(m) for j in range(i)])
    assert kendall_w(ranks) == pytest.approx((mean * (m - 1) + 1) / m)


def test_w_knows_ties_and_what_says_nothing():
    assert kendall_w([[1, 1, 3], [1, 1, 3]]) == pytest.approx(1)
    assert math.isnan(kendall_w([[1, 1], [1, 1]])) and math.isnan(kendall_w([[1, 2]]))


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        # Ten things without ties, counted pair by pair: C = 21, D = 24.
        ([7, 4, 3, 10, 6, 2, 9, 8, 1, 5], [5, 7, 3, 10, 1, 9, 6, 2, 8, 4], -3 / 45),
        # The same with ties, counted by hand: C = 3, D = 1; the first does not tie 5 of 6 pairs, nor does the second.
        ([1, 2, 2, 3], [1, 3, 2, 2], 2 / 5),
        ([1, 2, 3], [1, 2, 3], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 1, 1], [1, 2, 3], math.nan),
        ([1], [1], math.nan),
        ([], [], math.nan),
    ],
)
def test_tau_b_of_worked_examples(first, second, tau):
    assert kendall_tau_b(first, second) == pytest.approx(tau, nan_ok=True)
    assert kendall_tau_b(second, first) == pytest.approx(tau, nan_ok=True)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 7)), min_size=2, max_size=12))
def test_tau_b_is_what_counting_all_pairs_says(scores):
    first, second = zip(*scores, strict=True)
    pairs = [(a - c, b - d) for (a, b), (c, d) in combinations(scores, 2)]
    untied = sum(x != 0 for x, _ in pairs) * sum(y != 0 for _, y in pairs)
    alike, otherwise = sum(x * y > 0 for x, y in pairs), sum(x * y < 0 for x, y in pairs)
    expected = (alike - otherwise) / math.sqrt(untied) if untied else math.nan
    assert kendall_tau_b(first, second) == pytest.approx(expected, nan_ok=True)
    assert kendall_tau_b(first, [-value for value in second]) == pytest.approx(
        -kendall_tau_b(first, second), nan_ok=True
    )
    grown = [value**3 for value in first]
    assert kendall_tau_b(grown, second) == pytest.approx(kendall_tau_b(first, second), nan_ok=True)


def test_tau_b_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match="as many"):
        kendall_tau_b([1, 2], [1, 2, 3])
