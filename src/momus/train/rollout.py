"""Rollouts: prompts in, a batch of scored token trees out. Sampling and scoring are given as functions."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from momus.errors import UserError
from momus.lm.engine import Engine, Key, prompt_keys
from momus.lm.engine import Sample as Continuation
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel, precision
from momus.lm.tree import IntArray, TokenTree, pack
from momus.runtime.processes import count, gather, main, rank
from momus.runtime.runs import Run

FOLDER = "rollouts"

Tokens = Sequence[int]


class Drawn(NamedTuple):
    """A response, and what its sampler says its tokens' log-probabilities were at the sampling temperature."""

    tokens: Tokens
    logprobs: Sequence[float]


Sample = Callable[[Any, Sequence[Tokens], int, tuple[int, int]], Sequence[Sequence[Tokens | Drawn]]]
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
        finished: bool [E], whether the response ends in an end-of-text token.
        said: float32 [E, T], the sampler's own log-probabilities, nan where it gave none. Nothing is computed
            from them but how far they are from the trainer's.
    """

    trees: tuple[TokenTree, ...]
    n: int
    mask: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    finished: npt.NDArray[np.bool_]
    said: npt.NDArray[np.float32]

    def rows(self, trees: Sequence[int]) -> IntArray:
        """Return the rows of some trees' episodes, in order."""
        return (np.asarray(trees, np.int64)[:, None] * self.n + np.arange(self.n)).ravel()

    def cells(self, trees: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Index the [E, T] places of some trees' actions, in the order a forward pass returns them."""
        rows = self.rows(trees)
        row, column = np.nonzero(self.mask[rows])
        return torch.from_numpy(rows[row]), torch.from_numpy(column)

    def minibatches(self, count: int, token_budget: int, key: tuple[int, int, int]) -> list[list[list[int]]]:
        """Cut the trees into minibatches at random, and each into groups of trees that fit one forward pass."""
        parts = np.array_split(np.random.default_rng(key).permutation(len(self.trees)), count)
        cut = [pack([len(self.trees[i]) for i in part], token_budget) for part in parts]
        return [[[int(part[i]) for i in group] for group in groups] for part, groups in zip(parts, cut, strict=True)]

    def metrics(
        self, kl: npt.NDArray[np.float64], logprobs: npt.NDArray[np.float32], entropies: npt.NDArray[np.float32]
    ) -> dict[str, float]:
        """Describe the batch, from what the trainer computed of it, all [E, T].

        `sampler_gap` is how far the sampler's log-probabilities are from the trainer's, mean absolute difference over
        the tokens for which it gave one; without any there is no such metric.
        """
        gap = np.abs(logprobs - self.said)[self.mask & np.isfinite(self.said)]
        return {
            "score": float(self.scores.mean()),
            "score_std": float(self.scores.std()),
            "kl": float(kl.sum(1).mean()),
            "entropy": float(entropies[self.mask].mean(dtype=np.float64)),
            "length": float(self.mask.sum(1).mean()),
            "finished": float(self.finished.mean()),
            **({"sampler_gap": float(gap.mean(dtype=np.float64))} if len(gap) else {}),
        }


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
    ends: Collection[int],
) -> Batch:
    """Sample and score n responses to each prompt; whatever follows the first end-of-text token is dropped.

    Args:
        policy: What is sampled from.
        prompts: Tokenised prompts.
        sample: See `Sample`.
        score: See `Score`.
        n: Responses per prompt.
        key: Seed and iteration.
        ends: The tokens that end a response.

    Raises:
        UserError: `sample` returned the wrong number of responses or an empty one, or a score is not finite.
    """
    drawn = sample(policy, prompts, n, key)
    if len(drawn) != len(prompts) or any(len(own) != n for own in drawn):
        raise UserError(f"the sampler must return {n} responses to each of {len(prompts)} prompts")
    cut = [[_cut(response, ends) for response in own] for own in drawn]
    if not all(response.tokens for own in cut for response in own):
        raise UserError("the sampler returned an empty response: keep the end-of-text token in what it returns")
    if any(len(response.tokens) != len(response.logprobs) for own in cut for response in own):
        raise UserError("the sampler must say one log-probability for each token, or none at all")
    responses = [[list(response.tokens) for response in own] for own in cut]
    scores = np.asarray(score(prompts, responses), np.float64).reshape(-1)
    if len(scores) != len(prompts) * n or not np.isfinite(scores).all():
        raise UserError(f"the reward must be one finite number for each of {len(prompts) * n} responses")
    said = [list(response.logprobs) for own in cut for response in own]
    return batch_of(prompts, responses, scores, said, ends)


def batch_of(
    prompts: Sequence[Tokens],
    responses: Sequence[Sequence[Tokens]],
    scores: npt.NDArray[np.float64],
    said: Sequence[Sequence[float]],
    ends: Collection[int],
) -> Batch:
    """Lay out scored responses, result[prompt][rollout], as a batch; `scores` and `said` are by episode."""
    flat = [response for own in responses for response in own]
    lengths = np.array([len(response) for response in flat])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    logprobs = np.full(mask.shape, math.nan, np.float32)
    logprobs[mask] = np.concatenate(said)
    return Batch(
        trees=tuple(TokenTree.from_branches(*pair) for pair in zip(prompts, responses, strict=True)),
        n=len(responses[0]),
        mask=mask,
        scores=scores,
        finished=np.array([response[-1] in ends for response in flat]),
        said=logprobs,
    )


class RolloutStore:
    """What was sampled since the oldest checkpoint: a run that was killed learns from it instead of sampling again.

    Sampling takes most of PPO's time, and a server may not give the same responses twice.

    Args:
        run: Where it is kept.
        start: Names what the run started from: rollouts of another start are not touched.
    """

    def __init__(self, run: Run, start: str) -> None:
        self._run, self._start = run, start

    def roll_out(
        self,
        policy: Any,
        prompts: Sequence[Tokens],
        sample: Sample,
        score: Score,
        n: int,
        key: tuple[int, int],
        ends: Collection[int],
    ) -> Batch:
        """Return what was sampled for these prompts in this iteration, or sample, score and keep it: `roll_out`."""
        asked, name = [list(map(int, prompt)) for prompt in prompts], f"{FOLDER}/{key[1]}"
        kept = self._run.get(name)
        if kept and (kept["start"], kept["prompts"]) == (self._start, asked):
            said = torch.split(kept["said"], [len(response) for own in kept["responses"] for response in own])
            return batch_of(asked, kept["responses"], kept["scores"].numpy(), [own.tolist() for own in said], ends)
        batch = roll_out(policy, prompts, sample, score, n, key, ends)
        responses = [[tree.tokens[branch].tolist() for branch in tree.branches] for tree in batch.trees]
        tensors = {"scores": torch.from_numpy(batch.scores), "said": torch.from_numpy(batch.said[batch.mask])}
        self._run.put(name, {"start": self._start, "prompts": asked, "responses": responses, **tensors})
        return batch

    def tidy(self) -> None:
        """Drop what no checkpoint can lead back to."""
        if not main():
            return
        oldest = min((step for step, _ in self._run.checkpoints()), default=0)
        for folder in (self._run.path / FOLDER).glob("*"):
            if folder.name.isdigit() and int(folder.name) < oldest:
                shutil.rmtree(folder, ignore_errors=True)


Watch = Callable[[Any, Sequence[Tokens], Sequence[Sequence[Continuation]]], None]
"""``watch(policy, prompts, drawn)``: sees what an engine drew for this process's prompts."""


def engine_sampler(
    engine: Engine,
    max_tokens: int,
    temperature: float = 1.0,
    stop_tokens: Sequence[int] = (),
    watch: Watch | None = None,
) -> Sample:
    """Return a `Sample` that asks an engine, which must hold the very policy that is trained.

    Processes share the prompts. An engine says log-probabilities of the model itself, so they are kept only where the
    temperature is 1.

    Args:
        engine: Who is asked.
        max_tokens: Longest response.
        temperature: At which it is drawn.
        stop_tokens: What ends a response besides the engine's own end-of-text tokens.
        watch: Is shown what was drawn, before anything is made of it.
    """

    def sample(policy: Any, prompts: Sequence[Tokens], n: int, key: tuple[int, int]) -> list[list[Tokens | Drawn]]:
        mine = slice(rank(), None, count())
        keys: Key | list[Key] = key if count() == 1 else [*prompt_keys(key, len(prompts))[mine]]
        with precision(policy):
            drawn = engine.sample(
                prompts[mine], n, key=keys, max_tokens=max_tokens, temperature=temperature, stop_tokens=stop_tokens
            )
        if watch is not None:
            watch(policy, prompts[mine], drawn)
        said = gather([[(r.tokens, r.logprobs) for r in own] for own in drawn])
        result = [said[i % count()][i // count()] for i in range(len(prompts))]
        return [[Drawn(*response) if temperature == 1 else response[0] for response in own] for own in result]

    return sample


def reward_scorer(model: RewardModel, token_budget: int = 8192) -> Score:
    """Return a `Score` that reads a reward model at each response's last token; processes share the responses."""

    def score(prompts: Sequence[Tokens], responses: Sequence[Sequence[Tokens]]) -> npt.ArrayLike:
        trees = [TokenTree.from_branches(*pair) for pair in zip(prompts, responses, strict=True)]
        said = gather(score_trees(model, trees[rank() :: count()], token_budget))
        return np.array([said[i % count()][i // count()] for i in range(len(trees))])

    return score


def _cut(response: Tokens | Drawn, ends: Collection[int]) -> Drawn:
    """Drop what follows the first end-of-text token; a sampler that says no log-probabilities says nan."""
    tokens, said = response if isinstance(response, Drawn) else (response, [math.nan] * len(response))
    size = next((i for i, token in enumerate(tokens, 1) if token in ends), len(tokens))
    return Drawn([int(token) for token in tokens[:size]], said[:size])
