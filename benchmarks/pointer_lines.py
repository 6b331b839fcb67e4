"""How often does a pointer over any base look at the buggy line first? Inserted and natural bugs side by side.

    python benchmarks/pointer_lines.py --model BASE --pointer RUN/pointer [--functions 600] [--natural FILE.jsonl]

The bugs are those of `catch_rate.py`, which measures momus-tiny. Natural ones are of programs up to `--tokens` tokens;
`--most` of them are drawn at random. Chance is a random line that is neither blank nor a definition, computed exactly.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from catch_rate import inserted, natural

from momus.critics.pointed import find_pointer
from momus.evaluate.critics.baselines import chance_rate
from momus.lm.local.load import load_local_engine
from momus.lm.pointers.line_pointer import LinePointer
from momus.lm.pointers.line_states import LineReader
from momus.records import Tamper
from momus.stats.bootstrap import SHARE, mean_interval
from momus.train.pointers.pointer import first_line_hits, make_lesson


def main() -> None:
    """Measure and print one line per kind of bug."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pointer", help="by default the one beside the model, or that ships with Momus")
    parser.add_argument("--functions", type=int, default=600)
    parser.add_argument("--natural", type=Path)
    parser.add_argument("--tokens", type=int, default=700)
    parser.add_argument("--most", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    path = find_pointer(options.model, options.pointer)
    if path is None:
        parser.error("there is no pointer for this model: name one with --pointer")
    pointer, engine = LinePointer.load(path), load_local_engine(options.model, precision=None, cache_bytes=0)
    reader = LineReader(engine.model, engine.tokenizer, pointer.shape.reads)
    sets = {"inserted, held-out modules": inserted(options.functions, options.seed)}
    if options.natural:
        drawn = natural(options.natural, lambda code: len(engine.tokenizer.encode(code)) <= options.tokens)
        sets["natural"] = random.Random(options.seed).sample(drawn, min(options.most, len(drawn)))
    torch.set_grad_enabled(False)
    for name, tampers in sets.items():
        print(_line(name, tampers, pointer, reader), flush=True)


def _line(name: str, tampers: list[Tamper], pointer: LinePointer, reader: LineReader) -> str:
    read = reader.read([(t.task.question, t.answer) for t in tampers])
    hits = first_line_hits(pointer, [make_lesson(t, lines) for t, lines in zip(tampers, read, strict=True)])
    first, random_line = mean_interval(hits, bounds=SHARE), mean_interval([chance_rate(t) for t in tampers])
    return (
        f"{name}: {len(tampers)} answers, the bug's line first in {first.value:.1%} "
        f"({first.low:.1%}-{first.high:.1%}), a random line {random_line.value:.1%}"
    )


if __name__ == "__main__":
    main()
