"""Bugs that need another file, found with and without its code: what `momus review --context` is worth.

    python benchmarks/cross_file.py --model models/qwen2.5-coder-0.5b --cases 100
    python benchmarks/cross_file.py --model models/qwen2.5-coder-0.5b --cases 20 --lines

25 small modules, each with a caller in a second file. In each of four ways the module's function is changed together
with its documentation, as a commit would, and the caller is left as it was: its parameters are swapped, its default is
another, it returns another unit, or a pair in place of a number. Every caller is checked by a test, which passes before
the change and fails after it. The caller alone is reviewed: before (its comments are false alarms) and after, without
context and with it. A bug counts as caught where a comment is on the line of the call.

A critic with a pointer is asked about two lines of so short a function in any case, so that this says little of it.
With `--lines` nothing is asked; the pointer's log-odds of the call's line are compared, before the change and after it,
and a bug counts as caught where the call's is the likeliest line.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from momus.critics.open import open_critic
from momus.critics.pointed import find_pointer
from momus.lm.local.load import load_local_engine
from momus.lm.pointers.line_pointer import LinePointer
from momus.lm.pointers.line_states import LineReader
from momus.review.context.gather import add_context, gather
from momus.review.files import read_source
from momus.review.reviewer import Target, review_targets, tasks_of_target
from momus.stats.bootstrap import mean_interval

DOMAINS = """
shipping cost weight distance quote
payroll wage hours bonus payslip
energy charge usage peak bill
travel fare stops zones ticket
parking fee minutes floor receipt
printing price pages copies invoice
insurance premium age claims offer
telephone tariff calls messages account
catering total guests courses menu
storage rent boxes months contract
cleaning estimate rooms windows order
teaching load lessons pupils timetable
farming yield_of plots workers harvest
baking dough loaves rolls recipe
painting litres walls doors shopping
fencing posts length corners plan
heating output_of radiators pipes design
mining tonnes shifts crews report
racing score laps stops ranking
fishing quota boats days licence
banking interest deposits years statement
voting seats votes districts result
hiring budget staff contractors forecast
library fine books days reminder
gaming points kills coins board
"""

UNITS = ("euros", "cents", 100)


@dataclass(frozen=True)
class Case:
    """A caller, what it calls before and after the change, and the test of both."""

    kind: str
    module: str
    before: str
    after: str
    caller: str
    line: int
    test: str


def callee(function: str, first: str, second: str, default: int, factor: int, unit: str, pair: bool) -> str:
    """Return a module's text; its documentation says what it does."""
    value = f"({first} * 7 + {second} * rate) * {factor}" if factor > 1 else f"{first} * 7 + {second} * rate"
    returned, says = (f"{value}, rate", f"a pair: the {unit} and the rate") if pair else (value, f"{unit}")
    return (
        f"def {function}({first}, {second}, rate={default}):\n"
        f'    """Return {says}, for {first} and {second}; rate is {default} by default."""\n'
        f"    return {returned}\n"
    )


def cases() -> Iterator[Case]:
    """Yield 100 cases: 25 modules in 4 ways."""
    for number, words in enumerate(DOMAINS.strip().splitlines()):
        module, function, first, second, caller_name = words.split()
        default = 3 + number % 4
        before = callee(function, first, second, default, 1, UNITS[0], False)
        caller = (
            f"from {module} import {function}\n\n\n"
            f"def {caller_name}({first}, {second}, discount):\n"
            f'    """Return the {caller_name} in euros: {function} at a rate of {default}, plus 5, less discount."""\n'
            f"    base = {function}({first}, {second})\n"
            f"    return base + 5 - discount\n"
        )
        swapped = callee(function, second, first, default, 1, UNITS[0], False).replace(
            f"{second} * 7 + {first} * rate", f"{first} * 7 + {second} * rate"
        )
        changed = {
            "swapped parameters": swapped,
            "another default": callee(function, first, second, default + 4, 1, UNITS[0], False),
            "another unit": callee(function, first, second, default, UNITS[2], UNITS[1], False),
            "a pair in place of a number": callee(function, first, second, default, 1, UNITS[0], True),
        }
        expected = 2 * 7 + 9 * default + 5 - 1
        for kind, after in changed.items():
            yield Case(kind, module, before, after, caller, 6, f"{caller_name}(2, 9, 1) == {expected}")


def passes(case: Case, text: str) -> bool:
    """Run the test of a caller with its callee; the code is that of `cases`."""
    names: dict[str, object] = {}
    try:
        exec(text, names)
        exec(case.caller.split("\n", 1)[1], names)
        return bool(eval(case.test, names))
    except TypeError:
        return False


def lines_of(chosen: Sequence[Case], model: str) -> dict[str, dict[str, str]]:
    """Compare the pointer's log-odds of the call after the change with those before it, alone and with context."""
    path = find_pointer(model, None)
    assert path is not None, "there is no pointer for this model"
    engine, pointer = load_local_engine(model, precision=None, cache_bytes=0), LinePointer.load(path)
    reader = LineReader(engine.model, engine.tokenizer, pointer.shape.reads)
    found: dict[str, list[dict[str, float]]] = {"alone": [], "context": []}
    first: dict[str, dict[str, list[float]]] = {name: {"before": [], "after": []} for name in found}
    for case in chosen:
        odds: dict[str, dict[str, float]] = {"alone": {}, "context": {}}
        for state, text in (("before", case.before), ("after", case.after)):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                (root / f"{case.module}.py").write_text(text, encoding="utf-8")
                (root / "caller.py").write_text(case.caller, encoding="utf-8")
                source = read_source(root / "caller.py")
                (context,) = gather(root, [source], 1000, lambda text: len(engine.encode(text, bos=False)))
                for name, target in (("alone", Target(source)), ("context", Target(source, context=context))):
                    (task,) = tasks_of_target(target, lambda _: True)
                    (line,) = [n for n, code in enumerate(task.answer.split("\n")) if code.startswith("    base = ")]
                    every = pointer.line_log_odds(reader.read([(task.question, task.answer)]))[0]
                    odds[name][state] = every[line]
                    first[name][state].append(float(max(range(len(every)), key=every.__getitem__) == line))
        for name, values in odds.items():
            found[name].append(values)
    return {
        name: {
            "call likelier after": str(mean_interval([float(v["after"] > v["before"]) for v in values], bounds=(0, 1))),
            "difference of log-odds": str(mean_interval([v["after"] - v["before"] for v in values])),
            "call likeliest before": str(mean_interval(first[name]["before"], bounds=(0, 1))),
            "call likeliest after (caught)": str(mean_interval(first[name]["after"], bounds=(0, 1))),
        }
        for name, values in found.items()
    }


def main() -> None:
    """Review every case four times, and print what was caught and what was a false alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--url")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", action="store_true", help="compare where the model's pointer looks")
    options = parser.parse_args()
    every = list(cases())
    assert len(every) == 100 and all(passes(c, c.before) and not passes(c, c.after) for c in every)
    chosen = random.Random(options.seed).sample(every, options.cases)
    if options.lines:
        print(json.dumps({"cases": len(chosen), "model": options.model, **lines_of(chosen, options.model)}))
        return
    critic = open_critic(options.model, url=options.url)
    counts = {
        name: {"caught": 0, "comments on clean callers": 0, "clean callers with one": 0}
        for name in ("alone", "context")
    }
    for case in chosen:
        for state, text in (("before", case.before), ("after", case.after)):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                (root / f"{case.module}.py").write_text(text, encoding="utf-8")
                (root / "caller.py").write_text(case.caller, encoding="utf-8")
                alone = [Target(read_source(root / "caller.py"))]
                for name, targets in (("alone", alone), ("context", add_context(alone, critic, 1000, root))):
                    (review,) = review_targets(targets, critic, 0.0)
                    if state == "before":
                        counts[name]["comments on clean callers"] += len(review.findings)
                        counts[name]["clean callers with one"] += bool(review.findings)
                    else:
                        counts[name]["caught"] += any(f.line <= case.line <= f.end_line for f in review.findings)
        print(json.dumps({"kind": case.kind, **counts}), flush=True)
    print(json.dumps({"cases": len(chosen), "model": options.model, **counts}))


if __name__ == "__main__":
    main()
