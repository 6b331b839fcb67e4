"""The plain ways to get a critique: best of n by reward, or the likeliest one."""

from __future__ import annotations

from collections.abc import Sequence

from momus.lm.engine import Engine, Key
from momus.search.candidates import CandidateScorer, zero_reward
from momus.search.form import FENCED, CritiqueForm
from momus.search.result import EncodedTask, RewardFunction, SearchResult


def best_of_n(
    engine: Engine,
    reward: RewardFunction,
    tasks: Sequence[EncodedTask],
    n: int,
    *,
    key: Key | list[Key],
    temperature: float = 1.0,
    max_tokens: int = 704,
    verbatim: bool = True,
    form: CritiqueForm = FENCED,
) -> list[SearchResult]:
    """Sample n critiques of every answer, no highlight forced, and score them; `choose_best` takes the best.

    Args:
        engine: The critic.
        reward: Scores critiques; each distinct one once.
        tasks: Prompts and answers.
        n: Critiques per answer.
        key: Names the randomness, as in `Engine.sample`.
        temperature: Of sampling; 0 with n = 1 is greedy decoding.
        max_tokens: Longest critique.
        verbatim: Constrain quotes to be lines of the answer, drawn by the critic's pointer where it has one.
        form: How critiques are written.

    Raises:
        UserError: A prompt is too long for the critic.
    """
    samples = engine.sample(
        [task.prompt for task in tasks],
        n,
        key=key,
        temperature=temperature,
        max_tokens=max_tokens,
        stop_tokens=form.stop_tokens,
        constraints=[form.constrain(task, engine.vocabulary) if verbatim else None for task in tasks],
    )
    critiques = [[sample.tokens for sample in group] for group in samples]
    candidates = CandidateScorer(engine, reward, tasks, form)(critiques)
    return [SearchResult(tuple(of_task)) for of_task in candidates]


def decode_greedily(
    engine: Engine, tasks: Sequence[EncodedTask], *, max_tokens: int = 704, verbatim: bool = True
) -> list[SearchResult]:
    """Write the likeliest critique of every answer, token by token; it is not scored: its score is 0."""
    return best_of_n(engine, zero_reward, tasks, 1, key=0, temperature=0.0, max_tokens=max_tokens, verbatim=verbatim)
