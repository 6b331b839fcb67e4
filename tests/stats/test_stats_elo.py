import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.stats.bootstrap import resamples
from momus.stats.elo import PRIOR_WINS, bootstrap_elo, fit_elo, is_connected, wins_by_task


def simulate(truth, tasks, seed):
    """Win counts of four systems compared on every task, each pair once, drawn from the model."""
    rng = np.random.default_rng(seed)
    size = len(truth)
    wins = np.zeros((tasks, size, size))
    for task in range(tasks):
        for a in range(size):
            for b in range(a + 1, size):
                first = float(rng.random() < 1 / (1 + 10 ** ((truth[b] - truth[a]) / 400)))
                wins[task, a, b], wins[task, b, a] = first, 1 - first
    return wins


def test_fit_elo_of_two_systems_has_the_closed_form():
    result = fit_elo(np.array([[0, 75], [25, 0]]), ["a", "b"], anchor="b")
    assert result.of("a") == pytest.approx(400 * np.log10(3), abs=1e-3)
    assert result.of("b") == 0
    assert result.games == (100, 100)
    assert result.prior == 0


def test_bootstrap_elo_intervals_cover_the_truth():
    truth = np.array([-150.0, -40.0, 40.0, 150.0])
    covered = []
    for seed in range(15):
        result = bootstrap_elo(simulate(truth, 150, seed), list("abcd"), replicates=200, seed=seed)
        covered += [low <= t <= high for t, low, high in zip(truth, result.low, result.high, strict=True)]
    # 60 correlated intervals at 95%: 48 would be far below what coverage of 0.95 gives by chance.
    assert sum(covered) >= 49
    assert sum(result.rating) == pytest.approx(0, abs=1e-6)


def test_bootstrap_elo_replicates_are_fits_of_resampled_games():
    wins = simulate([0, 60, 120], 40, 3)
    (weights,) = resamples(40, 20, 7)
    alone = [fit_elo(np.tensordot(w, wins, 1), list("abc")).rating for w in weights]
    low, high = np.quantile(alone, [0.025, 0.975], axis=0)
    result = bootstrap_elo(wins, list("abc"), replicates=20, seed=7)
    np.testing.assert_allclose(result.low, low, atol=1e-2)
    np.testing.assert_allclose(result.high, high, atol=1e-2)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 6).flatmap(
        lambda n: st.tuples(st.lists(st.integers(0, 5), min_size=n * n, max_size=n * n), st.permutations(range(n)))
    )
)
def test_fit_elo_ignores_system_order_and_matches_win_counts(case):
    counts, order = case
    size = len(order)
    wins = np.array(counts, dtype=float).reshape(size, size) * (1 - np.eye(size))
    names = [f"s{i}" for i in range(size)]
    if not wins.sum():
        with pytest.raises(UserError):
            fit_elo(wins, names)
        return
    one = fit_elo(wins, names)
    two = fit_elo(wins[np.ix_(order, order)], [names[i] for i in order])
    for name in names:
        assert two.of(name) == pytest.approx(one.of(name), abs=0.05)
    # At the maximum every system wins as often as its rating says.
    padded = wins + one.prior * (1 - np.eye(size))
    rating = np.array(one.rating)
    chance = 1 / (1 + 10 ** ((rating[None] - rating[:, None]) / 400))
    expected = ((padded + padded.T) * chance * (1 - np.eye(size))).sum(1)
    np.testing.assert_allclose(expected, padded.sum(1), atol=1e-3)


@pytest.mark.parametrize(
    "wins",
    [
        [[0, 5, 5], [0, 0, 3], [0, 2, 0]],  # a undefeated
        [[0, 3, 5], [2, 0, 5], [0, 0, 0]],  # c winless
        [[0, 3, 0], [2, 0, 0], [0, 0, 0]],  # c never met
    ],
)
def test_fit_elo_reports_the_prior_when_games_do_not_suffice(wins):
    result = fit_elo(np.array(wins), list("abc"))
    assert result.prior == PRIOR_WINS
    assert np.isfinite(result.rating).all()
    assert result.of("a") > result.of("c")
    boot = bootstrap_elo(np.array(wins)[None], list("abc"), replicates=10)
    assert boot.prior_share == 1 and np.isfinite(boot.low + boot.high).all()


def test_bootstrap_elo_adds_the_prior_to_resamples_that_lose_a_link():
    wins = np.zeros((6, 2, 2))
    wins[:5, 0, 1] = 1
    wins[5, 1, 0] = 1
    result = bootstrap_elo(wins, ["a", "b"], replicates=300)
    assert result.prior == 0
    assert result.prior_share == pytest.approx((5 / 6) ** 6, abs=0.12)
    assert np.isfinite(result.high).all()


@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.booleans(), min_size=n * n, max_size=n * n)))
def test_is_connected_equals_graph_search(edges):
    size = int(len(edges) ** 0.5)
    wins = np.array(edges, dtype=float).reshape(size, size)

    def reached(start):
        seen, todo = {start}, [start]
        while todo:
            for other in np.flatnonzero(wins[todo.pop()]).tolist():
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        return seen

    assert bool(is_connected(wins)) == all(len(reached(s)) == size for s in range(size))


def test_wins_by_task_counts_ties_as_halves_and_groups_tasks():
    wins = wins_by_task(
        [("t", [("a", 5), ("b", 3), ("a", 1)]), ("u", [("a", 2), ("b", 2)]), ("t", [("b", 7), ("a", 1)])],
        ["a", "b"],
    )
    np.testing.assert_array_equal(wins, [[[0, 1], [2, 0]], [[0, 0.5], [0.5, 0]]])


def test_elo_refuses_too_few_systems_no_games_and_unknown_anchors():
    with pytest.raises(UserError, match="two systems"):
        fit_elo(np.zeros((1, 1)), ["a"])
    with pytest.raises(UserError, match="at least one comparison"):
        bootstrap_elo(np.zeros((0, 2, 2)), ["a", "b"])
    with pytest.raises(UserError, match="anchor"):
        fit_elo(np.ones((2, 2)), ["a", "b"], anchor="c")
