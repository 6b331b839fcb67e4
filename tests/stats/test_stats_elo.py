import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.stats.bootstrap import resamples
from momus.stats.elo import bootstrap_elo, fit_elo, reachable, wins_by_task


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
    assert not result.has_undetermined


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


MATRICES = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 5) | st.just(0), min_size=n * n, max_size=n * n), st.permutations(range(n))
    )
)


def _matrix(counts, size):
    return np.array(counts, dtype=float).reshape(size, size) * (1 - np.eye(size))


def _below(wins, start):
    """The systems that a chain of wins leads to, by graph search."""
    seen, todo = {start}, [start]
    while todo:
        for other in np.flatnonzero(wins[todo.pop()]).tolist():
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen


@settings(max_examples=50, deadline=None)
@given(MATRICES)
def test_fit_elo_ignores_system_order_and_matches_win_counts(case):
    counts, order = case
    wins, names = _matrix(counts, len(order)), [f"s{i}" for i in range(len(order))]
    if not wins.sum():
        with pytest.raises(UserError):
            fit_elo(wins, names)
        return
    one = fit_elo(wins, names)
    two = fit_elo(wins[np.ix_(order, order)], [names[i] for i in order])
    for name in names:
        assert two.of(name) == pytest.approx(one.of(name), abs=0.05, nan_ok=True)
    # At the maximum every rated system wins as often against the others as its rating says.
    rated = np.isfinite(one.rating)
    inside, rating = wins[np.ix_(rated, rated)], np.array(one.rating)[rated]
    chance = 1 / (1 + 10 ** ((rating[None] - rating[:, None]) / 400))
    expected = ((inside + inside.T) * chance).sum(1)
    np.testing.assert_allclose(expected, inside.sum(1), atol=1e-3)


@settings(max_examples=100, deadline=None)
@given(MATRICES)
def test_only_systems_with_chains_of_wins_both_ways_are_rated(case):
    counts, order = case
    size = len(order)
    wins, names = _matrix(counts, size), [f"s{i}" for i in range(size)]
    below = [_below(wins, system) for system in range(size)]
    if not wins.sum():
        return
    anchored = fit_elo(wins, names, anchor="s0").rating
    for system, rating in enumerate(anchored):
        up, down = 0 in below[system], system in below[0]
        assert (
            np.isfinite(rating)
            if up and down
            else rating == np.inf
            if up
            else (rating == -np.inf if down else np.isnan(rating))
        )
    rated = set(np.flatnonzero(np.isfinite(fit_elo(wins, names).rating)).tolist())
    classes = {frozenset(j for j in below[i] if i in below[j]) for i in range(size)}
    largest = max(map(len, classes))
    assert rated in [set(item) for item in classes if len(item) == largest] if largest > 1 else not rated


@pytest.mark.parametrize(
    ("wins", "rating"),
    [
        ([[0, 5, 5], [0, 0, 3], [0, 2, 0]], (np.inf, 35.2, -35.2)),  # a undefeated
        ([[0, 3, 5], [2, 0, 5], [0, 0, 0]], (35.2, -35.2, -np.inf)),  # c winless
        ([[0, 3, 0], [2, 0, 0], [0, 0, 0]], (35.2, -35.2, np.nan)),  # c never met
        ([[0, 3, 0], [2, 0, 0], [0, 0, 0]], (35.2, -35.2, np.nan)),
        ([[0, 4, 0], [0, 0, 4], [0, 0, 0]], (np.inf, np.nan, -np.inf)),  # nobody won and lost against the same
        ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], (0, 0, np.nan)),
    ],
)
def test_ratings_that_games_do_not_determine_are_not_finite(wins, rating):
    result = fit_elo(np.array(wins), list("abc"))
    np.testing.assert_allclose(result.rating, rating, atol=0.1)
    assert result.has_undetermined
    boot = bootstrap_elo(np.array(wins)[None] / 1, list("abc"), replicates=10)
    np.testing.assert_allclose(boot.rating, rating, atol=0.1)


def test_two_halves_that_never_met_are_not_compared():
    wins = np.zeros((20, 4, 4))
    wins[:, 0, 1], wins[:, 2, 3] = 1, 1
    wins[:8, 1, 0], wins[:5, 3, 2] = 1, 1
    result = bootstrap_elo(wins, list("abcd"), anchor="d", replicates=50)
    assert np.isnan(result.rating[:2]).all() and np.isnan(result.low[:2] + result.high[:2]).all()
    assert result.low[2] > 0 and result.of("d") == result.low[3] == result.high[3] == 0


@pytest.mark.parametrize("tasks", [1, 3, 20])
def test_an_undefeated_system_has_the_exact_lower_end(tasks):
    wins = np.zeros((tasks, 2, 2))
    wins[:, 0, 1] = 1
    result = bootstrap_elo(wins, ["a", "b"], anchor="b", replicates=20)
    share = 0.025 ** (1 / tasks)  # with this chance of winning, all are won in one case of 40
    assert result.rating == (np.inf, 0) and result.high[0] == np.inf
    assert result.low[0] == pytest.approx(400 * np.log10(share / (1 - share)))
    mirrored = bootstrap_elo(wins.transpose(0, 2, 1), ["a", "b"], anchor="b", replicates=20)
    assert mirrored.rating[0] == mirrored.low[0] == -np.inf
    assert mirrored.high[0] == pytest.approx(-result.low[0])


def test_one_defeat_in_six_tasks_leaves_the_upper_end_open():
    wins = np.zeros((6, 2, 2))
    wins[:5, 0, 1] = 1
    wins[5, 1, 0] = 1
    result = bootstrap_elo(wins, ["a", "b"], replicates=300)
    assert result.rating == pytest.approx((200 * np.log10(5), -200 * np.log10(5)), abs=0.1)
    # A third of the resamples has no defeat: no rating is too high for them.
    assert result.prior_share == pytest.approx((5 / 6) ** 6, abs=0.12)
    assert result.high[0] == np.inf and result.low[1] == -np.inf
    assert np.isfinite([result.low[0], result.high[1]]).all()


@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.booleans(), min_size=n * n, max_size=n * n)))
def test_reachable_equals_graph_search(edges):
    size = int(len(edges) ** 0.5)
    wins = np.array(edges, dtype=float).reshape(size, size)
    assert [set(np.flatnonzero(row)) for row in reachable(wins)] == [_below(wins, system) for system in range(size)]


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


@pytest.mark.parametrize(("tasks", "wins"), [(6, 0.5), (1, 1), (1, 0.5), (9, 2)])
def test_tasks_that_all_say_the_same_give_a_rating_without_an_interval(tasks, wins):
    per_task = np.tile([[0.0, wins], [wins, 0.0]], (tasks, 1, 1))
    rated = bootstrap_elo(per_task, ["a", "b"], replicates=200)
    assert rated.rating == pytest.approx((0, 0)) and not any(rated.interval(name).has_ends for name in "ab")
    anchored = bootstrap_elo(per_task, ["a", "b"], anchor="a", replicates=200)
    assert anchored.interval("a") == (0, 0, 0) or anchored.interval("a").has_ends  # by definition
    assert not anchored.interval("b").has_ends
