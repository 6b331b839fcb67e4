"""Bradley-Terry ratings in Elo units, as CriticGPT reports them (arXiv 2407.00215, section 2.4 and figures).

    P(A beats B) = 1 / (1 + 10 ** ((R_B - R_A) / 400)),   a tie = half a win and half a loss

The ratings maximise the likelihood of a matrix of win counts, found by (limited-memory) BFGS: unlike online
Elo they do not depend on the order of the games. Intervals come from a nonparametric bootstrap over tasks.

A maximum exists only among systems of which a chain of wins leads from each to every other (Ford, 1957). The largest
such set, or the one with the anchor, is the *core*; only its systems have a rating. Every other system is

* above the core (a chain of wins leads from it to the core and none back): its rating is infinity. If it won all its
  games against the core, its lower end is the rating at which it would do so with a chance of 2.5 %: its expected share
  of wins is then the exact bound for as many tasks, all won (Clopper and Pearson, 1934), with the core's ratings fixed;
* below the core: the mirror image;
* not comparable with it (NaN): never compared, or only through systems above or below.

A resample of the tasks may have a smaller core. There half a win is added each way to every pair of systems, so that
all have a finite rating; the systems outside the resample's core count as infinite all the same, and those not
comparable as infinite at both ends. Where all resamples say the same (one task, or ties alone), they say nothing of
how far the rating is known: it has no interval.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from momus.errors import UserError
from momus.stats.bootstrap import LEVEL, REPLICATES, Floats, Interval, percentile_interval, resampled

ELO_PER_NAT = 400 / np.log(10)
PRIOR_WINS = 0.5
"""Wins added each way to every pair of systems in resamples that do not determine all ratings."""
_ALIKE = 1e-3
"""Elo by which resamples differ at least, in more than rounding."""
UNDETERMINED_NOTE = (
    "No Elo is given where the games do not determine it: to systems that never lost to a rated one, directly or "
    "through others, that never won against one, or that were not compared with them."
)


@dataclass(frozen=True)
class EloResult:
    """Ratings of all systems, in the order of `names`; see the module.

    Attributes:
        names: The systems.
        rating: Elo of each: finite in the core, where they average 0 or the anchor is 0; infinity above the core,
            -infinity below it, NaN if not comparable with it.
        low: Lower end of each interval; NaN where it is not determined (everywhere without resampling).
        high: Upper end of each interval.
        games: Pairwise games each system took part in.
        prior_share: Share of the bootstrap resamples that do not determine all ratings of the core.
    """

    names: tuple[str, ...]
    rating: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    games: tuple[float, ...]
    prior_share: float = 0.0

    def of(self, name: str) -> float:
        """Return the rating of one system."""
        return self.rating[self.names.index(name)]

    @property
    def has_undetermined(self) -> bool:
        """Whether the games leave the rating of some system undetermined."""
        return not bool(np.isfinite(self.rating).all())

    def interval(self, name: str) -> Interval:
        """Return the rating of one system with its interval."""
        place = self.names.index(name)
        return Interval(self.rating[place], self.low[place], self.high[place])


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
        anchor: The system rated 0; without one the ratings of the core average 0.

    Raises:
        UserError: There are fewer than two systems, no games, or no system called `anchor`.
    """
    matrix = np.asarray(wins, dtype=float)
    _check(matrix, names, anchor)
    core, rating = _core(matrix, names, anchor)
    if core.sum() > 1:
        inside = [name for name, is_in in zip(names, core, strict=True) if is_in]
        rating[core] = _anchored(_maximise(matrix[np.ix_(core, core)][None]), inside, anchor)[0]
    games = tuple((matrix + matrix.T).sum(1).tolist())
    unknown = (float("nan"),) * len(names)
    return EloResult(tuple(names), tuple(rating.tolist()), unknown, unknown, games)


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
        anchor: The system rated 0 in every replicate; without one the ratings of the core average 0.
        replicates: Number of resamples of the tasks.
        level: Coverage of the intervals.
        seed: Seed of the resampling.

    Raises:
        UserError: As `fit_elo`.
    """
    per_task = np.asarray(wins, dtype=float)
    total = per_task.sum(0)
    point = fit_elo(total, names, anchor=anchor)
    rating = np.array(point.rating)
    core = np.isfinite(rating)
    low, high = np.full(len(names), np.nan), np.full(len(names), np.nan)
    needed = np.zeros(replicates, dtype=bool)
    if core.sum() > 1:
        inside = [name for name, is_in in zip(names, core, strict=True) if is_in]
        draws, needed = _resampled_ratings(
            per_task[:, core][:, :, core], inside, anchor, rating[core], replicates, seed
        )
        low[core], high[core] = _ends(draws, level)
        alike = high - low < _ALIKE
        low[alike], high[alike] = np.nan, np.nan
    if anchor is not None:  # 0 by definition
        low[list(names).index(anchor)] = high[list(names).index(anchor)] = 0.0
    for system in np.flatnonzero(np.isinf(rating)).tolist():
        sign = np.sign(rating[system])  # an undefeated system, or the mirror image of one
        end = sign * _bound_of_undefeated(
            per_task if sign > 0 else per_task.transpose(0, 2, 1), system, sign * rating, level
        )
        low[system], high[system] = (end, np.inf) if sign > 0 else (-np.inf, end)
    return replace(point, low=tuple(low.tolist()), high=tuple(high.tolist()), prior_share=float(needed.mean()))


def reachable(wins: Floats) -> NDArray[np.bool_]:
    """Return whether a chain of wins leads from one system to another: `[..., n, n]` to `[..., n, n]`."""
    size = wins.shape[-1]
    reach = (wins > 0) | np.eye(size, dtype=bool)
    for _ in range(max(1, int(np.ceil(np.log2(size))))):
        reach = np.matmul(reach.astype(np.float32), reach.astype(np.float32)) > 0
    return np.asarray(reach)


def _check(wins: Floats, names: Sequence[str], anchor: str | None) -> None:
    if len(names) < 2 or wins.shape != (len(names), len(names)):
        raise UserError(f"Elo needs at least two systems and a square win matrix, not {wins.shape}")
    if wins.sum() <= 0:
        raise UserError("Elo needs at least one comparison between two different systems; there is none")
    if anchor is not None and anchor not in names:
        raise UserError(f"no system called {anchor!r} to anchor Elo to; there are {', '.join(names)}")


def _core(wins: Floats, names: Sequence[str], anchor: str | None) -> tuple[NDArray[np.bool_], Floats]:
    """Return which systems `[n]` are in the core, and ratings `[n]`: 0 in it, and as the module says outside it.

    The core holds the anchor; without one it is the largest set of two systems or more, of equally large ones that with
    the most games, then the alphabetically first name. Without any such set there is no core: a system that never lost
    is above, one that never won below.
    """
    reach = reachable(wins)
    mutual = reach & reach.T
    if anchor is not None:
        member = list(names).index(anchor)
    else:
        games = np.where(mutual, wins + wins.T, 0).sum(1)
        order = [(-mutual[i].sum(), -(mutual[i] @ games), min(np.array(names)[mutual[i]])) for i in range(len(names))]
        member = order.index(min(order))
        if mutual[member].sum() < 2:
            won, lost = wins.sum(1) > 0, wins.sum(0) > 0
            rating = np.where(won & ~lost, np.inf, np.where(lost & ~won, -np.inf, np.nan))
            return np.zeros(len(names), dtype=bool), rating
    up, down = reach[:, member], reach[member]
    return mutual[member], np.where(up & down, 0.0, np.where(up, np.inf, np.where(down, -np.inf, np.nan)))


def _resampled_ratings(
    wins: Floats, names: Sequence[str], anchor: str | None, rating: Floats, replicates: int, seed: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the ratings of the core in every resample, `[replicates, n]`, and which resamples needed the prior."""
    size = len(names)
    drawn = resampled(wins.reshape(len(wins), -1).T, replicates, seed).T.reshape(replicates, size, size)
    needed: NDArray[np.bool_] = np.asarray(~reachable(drawn).all(axis=(1, 2)))
    prior = PRIOR_WINS * (1 - np.eye(size))
    ratings = _anchored(_maximise(drawn + needed[:, None, None] * prior, rating / ELO_PER_NAT), names, anchor)
    ratings[needed] += np.array([_core(games, names, anchor)[1] for games in drawn[needed]]).reshape(-1, size)
    return ratings, needed


def _ends(draws: Floats, level: float) -> tuple[Floats, Floats]:
    """Return the percentiles of draws `[replicates, n]`; where not all are finite, without interpolation."""
    low, high = percentile_interval(np.where(np.isfinite(draws), draws, 0.0), level)
    some = ~np.isfinite(draws).all(0)
    nan = np.isnan(draws)
    lowest, highest = np.where(nan, -np.inf, draws)[:, some], np.where(nan, np.inf, draws)[:, some]
    low[some] = np.quantile(lowest, (1 - level) / 2, axis=0, method="lower")
    high[some] = np.quantile(highest, (1 + level) / 2, axis=0, method="higher")
    return low, high


def _bound_of_undefeated(wins: Floats, system: int, rating: Floats, level: float) -> float:
    """Return the lower end of the rating of a system above the core; NaN if it never played against the core.

    Args:
        wins: `[tasks, systems, systems]`.
        system: Its index.
        rating: `[systems]`: finite in the core.
        level: Coverage of the interval.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    games = wins[:, system, np.isfinite(rating)]
    tasks = int(games.any(1).sum())
    if not tasks:
        return float("nan")
    opponents, weights = rating[np.isfinite(rating)] / ELO_PER_NAT, games.sum(0) / games.sum()
    share = ((1 - level) / 2) ** (1 / tasks)
    far = np.abs(opponents).max() + 100
    return float(ELO_PER_NAT * brentq(lambda nats: float(weights @ expit(nats - opponents)) - share, -far, far))


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
