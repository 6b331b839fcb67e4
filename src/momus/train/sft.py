"""Supervised fine-tuning on demonstrations (InstructGPT, arXiv 2203.02155, §3.5 and C.1; before PPO: C.3).

The loss is the language model's on the answers alone::

    loss = - mean over the answer tokens of a batch of  log p(token | prompt and answer before it)

A batch is so many demonstrations, however it is cut to fit memory, and its mean is over all of its tokens. The
demonstrations of one prompt, and the turns of one conversation, are branches of one token tree: what they share is
computed once, and trees lie end to end without padding. The learning rate falls along a cosine to a tenth, without
warm-up; dropout is on what every attention and feed-forward layer adds to the residual stream, and nowhere else
(`dropout.py`).

Which epoch? The paper trains for 16 and keeps the one whose answers to held-out prompts the reward model scores
best: the validation loss rises after the first epoch already, while reward scores and people's ratings go on to
improve. Here too: with `score` the epoch it rates highest, else the one of the lowest loss on `held_out` (which
the paper's remark says is too early), else the last. Its weights are kept in the run's `best` directory.

What PPO starts from (C.3, `SFTConfig.for_ppo`) is another model: two epochs, with pretraining texts mixed in.

A mixture of many public tasks (FLAN, T0), the paper's other baseline (C.5, `SFTConfig.for_mixture`), is drawn from
in proportion to the tasks' sizes up to a limit (`per_task`; arXiv 1910.10683, 3.5.2): an epoch holds so many
demonstrations of each task at most, and the next epoch those that come after.

Differences from the paper: demonstrations of one prompt follow one another in an epoch's order, so that they can share
it; the mix is a share of the tokens trained, for the paper says no more than 10 %; AdamW without weight decay; the
gradient is clipped, which the paper inherits from GPT-3 if at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from momus.errors import UserError
from momus.lm.chat import Turn
from momus.lm.forward import token_logprobs, trees_from_rows
from momus.lm.tree import IntArray, TokenTree, pack
from momus.runtime.costs import trained
from momus.runtime.processes import finish_gradients, main, share, together, totals
from momus.runtime.runs import Progress, Run
from momus.runtime.sharding import place
from momus.runtime.states import load_module_state, module_state
from momus.train.dropout import residual_dropout
from momus.train.reward import cosine
from momus.train.rollout import prompt_indices
from momus.train.settings import SFTConfig

Turns = Sequence[Turn]
"""One demonstration: the turns of it that are trained, usually one."""

ScoreModel = Callable[[Any, int], float]
"""``score(model, epoch)`` -> how good the model's answers are after an epoch, counted from 1; higher is better."""

_BEST = "best"


@together()
def train_sft(
    model: Any,
    demonstrations: Sequence[Turns],
    config: SFTConfig,
    run: Run,
    progress: Progress | None = None,
    *,
    tasks: Sequence[str] = (),
    pretraining: Sequence[Sequence[int]] = (),
    held_out: Sequence[Turns] = (),
    score: ScoreModel | None = None,
) -> list[dict[str, Any]]:
    """Train a causal language model in place, continuing where `run` stopped; returns the metrics of all steps.

    The model ends as it was after the epoch chosen, which `best_epoch` in the last line of metrics names.

    Args:
        model: A causal language model.
        demonstrations: What is trained of each.
        config: All settings.
        run: Where checkpoints and metrics go.
        progress: Called after every step.
        tasks: The task of each demonstration, for `config.per_task`; none means that all are of one.
        pretraining: Tokenised texts to mix in.
        held_out: Demonstrations whose loss is measured after every epoch.
        score: Rates the model after every epoch; it must depend on nothing else.

    Raises:
        UserError: There is no demonstration, or pretraining text is missing, or the loss is not finite.
    """
    texts = [text for text in pretraining if len(text) > 1]
    if not demonstrations or not all(demonstrations):
        raise UserError("there is no demonstration to learn from, or one without a turn")
    if config.pretraining_share and not texts:
        raise UserError("pretraining_share above 0 needs pretraining texts of at least two tokens")
    place(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=0.0)
    choosing = config.keep == "best" and bool(held_out or score)
    start, state = run.restore({"model": model}, {"optimizer": optimizer}) or (0, {"epoch": 0, "value": -math.inf})
    limited = by_task(tasks or [""] * len(demonstrations), config.per_task)
    per_epoch = math.ceil(sum(size for _, size in limited) / config.demonstrations_per_batch)
    total, order = config.epochs * per_epoch, np.empty(0, np.int64)

    def keep_if_best(done: int) -> None:
        """Keep the weights after so many steps, which the checkpoint has too, if they are those of the best epoch."""
        if choosing and done and done == state["epoch"] * per_epoch:
            run.put(_BEST, {"epoch": state["epoch"], "model": module_state(model)})

    keep_if_best(start)  # a kill may have come between the checkpoint and this
    model.train()
    with residual_dropout(model, config.dropout):
        for step in range(start, total):
            epoch, batch = divmod(step, per_epoch)
            if batch == 0 or step == start:
                order = epoch_order(demonstrations, limited, (config.seed, epoch))
            chosen = order[batch * config.demonstrations_per_batch : (batch + 1) * config.demonstrations_per_batch]
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * cosine(step / total, config.final_fraction)
            trees = trees_of([demonstrations[i] for i in chosen])
            trees += _drawn(texts, _tokens(trees), config, step)
            metrics = _step(model, trees, optimizer, config, step)
            if ended := batch + 1 == per_epoch:
                metrics |= _after_epoch(model, epoch + 1, held_out, score, config.token_budget)
                value = metrics.get("score", -metrics.get("valid_loss", 0.0))
                if not choosing or value >= state["value"]:  # of equal epochs the later
                    state = {"epoch": epoch + 1, "value": value}
                metrics["best_epoch"] = state["epoch"]
            run.log(step + 1, epoch=epoch + 1, **metrics)
            if ended or (step + 1) % config.save_every == 0:
                run.save(step + 1, {"model": model}, {"optimizer": optimizer}, state)
                keep_if_best(step + 1)
            if progress and main():
                progress(step + 1, total, metrics)
    if choosing:
        best = run.get(_BEST)
        if best is None or best["epoch"] != state["epoch"]:
            raise UserError(
                f"{run.path / _BEST}: the weights of the best epoch, {state['epoch']}, are missing or damaged: "
                "train in a new directory"
            )
        load_module_state(model, best["model"])
    model.eval()
    return run.history()


def by_task(tasks: Sequence[str], limit: int | None) -> list[tuple[IntArray, int]]:
    """Return the places of each task's demonstrations, and how many of them an epoch holds."""
    places: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        places.setdefault(task, []).append(index)
    return [(np.array(own, np.int64), min(len(own), limit or len(own))) for own in places.values()]


def epoch_order(
    demonstrations: Sequence[Turns], tasks: Sequence[tuple[IntArray, int]], key: tuple[int, int]
) -> IntArray:
    """Draw one epoch's demonstrations and put them in order: int64 [n].

    Of a task that is larger than an epoch holds of it, epochs draw one after another from shuffled passes over it all.
    The prompts are shuffled, and the demonstrations of each, which follow one another.

    Args:
        demonstrations: All of them.
        tasks: See `by_task`.
        key: Seed and epoch.
    """
    drawn = np.concatenate(
        [own if size == len(own) else own[prompt_indices(len(own), size, key)] for own, size in tasks]
    )
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in np.random.default_rng(key).permutation(np.sort(drawn)):
        groups.setdefault(demonstrations[index][0].prompt, []).append(int(index))
    return np.array([index for group in groups.values() for index in group], np.int64)


def trees_of(demonstrations: Sequence[Turns]) -> list[TokenTree]:
    """Return the demonstrations of each prompt as one token tree; every answer is a branch of its own."""
    by_prompt: dict[tuple[int, ...], list[Turn]] = {}
    for turns in demonstrations:
        by_prompt.setdefault(turns[0].prompt, []).extend(turns)
    return [
        TokenTree.from_prefixes([turn.prompt for turn in own], [turn.answer for turn in own])
        for own in by_prompt.values()
    ]


@torch.no_grad()
def mean_loss(model: Any, demonstrations: Sequence[Turns], token_budget: int = 8192) -> float:
    """Return the mean loss of all answer tokens, in nats, with the model's dropout off."""
    training = model.training
    model.eval()
    trees = trees_of(demonstrations)
    groups = pack([len(tree) for tree in trees], token_budget)
    total = 0.0
    for group, weight in share(groups):
        total -= weight * token_logprobs(model, [trees[i] for i in group]).logprobs.double().sum().item()
    model.train(training)
    return totals({"loss": total})["loss"] / max(1, _tokens(trees))


def _drawn(texts: Sequence[Sequence[int]], answers: int, config: SFTConfig, step: int) -> list[TokenTree]:
    """Draw pretraining texts, the last one cut, to be their share of the tokens trained beside so many of answers."""
    rng = np.random.default_rng((config.seed, step, 1))
    rows: list[Sequence[int]] = []
    left = round(answers * config.pretraining_share / (1 - config.pretraining_share))
    while left > 0:
        rows.append(texts[int(rng.integers(len(texts)))][: left + 1])  # the first token is not predicted
        left -= len(rows[-1]) - 1
    return trees_from_rows(rows)


def _tokens(trees: Sequence[TokenTree]) -> int:
    """Count the tokens predicted: those of all branches."""
    return sum(len(branch) for tree in trees for branch in tree.branches)


def _step(
    model: Any, trees: Sequence[TokenTree], optimizer: torch.optim.Optimizer, config: SFTConfig, step: int
) -> dict[str, float]:
    """One optimizer step: the mean over the batch's tokens, accumulated over what fits one forward pass."""
    optimizer.zero_grad()
    tokens, total = _tokens(trees), 0.0
    for group, weight in share(pack([len(tree) for tree in trees], config.token_budget), (config.seed, step)):
        loss = -weight * token_logprobs(model, [trees[i] for i in group]).logprobs.sum() / tokens
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    total = totals({"loss": total})["loss"]
    norm = finish_gradients(model, config.max_grad_norm)
    if not math.isfinite(total) or not math.isfinite(norm):
        raise UserError(f"the loss is {total} and its gradient {norm} at step {step + 1}: lower learning_rate")
    optimizer.step()
    rate = optimizer.param_groups[0]["lr"]
    measured = {"loss": total, "grad_norm": norm, "learning_rate": rate, "tokens": tokens}
    return {**measured, "flops": trained(model, trees)}


def _after_epoch(
    model: Any, epoch: int, held_out: Sequence[Turns], score: ScoreModel | None, token_budget: int
) -> dict[str, float]:
    """Measure what there is to choose an epoch by."""
    measured = {}
    if held_out:
        measured["valid_loss"] = mean_loss(model, held_out, token_budget)
    if score is not None:
        measured["score"] = score(model, epoch)
    return measured
