"""Rejection sampling: critiques are sampled until the reward model accepts one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from momus.errors import UserError
from momus.lm.engine import Engine, Key, prompt_keys
from momus.search.best_of_n import best_of_n
from momus.search.result import Candidate, Reward, SearchResult, Subject


@dataclass(frozen=True)
class RejectionConfig:
    """When to stop.

    Attributes:
        threshold: The score from which a critique is accepted.
        most: Critiques sampled of one answer at most; 28 are what FSBS takes.
        at_once: Sampled together; one that is accepted is paid for with the rest of its batch.
        temperature: Of sampling.
        max_tokens: Longest critique.
        verbatim: Constrain quotes to be lines of the answer.
    """

    threshold: float
    most: int = 28
    at_once: int = 4
    temperature: float = 1.0
    max_tokens: int = 704
    verbatim: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.at_once <= self.most:
            raise UserError(
                f"rejection sampling needs 1 <= at_once <= most, not at_once={self.at_once}, most={self.most}"
            )


def rejection_sampling(
    engine: Engine, reward: Reward, subjects: Sequence[Subject], config: RejectionConfig, *, key: Key | list[Key]
) -> list[SearchResult]:
    """Sample critiques of every answer until one scores `threshold`; those still without one go on together.

    Returns:
        One result per subject: all that was sampled for it, in order, up to the first that was accepted. Its
        `best()` is that one or, where none was, the best of `config.most`.

    Raises:
        UserError: A prompt is too long for the critic.
    """
    keys = prompt_keys(key, len(subjects))
    found: list[list[Candidate]] = [[] for _ in subjects]
    waiting = list(range(len(subjects)))
    for start in range(0, config.most, config.at_once):
        if not waiting:
            break
        results = best_of_n(
            engine,
            reward,
            [subjects[i] for i in waiting],
            min(config.at_once, config.most - start),
            key=[(*keys[i], start) for i in waiting],
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            verbatim=config.verbatim,
        )
        for i, result in zip(waiting, results, strict=True):
            accepted = next((j for j, c in enumerate(result.candidates) if c.score >= config.threshold), None)
            found[i] += result.candidates[: None if accepted is None else accepted + 1]
        waiting = [i for i in waiting if found[i][-1].score < config.threshold]
    return [SearchResult(tuple(own)) for own in found]
