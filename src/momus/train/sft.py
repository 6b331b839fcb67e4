"""Supervised fine-tuning on demonstrations (InstructGPT, arXiv 2203.02155, §3.5 and C.1; before PPO: C.3).

The loss is the language model's on the answers alone::

    loss = - mean over the answer tokens of a batch of  log p(token | prompt and answer before it)

A batch is so many demonstrations, however it is cut to fit memory, and its mean is over all of its tokens. The
demonstrations of one prompt, and the turns of one conversation, are branches of one token tree: shared tokens are
computed once, and trees lie end to end without padding. The learning rate falls along a cosine to a tenth, without
warm-up; dropout is on what every attention and feed-forward layer adds to the residual stream, and nowhere else
(`runtime/dropout.py`).

Which epoch is kept? The paper trains for 16 and keeps the one whose answers to held-out prompts the reward model scores
best: the validation loss rises after the first epoch already, while reward scores and human ratings keep improving.
Likewise here: with `score`, the epoch it rates highest; else the one with the lowest loss on `held_out` (too early, by
the paper's remark); else the last. Its weights are kept in the run's `best` directory (`runtime/best.py`).

PPO starts from a different model (C.3, `SFTConfig.for_ppo`): two epochs, with pretraining texts mixed in.

A mixture of many public tasks (FLAN, T0), the paper's other baseline (C.5, `SFTConfig.for_mixture`), is sampled in
proportion to the tasks' sizes up to a limit (`per_task`; arXiv 1910.10683, 3.5.2): an epoch uses at most that many
demonstrations of each task, and the next epoch the ones that follow.

Differences from the paper: demonstrations of one prompt are consecutive in an epoch's order, so that they can share
it; the pretraining mix is a share of the trained tokens, as the paper only says 10 %; AdamW without weight decay; the
gradient is clipped, which the paper inherits from GPT-3 if at all; a model whose configuration has no dropout gets none
(`SFTConfig.dropout`), where the paper's 0.2 would ruin it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from momus.errors import UserError
from momus.lm.chat import Turn
from momus.lm.forward import token_logprobs, trees_from_rows
from momus.lm.tree import TokenTree, pack
from momus.runtime.best import BestEpoch
from momus.runtime.costs import training_flops
from momus.runtime.dropout import has_dropout, residual_dropout
from momus.runtime.processes import (
    accumulate_gradients,
    fail_together,
    is_main_process,
    reduce_and_clip_gradients,
    share,
    sum_metrics,
)
from momus.runtime.runs import Progress, Run
from momus.runtime.sharding import place
from momus.train.sampling import Epochs, by_task, draw_texts_by_share, epoch_order
from momus.train.schedules import cosine, set_learning_rate
from momus.train.settings import PAPER_DROPOUT, SFTConfig

Turns = Sequence[Turn]
"""One demonstration: its trained turns, usually one."""

_LOOKED_AT = 8
"""Batches that tell what an epoch takes."""

ScoreModel = Callable[[Any, int], float]
"""``score(model, epoch)`` rates the model's answers after an epoch, counted from 1; higher is better."""


@fail_together()
def fine_tune(
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
    """Train a causal language model in place, continuing where `run` stopped; return the metrics of all steps.

    The model ends with the weights of the epoch that `best_epoch` in the last line of metrics names.

    Args:
        model: Causal language model.
        demonstrations: Demonstrations to train on.
        config: All settings.
        run: Run directory for checkpoints and metrics.
        progress: Called after every step.
        tasks: Task of each demonstration, for `config.per_task`; none means that all are of one task.
        pretraining: Tokenised texts to mix in.
        held_out: Demonstrations to measure the loss on after every epoch.
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
    prompts = [turns[0].prompt for turns in demonstrations]
    limited = by_task(tasks or [""] * len(demonstrations), config.per_task)
    epochs = Epochs(sum(size for _, size in limited), config.demonstrations_per_batch, config.epochs)
    choose = config.keep == "best" and bool(held_out or score)
    checkpoints = BestEpoch(run, model, optimizer, epochs.steps_each, choose)
    done = checkpoints.restore()
    model.train()
    with residual_dropout(model, dropout_of(model, config)):
        for step, epoch, chosen in epochs.batches(lambda e: epoch_order(prompts, limited, (config.seed, e)), done):
            set_learning_rate([optimizer], cosine(step / epochs.steps, config.final_fraction))
            trees = demonstration_trees([demonstrations[i] for i in chosen])
            trees += trees_from_rows(
                draw_texts_by_share(texts, count_answer_tokens(trees), config.pretraining_share, (config.seed, step))
            )
            metrics = _step(model, trees, optimizer, config, step)
            if epochs.ends_at(step):
                metrics |= _after_epoch(model, epoch + 1, held_out, score, config.token_budget)
                value = metrics.get("score", -metrics.get("valid_loss", 0.0))
                metrics["best_epoch"] = checkpoints.update(epoch + 1, value)
            run.log(step + 1, epoch=epoch + 1, **metrics)
            if epochs.ends_at(step) or (step + 1) % config.save_every == 0:
                checkpoints.save(step + 1)
            if progress and is_main_process():
                progress(step + 1, epochs.steps, metrics)
    checkpoints.load()
    model.eval()
    return run.history()


def _step(
    model: Any, trees: Sequence[TokenTree], optimizer: torch.optim.Optimizer, config: SFTConfig, step: int
) -> dict[str, float]:
    """Take one optimizer step on the mean loss of the batch's tokens, accumulated over forward passes."""
    tokens = count_answer_tokens(trees)

    def group_loss(group: list[int]) -> tuple[Tensor, list[float]]:
        loss = -token_logprobs(model, [trees[i] for i in group]).logprobs.sum() / tokens
        return loss, [loss.item()]

    optimizer.zero_grad()
    groups = pack([len(tree) for tree in trees], config.token_budget)
    loss = accumulate_gradients(groups, group_loss, ("loss",), (config.seed, step))["loss"]
    norm = reduce_and_clip_gradients(model, config.max_grad_norm)
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise UserError(f"the loss is {loss} and its gradient {norm} at step {step + 1}: lower learning_rate")
    optimizer.step()
    rate = optimizer.param_groups[0]["lr"]
    flops = training_flops(model, trees)
    return {"loss": loss, "grad_norm": norm, "learning_rate": rate, "tokens": tokens, "flops": flops}


def dropout_of(model: Any, config: SFTConfig) -> float:
    """Return the rate of residual dropout: as set, else the paper's where the model was pretrained with dropout."""
    if config.dropout is not None:
        return config.dropout
    return PAPER_DROPOUT if has_dropout(model.config) else 0.0


def demonstration_trees(demonstrations: Sequence[Turns]) -> list[TokenTree]:
    """Return one token tree per prompt, with every answer to it as a branch."""
    by_prompt: dict[tuple[int, ...], list[Turn]] = {}
    for turns in demonstrations:
        by_prompt.setdefault(turns[0].prompt, []).extend(turns)
    return [
        TokenTree.from_prefixes([turn.prompt for turn in turns], [turn.answer for turn in turns])
        for turns in by_prompt.values()
    ]


def expected_flops(model: Any, demonstrations: Sequence[Turns], config: SFTConfig) -> float:
    """Return the operations of all epochs, by the first batches: what prompts share in a batch is computed once."""
    size, count = config.demonstrations_per_batch, len(demonstrations)
    prompts = [turns[0].prompt for turns in demonstrations]
    order = epoch_order(prompts, by_task([""] * count, None), (config.seed, 0))[: _LOOKED_AT * size]
    batches = [[demonstrations[i] for i in order[at : at + size]] for at in range(0, len(order), size)]
    flops = sum(training_flops(model, demonstration_trees(batch)) for batch in batches)
    return config.epochs * flops * count / max(1, len(order))


def count_answer_tokens(trees: Sequence[TokenTree]) -> int:
    """Count the tokens of all branches: those whose loss is taken."""
    return sum(len(branch) for tree in trees for branch in tree.branches)


@torch.no_grad()
def mean_loss(model: Any, demonstrations: Sequence[Turns], token_budget: int = 8192) -> float:
    """Return the mean loss of all answer tokens, in nats, with the model's dropout off."""
    training = model.training
    model.eval()
    trees = demonstration_trees(demonstrations)
    total = 0.0
    for group, weight in share(pack([len(tree) for tree in trees], token_budget)):
        total -= weight * token_logprobs(model, [trees[i] for i in group]).logprobs.double().sum().item()
    model.train(training)
    return sum_metrics({"loss": total})["loss"] / max(1, count_answer_tokens(trees))


def _after_epoch(
    model: Any, epoch: int, held_out: Sequence[Turns], score: ScoreModel | None, token_budget: int
) -> dict[str, float]:
    """Measure what an epoch is chosen by: the loss on held-out demonstrations, the score."""
    measured = {}
    if held_out:
        measured["valid_loss"] = mean_loss(model, held_out, token_budget)
    if score is not None:
        measured["score"] = score(model, epoch)
    return measured
