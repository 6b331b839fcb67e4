"""What a search over critiques gets and gives: tasks, rewards, candidates, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from momus.critique import parse_critique
from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.prompts import prompt_of
from momus.records import Tamper, Task

if TYPE_CHECKING:
    from momus.lm.pointer import Pointer

Tokens = tuple[int, ...]


class Reward(Protocol):
    """Scores critiques of many prompts at once: result[prompt][critique], higher is better."""

    def __call__(self, prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> Sequence[Sequence[float]]:
        """Score critiques [prompt][critique]: tokens, with the end-of-text token if one was written."""


@dataclass(frozen=True)
class RewardSource:
    """Where a reward model is, if anywhere.

    Attributes:
        folder: Its directory.
        url: The base URL of a server with one (`reward_server.py`).
        tokenizer: Directory or name of that one's tokenizer; None where it reads the critic's tokens.

    Raises:
        UserError: These do not go together.
    """

    folder: Path | None = None
    url: str | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and self.url is not None:
            raise UserError("--reward is a reward model's directory and --reward-url one on a server: give one of them")
        if self.tokenizer is not None and self.url is None:
            raise UserError("--reward-tokenizer is for a reward model on a server: give --reward-url with it")

    def __bool__(self) -> bool:
        return self.folder is not None or self.url is not None


def no_reward(prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
    """Score every critique 0: for searches whose candidates are all wanted, or where there is but one."""
    return [[0.0] * len(own) for own in critiques]


@dataclass(frozen=True)
class Subject:
    """An answer to search critiques of: the prompt a critique continues, and the answer it may quote.

    `lines` are the logarithms of the odds by which its lines are quoted, where the critic has a pointer for that.
    """

    prompt: Tokens
    answer: str
    lines: tuple[float, ...] | None = None


def subjects_of(engine: Engine, tasks: Sequence[Task | Tamper]) -> list[Subject]:
    """Return the answers of tasks as subjects for a critic."""
    return [Subject(tuple(engine.encode(prompt_of(task), bos=True)), task.answer) for task in tasks]


def pointed(subjects: Sequence[Subject], pointer: Pointer | None) -> list[Subject]:
    """Return subjects with what a critic's pointer says of their lines; as they are where it has none."""
    if pointer is None or not subjects:
        return list(subjects)
    lines = pointer.line_log_odds([own.prompt for own in subjects], [own.answer for own in subjects])
    return [replace(own, lines=found) for own, found in zip(subjects, lines, strict=True)]


@dataclass(frozen=True)
class Candidate:
    """One complete critique found by a search.

    `tokens` are those the reward saw; `highlights` counts the comments; `round` is 1 for the first.
    """

    text: str
    tokens: Tokens
    score: float
    highlights: int
    round: int = 1


@dataclass(frozen=True)
class SearchResult:
    """All candidates of one search, in the order they were found."""

    candidates: tuple[Candidate, ...]

    def best(self, modifier: float = 0.0) -> Candidate:
        """Return the argmax of score + modifier * highlights; the first found wins a tie."""
        return max(self.candidates, key=lambda c: c.score + modifier * c.highlights)


def modifiers_at_percentiles(
    results: Sequence[SearchResult], percentiles: Sequence[float] = (10, 25, 50, 75)
) -> list[float]:
    """Choose the modifiers that make critiques as long as given percentiles of the candidates (appendix 7.1).

    Length is the number of highlights. A percentile's target is that percentile (linear interpolation) of the
    lengths of all candidates of all results. The mean length of the chosen critiques is a step function of
    the modifier that never falls; it can only change where two candidates of one result tie. Every step is
    tried, at its middle (the two outermost at 1 beyond the last tie), and the one whose mean is nearest to
    the target is taken, the smaller modifier of two as near.

    Args:
        results: Finished searches.
        percentiles: Each from 0 to 100.

    Returns:
        One modifier per percentile; they rise with it, and may be negative.

    Raises:
        UserError: There are no results.
    """
    if not results:
        raise UserError("length modifiers need at least one finished search")
    tried = between({tie for result in results for tie in ties(result.candidates)})
    means = [float(np.mean([result.best(modifier).highlights for result in results])) for modifier in tried]
    lengths = [candidate.highlights for result in results for candidate in result.candidates]
    targets = np.percentile(lengths, percentiles)
    return [tried[int(np.argmin([abs(mean - target) for mean in means]))] for target in targets]


def between(ties: Iterable[float]) -> list[float]:
    """Return one modifier between any two ties, in order, and one beyond the last on either side."""
    known = sorted(ties) or [0.0]
    return [known[0] - 1.0, *((a + b) / 2 for a, b in pairwise(known)), known[-1] + 1.0]


def judged(
    engine: Engine,
    subjects: Sequence[Subject],
    found: Sequence[Sequence[Tokens]],
    reward: Reward,
    known: Sequence[dict[Tokens, float]],
    round: int = 1,
) -> list[list[Candidate]]:
    """Make candidates of the critiques found for every subject, in one call of the reward.

    `known` holds each subject's scores so far and is added to: no critique is scored twice.
    """
    new = [tuple(t for t in dict.fromkeys(own) if t not in seen) for own, seen in zip(found, known, strict=True)]
    asked = [i for i, own in enumerate(new) if own]
    if asked:
        scores = reward([subjects[i].prompt for i in asked], [new[i] for i in asked])
        for i, own in zip(asked, scores, strict=True):
            known[i].update(zip(new[i], map(float, own), strict=True))
    return [
        [_candidate(engine, subject, tokens, seen[tokens], round) for tokens in own]
        for subject, own, seen in zip(subjects, found, known, strict=True)
    ]


def _candidate(engine: Engine, subject: Subject, tokens: Tokens, score: float, round: int) -> Candidate:
    text = engine.decode(tokens)
    return Candidate(text, tokens, score, len(parse_critique(text, subject.answer).comments), round)


def ties(candidates: Sequence[Candidate]) -> list[float]:
    """Return the modifiers at which the choice among candidates changes: the corners of their upper envelope."""
    best: dict[int, float] = {}
    for candidate in candidates:
        best[candidate.highlights] = max(candidate.score, best.get(candidate.highlights, candidate.score))
    hull: list[tuple[int, float]] = []
    for point in sorted(best.items()):
        while len(hull) > 1 and _tie(hull[-2], hull[-1]) >= _tie(hull[-1], point):
            hull.pop()
        hull.append(point)
    return [_tie(a, b) for a, b in pairwise(hull)]


def _tie(short: tuple[int, float], long: tuple[int, float]) -> float:
    return (short[1] - long[1]) / (long[0] - short[0])
