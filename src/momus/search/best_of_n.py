"""The plain ways to get a critique: the likeliest one, one sample, or the best of n by reward."""

from __future__ import annotations

from collections.abc import Sequence

from momus.lm.constraint import VerbatimQuotes
from momus.lm.engine import Engine, Key
from momus.search.result import Reward, SearchResult, Subject, judged, no_reward


def best_of_n(
    engine: Engine,
    reward: Reward,
    subjects: Sequence[Subject],
    n: int,
    *,
    key: Key | list[Key],
    temperature: float = 1.0,
    max_tokens: int = 704,
    verbatim: bool = True,
) -> list[SearchResult]:
    """Sample n critiques of every answer, nothing forced, and score them: `SearchResult.best` is the best.

    Args:
        engine: The critic.
        reward: Scores critiques; each distinct one once.
        subjects: Prompts and answers.
        n: Critiques per answer.
        key: Names the randomness, as in `Engine.sample`.
        temperature: Of sampling; 0 with n = 1 is greedy decoding.
        max_tokens: Longest critique.
        verbatim: Constrain quotes to be lines of the answer, drawn by the critic's pointer where it has one.

    Raises:
        UserError: A prompt is too long for the critic.
    """
    samples = engine.sample(
        [subject.prompt for subject in subjects],
        n,
        key=key,
        temperature=temperature,
        max_tokens=max_tokens,
        constraints=[
            VerbatimQuotes(s.answer, engine.vocabulary, lines=s.lines) if verbatim else None for s in subjects
        ],
    )
    found = [[sample.tokens for sample in group] for group in samples]
    results = judged(engine, subjects, found, reward, [{} for _ in subjects])
    return [SearchResult(tuple(own)) for own in results]


def single(
    engine: Engine,
    subjects: Sequence[Subject],
    *,
    key: Key | list[Key] = 0,
    temperature: float = 0.0,
    max_tokens: int = 704,
    verbatim: bool = True,
) -> list[SearchResult]:
    """Write one critique of every answer, greedily by default; no reward is asked, so scores are 0."""
    return best_of_n(
        engine,
        no_reward,
        subjects,
        1,
        key=key,
        temperature=temperature,
        max_tokens=max_tokens,
        verbatim=verbatim,
    )
