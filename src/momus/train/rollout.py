"""Rollouts: prompts in, a batch of scored token trees out. Sampling and scoring are given as functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel
from momus.lm.tree import IntArray, TokenTree

Tokens = Sequence[int]
Sample = Callable[[Any, Sequence[Tokens], int, tuple[int, int]], Sequence[Sequence[Tokens]]]
"""``sample(policy, prompts, n, (seed, iteration))`` -> result[prompt][rollout], with EOS where finished."""

Score = Callable[[Sequence[Tokens], Sequence[Sequence[Tokens]]], npt.ArrayLike]
"""``score(prompts, responses)`` -> float [prompts, n]; responses are cut after their end-of-text token."""


@dataclass(frozen=True)
class Batch:
    """Scored rollouts. Episode ``e = tree * n + branch`` is row e of every [E, T] array.

    Attributes:
        trees: One per prompt, its n responses as branches.
        n: Responses per prompt.
        mask: bool [E, T], True where there is an action: a response token, its end-of-text token included.
        scores: float64 [E].
        finished: bool [E], whether the response ends in the end-of-text token.
    """

    trees: tuple[TokenTree, ...]
    n: int
    mask: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    finished: npt.NDArray[np.bool_]

    def rows(self, trees: Sequence[int]) -> IntArray:
        """Return the rows of some trees' episodes, in order."""
        return (np.asarray(trees, np.int64)[:, None] * self.n + np.arange(self.n)).ravel()

    def cells(self, trees: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Index the [E, T] places of some trees' actions, in the order a forward pass returns them."""
        rows = self.rows(trees)
        row, column = np.nonzero(self.mask[rows])
        return torch.from_numpy(rows[row]), torch.from_numpy(column)


def prompt_indices(available: int, size: int, key: tuple[int, int]) -> list[int]:
    """Return which prompts a batch holds: shuffled passes over all of them, end to end, cut to `size`.

    Args:
        available: Number of prompts.
        size: Prompts in a batch.
        key: Seed and iteration.
    """
    seed, iteration = key
    places = range(iteration * size, (iteration + 1) * size)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(available)
        for epoch in {place // available for place in places}
    }
    return [int(orders[place // available][place % available]) for place in places]


def roll_out(
    policy: Any,
    prompts: Sequence[Tokens],
    sample: Sample,
    score: Score,
    n: int,
    key: tuple[int, int],
    eos_id: int,
) -> Batch:
    """Sample and score n responses to each prompt; whatever follows the first end-of-text token is dropped.

    Raises:
        UserError: `sample` returned the wrong number of responses or an empty one, or a score is not finite.
    """
    drawn = sample(policy, prompts, n, key)
    if len(drawn) != len(prompts) or any(len(own) != n for own in drawn):
        raise UserError(f"the sampler must return {n} responses to each of {len(prompts)} prompts")
    responses = [[_cut(response, eos_id) for response in own] for own in drawn]
    flat = [response for own in responses for response in own]
    if not all(flat):
        raise UserError("the sampler returned an empty response: keep the end-of-text token in what it returns")
    scores = np.asarray(score(prompts, responses), np.float64).reshape(-1)
    if len(scores) != len(flat) or not np.isfinite(scores).all():
        raise UserError(f"the reward must be one finite number for each of {len(flat)} responses")
    lengths = np.array([len(response) for response in flat])
    return Batch(
        trees=tuple(TokenTree.from_branches(*pair) for pair in zip(prompts, responses, strict=True)),
        n=n,
        mask=np.arange(lengths.max())[None, :] < lengths[:, None],
        scores=scores,
        finished=np.array([response[-1] == eos_id for response in flat]),
    )


def engine_sampler(engine: Engine, max_tokens: int, temperature: float = 1.0) -> Sample:
    """Return a `Sample` that asks an engine, which must hold the very policy that is trained."""

    def sample(policy: Any, prompts: Sequence[Tokens], n: int, key: tuple[int, int]) -> list[list[Tokens]]:
        drawn = engine.sample(prompts, n, key=key, max_tokens=max_tokens, temperature=temperature)
        return [[response.tokens for response in own] for own in drawn]

    return sample


def reward_scorer(model: RewardModel, token_budget: int = 8192) -> Score:
    """Return a `Score` that reads a reward model at each response's last token."""

    def score(prompts: Sequence[Tokens], responses: Sequence[Sequence[Tokens]]) -> npt.ArrayLike:
        trees = [TokenTree.from_branches(*pair) for pair in zip(prompts, responses, strict=True)]
        return np.array(score_trees(model, trees, token_budget))

    return score


def _cut(response: Tokens, eos_id: int) -> list[int]:
    tokens = [int(token) for token in response]
    return tokens[: tokens.index(eos_id) + 1] if eos_id in tokens else tokens
