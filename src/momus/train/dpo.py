"""Direct preference optimisation: a policy from rankings, without a reward model (Rafailov et al., arXiv 2305.18290).

The KL-constrained optimum of PPO's objective is a policy whose log-ratio to the reference, times beta, *is* its reward
up to a constant per prompt (their equation 5). So the policy is trained as its own reward model::

    r(x, y) = beta * (log pi(y | x) - log pi_ref(y | x))

A ranking of K answers is as likely as Plackett and Luce say (their appendix A.3): the best is chosen among all, the
second among those that are left, and so on::

    loss = - sum over answers i of  log( exp r_i / (exp r_i + sum over answers j worse than i of exp r_j) )

At K = 2 this is ``-log sigmoid(r_w - r_l)``, their equation 7. The answer that nothing is worse than adds nothing. Tied
answers are not chosen among each other, which without ties is Plackett-Luce as it stands.

The K answers of a prompt are branches of one token tree, each computed once, where a trainer of pairs computes every
answer K - 1 times. The reference is the policy before its first step; its log-probabilities are computed once, and no
second model is held.

Differences from the paper: several rankings of one prompt are one batch element and its loss is their mean; the
gradient is clipped, as in all stages here; dropout is off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from momus.errors import UserError
from momus.lm.forward import token_logprobs
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
from momus.train.reward import PromptRankings, RankedPrompt, count_correct_pairs, group_by_prompt
from momus.train.sampling import Epochs
from momus.train.schedules import set_learning_rate, warm_up
from momus.train.settings import DPOConfig


def plackett_luce_loss(rewards: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return the negative log-likelihood of one ranking (their appendix A.3; equation 7 at K = 2).

    Args:
        rewards: float [K], of the K answers.
        pairs: (better, worse) indices into `rewards`, at least one.

    Returns:
        A scalar, in nats.
    """
    worse_than: dict[int, list[int]] = {}
    for better, worse in pairs:
        worse_than.setdefault(better, []).append(worse)
    choices = [rewards[[best, *rest]].logsumexp(0) - rewards[best] for best, rest in worse_than.items()]
    return torch.stack(choices).sum()


def element_loss(log_ratios: Tensor, element: PromptRankings, beta: float) -> Tensor:
    """Return the mean loss over a prompt's rankings, given ``log pi - log pi_ref`` of its answers: float [K]."""
    return torch.stack([plackett_luce_loss(beta * log_ratios, pairs) for pairs in element.pairs]).mean()


def answer_logprobs(policy: Any, trees: Sequence[TokenTree]) -> Tensor:
    """Return the log-probability of every branch, all its tokens together: float32 [number of branches], in nats."""
    lengths = torch.tensor([len(branch) for tree in trees for branch in tree.branches])
    logprobs = token_logprobs(policy, trees).logprobs
    answer = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(logprobs.device)
    return logprobs.new_zeros(len(lengths)).index_add(0, answer, logprobs)


@torch.no_grad()
def all_answer_logprobs(policy: Any, elements: Sequence[PromptRankings], token_budget: int = 8192) -> list[Tensor]:
    """Return the log-probabilities of every element's answers, without gradients: float32 [K] each, on the CPU."""
    trees = [element.tree() for element in elements]
    result: list[Tensor] = [torch.empty(0)] * len(trees)
    for group in pack([len(tree) for tree in trees], token_budget):
        values = answer_logprobs(policy, [trees[i] for i in group]).cpu()
        for i, part in zip(group, torch.split(values, [len(elements[i].branches) for i in group]), strict=True):
            result[i] = part
    return result


@fail_together()
def train_on_preferences(
    policy: Any,
    rankings: Sequence[RankedPrompt],
    config: DPOConfig,
    run: Run,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train `policy` in place, continuing where `run` stopped; return the metrics of all steps.

    With several processes, call this in each of them with the same arguments.

    Raises:
        UserError: All ranks are tied, an answer is empty, or the loss is not finite.
    """
    elements = group_by_prompt(rankings)
    if not elements:
        raise UserError("no ranking prefers one answer to another: there is nothing to learn from")
    place(policy)
    policy.eval()
    reference = all_answer_logprobs(policy, elements, config.token_budget)
    optimizer = torch.optim.RMSprop(policy.parameters(), lr=config.learning_rate)
    done, _ = run.restore({"model": policy}, {"optimizer": optimizer}) or (0, {})
    epochs = Epochs(len(elements), config.prompts_per_batch, config.epochs)
    for step, _, chosen in epochs.batches(
        lambda epoch: np.random.default_rng((config.seed, epoch)).permutation(len(elements)), done
    ):
        set_learning_rate([optimizer], warm_up(step + 1, config.warmup_steps, 0.0))
        metrics = _step(policy, [elements[i] for i in chosen], [reference[i] for i in chosen], optimizer, config, step)
        run.log(step + 1, **metrics)
        if (step + 1) % config.save_every == 0 or step + 1 == epochs.steps:
            run.save(step + 1, {"model": policy}, {"optimizer": optimizer})
        if progress and is_main_process():
            progress(step + 1, epochs.steps, metrics)
    return run.history()


def _step(
    policy: Any,
    batch: Sequence[PromptRankings],
    reference: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    config: DPOConfig,
    step: int,
) -> dict[str, float]:
    """Take one optimizer step on the mean over prompts of each prompt's loss.

    `first` and `last` among the metrics are the mean log-ratios (nats) of the answers ranked first and last: both may
    fall while their difference grows, which the loss cannot see.
    """
    trees = [element.tree() for element in batch]

    def group_loss(group: list[int]) -> tuple[Tensor, list[float]]:
        elements = [batch[i] for i in group]
        logprobs = answer_logprobs(policy, [trees[i] for i in group])
        ratios = logprobs - torch.cat([reference[i] for i in group]).to(logprobs.device)
        parts = torch.split(ratios, [len(element.branches) for element in elements])
        losses = [element_loss(part, element, config.beta) for part, element in zip(parts, elements, strict=True)]
        loss = torch.stack(losses).sum() / len(batch)
        return loss, [loss.item(), *_sums([part.tolist() for part in parts], elements)]

    optimizer.zero_grad()
    groups = pack([len(tree) for tree in trees], config.token_budget)
    names = ("loss", "correct", "pairs", "first", "last", "rankings")
    sums = accumulate_gradients(groups, group_loss, names, (config.seed, step))
    norm = reduce_and_clip_gradients(policy, config.max_grad_norm)
    if not math.isfinite(sums["loss"] + norm):
        raise UserError(
            f"DPO became non-finite at step {step + 1} (loss {sums['loss']}, gradient norm {norm}): "
            "try a lower learning rate"
        )
    optimizer.step()
    return {
        "loss": sums["loss"],
        "accuracy": sums["correct"] / sums["pairs"],
        "first": sums["first"] / sums["rankings"],
        "last": sums["last"] / sums["rankings"],
        "grad_norm": norm,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "flops": training_flops(policy, trees),
    }


def _sums(log_ratios: Sequence[Sequence[float]], elements: Sequence[PromptRankings]) -> tuple[float, ...]:
    """Return the pairs in the labelers' order and all, the sums over rankings of the ends' log-ratios, and rankings."""
    correct = pairs = first = last = rankings = 0.0
    for ratios, element in zip(log_ratios, elements, strict=True):
        correct += count_correct_pairs(ratios, element)
        for ranking in element.pairs:
            better, worse = {i for i, _ in ranking}, {j for _, j in ranking}
            first += float(np.mean([ratios[i] for i in better - worse or better]))
            last += float(np.mean([ratios[i] for i in worse - better or worse]))
            pairs, rankings = pairs + len(ranking), rankings + 1
    return correct, pairs, first, last, rankings


def preference_accuracy(
    policy: Any, reference: Sequence[Tensor], rankings: Sequence[RankedPrompt], token_budget: int = 8192
) -> Interval:
    """Return the share of untied pairs that the policy's own reward orders as the labeler did.

    Args:
        policy: The trained policy.
        reference: The reference's log-probabilities of the answers of `group_by_prompt(rankings)`.
        rankings: Rankings, usually held out.
        token_budget: Tokens in one forward pass.

    Returns:
        The share, equal rewards counting one half; its interval resamples prompts. NaN without any pair.
    """
    elements = group_by_prompt(rankings)
    logprobs = all_answer_logprobs(policy, elements, token_budget)
    ratios = [(now - before).tolist() for now, before in zip(logprobs, reference, strict=True)]
    correct = [count_correct_pairs(row, element) for row, element in zip(ratios, elements, strict=True)]
    counts = [sum(map(len, element.pairs)) for element in elements]
    return ratio_interval(correct, counts, bounds=SHARE)
