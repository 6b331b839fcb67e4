import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.stats import bootstrap
from momus.stats.agreement import preference_agreement
from momus.stats.bootstrap import mean_interval, ratio_interval, resampled, resamples
from momus.stats.pareto import pareto_front


@pytest.mark.parametrize(("tasks", "replicates"), [(1, 5), (7, 50), (3000, 800), (20_000, 60)])
def test_resamples_are_multinomial_and_reproducible(tasks, replicates):
    weights = np.concatenate(list(resamples(tasks, replicates, 1)))
    assert weights.shape == (replicates, tasks)
    assert (weights.sum(1) == tasks).all()
    assert (weights == np.concatenate(list(resamples(tasks, replicates, 1)))).all()
    assert tasks == 1 or (weights != np.concatenate(list(resamples(tasks, replicates, 2)))).any()
    # Of a multinomial with equal chances every count has the mean 1 and the variance 1 - 1 / tasks.
    assert weights.var() == pytest.approx(1 - 1 / tasks, rel=0.1, abs=1e-9)
    assert tasks == 1 or abs(np.corrcoef(weights[0], weights[-1])[0, 1]) < 5 / (tasks - 1) ** 0.5
    totals = np.random.default_rng(0).normal(size=(2, tasks))
    np.testing.assert_allclose(resampled(totals, replicates, 1), totals @ weights.T, atol=1e-9)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 300))
def test_resamples_do_not_depend_on_the_block_size(tasks, replicates, cells):
    whole = np.random.default_rng(3).multinomial(tasks, np.full(tasks, 1 / tasks), size=replicates)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "_CELLS", cells)
        np.testing.assert_array_equal(np.concatenate(list(resamples(tasks, replicates, 3))), whole)


@pytest.mark.parametrize("tasks", [9_000, 150_000])
def test_mean_interval_memory_does_not_grow_with_tasks(tasks):
    values = np.random.default_rng(0).normal(size=tasks)
    tracemalloc.start()
    interval = mean_interval(values, replicates=9_000_000 // tasks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20
    assert interval.high - interval.low == pytest.approx(3.92 * values.std() / tasks**0.5, rel=0.3)


def test_ratio_interval_covers_clustered_means():
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


def test_ratio_interval_ignores_resamples_without_a_denominator():
    interval = ratio_interval([1, 0, 0], [2, 0, 0], replicates=200)
    assert interval.value == 0.5 and not interval.has_ends
    assert np.isnan(ratio_interval([0, 0], [0, 0]).value)
    assert np.isnan(mean_interval([]).low)
    with pytest.raises(ValueError):
        ratio_interval([1], [1, 2])


def test_mean_interval_is_two_standard_errors_to_either_side():
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


def test_preference_agreement_without_pairs_is_nan():
    assert np.isnan(preference_agreement([]))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8))
def test_pareto_front_equals_brute_force(points):
    recall = [r for r, _ in points]
    false = [f for _, f in points]
    brute = [not any(r2 >= r and f2 <= f and (r2 > r or f2 < f) for r2, f2 in points) for r, f in points]
    assert pareto_front(recall, false).tolist() == brute
