"""How long `momus review` takes to its first comment, beyond what the model takes by itself.

    python benchmarks/review_start.py MODEL

The model's own time is what transformers takes to be imported and to load the tokenizer and the weights, measured in a
process of its own, and the time in the model's forward passes until the first comment is printed. Everything is CPU
time of one process (`OMP_NUM_THREADS=1`), so other work on the machine counts for little. The first run finds nothing
kept: it computes the digest of the weights, which the second one knows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CODE = """def mean(values):
    total = 0
    for value in values:
        total -= value
    return total / len(values)
"""


def start_alone(model: str) -> None:
    """Print the CPU seconds in which transformers has a model ready."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(model)
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    print(json.dumps(time.process_time()))


def first_comment(model: str, file: str) -> None:
    """Print the CPU seconds until the first comment of a review, and those of them in the model's forward passes."""
    import torch

    from momus.cli import main
    from momus.review.formats import text

    spent, inside, call = 0.0, False, torch.nn.Module.__call__

    def timed(*arguments: Any, **named: Any) -> Any:
        nonlocal spent, inside
        if inside:
            return call(*arguments, **named)
        inside, start = True, time.process_time()
        try:
            return call(*arguments, **named)
        finally:
            inside = False
            spent += time.process_time() - start

    def printed(*_: Any) -> None:
        print(json.dumps([time.process_time(), spent]), flush=True)
        os._exit(0)

    torch.nn.Module.__call__, text._print_finding = timed, printed  # type: ignore[assignment, method-assign]
    main(["review", file, "--model", model])
    raise SystemExit("there was no comment: name another model")


def run(*arguments: str, cache: str) -> Any:
    """Run this file in a process of its own; return what it printed last."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MOMUS_CACHE": cache}
    done = subprocess.run(
        [sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(model: str) -> None:
    """Print what is found, for the first review and the next ones, each of a function that was not read before."""
    with tempfile.TemporaryDirectory() as folder:
        cache = str(Path(folder) / "answers.sqlite")
        for turn, name in enumerate(("first", "next", "next")):
            code = Path(folder) / "code.py"
            code.write_text(CODE.replace("mean", f"mean{turn}"), encoding="utf-8")
            alone = run("--alone", model, cache=cache)
            total, forward = run("--first", model, str(code), cache=cache)
            beyond = total - forward - alone
            print(f"{name}: {total:.1f} s, {alone:.1f} to start, {forward:.1f} in the model: {beyond:.1f} s beyond")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--alone", name]:
            start_alone(name)
        case ["--first", name, path]:
            first_comment(name, path)
        case [name]:
            measure(name)
        case _:
            raise SystemExit(__doc__)
