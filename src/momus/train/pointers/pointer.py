"""Train a pointer for any base (`lm/pointers/line_pointer.py`): where to look, learnt from tampered code.

The base stays as it is. Four steps:

1. Read: every tampered answer once, and with `PointerConfig.pairs` the same without its bugs, with the base
   (`lm/pointers/line_states.py`). This is the only slow part; it is kept in the run directory in pieces, so that a
   killed run does not do it again.
2. Choose what to go by, on answers held out: which of the two readings, where there are two, which pooling, which
   layers. One after another, each by fitting a head.
3. Fit some heads to what was chosen, from different seeds, each kept as it was after its best pass.
4. Point by the mean of their logits.

Two losses: which of all lines holds the bug (cross-entropy against an even choice among the lines with bugs), and
whether each line does (binary cross-entropy), which makes the scores mean something across answers, as a dial needs.
With pairs a third one: which of two answers has the bug that differ by nothing else.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from momus.errors import UserError
from momus.lm.pointers.line_pointer import UNPAIRED_SHIFT, BaseIdentity, HeadShape, LineHead, LinePointer, pad_lines
from momus.lm.pointers.line_states import SURPRISES, LineReader, LineStates, Reads, select
from momus.records import Tamper
from momus.runtime.runs import Run
from momus.stats.bootstrap import SHARE, Interval, mean_interval
from momus.tamper.truth import bug_lines
from momus.train.pointers.settings import PointerConfig
from momus.train.schedules import warm_up

PIECE = 64
"""Answers read between two savings."""

_POOL = 16
"""Batches that are cut from one sorted pool."""

Say = Callable[[str, int, int], None]
"""Called with what is being done, and how much of how much is done."""


class Lesson(NamedTuple):
    """What the base knows of an answer's lines, which hold bugs [lines], and of the lines of the same without bugs."""

    lines: LineStates
    buggy: Tensor
    right: LineStates | None = None


class Fitted(NamedTuple):
    """A head after its best pass, and the log of all passes."""

    head: LineHead
    accuracy: float
    history: list[dict[str, float]]


class Trained(NamedTuple):
    """A pointer, what was chosen for it, and how often its first line is right on held-out answers."""

    pointer: LinePointer
    accuracy: Interval
    chance: float
    trials: list[dict[str, Any]]


def train_pointer(
    reader: LineReader,
    base: BaseIdentity,
    tampers: Sequence[Tamper],
    held_out: Sequence[Tamper],
    config: PointerConfig,
    run: Run,
    say: Say = lambda what, done, total: None,
) -> Trained:
    """Train a pointer in a run directory; with the same run again, it continues where it stopped.

    Args:
        reader: Reads answers with the base, all that there is to choose from.
        base: What the pointer will belong to.
        tampers: Answers to learn from, with their bugs or without any.
        held_out: Others, to choose by.
        config: All settings.
        run: The run directory, opened with everything that decides the result.
        say: Called with what is being done.

    Raises:
        UserError: There is nothing to choose by, or an answer is too long for the base.
    """
    run.restore({})  # there are no checkpoints: what was logged is logged again
    lessons = read_lessons(reader, tampers, run, "train", say)
    if config.pairs:
        lessons = add_right_code(lessons, reader, tampers, run, say)
    unseen = [lesson for lesson in read_lessons(reader, held_out, run, "held-out", say) if lesson.buggy.any()]
    if not unseen:
        raise UserError("none of the answers held out has a bug: there is nothing to choose a pointer by")

    def fit(reads: Reads, seed: int) -> Fitted:
        shape = HeadShape(base.hidden, reads, config.width, config.layers, config.attention_heads, config.dropout)
        return _fit_once(shape, lessons, unseen, reader.reads, config, seed, run, say)

    reads, trials = choose_reads(reader.reads, lambda reads: fit(reads, config.seed).accuracy)
    heads = [fit(reads, config.seed + number).head for number in range(config.heads)]
    pointer = LinePointer(heads, base, 0.0 if config.pairs else UNPAIRED_SHIFT).eval()
    hits = first_line_hits(pointer, [_narrow(lesson, reader.reads, reads) for lesson in unseen])
    chance = sum(float(lesson.buggy.sum() / lesson.lines.written.sum()) for lesson in unseen) / len(unseen)
    return Trained(pointer, mean_interval(hits, bounds=SHARE), chance, trials)


def choose_reads(kept: Reads, accuracy: Callable[[Reads], float]) -> tuple[Reads, list[dict[str, Any]]]:
    """Choose readings, then pools, then layers, each by the held-out accuracy with the others as chosen so far.

    Returns:
        What was chosen, and every trial with its accuracy.
    """
    best = kept
    trials: dict[Reads, float] = {}
    fields: Sequence[tuple[str, Sequence[tuple[Any, ...]]]] = (
        ("readings", _parts(kept.readings)),
        ("pools", _parts(kept.pools)),
        ("layers", [kept.layers, *(kept.layers[start:] for start in range(1, len(kept.layers))), kept.layers[1:-1]]),
    )
    for field, options in fields:
        tried = [best._replace(**{field: option}) for option in options if option]
        for reads in tried:
            if reads not in trials:
                trials[reads] = accuracy(reads)
        best = max(tried, key=lambda reads: trials[reads])
    return best, [{**reads._asdict(), "held_out": round(value, 4)} for reads, value in trials.items()]


def pointing_loss(scores: Tensor, buggy: Tensor, written: Tensor) -> Tensor:
    """Return the sum of both losses, a scalar.

    Args:
        scores: A logit a line, [B, L].
        buggy: Which lines hold bugs, [B, L].
        written: Which lines are neither blank nor padding, [B, L].
    """
    target = (buggy & written).float()
    bugs = target.sum(-1)
    log_p = scores.masked_fill(~written, -1e9).log_softmax(-1)
    choice = -(log_p * target).sum(-1)[bugs > 0] / bugs[bugs > 0]
    line = F.binary_cross_entropy_with_logits(scores[written], target[written])
    return line if choice.numel() == 0 else choice.mean() + line


def telling_loss(wrong: Tensor, right: Tensor) -> Tensor:
    """Return the logistic loss of telling answers with bugs from the same without, a scalar.

    Args:
        wrong: A logit a line, [B, L]; minus infinity where nothing is written.
        right: The same of the answers without bugs.
    """
    return F.softplus(right.logsumexp(-1) - wrong.logsumexp(-1)).mean()


def fit_head(
    shape: HeadShape,
    lessons: Sequence[Lesson],
    held_out: Sequence[Lesson],
    config: PointerConfig,
    seed: int,
    say: Callable[[int], None] = lambda done: None,
) -> Fitted:
    """Fit one head to lessons and keep it as it was after its best pass on others."""
    torch.manual_seed(seed)
    head = LineHead(shape)
    best = Fitted(head, -1.0, [])
    optimizer = torch.optim.AdamW(head.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    size = config.batch // 2 if config.pairs else config.batch
    steps = config.passes * -(-len(lessons) // size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warm_up(step, config.warmup, 0.0) * (1 - step / steps)
    )
    for number in range(config.passes):
        say(number)
        losses = []
        for batch in _batches(lessons, size, random.Random(f"{seed} pass {number}")):
            pairs = [(number, lesson.right) for number, lesson in enumerate(batch) if lesson.right is not None]
            rights = [right for _, right in pairs]
            states, surprise, written = pad_lines([*(lesson.lines for lesson in batch), *rights])
            marks = [*(lesson.buggy for lesson in batch), *(torch.zeros_like(right.written) for right in rights)]
            scores = head(states, surprise, written)
            loss = pointing_loss(scores, torch.nn.utils.rnn.pad_sequence(marks, batch_first=True), written)
            if pairs:
                loss = loss + telling_loss(scores[[number for number, _ in pairs]], scores[len(batch) :])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        hits = first_line_hits(head.eval(), held_out)
        head.train()
        accuracy = sum(hits) / len(hits)
        best.history.append({"loss": round(sum(losses) / len(losses), 4), "held_out": round(accuracy, 4)})
        if accuracy > best.accuracy:
            best = Fitted(copy.deepcopy(head).eval(), accuracy, best.history)
    return best


@torch.inference_mode()
def first_line_hits(pointer: LineHead | LinePointer, lessons: Sequence[Lesson]) -> list[bool]:
    """Return for every lesson whether the line with the highest score has a bug."""
    hits: list[bool] = []
    for start in range(0, len(lessons), 64):
        part = lessons[start : start + 64]
        scores = pointer(*pad_lines([lesson.lines for lesson in part]))
        hits += [bool(lesson.buggy[row.argmax()]) for lesson, row in zip(part, scores, strict=True)]
    return hits


def read_lessons(reader: LineReader, tampers: Sequence[Tamper], run: Run, split: str, say: Say) -> list[Lesson]:
    """Read tampered answers with the base in pieces, each kept in the run directory."""
    lessons: list[Lesson] = []
    for start in range(0, len(tampers), PIECE):
        piece, name = tampers[start : start + PIECE], f"states/{split}-{start // PIECE}"
        say(f"Reading ({split})", start, len(tampers))
        kept = run.get(name)
        if kept is None:
            kept = [lines._asdict() for lines in reader.read([(t.task.question, t.answer) for t in piece])]
            run.put(name, kept)
        lessons += [make_lesson(t, LineStates(**lines)) for t, lines in zip(piece, kept, strict=True)]
    return lessons


def add_right_code(
    lessons: Sequence[Lesson], reader: LineReader, tampers: Sequence[Tamper], run: Run, say: Say
) -> list[Lesson]:
    """Read answers without their bugs, too, and add that to the lessons of those that have any."""
    without = [Tamper(task=tamper.task, answer=tamper.task.answer, bugs=()) for tamper in tampers if tamper.bugs]
    right = iter(read_lessons(reader, without, run, "right", say))
    return [
        lesson._replace(right=next(right).lines) if tamper.bugs else lesson
        for lesson, tamper in zip(lessons, tampers, strict=True)
    ]


def make_lesson(tamper: Tamper, lines: LineStates) -> Lesson:
    """Return the lesson of one tampered answer, given what the base knows of its lines."""
    bugs = set[int]().union(*(bug_lines(bug, tamper.answer) for bug in tamper.bugs))
    return Lesson(lines, torch.tensor([n in bugs for n in range(len(lines.written))]) & lines.written)


def kept_bytes(answers: Sequence[str], reads: Reads, hidden: int) -> int:
    """Return how much a run keeps of answers on disk while it trains, and holds of them in memory."""
    lines = sum(answer.count("\n") + 1 for answer in answers)
    return lines * (2 * hidden * len(reads.readings) * len(reads.layers) * len(reads.pools) + 4 * SURPRISES)


def _fit_once(
    shape: HeadShape,
    lessons: Sequence[Lesson],
    held_out: Sequence[Lesson],
    kept: Reads,
    config: PointerConfig,
    seed: int,
    run: Run,
    say: Say,
) -> Fitted:
    """Fit a head, or take it from the run directory where that was done before; log its passes once."""
    reads = shape.reads
    what = f"readings {_shown(reads.readings)}, {_shown(reads.pools)}, layers {_shown(reads.layers)}"
    name = f"heads/readings-{_shown(reads.readings)}-{_shown(reads.pools)}-layers-{_shown(reads.layers)}-seed-{seed}"
    stored = run.get(name)
    if stored is None:
        seen, unseen = ([_narrow(lesson, kept, reads) for lesson in some] for some in (lessons, held_out))
        fitted = fit_head(shape, seen, unseen, config, seed, lambda done: say(f"Head: {what}", done, config.passes))
        run.put(name, {**fitted._asdict(), "head": fitted.head.state_dict()})
    else:
        head = LineHead(shape)
        head.load_state_dict(stored["head"])
        fitted = Fitted(head.eval(), stored["accuracy"], stored["history"])
    logged = any(line["head"] == name for line in run.history())
    for number, line in enumerate([] if logged else fitted.history, 1):
        run.log(number, head=name, **line)  # type: ignore[arg-type]
    return fitted


def _narrow(lesson: Lesson, kept: Reads, wanted: Reads) -> Lesson:
    right = None if lesson.right is None else select(lesson.right, kept, wanted)
    return lesson._replace(lines=select(lesson.lines, kept, wanted), right=right)


def _parts(values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return all values together, and each alone."""
    return [values, *((value,) for value in values if len(values) > 1)]


def _shown(values: Sequence[Any]) -> str:
    return "+".join(map(str, values))


def _batches(lessons: Sequence[Lesson], size: int, rng: random.Random) -> Iterator[list[Lesson]]:
    """Yield all lessons in a new order, `size` at a time and of similar lengths, for little padding."""
    order = rng.sample(range(len(lessons)), len(lessons))
    batches: list[list[Lesson]] = []
    for start in range(0, len(order), _POOL * size):
        pool = sorted((lessons[i] for i in order[start : start + _POOL * size]), key=lambda each: len(each.buggy))
        batches += [pool[first : first + size] for first in range(0, len(pool), size)]
    rng.shuffle(batches)
    yield from batches
