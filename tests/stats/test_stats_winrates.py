"""Win rates, rates at equal length, agreement and differences: properties that hold for any data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

from momus.stats.agreement import agreement_interval, preference_agreement
from momus.stats.bootstrap import COUNT, SHARE, difference_interval, mean_interval, ratio_interval
from momus.stats.winrates import equal_length_rate, win_rate

GAMES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 6), st.integers(-300, 300)), min_size=1, max_size=40
)


def _split(games):
    return [list(column) for column in zip(*games, strict=True)]


def _ends(interval):
    return np.array([interval.value, interval.low, interval.high])


@given(GAMES)
def test_win_rates_of_both_sides_sum_to_one(games):
    won, prompts, _ = _split(games)
    ours, theirs = win_rate(won, prompts, replicates=50), win_rate(1 - np.array(won), prompts, replicates=50)
    np.testing.assert_allclose(_ends(ours.rate), (1 - _ends(theirs.rate))[[0, 2, 1]], atol=1e-12)
    np.testing.assert_array_equal(_ends(ours.ties), _ends(theirs.ties))


@given(GAMES)
@settings(max_examples=30)
def test_equal_length_rates_of_both_sides_sum_to_one(games):
    won, prompts, longer = _split(games)
    ours = equal_length_rate(won, longer, prompts, replicates=20)
    theirs = equal_length_rate(1 - np.array(won), -np.array(longer), prompts, replicates=20)
    np.testing.assert_allclose(_ends(ours), (1 - _ends(theirs))[[0, 2, 1]], atol=1e-6)


@given(GAMES, st.randoms(use_true_random=False))
def test_win_rate_ignores_game_order_and_prompt_names(games, random):
    shuffled = random.sample(games, len(games))
    before, after = _split(games), _split(shuffled)
    one = win_rate(before[0], before[1], replicates=50)
    other = win_rate(after[0], [3 * name + 7 for name in after[1]], replicates=50)
    np.testing.assert_allclose(_ends(one.rate), _ends(other.rate), atol=1e-12)
    assert one.rate.value == pytest.approx(np.mean(before[0]))
    assert (one.games, one.prompts) == (len(games), len(set(before[1])))


def test_equal_length_rate_is_the_win_rate_where_lengths_are_equal():
    rng = np.random.default_rng(0)
    won, prompts = rng.choice([0, 0.5, 1], 200, p=[0.3, 0.2, 0.5]), np.arange(200) % 60
    level = equal_length_rate(won, np.full(200, 0), prompts)
    plain = win_rate(won, prompts).rate
    np.testing.assert_allclose(_ends(level), _ends(plain), atol=1e-3)


def test_equal_length_rate_removes_a_length_preference():
    # The systems are as good as each other, but the first writes more and the rater likes that.
    rng = np.random.default_rng(1)
    longer = rng.normal(200, 200, 4000)
    won = (rng.random(4000) < 1 / (1 + np.exp(-2 * np.tanh(longer / 283)))).astype(float)
    assert win_rate(won, np.arange(4000), replicates=50).rate.low > 0.65
    level = equal_length_rate(won, longer, np.arange(4000), replicates=50)
    assert level.low < 0.5 < level.high and level.high - level.low < 0.1


def test_win_rate_interval_covers_the_truth_with_correlated_judgements_of_a_prompt():
    # Prompts differ in win probability (0.6 on average) and have four raters: resampling raters is too narrow.
    rng = np.random.default_rng(2)
    covered, naive = 0, 0
    for trial in range(200):
        chance = rng.beta(0.6, 0.4, 60)
        won = (rng.random((60, 4)) < chance[:, None]).astype(float).ravel()
        clustered = win_rate(won, np.repeat(np.arange(60), 4), replicates=200, seed=trial).rate
        covered += clustered.low <= 0.6 <= clustered.high
        apart = win_rate(won, np.arange(240), replicates=200, seed=trial).rate
        naive += apart.low <= 0.6 <= apart.high
    assert 0.91 <= covered / 200 <= 0.98
    assert naive < covered - 20


@pytest.mark.parametrize("prompts", [1, 2, 10, 60])
def test_win_rate_interval_of_games_all_won_is_exact(prompts):
    rate = win_rate(np.ones(prompts), np.arange(prompts)).rate
    # With a true rate at the lower end, this many wins in a row have a chance of 1 in 40.
    assert rate.low**prompts == pytest.approx(0.025) and rate.value == rate.high == 1
    assert equal_length_rate(np.ones(prompts), np.arange(prompts), np.arange(prompts)) == rate


def test_win_rate_interval_of_one_prompt_spans_almost_everything():
    rate = win_rate([1, 0, 0.5], [4, 4, 4]).rate
    np.testing.assert_allclose(_ends(rate), [0.5, 0.0125, 0.9875])


def test_labelers_who_always_agree_have_the_exact_lower_end():
    interval, pairs = agreement_interval([[([1, 2], [1, 2])]] * 10)
    assert (interval.value, interval.high, pairs) == (1, 1, 10)
    assert interval.low**10 == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("outcomes", "differences"),
    [
        ([1, 0, 1, 0], [50, 50, 50, 50]),  # one length only: is it the length or the system?
        ([1, 1, 0, 0], [30, 20, 10, 5]),  # every game won is of a longer answer than any lost
        ([1, 1, 0, 0], [-30, -20, 10, 5]),
        ([0.5, 0.5], [10, 10]),
    ],
)
def test_rate_at_equal_length_is_not_determined_where_length_decides(outcomes, differences):
    assert np.isnan(equal_length_rate(outcomes, differences, np.arange(len(outcomes))).value)
    assert np.isfinite(win_rate(outcomes, np.arange(len(outcomes))).rate.low)


@given(st.floats(0, 1), st.integers(1, 30), st.floats(0.05, 3), st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-2.0, 5.0)]))
def test_ratio_interval_of_equal_tasks_is_exact(place, tasks, size, bounds):
    least, most = bounds
    value = least + place * (most - least)
    interval = ratio_interval(np.full(tasks, value * size), np.full(tasks, size), bounds=bounds, replicates=20)
    assert (
        least - 1e-9 <= interval.low <= interval.value + 1e-9 and interval.value - 1e-9 <= interval.high <= most + 1e-9
    )
    # With the rarest others that there may be, at the very ends, so many tasks the same come up in one case of 40.
    assert (1 - (interval.high - interval.low) / (most - least)) ** tasks == pytest.approx(0.025)


@given(st.integers(0, 4), st.integers(1, 30))
def test_mean_interval_of_equal_counts_is_the_exact_one_of_a_poisson_mean(value, tasks):
    interval = mean_interval(np.full(tasks, value), bounds=COUNT, replicates=20)
    total = value * tasks
    assert interval.value == value
    assert poisson.cdf(total, interval.high * tasks) == pytest.approx(0.025)
    assert interval.low == 0 if not value else poisson.sf(total - 1, interval.low * tasks) == pytest.approx(0.025)


@given(st.floats(-5, 5), st.integers(1, 30))
def test_mean_interval_of_equal_values_without_bounds_has_no_ends(value, tasks):
    interval = mean_interval(np.full(tasks, value), replicates=20)
    assert interval.value == pytest.approx(value) and not interval.has_ends
    ones = np.ones(tasks)
    assert not difference_interval((value * ones, ones), (0 * ones, ones), replicates=20).has_ends


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30).filter(lambda values: len(set(values)) > 1))
def test_bounds_do_not_change_the_interval_of_tasks_that_differ(values):
    shares = np.array(values) / 3
    assert mean_interval(shares, bounds=SHARE) == mean_interval(shares)


@pytest.mark.parametrize("outcomes", [[0.7], [np.nan], [[1.0]]])
def test_win_rate_refuses_invalid_outcomes(outcomes):
    with pytest.raises(ValueError, match="outcome"):
        win_rate(outcomes, [0])


@given(
    st.lists(
        st.lists(st.tuples(st.lists(st.integers(1, 3), min_size=3, max_size=3),
                           st.lists(st.integers(1, 3), min_size=3, max_size=3)), max_size=3),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_agreement_interval_value_is_preference_agreement_of_all_pairs(tasks):
    interval, pairs = agreement_interval(tasks, replicates=20)
    together = [pair for pairs_of_task in tasks for pair in pairs_of_task]
    assert pairs == 3 * len(together)
    decided = any((a[i] - a[j]) * (b[i] - b[j]) for a, b in together for i in range(3) for j in range(i))
    if not decided:  # labelers who always tie: one half would be made of ties alone
        assert np.isnan([interval.value, interval.low, interval.high]).all()
    else:
        assert interval.value == pytest.approx(preference_agreement(together))
        assert interval.low - 1e-12 <= interval.value <= interval.high + 1e-12
        swapped, _ = agreement_interval([[(b, a) for a, b in pairs_of_task] for pairs_of_task in tasks], replicates=20)
        assert swapped == interval


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_difference_interval_of_means_is_the_mean_interval_of_differences(pairs):
    first, second = np.array(pairs).T
    ones = np.ones(len(pairs))
    paired = difference_interval((first, ones), (second, ones), replicates=40)
    np.testing.assert_allclose(_ends(paired), _ends(mean_interval(first - second, replicates=40)), atol=1e-9)
    back = difference_interval((second, ones), (first, ones), replicates=40)
    np.testing.assert_allclose(_ends(back), -_ends(paired)[[0, 2, 1]], atol=1e-9)


def test_difference_interval_value_is_the_difference_of_ratios():
    rng = np.random.default_rng(3)
    tops, bottoms = rng.integers(0, 4, (2, 50)), rng.integers(4, 8, (2, 50))
    interval = difference_interval((tops[0], bottoms[0]), (tops[1], bottoms[1]))
    each = [ratio_interval(top, bottom).value for top, bottom in zip(tops, bottoms, strict=True)]
    assert interval.value == pytest.approx(each[0] - each[1])
    assert interval.low < interval.value < interval.high
    assert np.isnan(difference_interval((tops[0], bottoms[0]), (tops[1], 0 * bottoms[1])).value)
