"""How often does a critic, made to quote something, quote the buggy line? Inserted and natural bugs side by side.

    python benchmarks/catch_rate.py [--model DIR] [--functions 600] [--natural FILE.jsonl]

Inserted: one fresh bug in each of so many functions, 6 to 24 lines long, of the standard library's held-out modules.
Natural: records with `faulty` (source text) and `fault_line` (1-based), one JSON object a line. The critic's line is
the one that its pointer finds likeliest, which is what a forced quote becomes, and beside it the likeliest whole line
as the model's own next highlight; chance is a random line that is neither blank nor a definition, computed exactly.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
from collections.abc import Callable
from pathlib import Path

from momus.critique import Span
from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.evaluate.critics.baselines import chance_rate
from momus.lm.constraint import Vocabulary
from momus.lm.models import load_causal_lm, load_tokenizer
from momus.lm.pointers.pointer import Pointer
from momus.lm.tiny import TINY
from momus.records import Bug, Tamper, Task
from momus.stats.bootstrap import mean_interval
from momus.tamper.insert import tamper
from momus.tiny.line_accuracy import likeliest_line_hits, pointed_line_hits


def inserted(count: int, seed: int) -> list[Tamper]:
    """One bug in each of `count` functions of the test split."""
    rng = random.Random(seed)
    size = Size(min_lines=6, max_lines=24, max_chars=700)
    tasks = [task for task in stdlib_tasks(size) if task.split == "test"]
    rng.shuffle(tasks)
    made = (tamper(task, 1, rng) for task in tasks)
    return [t for t in made if t is not None][:count]


def natural(path: Path, fits: Callable[[str], bool]) -> list[Tamper]:
    """Programs with one bug each that a person made, where they parse and fit; their tasks are the mended ones."""
    found = []
    for number, line in enumerate(path.read_text().splitlines()):
        record = json.loads(line)
        source, fixed = (record[key].replace("\r\n", "\n").rstrip() for key in ("faulty", "fixed"))
        fault = int(record["fault_line"])
        lines = source.split("\n")
        try:
            ast.parse(source)
        except SyntaxError:
            continue
        if "```" in source or fault > len(lines) or not lines[fault - 1].strip():
            continue
        if not fits(source):
            continue
        start = sum(len(text) + 1 for text in lines[: fault - 1])
        bug = Bug(
            kind="natural",
            spans=(Span(start, start + len(lines[fault - 1])),),
            description="-",
            original="",
            replacement="",
        )
        found.append(Tamper(task=Task(id=str(number), question="", answer=fixed), answer=source, bugs=(bug,)))
    return found


def main() -> None:
    """Measure and print one line per kind of bug."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=TINY)
    parser.add_argument("--functions", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--natural", type=Path)
    options = parser.parse_args()
    model, tokenizer = load_causal_lm(options.model), load_tokenizer(options.model)
    sets = {"inserted, held-out modules": inserted(options.functions, options.seed)}
    if options.natural:
        sets["natural"] = natural(options.natural, lambda code: len(tokenizer.encode(code)) <= 700)
    pointer = Pointer.load_if_present(options.model, model, Vocabulary.from_tokenizer(tokenizer))
    for name, tampers in sets.items():
        random_line = mean_interval([chance_rate(t) for t in tampers])
        found = {"the model's own words": likeliest_line_hits(model, tokenizer, tampers)}
        if pointer:
            found = {"pointer": pointed_line_hits(pointer, tokenizer, tampers), **found}
        print(f"{name}: {len(tampers)} functions, random line {random_line.value:.1%}")
        for chooser, own in found.items():
            hits = mean_interval(own)
            print(
                f"    {chooser:<24} line found {hits.value:.1%} ({hits.low:.1%}-{hits.high:.1%})"
                f"  ratio {hits.value / random_line.value:.2f}"
            )
        if name.startswith("inserted"):
            kinds: dict[str, list[bool]] = {}
            for t, hit in zip(tampers, next(iter(found.values())), strict=True):
                kinds.setdefault(t.bugs[0].kind, []).append(hit)
            for kind, own in sorted(kinds.items(), key=lambda item: -len(item[1]))[:15]:
                print(f"    {kind:<24} {sum(own):>3} of {len(own)}")


if __name__ == "__main__":
    main()
