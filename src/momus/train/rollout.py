"""Rollouts: from prompts to a batch of scored token trees. Sampler and scorer are passed in as functions."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from momus.errors import UserError
from momus.lm.engine import Engine, Key, prompt_keys
from momus.lm.engine import Sample as EngineSample
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel, precision
from momus.lm.tree import IntArray, TokenTree, pack
from momus.runtime.processes import all_reduce, gather_json, is_main_process, rank, share, world_size
from momus.runtime.runs import Run

FOLDER = "rollouts"

TokenIds = Sequence[int]


class Response(NamedTuple):
    """A response and its tokens' log-probabilities by its sampler, at the sampling temperature; nan where unknown."""

    tokens: TokenIds
    logprobs: Sequence[float]


Sampler = Callable[[Any, Sequence[TokenIds], int, tuple[int, int]], Sequence[Sequence[TokenIds | Response]]]
"""``sampler(policy, prompts, n, (seed, iteration))`` -> result[prompt][rollout], ending in EOS where finished."""

Scorer = Callable[[Sequence[TokenIds], Sequence[Sequence[TokenIds]]], npt.ArrayLike]
"""``scorer(prompts, responses)`` -> float [prompts, n]; responses are cut after their end-of-text token."""


@dataclass(frozen=True)
class RolloutBatch:
    """Scored rollouts. Episode ``e = tree * n + branch`` is row e of every [E, T] array.

    Attributes:
        trees: One per prompt, with its n responses as branches.
        n: Responses per prompt.
        mask: bool [E, T], True where there is an action: a response token, its end-of-text token included.
        scores: float64 [E].
        finished: bool [E], whether the response ends in an end-of-text token.
        sampler_logprobs: float32 [E, T], log-probabilities by the sampler itself, nan where it gave none. They only
            measure how far the sampler is from the trainer.
    """

    trees: tuple[TokenTree, ...]
    n: int
    mask: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    finished: npt.NDArray[np.bool_]
    sampler_logprobs: npt.NDArray[np.float32]

    def rows(self, group: Sequence[int]) -> IntArray:
        """Return the rows of the episodes of some trees, in order."""
        return (np.asarray(group, np.int64)[:, None] * self.n + np.arange(self.n)).ravel()

    def cells(self, group: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return row and column in [E, T] of the actions of some trees, in the order of a forward pass."""
        rows = self.rows(group)
        row, column = np.nonzero(self.mask[rows])
        return torch.from_numpy(rows[row]), torch.from_numpy(column)

    def select(self, group: Sequence[int]) -> list[TokenTree]:
        """Return some of the trees."""
        return [self.trees[i] for i in group]

    def count_actions(self, groups: Sequence[Sequence[int]]) -> int:
        """Count the actions of groups of trees."""
        return sum(int(self.mask[self.rows(group)].sum()) for group in groups)

    def count_episodes(self, groups: Sequence[Sequence[int]]) -> int:
        """Count the episodes of groups of trees."""
        return sum(len(self.rows(group)) for group in groups)

    def minibatches(self, count: int, token_budget: int, key: tuple[int, int, int]) -> list[list[list[int]]]:
        """Cut the trees into random minibatches, and each into groups of trees that fit one forward pass."""
        parts = np.array_split(np.random.default_rng(key).permutation(len(self.trees)), count)
        cut = [pack([len(self.trees[i]) for i in part], token_budget) for part in parts]
        return [[[int(part[i]) for i in group] for group in groups] for part, groups in zip(parts, cut, strict=True)]

    def evaluate(
        self, groups: Sequence[list[int]], function: Callable[[list[TokenTree]], Sequence[Tensor]], count: int
    ) -> tuple[Tensor, ...]:
        """Evaluate a function of trees group by group, shared among processes.

        Args:
            groups: Groups of trees, each of which fits one forward pass.
            function: Returns `count` tensors with a number for every action of the given trees.
            count: How many.

        Returns:
            `count` tensors float32 [E, T] on the CPU, 0 outside the mask.
        """
        result = torch.zeros(count, *self.mask.shape)
        for group, weight in share(groups):
            rows, columns = self.cells(group)
            for values, computed in zip(result, function(self.select(group)), strict=True):
                values[rows, columns] += weight * computed.cpu()
        return all_reduce(result).unbind()

    def metrics(
        self, kl: npt.NDArray[np.float64], logprobs: npt.NDArray[np.float32], entropies: npt.NDArray[np.float32]
    ) -> dict[str, float]:
        """Describe the batch, given the trainer's KL estimates, log-probabilities and entropies, all [E, T].

        `sampler_gap` is the mean absolute difference between the sampler's log-probabilities and the trainer's, over
        the tokens for which the sampler gave one; it is left out where there is none.
        """
        gap = np.abs(logprobs - self.sampler_logprobs)[self.mask & np.isfinite(self.sampler_logprobs)]
        return {
            "score": float(self.scores.mean()),
            "score_std": float(self.scores.std()),
            "kl": float(kl.sum(1).mean()),
            "entropy": float(entropies[self.mask].mean(dtype=np.float64)),
            "length": float(self.mask.sum(1).mean()),
            "finished": float(self.finished.mean()),
            **({"sampler_gap": float(gap.mean(dtype=np.float64))} if len(gap) else {}),
        }


def roll_out(
    policy: Any,
    prompts: Sequence[TokenIds],
    sampler: Sampler,
    scorer: Scorer,
    n: int,
    key: tuple[int, int],
    ends: Collection[int],
) -> RolloutBatch:
    """Sample and score n responses to each prompt; tokens after the first end-of-text token are dropped.

    Args:
        policy: Model to sample from.
        prompts: Tokenised prompts.
        sampler: See `Sampler`.
        scorer: See `Scorer`.
        n: Responses per prompt.
        key: Seed and iteration.
        ends: Tokens that end a response.

    Raises:
        UserError: The sampler returned the wrong number of responses or an empty one, or a score is not finite.
    """
    sampled = sampler(policy, prompts, n, key)
    if len(sampled) != len(prompts) or any(len(row) != n for row in sampled):
        raise UserError(f"the sampler must return {n} responses to each of {len(prompts)} prompts")
    cut = [[_cut(response, ends) for response in row] for row in sampled]
    if not all(response.tokens for row in cut for response in row):
        raise UserError("the sampler returned an empty response: keep the end-of-text token in what it returns")
    if any(len(response.tokens) != len(response.logprobs) for row in cut for response in row):
        raise UserError("the sampler must say one log-probability for each token, or none at all")
    responses = [[list(response.tokens) for response in row] for row in cut]
    scores = np.asarray(scorer(prompts, responses), np.float64).reshape(-1)
    if len(scores) != len(prompts) * n or not np.isfinite(scores).all():
        raise UserError(f"the reward must be one finite number for each of {len(prompts) * n} responses")
    logprobs = [list(response.logprobs) for row in cut for response in row]
    return _to_batch(prompts, responses, scores, logprobs, ends)


def _to_batch(
    prompts: Sequence[TokenIds],
    responses: Sequence[Sequence[TokenIds]],
    scores: npt.NDArray[np.float64],
    logprobs: Sequence[Sequence[float]],
    ends: Collection[int],
) -> RolloutBatch:
    """Lay out scored responses[prompt][rollout] as a batch; `scores` and the sampler's `logprobs` are by episode."""
    flat = [response for row in responses for response in row]
    lengths = np.array([len(response) for response in flat])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    sampler_logprobs = np.full(mask.shape, math.nan, np.float32)
    sampler_logprobs[mask] = np.concatenate(logprobs)
    return RolloutBatch(
        trees=tuple(TokenTree.from_branches(*pair) for pair in zip(prompts, responses, strict=True)),
        n=len(responses[0]),
        mask=mask,
        scores=scores,
        finished=np.array([response[-1] in ends for response in flat]),
        sampler_logprobs=sampler_logprobs,
    )


def _cut(response: TokenIds | Response, ends: Collection[int]) -> Response:
    """Drop the tokens after the first end-of-text token; log-probabilities that are not given become nan."""
    if not isinstance(response, Response):
        response = Response(response, [math.nan] * len(response))
    tokens, logprobs = response
    size = next((i for i, token in enumerate(tokens, 1) if token in ends), len(tokens))
    return Response([int(token) for token in tokens[:size]], logprobs[:size])


class RolloutStore:
    """Keeps what was sampled since the oldest checkpoint, so that a killed run reuses it instead of sampling again.

    Sampling takes most of PPO's time, and a server may not return the same responses twice.

    Args:
        run: Run directory that keeps the rollouts.
        start: Identifies the models the run started from; rollouts of another start are ignored.
    """

    def __init__(self, run: Run, start: str) -> None:
        self._run, self._start = run, start

    def roll_out(
        self,
        policy: Any,
        prompts: Sequence[TokenIds],
        sampler: Sampler,
        scorer: Scorer,
        n: int,
        key: tuple[int, int],
        ends: Collection[int],
    ) -> RolloutBatch:
        """Return the kept rollouts of these prompts in this iteration, or sample, score and keep new ones."""
        prompts, name = [list(map(int, prompt)) for prompt in prompts], f"{FOLDER}/{key[1]}"
        kept = self._run.get(name)
        if kept and (kept["start"], kept["prompts"]) == (self._start, prompts):
            lengths = [len(response) for row in kept["responses"] for response in row]
            logprobs = [part.tolist() for part in torch.split(kept["said"], lengths)]
            return _to_batch(prompts, kept["responses"], kept["scores"].numpy(), logprobs, ends)
        batch = roll_out(policy, prompts, sampler, scorer, n, key, ends)
        responses = [[tree.tokens[branch].tolist() for branch in tree.branches] for tree in batch.trees]
        tensors = {
            "scores": torch.from_numpy(batch.scores),
            "said": torch.from_numpy(batch.sampler_logprobs[batch.mask]),  # the stored name, as in every run so far
        }
        self._run.put(name, {"start": self._start, "prompts": prompts, "responses": responses, **tensors})
        return batch

    def drop_old(self) -> None:
        """Delete rollouts from before the oldest checkpoint."""
        if not is_main_process():
            return
        oldest = min((step for step, _ in self._run.checkpoints()), default=0)
        for folder in (self._run.path / FOLDER).glob("*"):
            if folder.name.isdigit() and int(folder.name) < oldest:
                shutil.rmtree(folder, ignore_errors=True)


SampleCheck = Callable[[Any, Sequence[TokenIds], Sequence[Sequence[EngineSample]]], None]
"""``check(policy, prompts, samples)`` is called with what an engine returned for this process's prompts."""


def engine_sampler(
    engine: Engine,
    max_tokens: int,
    temperature: float = 1.0,
    stop_tokens: Sequence[int] = (),
    check: SampleCheck | None = None,
) -> Sampler:
    """Return a sampler that asks an engine, which must hold the policy being trained.

    Processes share the prompts. Engines report log-probabilities at temperature 1, so at any other they are dropped.

    Args:
        engine: Samples the responses.
        max_tokens: Length limit of a response.
        temperature: Sampling temperature.
        stop_tokens: Tokens that end a response besides the engine's end-of-text tokens.
        check: Called with the engine's samples before they are used.
    """

    def sampler(
        policy: Any, prompts: Sequence[TokenIds], n: int, key: tuple[int, int]
    ) -> list[list[TokenIds | Response]]:
        """Return `n` answers to each of this process's prompts."""
        mine = slice(rank(), None, world_size())
        keys: Key | list[Key] = key if world_size() == 1 else [*prompt_keys(key, len(prompts))[mine]]
        with precision(policy):
            samples = engine.sample(
                prompts[mine], n, key=keys, max_tokens=max_tokens, temperature=temperature, stop_tokens=stop_tokens
            )
        if check is not None:
            check(policy, prompts[mine], samples)
        gathered = gather_json([[(sample.tokens, sample.logprobs) for sample in row] for row in samples])
        rows = [gathered[i % world_size()][i // world_size()] for i in range(len(prompts))]
        return [[Response(*pair) if temperature == 1 else pair[0] for pair in row] for row in rows]

    return sampler


def reward_scorer(model: RewardModel, token_budget: int = 8192) -> Scorer:
    """Return a scorer that reads a reward model at each response's last token; processes share the responses."""

    def scorer(prompts: Sequence[TokenIds], responses: Sequence[Sequence[TokenIds]]) -> npt.ArrayLike:
        trees = [TokenTree.from_branches(*pair) for pair in zip(prompts, responses, strict=True)]
        gathered = gather_json(score_trees(model, trees[rank() :: world_size()], token_budget))
        return np.array([gathered[i % world_size()][i // world_size()] for i in range(len(trees))])

    return scorer
