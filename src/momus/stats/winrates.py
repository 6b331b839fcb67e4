"""How often one system is preferred to another: win rates with intervals, plain and at equal length.

A *game* is one labeler's comparison of two answers to one prompt. A tie counts half a win for each side, so the two
sides' rates add up to 1; the share of ties is reported beside it. Prompts are resampled, not games: several labelers'
judgements of one prompt, and the pairs of one ranking, are not independent.

Raters prefer long answers, so length alone raises a win rate. The rate at equal length comes from a logistic model
with one more term, the difference of lengths (the idea of Length-Controlled AlpacaEval, arXiv 2404.04475, without its
term for each prompt's difficulty)::

    P(A is preferred to B) = sigmoid(theta + phi * tanh((len(A) - len(B)) / s))

where s is the root mean square of the differences. The rate is sigmoid(theta), the one at no difference. It is not
determined, and NaN, where preference and length cannot be told apart: all differences are the same but 0, or the games
won are all of longer answers than the games lost (or all of shorter ones).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from momus.stats.bootstrap import (
    LEVEL,
    REPLICATES,
    SHARE,
    Floats,
    Interval,
    exact_if_degenerate,
    percentile_interval,
    ratio_interval,
    resamples,
)

_STEPS = 40
_RIDGE = 1e-3
_CELLS = 2**20


@dataclass(frozen=True)
class WinRate:
    """One system against another, or against all others.

    Attributes:
        rate: Share of games won, a tie counting half.
        ties: Share of games tied.
        games: Number of games.
        prompts: Number of prompts among them.
    """

    rate: Interval
    ties: Interval
    games: int
    prompts: int


def win_rate(
    outcomes: ArrayLike, prompts: ArrayLike, *, replicates: int = REPLICATES, level: float = LEVEL, seed: int = 0
) -> WinRate:
    """Return the win rate of games, with its interval over prompts.

    Args:
        outcomes: `[games]`: 1 won, 0.5 tied, 0 lost.
        prompts: `[games]`: a number, the same for all games about one prompt.
        replicates: Resamples of the prompts.
        level: Coverage of the intervals.
        seed: Seed of the resampling.
    """
    won, cluster, count = _clustered(outcomes, prompts)
    games = np.bincount(cluster, minlength=count).astype(float)

    def share(values: Floats) -> Interval:
        totals = np.bincount(cluster, weights=values, minlength=count)
        return ratio_interval(totals, games, bounds=SHARE, replicates=replicates, level=level, seed=seed)

    return WinRate(share(won), share((won == 0.5).astype(float)), len(won), count)


def equal_length_rate(
    outcomes: ArrayLike,
    differences: ArrayLike,
    prompts: ArrayLike,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the win rate at equal answer length, with its interval over prompts; see the module.

    Args:
        outcomes: `[games]`: 1 won, 0.5 tied, 0 lost.
        differences: `[games]`: length of the system's answer minus that of the other.
        prompts: `[games]`: a number, the same for all games about one prompt.
        replicates: Resamples of the prompts.
        level: Coverage of the interval.
        seed: Seed of the resampling.
    """
    won, cluster, count = _clustered(outcomes, prompts)
    if not count:
        return Interval(np.nan, np.nan, np.nan)
    if won.min() == won.max() != 0.5:  # all games won or all lost: nothing to fit
        return exact_if_degenerate(Interval(float(won[0]), float(won[0]), float(won[0])), count, SHARE, level)
    lengths = np.asarray(differences, dtype=float)
    spread = float(np.sqrt(np.mean(lengths**2)))
    term = np.tanh(lengths / spread) if spread else np.zeros_like(lengths)
    if not _is_determined(won, term):
        return Interval(np.nan, np.nan, np.nan)
    point = _fit(np.ones((1, len(won))), won, term)[0]
    draws = np.concatenate(
        [
            _fit(part[:, cluster], won, term)
            for drawn in resamples(count, replicates, seed)
            # bounds the memory of [replicates, games]
            for part in np.array_split(drawn, min(len(drawn), -(-len(drawn) * len(won) // _CELLS)))
        ]
    )
    low, high = percentile_interval(draws, level)
    return exact_if_degenerate(Interval(float(point), float(low), float(high)), count, SHARE, level)


def _is_determined(won: Floats, term: Floats) -> bool:
    """Return whether the logistic model has a maximum: no length separates the games won from the games lost."""
    if not term.any():
        return True
    of_won, of_lost = term[won > 0], term[won < 1]  # a tie counts on both sides
    return bool(of_won.min() < of_lost.max() and of_lost.min() < of_won.max())


def _fit(weights: Floats, won: Floats, term: Floats) -> Floats:
    """Fit the logistic model once for every row of weights `[fits, games]`; return sigmoid(theta) `[fits]`.

    Newton's method with steps of at most 1. Where all games are won, theta grows with every step, and the rate is 1
    to many digits. A small ridge on phi determines it where lengths do not differ.
    """
    theta, phi = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-(theta[:, None] + phi[:, None] * term)))
        left = weights * (won - expected)
        steep = weights * expected * (1 - expected)
        a, b = steep.sum(1) + 1e-9, (steep * term).sum(1)
        c = (steep * term**2).sum(1) + _RIDGE
        up, across = left.sum(1), (left * term).sum(1) - _RIDGE * phi
        determinant = a * c - b * b
        step = np.clip((c * up - b * across) / determinant, -1, 1)
        phi += np.clip((a * across - b * up) / determinant, -1, 1)
        theta += step
        if np.abs(step).max() < 1e-10:
            break
    rate: Floats = 1 / (1 + np.exp(-theta))
    return rate


def _clustered(outcomes: ArrayLike, prompts: ArrayLike) -> tuple[Floats, NDArray[np.intp], int]:
    """Check the games; return the outcomes, each game's prompt as an index, and the number of prompts."""
    won = np.asarray(outcomes, dtype=float)
    names = np.asarray(prompts)
    if won.ndim != 1 or names.shape != won.shape:
        raise ValueError(f"outcomes {won.shape} and prompts {names.shape} must be one row of games each")
    if not np.isin(won, (0.0, 0.5, 1.0)).all():
        raise ValueError("an outcome must be 0, 0.5 or 1")
    distinct, cluster = np.unique(names, return_inverse=True)
    return won, cluster.reshape(won.shape), len(distinct)
