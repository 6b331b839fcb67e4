"""Which system is preferred, and what its answers are like: win rates, Likert scores and the form's yes-or-no shares.

Win rates come from Ranking records that say who wrote each answer (`authors`), one labeler's each: every pair of
systems in a ranking is a game, equal ranks are a tie and count half. InstructGPT (arXiv 2203.02155, figures 1 and 3)
gives every model's win rate against one of them, the *baseline*; without a baseline a rate is over all games the
system was in. Intervals resample prompts. Scores on a scale come from Judgement records, by author.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from momus.data.convert import length
from momus.errors import UserError
from momus.evaluate.instruct.feedback import prompt_key
from momus.evaluate.instruct.metadata import FORM, OVERALL, problem_of
from momus.records import Judgement, Ranking
from momus.stats.agreement import agreement_interval
from momus.stats.bootstrap import REPLICATES, SHARE, Interval, ratio_interval
from momus.stats.elo import EloResult, bootstrap_elo, wins_by_task
from momus.stats.winrates import WinRate, equal_length_rate, win_rate


@dataclass(frozen=True)
class Game:
    """One labeler's comparison of two systems' answers: 1 the first is preferred, 0.5 a tie, 0 the second is.

    `longer` is by how many characters the first answer is longer.
    """

    prompt: str
    first: str
    second: str
    outcome: float
    longer: int
    labeler: str


@dataclass(frozen=True)
class PreferenceRow:
    """One system's line: its win rate, and that at equal length where it was asked for."""

    system: str
    won: WinRate
    equal_length: Interval | None


@dataclass(frozen=True)
class ScaleRow:
    """One scale: for every system the mean value with its interval, and how many answers were judged."""

    scale: str
    means: dict[str, Interval]
    judged: dict[str, int]


def games_of(rankings: Iterable[Ranking]) -> tuple[list[Game], int]:
    """Return the games between different systems, and how many rankings do not say who wrote the answers."""
    games, unnamed = [], 0
    for ranking in rankings:
        if not ranking.authors or not all(ranking.authors):
            unnamed += 1
            continue
        prompt = prompt_key(ranking.prompt)
        for i, j in combinations(range(len(ranking.ranks)), 2):
            if ranking.authors[i] != ranking.authors[j]:
                outcome = 0.5 if ranking.ranks[i] == ranking.ranks[j] else float(ranking.ranks[i] < ranking.ranks[j])
                longer = length(ranking.candidates[i]) - length(ranking.candidates[j])
                names = ranking.authors[i], ranking.authors[j]
                games.append(Game(prompt, *names, outcome, longer, ranking.labeler))
    return games, unnamed


def preference_rows(
    games: Sequence[Game],
    *,
    baseline: str | None = None,
    equal_length: bool = False,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> list[PreferenceRow]:
    """Return every system's win rate, the best first; against the baseline, or in all its games.

    Raises:
        UserError: There are no games, or the baseline is in none.
    """
    if not games:
        raise UserError("there is nothing to compare: no ranking has answers by two named systems")
    systems = list(dict.fromkeys(name for game in games for name in (game.first, game.second)))
    if baseline is not None and baseline not in systems:
        raise UserError(f"--baseline {baseline!r}: no such system: there are {', '.join(sorted(systems))}")
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(game.prompt for game in games))}
    rows = []
    for system in systems:
        if system == baseline:
            continue
        seen = [_seen_by(game, system) for game in games if _is_of(game, system, baseline)]
        outcomes, longer = [game.outcome for game in seen], [game.longer for game in seen]
        prompts = [numbers[game.prompt] for game in seen]
        won = win_rate(outcomes, prompts, replicates=replicates, seed=seed)
        level = None
        if equal_length:
            level = equal_length_rate(outcomes, longer, prompts, replicates=replicates, seed=seed)
        rows.append(PreferenceRow(system, won, level))
    return sorted(rows, key=lambda row: -np.nan_to_num(row.won.rate.value, nan=-1))


def elo_of(games: Sequence[Game], *, baseline: str | None = None, replicates: int = REPLICATES) -> EloResult:
    """Return the systems' Elo ratings, the baseline's 0, with intervals over prompts.

    Raises:
        UserError: There are no games.
    """
    names = sorted({name for game in games for name in (game.first, game.second)})
    scored = ((game.prompt, [(game.first, game.outcome), (game.second, 1 - game.outcome)]) for game in games)
    return bootstrap_elo(wins_by_task(scored, names), names, anchor=baseline, replicates=replicates)


def scales(judgements: Iterable[Judgement], *, replicates: int = REPLICATES, seed: int = 0) -> list[ScaleRow]:
    """Return the means of every scale by author, with intervals over prompts; the form's scales first.

    Raises:
        UserError: A value is not one the form has.
    """
    values_by_scale: dict[str, dict[str, dict[str, list[float]]]] = {}
    for judgement in judgements:
        if problem := problem_of(judgement.values):
            raise UserError(f"{judgement.origin.place or 'a judgement'}: {problem}")
        for scale, value in judgement.values.items():
            by_author = values_by_scale.setdefault(scale, {})
            by_author.setdefault(judgement.author, {}).setdefault(prompt_key(judgement.prompt), []).append(value)
    rows = []
    for scale in sorted(values_by_scale, key=_place):
        means, judged = {}, {}
        bounds = (1.0, 7.0) if scale == OVERALL.name else SHARE if scale in FORM else None
        for author, prompts in values_by_scale[scale].items():
            totals = np.array([(sum(values), len(values)) for values in prompts.values()], dtype=float)
            means[author] = ratio_interval(totals[:, 0], totals[:, 1], bounds=bounds, replicates=replicates, seed=seed)
            judged[author] = int(totals[:, 1].sum())
        rows.append(ScaleRow(scale, means, judged))
    return rows


def labeler_agreement(
    rankings: Iterable[Ranking], *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Interval, int, int]:
    """Return how often two labelers of the same answers prefer the same one, a tie of either counting one half.

    Every two labelers of the same answers to one prompt are compared on every pair of answers they share
    (InstructGPT, §3.4: 72.6 ± 1.5 % among training labelers, 77.3 ± 1.3 % among held-out ones).

    Returns:
        The share with its interval over prompts, the pairs of answers compared, and the labelers.
    """
    judged: dict[str, dict[tuple[str, str], dict[str, tuple[float, float]]]] = {}
    labelers = set()
    for ranking in rankings:
        if not ranking.labeler:
            continue
        labelers.add(ranking.labeler)
        # Answers are told apart by their author where it is known, else by what they say.
        names = ranking.authors if ranking.authors and all(ranking.authors) else map(prompt_key, ranking.candidates)
        pairs = judged.setdefault(prompt_key(ranking.prompt), {})
        for (one, rank), (other, place) in combinations(sorted(zip(names, ranking.ranks, strict=True)), 2):
            pairs.setdefault((one, other), {}).setdefault(ranking.labeler, (rank, place))
    tasks = [
        [pair for by_labeler in pairs.values() for pair in combinations(by_labeler.values(), 2)]
        for pairs in judged.values()
    ]
    return *agreement_interval(tasks, replicates=replicates, seed=seed), len(labelers)


def _is_of(game: Game, system: str, baseline: str | None) -> bool:
    names = (game.first, game.second)
    return system in names and (baseline is None or baseline in names)


def _seen_by(game: Game, system: str) -> Game:
    """Return a game with `system` as the first of the two."""
    if game.first == system:
        return game
    return Game(game.prompt, game.second, game.first, 1 - game.outcome, -game.longer, game.labeler)


def _place(scale: str) -> tuple[int, str]:
    names = list(FORM)
    return (names.index(scale), "") if scale in FORM else (len(names), scale)
