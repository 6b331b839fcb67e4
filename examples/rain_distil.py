"""A search put into weights: RAIN, fine-tuning on what it found, and what either costs afterwards.

    python examples/rain_distil.py --out runs/distil [--tasks 12] [--model DIR] [--threshold -0.5] …

    1. momus rain --task critique … --export demonstrations      critiques of short functions of the standard library
    2. momus train sft …                                         on those that met the threshold
    3. the same prompts, and as many held out, answered greedily by the model before and after

Run again after an interruption it continues. What it prints: the model's own value of the answers (the judge is the
model before training, throughout) and the tokens forwarded for each token of answer.

What it shows with momus-tiny, the default: that the steps fit together, and what a search costs. What it does not:
that anything got better. momus-tiny cannot judge (`momus judge calibrate` says so): it gives one label whatever it
stands for, or hardly any label at all, so that nearly all values are 0. The paper's threshold of 0.8 is then met by
nothing, and nothing would be left to train on; here it is -0.5, which takes whatever is not condemned in both orders.
Give --model and --threshold 0.8 with a model whose judgement was measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from momus.cli import main as momus
from momus.cli.shared.options import EngineOptions
from momus.cli.shared.searching import load_rain
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.errors import UserError
from momus.lm.tiny import TINY
from momus.records import Task, read_jsonl, write_jsonl
from momus.search.rain.answer import AnswerReader
from momus.search.rain.dataset import Rain, RainAnswer
from momus.search.rain.tasks import RAIN_TASKS

RAW = (
    "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token if m.role == 'assistant' else '' }}{% endfor %}"
)
"""The critic's layout as a chat template: the prompt as it is, then the critique, then the end."""


def greedy(rain: Rain, tasks: Sequence[Task], longest: int) -> tuple[list[str], float]:
    """Answer greedily, with the engine's cache; returns the answers, and the tokens forwarded for each of theirs."""
    engine, texts, written = rain.writer.engine, list[str](), 0
    before = engine.forwarded_tokens
    for task in tasks:
        prompt = rain.encode_prompt(task)
        engine.clear_cache()
        room = AnswerReader(prompt, engine, longest).max_tokens
        ((sample,),) = engine.sample([prompt.tokens], key=0, max_tokens=room, temperature=0.0)
        texts.append(sample.text.strip())
        written += len(sample.tokens)
    return texts, (engine.forwarded_tokens - before) / written


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, train and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where everything goes")
    parser.add_argument("--model", type=Path, default=TINY, help="the model (momus-tiny)")
    parser.add_argument("--tasks", type=int, default=12, help="functions searched, and as many held out (12)")
    parser.add_argument("--threshold", type=float, default=-0.5, help="V (-0.5; the paper's is 0.8)")
    parser.add_argument("--max-tokens", type=int, default=96, help="longest answer (96)")
    parser.add_argument("--cases", type=int, default=2, help="worked examples shown to the judge (2)")
    chosen = parser.parse_args(arguments)
    out: Path = chosen.out
    out.mkdir(parents=True, exist_ok=True)

    found = [task for task in stdlib_tasks(Size(3, 8, 300)) if task.split == "train"][: 2 * chosen.tasks]
    searched, held_out = found[: chosen.tasks], found[chosen.tasks :]
    write_jsonl(out / "tasks.jsonl", searched)
    options = ["--cases", str(chosen.cases), "--threshold", str(chosen.threshold), "--max-tokens"]
    run(
        *("rain", out / "tasks.jsonl", "--task", "critique", "--model", chosen.model, "--out", out / "rain"),
        *(*options, chosen.max_tokens, "--export", "demonstrations"),
    )
    demonstrations = out / "rain" / "demonstrations.jsonl"
    if not demonstrations.exists():
        raise SystemExit("no answer met the threshold: lower --threshold, or take a model that can judge")
    (out / "raw.jinja").write_text(RAW, encoding="utf-8")
    run(
        *("train", "sft", "--preset", "tiny", "--model", chosen.model, "--data", demonstrations, "--held-out", 0),
        *("--chat-template", out / "raw.jinja", "--keep", "last", "--epochs", 3, "--learning-rate", 1e-4),
        *("--out", out / "sft"),
    )
    compare(chosen, out, searched, held_out)


def run(*arguments: object) -> None:
    """Run a command of Momus as from a shell, and stop where it fails."""
    print("$ momus", *arguments)
    if momus([str(own) for own in arguments]):
        raise SystemExit(2)


def compare(chosen: argparse.Namespace, out: Path, searched: list[Task], held_out: list[Task]) -> None:
    """Print values and costs before, searched and after."""
    task = RAIN_TASKS["critique"].with_cases(chosen.cases).with_settings(max_tokens=chosen.max_tokens)
    before, after = (
        load_rain(EngineOptions(model=str(folder), device="cpu"), task)
        for folder in (chosen.model, out / "sft" / "model")
    )
    answers = [own for own in read_jsonl(out / "rain" / "answers.jsonl", RainAnswer) if not own.skipped]
    engine = before.writer.engine
    committed = sum(len(engine.encode(own.answer, bos=False)) + 1 for own in answers)  # and an end
    rows: list[tuple[str, list[Task], list[str], float]] = [
        (name, tasks, *greedy(rain, tasks, chosen.max_tokens))
        for tasks in (searched, held_out)
        for name, rain in (("greedy before", before), ("greedy after", after))
    ]
    kept = [searched[own.index] for own in answers]
    rows.insert(1, ("RAIN", kept, [own.answer for own in answers], sum(own.forwarded for own in answers) / committed))
    table = Table(
        title=f"{len(searched)} prompts searched, {len(held_out)} held out; judged by the model before training"
    )
    for name in ("", "prompts", "own value, -1 to 1", "tokens forwarded / token of answer"):
        table.add_column(name, justify="left" if not name else "right")
    for name, tasks, texts, cost in rows:
        values = [value(before, own, text) for own, text in zip(tasks, texts, strict=True)]
        known = [own for own in values if own is not None]
        mean = f"{sum(known) / len(known):+.2f}" if known else "none fits the judge"
        where = "searched" if tasks is not held_out else "held out"
        table.add_row(f"{name}, {where}", str(len(known)), mean, f"{cost:.1f}")
    Console(width=110).print(table)


def value(rain: Rain, task: Task, text: str) -> float | None:
    """Judge an answer; None where it does not fit."""
    try:
        return rain.judge(task.answer, text).value
    except UserError:
        return None


if __name__ == "__main__":
    main()
