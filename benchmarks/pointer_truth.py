"""Does RL against the truth add to supervised training, other than silence? Where to look, learnt both ways.

    python benchmarks/pointer_truth.py --model BASE --out FOLDER [--functions 1280] [--natural FILE.jsonl]

Where a pointed critic looks is a policy: of a piece of code it comments on one line, or on none. Its reward is what is
known of the bugs: 1 for a comment on a bug's line, -1 for another, 0 for none, in code of which half has a bug. The
policy is the softmax over the lines' scores and one number for silence, all of a head of `momus train pointer` over a
frozen base. All rewards of a piece are known, so the expected reward is followed itself, not sampled, less 0.05 nats of
its KL to the start.

Every seed begins with a head of its own, trained as the command trains it (five passes). From there two passes by RL,
and beside it two more passes of the supervised loss at the same rate, both with half of the code free of bugs. They are
compared where they comment on equally much right code: thresholds on the likeliest line's score are turned until they
do. What the base reads is kept in FOLDER, and the same command goes on where it was stopped. Intervals: 95 %, pieces
resampled, seeds averaged.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from catch_rate import inserted, natural
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from momus.lm.local.load import load_local_engine
from momus.lm.pointers.line_pointer import HeadShape, LineHead, pad_lines
from momus.lm.pointers.line_states import LineReader, Reads, spread_layers
from momus.records import Tamper
from momus.runtime.runs import Run
from momus.stats.bootstrap import mean_interval
from momus.train.pointers.data import gather_tampers
from momus.train.pointers.pointer import Lesson, fit_head, pointing_loss, read_lessons
from momus.train.pointers.settings import PointerConfig, PointerData

KL = 0.05
RATE, SILENCE_RATE = 1e-4, 1e-2
PASSES, MORE = 5, 2
BATCH = 32
FALSE = (0.05, 0.1, 0.2, 0.4)
"""Shares of right code commented on, at which policies are compared."""
LONGEST = 1500

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of scores, which lines have bugs and which are written, each [pieces, lines]."""


def right_code(tampers: Sequence[Tamper]) -> list[Tamper]:
    """Return the same code without the bugs."""
    return [Tamper(task=each.task, answer=each.task.answer, bugs=()) for each in tampers]


def choices(scores: Tensor, silence: Tensor, written: Tensor) -> Tensor:
    """Return the policy's log-probabilities, of silence and then of the lines: [pieces, 1 + lines]."""
    lines = scores.masked_fill(~written, -1e9)
    return torch.cat([silence.expand(len(lines), 1), lines], 1).log_softmax(-1)


def rl_loss(start: Tensor, policy: Tensor, buggy: Tensor) -> Tensor:
    """Return minus the expected reward, and `KL` of the divergence from the start, a scalar."""
    reward = torch.cat([torch.zeros(len(buggy), 1), torch.where(buggy, 1.0, -1.0)], 1)
    chances = policy.exp()
    return -((chances * reward).sum(-1) - KL * (chances * (policy - start)).sum(-1)).mean()


def go_on(head: LineHead, lessons: Sequence[Lesson], seed: int, by_reward: bool) -> LineHead:
    """Train a copy of a head for some passes more, by the reward or by the supervised loss."""
    torch.manual_seed(seed)
    start, trained = head.eval(), copy.deepcopy(head).train()
    silence = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.AdamW(
        [{"params": trained.parameters()}, {"params": [silence], "lr": SILENCE_RATE}], RATE, weight_decay=0.0
    )
    rng = random.Random(seed)
    for _ in range(MORE):
        order = sorted(rng.sample(lessons, len(lessons)), key=lambda each: len(each.buggy) // 8)
        batches = [order[first : first + BATCH] for first in range(0, len(order), BATCH)]
        rng.shuffle(batches)
        for batch in batches:
            lines = pad_lines([each.lines for each in batch])
            written = lines[2]
            buggy = nn.utils.rnn.pad_sequence([each.buggy for each in batch], batch_first=True)
            scores = trained(*lines)
            if by_reward:
                with torch.no_grad():
                    before = choices(start(*lines), torch.zeros(()), written)
                loss = rl_loss(before, choices(scores, silence, written), buggy)
            else:
                loss = pointing_loss(scores, buggy, written)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
            optimizer.step()
    return trained.eval()


@torch.inference_mode()
def likeliest(head: LineHead, lessons: Sequence[Lesson]) -> list[tuple[float, bool]]:
    """Return of every piece its likeliest line's score, and whether that line has a bug."""
    found = []
    for first in range(0, len(lessons), 64):
        part = lessons[first : first + 64]
        for lesson, row in zip(part, head(*pad_lines([each.lines for each in part])), strict=True):
            line = int(row[: len(lesson.buggy)].argmax())
            found.append((float(row[line]), bool(lesson.buggy[line])))
    return found


def measured(head: LineHead, wrong: Sequence[Lesson], right: Sequence[Lesson]) -> dict[str, list[float]]:
    """Return by measure what holds for each piece of wrong code."""
    looks = likeliest(head, wrong)
    scores = sorted((score for score, _ in likeliest(head, right)), reverse=True)
    values = {"first line right": [float(hit) for _, hit in looks]}
    for share in FALSE:
        threshold = scores[int(share * len(scores))]
        values[f"found at {share:.0%}"] = [float(hit and score > threshold) for score, hit in looks]
    return values


def main() -> None:
    """Read, train both ways from every seed, and print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the base")
    parser.add_argument("--out", type=Path, required=True, help="folder of what was read")
    parser.add_argument("--functions", type=int, default=1280, help="functions to learn from (1280)")
    parser.add_argument("--measured", type=int, default=300, help="functions to measure on (300)")
    parser.add_argument("--natural", type=Path, help="programs that people got wrong and mended")
    parser.add_argument("--seeds", type=int, default=3, help="heads, each from a seed of its own (3)")
    options = parser.parse_args()
    engine = load_local_engine(options.model, precision=None, cache_bytes=0)
    reader = LineReader(engine.model, engine.tokenizer, Reads(spread_layers(engine.model), (0,)))
    run = Run(options.out, {"benchmark": "pointer_truth", "model": str(options.model), "functions": options.functions})

    def read(name: str, tampers: Sequence[Tamper]) -> list[Lesson]:
        short = [each for each in tampers if not reader.problem(each.task.question, each.answer)]
        return read_lessons(reader, short, run, name, lambda *progress: print(*progress, flush=True))

    train, held_out = gather_tampers([], [], PointerData(functions=options.functions, held_out=300))
    lessons, unseen = read("train", train), [each for each in read("held-out", held_out) if each.buggy.any()]
    sets = {"inserted": inserted(options.measured, 0)}
    if options.natural:
        drawn = natural(options.natural, lambda code: len(code) <= LONGEST)
        sets["natural"] = random.Random(0).sample(drawn, min(options.measured, len(drawn)))
    looked_at = {k: (read(f"{k}-wrong", v), read(f"{k}-right", right_code(v))) for k, v in sets.items()}
    with_bug, without = ([each for each in lessons if bool(each.buggy.any()) == bug] for bug in (True, False))
    halves = [*with_bug, *(without * -(-len(with_bug) // max(1, len(without))))[: len(with_bug)]]
    config = PointerConfig(passes=PASSES)
    shape = HeadShape(
        engine.model.config.hidden_size,
        reader.reads,
        config.width,
        config.layers,
        config.attention_heads,
        config.dropout,
    )
    found: dict[str, dict[str, list[dict[str, list[float]]]]] = {name: {} for name in sets}
    for seed in range(options.seeds):
        start = fit_head(shape, lessons, unseen, config, seed).head
        heads = {"supervised": start}
        heads |= {name: go_on(start, halves, seed, name == "RL") for name in ("supervised, more", "RL")}
        for (name, pair), (way, head) in ((a, b) for a in looked_at.items() for b in heads.items()):
            found[name].setdefault(way, []).append(measured(head, *pair))
        print(f"seed {seed} is trained", flush=True)
    for name, ways in found.items():
        Console(width=150).print(_table(name, ways, len(looked_at[name][0])))


def _table(name: str, ways: dict[str, list[dict[str, list[float]]]], pieces: int) -> Table:
    averaged = {
        way: {key: [sum(v) / len(v) for v in zip(*(seed[key] for seed in seeds), strict=True)] for key in seeds[0]}
        for way, seeds in ways.items()
    }
    table = Table(title=f"{name}: {pieces} pieces, %; found at equal shares of right code commented on")
    table.add_column("trained by")
    for key in averaged["RL"]:
        table.add_column(key)
    for way, values in averaged.items():
        table.add_row(way, *(_percent(value) for value in values.values()))
    pairs = ((averaged["RL"][key], averaged["supervised, more"][key]) for key in averaged["RL"])
    table.add_row("RL, less more", *(_percent([a - b for a, b in zip(*pair, strict=True)]) for pair in pairs))
    return table


def _percent(values: Sequence[float]) -> str:
    mean = mean_interval(values)
    return f"{100 * mean.value:.1f} ({100 * mean.low:.1f} to {100 * mean.high:.1f})"


if __name__ == "__main__":
    main()
