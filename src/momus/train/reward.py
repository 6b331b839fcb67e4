"""The reward model: learning a scalar from rankings (InstructGPT, arXiv 2203.02155, §3.5 and C.2).

A labeler ranks K answers to one prompt. For every pair that is not tied, the loss asks the preferred answer
to score higher (equation 1)::

    loss = - mean over pairs (w, l) of  log sigmoid( r(x, y_w) - r(x, y_l) )

All pairs of a prompt are one batch element and its K answers K branches of one token tree: K scores, no
matter how many pairs, and the prompt computed once. A prompt with nine answers weighs as much as one with
four. Several rankings of one prompt (by several labelers, of the same answers or of others) are one element too,
each answer computed once; the element's loss is the mean over its rankings. Ties are dropped (C.2), and so is an answer
that is preferred to itself, from which nothing can be learned. The score is read at an answer's last token, even where
an end-of-text token stands before it.

Comparisons fix the reward only up to a constant; `center` chooses it so that demonstrations average 0 (§3.5).

Differences from the paper: the mean is over the pairs that are not dropped, where the paper divides by C(K, 2);
AdamW without weight decay.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from momus.errors import UserError
from momus.lm.forward import leaf_scores, score_trees
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree, pack
from momus.runtime.costs import training_flops
from momus.runtime.processes import (
    accumulate_gradients,
    fail_together,
    is_main_process,
    reduce_and_clip_gradients,
)
from momus.runtime.runs import Progress, Run
from momus.runtime.sharding import place
from momus.stats.bootstrap import SHARE, Interval, ratio_interval
from momus.train.sampling import Epochs
from momus.train.schedules import cosine, set_learning_rate
from momus.train.settings import RewardConfig


def ranking_loss(scores: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return the loss of one ranking (equation 1): the mean of ``-log sigmoid(r_better - r_worse)``.

    Args:
        scores: float [K], of the K answers.
        pairs: (better, worse) indices into `scores`, at least one.

    Returns:
        A scalar.
    """
    better, worse = torch.tensor(pairs, device=scores.device).T
    return -F.logsigmoid(scores[better] - scores[worse]).mean()


@dataclass(frozen=True)
class RankedPrompt:
    """One labeler's ranking: a tokenised prompt, K answers, and their ranks; lower is better, equal is tied.

    Raises:
        UserError: There are fewer than two answers, not one rank for each, or a rank is not a number.
    """

    prompt: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    ranks: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.branches) < 2:
            raise UserError(f"a ranking of {len(self.branches)} answers says nothing: give at least two")
        if len(self.ranks) != len(self.branches) or any(math.isnan(rank) for rank in self.ranks):
            raise UserError(
                f"a ranking of {len(self.branches)} answers has the places {self.ranks}: give each a number"
            )

    def pairs(self) -> list[tuple[int, int]]:
        """Return (better, worse) indices of all pairs that are neither tied nor the same answer twice."""
        both = combinations(range(len(self.ranks)), 2)
        ordered = ((i, j) if self.ranks[i] < self.ranks[j] else (j, i) for i, j in both)
        return [(i, j) for i, j in ordered if self.ranks[i] != self.ranks[j] and self.branches[i] != self.branches[j]]

    def ties(self) -> int:
        """Count the tied pairs."""
        return sum(math.comb(size, 2) for size in Counter(self.ranks).values())

    def tree(self) -> TokenTree:
        """Return the prompt with its answers as branches."""
        return TokenTree.from_branches(self.prompt, self.branches)


@dataclass(frozen=True)
class PromptRankings:
    """One batch element: a prompt, its distinct answers, and for each ranking (better, worse) indices of answers."""

    prompt: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[tuple[int, int], ...], ...]

    def loss(self, scores: Tensor) -> Tensor:
        """Return the mean of equation 1 over the rankings, given the scores of the answers: float [K] to a scalar."""
        return torch.stack([ranking_loss(scores, pairs) for pairs in self.pairs]).mean()

    def tree(self) -> TokenTree:
        """Return the prompt with its answers as branches."""
        return TokenTree.from_branches(self.prompt, self.branches)


def group_by_prompt(rankings: Sequence[RankedPrompt]) -> list[PromptRankings]:
    """Group rankings by prompt, in order of first appearance; rankings without a preference are left out.

    Raises:
        UserError: An answer is empty.
    """
    by_prompt: dict[tuple[int, ...], list[RankedPrompt]] = {}
    for ranking in rankings:
        if ranking.pairs():
            by_prompt.setdefault(ranking.prompt, []).append(ranking)
    elements = []
    for prompt, ranked in by_prompt.items():
        index = {branch: i for i, branch in enumerate(dict.fromkeys(b for r in ranked for b in r.branches))}
        if () in index:
            raise UserError("a ranking holds an empty answer: end every answer with the end-of-text token")
        pairs = tuple(tuple((index[r.branches[i]], index[r.branches[j]]) for i, j in r.pairs()) for r in ranked)
        elements.append(PromptRankings(prompt, tuple(index), pairs))
    return elements


@fail_together()
def train_reward_model(
    model: RewardModel,
    rankings: Sequence[RankedPrompt],
    config: RewardConfig,
    run: Run,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place, continuing where `run` stopped; return the metrics of all steps.

    With several processes, call this in each of them with the same arguments.

    Raises:
        UserError: All ranks are tied, an answer is empty, or the loss is not finite.
    """
    usable = group_by_prompt(rankings)
    if not usable:
        raise UserError("no ranking prefers one answer to another: there is nothing to learn from")
    place(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=0.0)
    done, _ = run.restore({"model": model}, {"optimizer": optimizer}) or (0, {})
    epochs = Epochs(len(usable), config.prompts_per_batch, config.epochs)
    model.train()
    for step, _, chosen in epochs.batches(
        lambda epoch: np.random.default_rng((config.seed, epoch)).permutation(len(usable)), done
    ):
        set_learning_rate([optimizer], cosine(step / epochs.steps, config.final_fraction))
        metrics = _step(model, [usable[i] for i in chosen], optimizer, config, step)
        run.log(step + 1, **metrics)
        if (step + 1) % config.save_every == 0 or step + 1 == epochs.steps:
            run.save(step + 1, {"model": model}, {"optimizer": optimizer})
        if progress and is_main_process():
            progress(step + 1, epochs.steps, metrics)
    model.eval()
    return run.history()


def _step(
    model: RewardModel,
    batch: Sequence[PromptRankings],
    optimizer: torch.optim.Optimizer,
    config: RewardConfig,
    step: int,
) -> dict[str, float]:
    """Take one optimizer step on the mean over prompts of each prompt's loss."""
    trees = [element.tree() for element in batch]

    def group_loss(group: list[int]) -> tuple[Tensor, list[float]]:
        elements, scores = [batch[i] for i in group], leaf_scores(model, [trees[i] for i in group])
        parts = torch.split(scores, [len(element.branches) for element in elements])
        loss = torch.stack([element.loss(part) for element, part in zip(elements, parts, strict=True)]).sum()
        correct = sum(count_correct_pairs(p.tolist(), element) for p, element in zip(parts, elements, strict=True))
        pairs = sum(len(pairs) for element in elements for pairs in element.pairs)
        return loss / len(batch), [loss.item() / len(batch), correct, pairs]

    optimizer.zero_grad()
    groups = pack([len(tree) for tree in trees], config.token_budget)
    sums = accumulate_gradients(groups, group_loss, ("loss", "correct", "pairs"), (config.seed, step))
    norm = reduce_and_clip_gradients(model, config.max_grad_norm)
    if not math.isfinite(sums["loss"] + norm):
        raise UserError(
            f"reward training became non-finite at step {step + 1} (loss {sums['loss']}, gradient norm {norm}): "
            "try a lower learning rate"
        )
    optimizer.step()
    accuracy, rate = sums["correct"] / sums["pairs"], optimizer.param_groups[0]["lr"]
    measured = {"loss": sums["loss"], "accuracy": accuracy, "grad_norm": norm, "learning_rate": rate}
    return {**measured, "flops": training_flops(model, trees)}


def count_correct_pairs(scores: Sequence[float], element: PromptRankings) -> float:
    """Count the pairs ordered as the labeler did; an equal score counts one half."""
    return sum((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]) for pairs in element.pairs for i, j in pairs)


def pair_accuracy(
    model: RewardModel, rankings: Sequence[RankedPrompt], token_budget: int = 8192
) -> tuple[Interval, int]:
    """Return the share of untied pairs that the model orders as the labeler did, and their number.

    An equal score counts one half. The interval resamples prompts, because pairs of one prompt are not independent;
    without any pair it is NaN.
    """
    elements = group_by_prompt(rankings)
    scores = score_trees(model, [element.tree() for element in elements], token_budget)
    correct = [count_correct_pairs(row, element) for row, element in zip(scores, elements, strict=True)]
    counts = [sum(map(len, element.pairs)) for element in elements]
    return ratio_interval(correct, counts, bounds=SHARE), sum(counts)


def center(model: RewardModel, demonstrations: Sequence[TokenTree], token_budget: int = 8192) -> float:
    """Set the model's bias so that the demonstrations (every branch) score 0 on average (§3.5).

    Returns:
        The new bias. Differences between scores do not change.

    Raises:
        UserError: There are no demonstrations.
    """
    scores = [score for tree in score_trees(model, demonstrations, token_budget) for score in tree]
    if not scores:
        raise UserError("no demonstrations to centre the reward model on: without any its zero means nothing")
    model.bias -= float(np.mean(scores))
    return float(model.bias)
