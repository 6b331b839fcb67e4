"""Rejection sampling: critiques are sampled until the reward model accepts one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from momus.errors import UserError
from momus.lm.engine import Engine, Key, prompt_keys
from momus.search.best_of_n import best_of_n
from momus.search.result import Candidate, EncodedTask, RewardFunction, SearchResult


@dataclass(frozen=True)
class RejectionConfig:
    """When to stop.

    Attributes:
        threshold: The score from which a critique is accepted.
        max_samples: Most critiques sampled of one answer; 28 are what FSBS takes.
        batch_size: Critiques of one answer sampled together; an accepted one costs the rest of its batch too.
        temperature: Of sampling.
        max_tokens: Longest critique.
        verbatim: Constrain quotes to be lines of the answer.
    """

    threshold: float
    max_samples: int = 28
    batch_size: int = 4
    temperature: float = 1.0
    max_tokens: int = 704
    verbatim: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= self.max_samples:
            raise UserError(
                "rejection sampling needs 1 <= batch_size <= max_samples, not "
                f"batch_size={self.batch_size}, max_samples={self.max_samples}"
            )


def rejection_sampling(
    engine: Engine,
    reward: RewardFunction,
    tasks: Sequence[EncodedTask],
    config: RejectionConfig,
    *,
    key: Key | list[Key],
) -> list[SearchResult]:
    """Sample critiques of every answer until one scores `threshold`; answers still without one go on together.

    Args:
        engine: The critic.
        reward: Scores critiques.
        tasks: Prompts and answers.
        config: When to stop.
        key: Names the randomness, as in `Engine.sample`.

    Returns:
        One result per task: all critiques sampled, in order, up to the first that was accepted. The best of them is
        that one or, where none was accepted, the best of `config.max_samples`.

    Raises:
        UserError: A prompt is too long for the critic.
    """
    keys = prompt_keys(key, len(tasks))
    candidates: list[list[Candidate]] = [[] for _ in tasks]
    waiting = list(range(len(tasks)))
    for start in range(0, config.max_samples, config.batch_size):
        if not waiting:
            break
        results = best_of_n(
            engine,
            reward,
            [tasks[i] for i in waiting],
            min(config.batch_size, config.max_samples - start),
            key=[(*keys[i], start) for i in waiting],
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            verbatim=config.verbatim,
        )
        for i, result in zip(waiting, results, strict=True):
            accepted = next((j for j, c in enumerate(result.candidates) if c.score >= config.threshold), None)
            candidates[i] += result.candidates[: None if accepted is None else accepted + 1]
        waiting = [i for i in waiting if candidates[i][-1].score < config.threshold]
    return [SearchResult(tuple(of_task)) for of_task in candidates]
