"""Bradley-Terry ratings in Elo units, as CriticGPT reports them (arXiv 2407.00215, section 2.4 and figures).

    P(A beats B) = 1 / (1 + 10 ** ((R_B - R_A) / 400)),   a tie = half a win and half a loss

The ratings maximise the likelihood of a matrix of win counts, found by (limited-memory) BFGS: unlike online
Elo they do not depend on the order of the games. Intervals come from a nonparametric bootstrap over tasks.

A maximum exists only if a chain of wins leads from every system to every other. When a system is undefeated, winless
or was never compared, a *prior* of half a win each way is added to every pair of systems (as if each pair had tied
once) and the result says so; otherwise no prior is used.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from momus.errors import UserError
from momus.stats.bootstrap import LEVEL, REPLICATES, percentile_interval, resampled

ELO_PER_NAT = 400 / np.log(10)
PRIOR_WINS = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EloResult:
    """Ratings of all systems, in the order of `names`.

    Attributes:
        names: The systems.
        rating: Elo of each; they average 0, or the anchor is 0.
        low: Lower end of each interval (equal to `rating` without resampling).
        high: Upper end of each interval.
        games: Pairwise games each system took part in.
        prior: Wins added to each ordered pair to make the ratings finite; 0 when the games alone sufficed.
        prior_share: Share of the bootstrap replicates that needed the prior.
    """

    names: tuple[str, ...]
    rating: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    games: tuple[float, ...]
    prior: float
    prior_share: float = 0.0

    def of(self, name: str) -> float:
        """Return the rating of one system."""
        return self.rating[self.names.index(name)]


def wins_by_task(comparisons: Iterable[tuple[Hashable, Sequence[tuple[str, float]]]], names: Sequence[str]) -> Floats:
    """Turn scored comparisons into win counts.

    Args:
        comparisons: Pairs of a task and the (system, score) of everything compared there; the higher score
            wins each pair, equal scores are a tie, and two entries of one system are no game.
        names: The systems, in the order of the result's axes; all compared systems must be among them.

    Returns:
        `[tasks, systems, systems]`: `wins[t, a, b]` is how often a beat b on task t.
    """
    index = {name: i for i, name in enumerate(names)}
    tasks: dict[Hashable, Floats] = {}
    for task, entries in comparisons:
        wins = tasks.setdefault(task, np.zeros((len(names), len(names))))
        for place, (first, score) in enumerate(entries):
            for second, other in entries[place + 1 :]:
                if first != second:
                    share = 0.5 if score == other else float(score > other)
                    wins[index[first], index[second]] += share
                    wins[index[second], index[first]] += 1 - share
    return np.stack(list(tasks.values())) if tasks else np.zeros((0, len(names), len(names)))


def fit_elo(wins: Floats, names: Sequence[str], *, anchor: str | None = None) -> EloResult:
    """Rate systems from a matrix of win counts.

    Args:
        wins: `[systems, systems]`: `wins[a, b]` is how often a beat b, a tie counting half for each.
        names: The systems.
        anchor: The system rated 0; without one the ratings average 0.

    Raises:
        UserError: There are fewer than two systems, no games, or no system called `anchor`.
    """
    matrix = np.asarray(wins, dtype=float)
    _check(matrix, names, anchor)
    padded, prior = _with_prior(matrix[None])
    rating = tuple(_anchored(_maximise(padded), names, anchor)[0].tolist())
    games = tuple((matrix + matrix.T).sum(1).tolist())
    return EloResult(tuple(names), rating, rating, rating, games, PRIOR_WINS if prior[0] else 0.0)


def bootstrap_elo(
    wins: Floats,
    names: Sequence[str],
    *,
    anchor: str | None = None,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> EloResult:
    """Rate systems, with percentile intervals from resampling tasks.

    Args:
        wins: `[tasks, systems, systems]`, as `wins_by_task` returns.
        names: The systems.
        anchor: The system rated 0 in every replicate; without one the ratings average 0.
        replicates: Number of resamples of the tasks.
        level: Coverage of the intervals.
        seed: Seed of the resampling.

    Raises:
        UserError: As `fit_elo`.
    """
    per_task = np.asarray(wins, dtype=float)
    point = fit_elo(per_task.sum(0), names, anchor=anchor)
    size = len(names)
    drawn = resampled(per_task.reshape(len(per_task), -1).T, replicates, seed).T.reshape(replicates, size, size)
    # A resample may lose the only defeat of a system; the prior is added to it then.
    if point.prior:
        padded, needed = drawn + _drawn_once(size), np.ones(replicates, dtype=bool)
    else:
        padded, needed = _with_prior(drawn)
    start = np.array(point.rating) / ELO_PER_NAT
    draws = _anchored(_maximise(padded, start), names, anchor)
    low, high = percentile_interval(draws, level)
    return EloResult(
        names=point.names,
        rating=point.rating,
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        games=point.games,
        prior=point.prior,
        prior_share=float(needed.mean()),
    )


def is_connected(wins: Floats) -> NDArray[np.bool_]:
    """Return whether a chain of wins leads from every system to every other: `[..., n, n]` to `[...]`."""
    size = wins.shape[-1]
    reach = (wins > 0) | np.eye(size, dtype=bool)
    for _ in range(max(1, int(np.ceil(np.log2(size))))):
        reach = np.matmul(reach.astype(np.float32), reach.astype(np.float32)) > 0
    return np.asarray(reach.all(axis=(-2, -1)))


def _check(wins: Floats, names: Sequence[str], anchor: str | None) -> None:
    if len(names) < 2 or wins.shape != (len(names), len(names)):
        raise UserError(f"Elo needs at least two systems and a square win matrix, not {wins.shape}")
    if wins.sum() <= 0:
        raise UserError("Elo needs at least one comparison between two different systems; there is none")
    if anchor is not None and anchor not in names:
        raise UserError(f"no system called {anchor!r} to anchor Elo to; there are {', '.join(names)}")


def _drawn_once(size: int) -> Floats:
    return PRIOR_WINS * (1 - np.eye(size))


def _with_prior(wins: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Add the prior to the matrices `[replicates, n, n]` that need it; also return which they are."""
    needed = ~is_connected(wins)
    return wins + needed[:, None, None] * _drawn_once(wins.shape[-1]), needed


def _maximise(wins: Floats, start: Floats | None = None) -> Floats:
    """Maximise the Bradley-Terry likelihood of every matrix `[replicates, n, n]`; ratings in nats.

    The problems are independent and convex, so one L-BFGS over all of them solves each.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    replicates, size, _ = wins.shape
    share = wins / wins.sum(axis=(1, 2), keepdims=True)

    def loss(flat: Floats) -> tuple[float, Floats]:
        rating = flat.reshape(replicates, size)
        difference = rating[:, :, None] - rating[:, None, :]
        lost = share * expit(-difference)
        gradient = lost.sum(1) - lost.sum(2)
        return float((share * np.logaddexp(0, -difference)).sum()), gradient.ravel()

    first = np.zeros((replicates, size)) if start is None else np.tile(start, (replicates, 1))
    options = {"maxiter": 5000, "maxfun": 10000, "maxcor": 30, "ftol": 0.0, "gtol": 1e-8}
    solution = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=options)
    return np.asarray(solution.x).reshape(replicates, size)


def _anchored(nats: Floats, names: Sequence[str], anchor: str | None) -> Floats:
    rating: Floats = nats * ELO_PER_NAT
    zero = rating.mean(1) if anchor is None else rating[:, list(names).index(anchor)]
    return rating - zero[:, None]
