"""Training the embedded model's pointer (`lm/pointer.py`): fresh bugs teach where to point.

First the layers copied from the model stay as they are and only what reads them is trained; then everything is. The
result is a mean of the weights after either part. The model itself does not change.

Two losses on the scores at the ends of an answer's lines: which line holds the fault among all of them (cross-entropy
against an even choice among the lines with bugs), and whether each line does (binary cross-entropy). A prompt costs a
fraction of what a critique of it would, and every answer is a lesson, so that in the same time the pointer sees several
times the bugs. Everything is drawn by (seed, pool): a run that was killed continues exactly.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from momus.lm.constraint import Vocabulary
from momus.lm.pointer import PointerNetwork, line_end_positions, pad_prompts
from momus.lm.prompts import critique_prompt
from momus.records import Tamper
from momus.runtime.runs import Run
from momus.tamper.truth import bug_lines
from momus.train.muon import muon_and_adamw, set_rates, take_step


@dataclass(frozen=True)
class PointerConfig:
    """Settings of the pointer and its training; there is no paper to follow here."""

    layers: int = 2
    """Bidirectional layers of its own."""
    heads: int = 4
    inner: int = 320
    """Width of their feed-forward blocks."""
    tokens: int = 9_000_000
    """Tokens of prompts to train on while the copied layers stay as they are, padding not counted."""
    whole_tokens: int = 6_000_000
    """Tokens to train everything on afterwards."""
    batch_tokens: int = 8192
    """Most tokens in a batch, padding counted."""
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    weight_decay: float = 0.01
    first: float = 0.25
    """What the weights after the first part count for in the mean; chosen on validation functions."""
    warmup: int = 40
    """Steps over which the rates rise."""
    cooldown: float = 0.5
    """Last share of `tokens` over which the rates fall to zero."""
    again: float = 0.5
    """Share of the rates to which they rise when the whole begins to be trained; then they fall to zero."""
    bugs: tuple[float, ...] = (0.05, 0.4, 0.25, 0.2, 0.1)
    """Shares of answers with 0, 1, 2, ... bugs; never more than one to two lines."""
    question: float = 0.7
    """Share of answers shown with their question."""
    short_chars: int = 360
    long_share: float = 0.6
    """Chance to keep an answer drawn that is longer than `short_chars`."""
    every: float = 2.0
    """What the loss of every single line weighs beside that of the choice among them."""
    pool: int = 512
    """Answers drawn together and cut into batches of like lengths."""
    save_every: int = 20
    """Pools between checkpoints."""
    seed: int = 0


class Lesson(NamedTuple):
    """A prompt, where its answer's lines end that are not blank, and which of these hold bugs."""

    tokens: tuple[int, ...]
    ends: tuple[int, ...]
    buggy: tuple[bool, ...]


def train_pointer(
    model: LlamaForCausalLM,
    reads: int,
    draw: Callable[[random.Random], Lesson],
    valid: Sequence[Lesson],
    config: PointerConfig,
    out: Path,
) -> PointerNetwork:
    """Train the pointer of a model in the run directory `out`; running it again continues where it stopped.

    Args:
        model: The model; it is not changed.
        reads: How many of its layers the pointer reads through.
        draw: Draws one lesson; it must depend on nothing but the generator it is given.
        valid: Held-out lessons, to say now and then how often the pointer is right.
        config: The settings.
        out: The run directory.

    Returns:
        The network, which reads states as wide as the model's and scores every token.

    Raises:
        UserError: The run directory holds a run with other settings, or the disk is full.
    """
    run = Run(out, {**asdict(config), "reads": reads})
    torch.manual_seed(config.seed)
    network = PointerNetwork.from_model(model, reads, layers=config.layers, heads=config.heads, inner=config.inner)
    first = copy.deepcopy(network)
    modules, optimizers = {"pointer": network, "first": first}, _optimizers(network, config)
    step, state = run.restore(modules, optimizers) or (0, {"tokens": 0, "pool": 0})
    total = config.tokens + config.whole_tokens
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("training the pointer", total=total, completed=state["tokens"])
        while state["tokens"] < total:
            rng = random.Random(f"{config.seed} pointer {state['pool']}")
            lessons = [draw(rng) for _ in range(config.pool)]
            for batch in _batches(lessons, config.batch_tokens, rng):
                started = monotonic()
                whole = state["tokens"] >= config.tokens
                network.below.requires_grad_(whole)
                set_rates(optimizers, config, _rate(config, step, state["tokens"]))
                losses = _step(network, optimizers, batch, config)
                state["tokens"] += sum(len(own.tokens) for own in batch)
                step += 1
                if not whole and state["tokens"] >= config.tokens:
                    first.load_state_dict(network.state_dict())
                run.log(step, tokens=state["tokens"], **losses, seconds=round(monotonic() - started, 3))
                progress.update(bar, completed=state["tokens"], description=f"choice {losses['choice']:.3f}")
            state["pool"] += 1
            if state["pool"] % config.save_every == 0 or state["tokens"] >= total:
                run.log(step, line_accuracy=pointing_accuracy(network, valid, config.batch_tokens))
                run.save(step, modules=modules, optimizers=optimizers, state=state)
    with torch.no_grad():
        for own, before in zip(network.parameters(), first.parameters(), strict=True):
            own.lerp_(before, config.first)
    return network.eval()


def lesson_of(tamper: Tamper, question: str, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary) -> Lesson:
    """Return what one tampered answer teaches."""
    ids = tokenizer.backend_tokenizer.encode(critique_prompt(question, tamper.answer)).ids
    tokens = (tokenizer.bos_token_id, *ids)
    ends = line_end_positions(tokens, tamper.answer, vocabulary)
    bugs = set[int]().union(*(bug_lines(bug, tamper.answer) for bug in tamper.bugs))
    lines = [number for number, line in enumerate(tamper.answer.split("\n")) if line.strip()]
    return Lesson(tokens, tuple(ends[n] for n in lines), tuple(n in bugs for n in lines))


def loss_of(
    network: PointerNetwork, lessons: Sequence[Lesson], every_weight: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of some lessons, a scalar, and its parts as numbers to show."""
    choice, every = [], []
    for scores, own in zip(_scores(network, lessons), lessons, strict=True):
        buggy = torch.tensor(own.buggy, dtype=scores.dtype, device=scores.device)
        every.append(F.binary_cross_entropy_with_logits(scores, buggy, reduction="none"))
        if any(own.buggy):
            choice.append(-(scores.log_softmax(-1) * buggy).sum() / buggy.sum())
    single = torch.cat(every).mean()
    chosen = torch.stack(choice).mean() if choice else torch.zeros_like(single)
    return chosen + every_weight * single, {"choice": round(chosen.item(), 4), "every": round(single.item(), 4)}


@torch.no_grad()
def pointing_accuracy(network: PointerNetwork, lessons: Sequence[Lesson], batch_tokens: int) -> float:
    """Return the share of lessons in which the line with the highest score has a bug."""
    network.eval()
    batches = _batches(lessons, batch_tokens)
    hits = [
        own.buggy[int(scores.argmax())]
        for batch in batches
        for scores, own in zip(_scores(network, batch), batch, strict=True)
    ]
    network.train()
    return sum(hits) / max(1, len(hits))


def _scores(network: PointerNetwork, lessons: Sequence[Lesson]) -> list[torch.Tensor]:
    scores = network(*pad_prompts([own.tokens for own in lessons], network.score.weight.device))
    return [row[list(own.ends)] for row, own in zip(scores, lessons, strict=True)]


def _rate(config: PointerConfig, step: int, tokens: int) -> float:
    """Warm up, hold, fall to zero at `config.tokens`; for the whole warm up again, less high, and fall."""
    if tokens < config.tokens:
        return min(1.0, (step + 1) / config.warmup, (1 - tokens / config.tokens) / config.cooldown)
    done = tokens - config.tokens
    rise = (done + 1) / (config.warmup * config.batch_tokens)
    return config.again * max(0.0, min(rise, 1 - done / max(1, config.whole_tokens)))


def _batches(
    lessons: Sequence[Lesson], batch_tokens: int, shuffled: random.Random | None = None
) -> Iterator[list[Lesson]]:
    """Cut lessons into batches of like lengths."""
    batches: list[list[Lesson]] = [[]]
    for own in sorted(lessons, key=lambda lesson: len(lesson.tokens)):
        if batches[-1] and (len(batches[-1]) + 1) * len(own.tokens) > batch_tokens:
            batches.append([])
        batches[-1].append(own)
    if shuffled:
        shuffled.shuffle(batches)
    yield from batches


def _optimizers(network: PointerNetwork, config: PointerConfig) -> dict[str, torch.optim.Optimizer]:
    layers = [*network.below.layers, *network.body.layers]
    matrices = [p for layer in layers for p in layer.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in network.parameters() if id(p) not in chosen]
    return muon_and_adamw(matrices, others, config)


def _step(
    network: PointerNetwork,
    optimizers: dict[str, torch.optim.Optimizer],
    batch: Sequence[Lesson],
    config: PointerConfig,
) -> dict[str, float]:
    loss, parts = loss_of(network, batch, config.every)
    return {**parts, "norm": take_step(loss, network, optimizers)}
