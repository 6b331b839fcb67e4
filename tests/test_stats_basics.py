import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.stats.agreement import cohen_kappa, ordinal_alpha, preference_agreement
from momus.stats.bootstrap import mean_interval, multinomial_weights, ratio_interval
from momus.stats.pareto import pareto_front


def test_weights_resample_all_tasks():
    weights = multinomial_weights(7, 50, 1)
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    assert (weights == multinomial_weights(7, 50, 1)).all()
    assert (weights != multinomial_weights(7, 50, 2)).any()


def test_coverage_of_clustered_means():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        sizes = rng.integers(1, 6, 60)
        effect = rng.normal(0.5, 0.2, 60)
        hits = rng.binomial(sizes, np.clip(effect, 0, 1))
        interval = ratio_interval(hits, sizes, replicates=300, seed=trial)
        covered += interval.low <= 0.5 <= interval.high
    # 200 draws at 0.95: mean 190, standard deviation 3.1.
    assert 177 <= covered <= 199


def test_ratio_ignores_resamples_without_a_denominator():
    interval = ratio_interval([1, 0, 0], [2, 0, 0], replicates=200)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.5, 0.5)
    assert np.isnan(ratio_interval([0, 0], [0, 0]).value)
    assert np.isnan(mean_interval([]).low)
    with pytest.raises(ValueError):
        ratio_interval([1], [1, 2])


def test_interval_of_a_mean_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(3, 1, 400)
    interval = mean_interval(values)
    error = values.std() / 20
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(3.92 * error, rel=0.15)


scores = st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=2, max_size=4)


@given(scores)
def test_preference_agreement_is_the_expectation_over_tie_breaks(pairs):
    first, second = zip(*pairs, strict=True)
    brute = []
    for i in range(len(pairs)):
        for j in range(i):
            one = [np.sign(first[i] - first[j])] if first[i] != first[j] else [-1, 1]
            two = [np.sign(second[i] - second[j])] if second[i] != second[j] else [-1, 1]
            brute.append(np.mean([a == b for a in one for b in two]))
    assert preference_agreement([(first, second)]) == pytest.approx(np.mean(brute))


def test_preference_agreement_of_nothing():
    assert np.isnan(preference_agreement([]))


def test_alpha_on_krippendorffs_worked_example():
    # "Computing Krippendorff's Alpha-Reliability" (2011), section D: four observers, twelve units, gaps.
    gap = np.nan
    ratings = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, gap, gap, gap],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gap, 3],
        [gap, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gap],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gap],
    ]
    assert ordinal_alpha(ratings) == pytest.approx(0.815, abs=5e-4)


def test_alpha_by_hand():
    # Two raters, units (1,1) and (2,1): value counts 3 and 1, disagreement in one of two units.
    # distance(1, 2) = ((3 + 1) / 2) ** 2 = 4; observed 2 * 4 / 4 = 2; expected 2 * 3 * 1 * 4 / (4 * 3) = 2.
    assert ordinal_alpha([[1, 2], [1, 1]]) == pytest.approx(0)
    assert ordinal_alpha([[1, 5, 7], [1, 5, 7]]) == pytest.approx(1)
    assert np.isnan(ordinal_alpha([[3, 3], [3, 3]]))
    assert np.isnan(ordinal_alpha([[1, np.nan], [np.nan, 2]]))


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, chance 0.5.
    first = ["y"] * 25 + ["n"] * 25
    second = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    with pytest.raises(ValueError):
        cohen_kappa([], [])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_pareto_front_equals_brute_force(points):
    recall = [r for r, _ in points]
    false = [f for _, f in points]
    brute = [not any(r2 >= r and f2 <= f and (r2 > r or f2 < f) for r2, f2 in points) for r, f in points]
    assert pareto_front(recall, false).tolist() == brute
