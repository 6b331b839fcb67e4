"""How much memory does a reward-model step need: Momus, K padded rows, TRL's RewardTrainer?

    python benchmarks/memory.py [--repeats 1] [--threads 2] [--json FILE] [--quick]

Every measurement is a fresh process that builds the model and the data of `reward_step.py` and takes two optimizer
steps (from the second on the optimizer has its state). Reported is the peak resident memory of the whole process (VmHWM
of Linux), which is what has to fit, libraries included, and how much of it came with the steps. The contenders:

* momus:        `train_reward_model`;
* rows:         K padded rows per prompt in a bare torch loop;
* trl:          all pairs of the step in one batch and nothing recomputed, as the two above do it;
* trl-default:  its default settings: micro-batches of at most 8 pairs, activations recomputed (slower, smaller).

All in float32. The goal is against trl, at the first shape, where there are many pairs to expand; everything else is
there to be seen. Time is not compared here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import Goal, Report, parser
from reward_contenders import (
    PlainLoop,
    Shape,
    build_model,
    build_rankings,
    momus_seconds,
    row_scores,
    trl_batches,
    trl_trainer,
)

SHAPES = (Shape(192, 64, 9), Shape(64, 64, 4))
QUICK = (Shape(12, 4, 4),)
STEPS = 2


def status(field: str) -> int:
    """Return a size from this process's status, in KiB: VmHWM is the peak of resident memory, VmRSS the present."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise SystemExit(f"no {field} in /proc/self/status: this benchmark needs Linux")


def child(contender: str, shape: Shape, quick: bool) -> None:
    """Take the steps in this process and print what they needed as one line of JSON."""
    model, rankings = build_model(quick), build_rankings(shape)
    if contender.startswith("trl"):
        default = contender == "trl-default"
        batch = trl_batches(shape)[0] if default else shape.pairs
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_trainer(model, rankings, STEPS, batch, folder, checkpointing=default)
            before = status("VmRSS")
            trainer.train()
    elif contender == "rows":
        loop = PlainLoop(row_scores, model, rankings)
        before = status("VmRSS")
        loop.seconds(STEPS)
    else:
        before = status("VmRSS")
        momus_seconds(model, rankings, 1)  # three steps, in fact, and a checkpoint
    print(json.dumps({"peak_kib": status("VmHWM"), "before_kib": before}))


def measure(contender: str, shape: Shape, options: argparse.Namespace) -> dict[str, int]:
    """Run one contender in a fresh process."""
    numbers = ",".join(map(str, (shape.prompt, shape.answer, shape.k, shape.prompts)))
    command = [sys.executable, __file__, "--child", contender, "--shape", numbers, "--threads", str(options.threads)]
    done = subprocess.run([*command, *["--quick"] * options.quick], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-2000:]}")
    result: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure every contender in fresh processes, print the table, check the goals; or be such a process."""
    options: Any = parser(__doc__, repeats=1)
    options.add_argument("--child", help=argparse.SUPPRESS)
    options.add_argument("--shape", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.child:
        torch.set_num_threads(chosen.threads)
        child(chosen.child, Shape(*map(int, chosen.shape.split(","))), chosen.quick)
        return
    report = Report(chosen)
    names = ["momus", "rows", *(["trl", "trl-default"] if find_spec("trl") else [])]
    rows, goals = [], list[Goal]()
    for shape in QUICK if chosen.quick else SHAPES:
        found: dict[str, list[dict[str, int]]] = {name: [] for name in names}
        with report.console.status(str(shape)):
            for _ in range(chosen.repeats):
                for name in names:
                    found[name].append(measure(name, shape, chosen))
        peaks = {name: median(own["peak_kib"] for own in runs) / 1024 for name, runs in found.items()}
        before = {name: median(own["before_kib"] for own in runs) / 1024 for name, runs in found.items()}
        report.cases.append({"case": str(shape), "contenders": found, "median_peak_mib": peaks})
        for name in names:
            step = f"{peaks[name] - before[name]:.0f}"
            rows.append((str(shape), name, f"{peaks[name]:.0f}", step, f"{peaks['momus'] / peaks[name]:.2f}"))
        if "trl" in peaks and not goals:
            goals.append(Goal(f"momus / trl at {shape}", peaks["momus"] / peaks["trl"], 0.5, at_least=False))
    report.table("Peak resident memory, MiB (median)", ("shape", "", "peak", "of it the steps", "momus / it"), rows)
    report.finish(goals)


if __name__ == "__main__":
    main()
