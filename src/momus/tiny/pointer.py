"""Train momus-tiny's pointer (`lm/pointers/pointer.py`): the small network that chooses the line to quote.

Lessons come from a given function: an answer with its question, and which of its lines hold bugs. The critic itself
does not change.

At first the layers copied from the critic are frozen and only the layers that read them are trained; then everything
is. The result is a weighted mean of the weights after either part.

Two losses on the scores at the ends of an answer's lines: which of all lines holds a bug (cross-entropy against an even
choice among the lines with bugs), and whether each line does (binary cross-entropy). A prompt costs a fraction of the
critique written about it, and every answer is a lesson, so in the same time the pointer sees several times the bugs.
Everything is drawn by (seed, pool): a killed run continues exactly.
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
from momus.lm.pointers.pointer import PointerNetwork, line_end_positions, pad_prompts
from momus.lm.prompts import critique_prompt
from momus.records import Tamper
from momus.runtime.runs import Run
from momus.tamper.truth import bug_lines
from momus.tiny.muon import muon_and_adamw, set_rates, take_step


@dataclass(frozen=True)
class PointerConfig:
    """Settings of a pointer and its training; there is no paper to follow here."""

    layers: int = 2
    """Bidirectional layers above those copied from the critic."""
    heads: int = 4
    inner: int = 320
    """Width of the feed-forward blocks of these layers."""
    tokens: int = 9_000_000
    """Prompt tokens to train on while the copied layers are frozen, padding not counted."""
    whole_tokens: int = 6_000_000
    """Tokens to train everything on afterwards."""
    batch_tokens: int = 8192
    """Tokens per batch at most, padding counted."""
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    weight_decay: float = 0.01
    first: float = 0.25
    """Share of the weights after the first part in the mean; chosen on validation functions."""
    warmup: int = 40
    """Steps over which the rates rise."""
    cooldown: float = 0.5
    """Last share of `tokens` over which the rates fall to zero."""
    again: float = 0.5
    """Share of the peak rates that the second part warms up to, before they fall to zero."""
    every: float = 2.0
    """Weight of the loss of single lines; that of the choice among them weighs 1."""
    pool: int = 512
    """Lessons drawn together and cut into batches of similar lengths."""
    save_every: int = 20
    """Pools between checkpoints."""
    seed: int = 0


class Lesson(NamedTuple):
    """A prompt, the positions where its answer's non-blank lines end, and which of these lines hold bugs."""

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
    """Train a pointer for a critic in the run directory `out`; running it again continues where it stopped.

    Args:
        model: The critic; it is not changed.
        reads: Number of its layers that the pointer copies.
        draw: Draws one lesson, from nothing but the given random generator.
        valid: Held-out lessons for the logged accuracy.
        config: All settings.
        out: Run directory.

    Returns:
        The network, which scores every token of a prompt.

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
                state["tokens"] += sum(len(lesson.tokens) for lesson in batch)
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
        for parameter, before in zip(network.parameters(), first.parameters(), strict=True):
            parameter.lerp_(before, config.first)
    return network.eval()


def make_lesson(tamper: Tamper, question: str, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary) -> Lesson:
    """Return the lesson of one tampered answer."""
    ids = tokenizer.backend_tokenizer.encode(critique_prompt(question, tamper.answer)).ids
    tokens = (tokenizer.bos_token_id, *ids)
    ends = line_end_positions(tokens, tamper.answer, vocabulary)
    bugs = set[int]().union(*(bug_lines(bug, tamper.answer) for bug in tamper.bugs))
    lines = [number for number, line in enumerate(tamper.answer.split("\n")) if line.strip()]
    return Lesson(tokens, tuple(ends[n] for n in lines), tuple(n in bugs for n in lines))


def pointing_loss(
    network: PointerNetwork, lessons: Sequence[Lesson], line_weight: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of some lessons, a scalar, and its parts as numbers to show.

    Args:
        network: The pointer.
        lessons: At least one.
        line_weight: Weight of the loss of single lines beside that of the choice among them.
    """
    choices, lines = [], []
    for scores, lesson in zip(_line_scores(network, lessons), lessons, strict=True):
        buggy = torch.tensor(lesson.buggy, dtype=scores.dtype, device=scores.device)
        lines.append(F.binary_cross_entropy_with_logits(scores, buggy, reduction="none"))
        if any(lesson.buggy):
            choices.append(-(scores.log_softmax(-1) * buggy).sum() / buggy.sum())
    line = torch.cat(lines).mean()
    choice = torch.stack(choices).mean() if choices else torch.zeros_like(line)
    return choice + line_weight * line, {"choice": round(choice.item(), 4), "every": round(line.item(), 4)}


@torch.no_grad()
def pointing_accuracy(network: PointerNetwork, lessons: Sequence[Lesson], batch_tokens: int) -> float:
    """Return the share of lessons in which the line with the highest score has a bug."""
    network.eval()
    hits = [
        lesson.buggy[int(scores.argmax())]
        for batch in _batches(lessons, batch_tokens)
        for scores, lesson in zip(_line_scores(network, batch), batch, strict=True)
    ]
    network.train()
    return sum(hits) / max(1, len(hits))


def _line_scores(network: PointerNetwork, lessons: Sequence[Lesson]) -> list[torch.Tensor]:
    """Return the score at the end of every line of each lesson."""
    scores = network(*pad_prompts([lesson.tokens for lesson in lessons], network.score.weight.device))
    return [row[list(lesson.ends)] for row, lesson in zip(scores, lessons, strict=True)]


def _rate(config: PointerConfig, step: int, tokens: int) -> float:
    """Warm up, hold, fall to zero at `config.tokens`; then warm up again, to less, and fall to zero."""
    if tokens < config.tokens:
        return min(1.0, (step + 1) / config.warmup, (1 - tokens / config.tokens) / config.cooldown)
    done = tokens - config.tokens
    rise = (done + 1) / (config.warmup * config.batch_tokens)
    return config.again * max(0.0, min(rise, 1 - done / max(1, config.whole_tokens)))


def _batches(
    lessons: Sequence[Lesson], batch_tokens: int, shuffled: random.Random | None = None
) -> Iterator[list[Lesson]]:
    """Cut lessons into batches of similar lengths."""
    batches: list[list[Lesson]] = [[]]
    for lesson in sorted(lessons, key=lambda lesson: len(lesson.tokens)):
        if batches[-1] and (len(batches[-1]) + 1) * len(lesson.tokens) > batch_tokens:
            batches.append([])
        batches[-1].append(lesson)
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
    loss, parts = pointing_loss(network, batch, config.every)
    return {**parts, "norm": take_step(loss, network, optimizers)}
