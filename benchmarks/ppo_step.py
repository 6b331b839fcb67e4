"""How much faster is an iteration of PPO than with TRL's PPOTrainer, and in how much memory?

    python benchmarks/ppo_step.py --trl /tmp/trl112/bin/python [--model FOLDER] [--repeats 1] [--threads 2]
        [--json FILE] [--quick]

TRL had its last PPO in 1.12.0, which needs an environment of its own: benchmarks/requirements-ppo.txt says how; without
it only Momus runs. Every contender is a fresh process that trains a random Llama of 4 layers and width 256, or with
--model the one in that folder, for a few iterations in float32: sampling, scoring, the reference, the values, one pass
over the batch. Both take one optimizer step an iteration. Reported are, as medians of the iterations between the first
and the last of all repeats, the time and the processor time (which other load disturbs less), the tokens computed in an
iteration, padding included, the peak resident memory of the process (VmHWM of Linux), libraries included, and how much
of it came with the training. Contenders take turns.

Then both are asked for four minibatches an iteration, and their optimizer steps are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

from common import Goal, Report, parser, ratio
from ppo_contenders import Settings

from momus.lm.tiny import TINY

CASES = {
    "16 prompts of 64 tokens": Settings(),
    "4 prompts of 192 tokens, 4 responses each": Settings(prompts=4, rollouts=4, prompt=192),
    "16 prompts of 16 to 128 tokens": Settings(prompt=128, skew=True),
    "8 prompts of 64 tokens, vocabulary 32,000": Settings(prompts=8, vocabulary=32_000),
}
REAL = {
    "8 prompts of 96 tokens, 4 responses of 48": Settings(
        prompts=8, rollouts=4, prompt=96, response=48, vocabulary=32_000
    )
}
"""What a model from a folder does; prompts are of so many tokens of its vocabulary, which may have more."""
SMALL = {"prompts": 4, "rollouts": 1, "prompt": 16, "response": 8, "width": 32, "layers": 2, "iterations": 4}
MINIBATCHES = 4


def run(contender: str, settings: Settings, python: str) -> dict[str, Any]:
    """Run one contender in a fresh process."""
    command = [python, "-W", "ignore", str(Path(__file__).with_name("ppo_contenders.py")), contender]
    environment = {**os.environ, "MOMUS_TOKENIZER": str(TINY), "OMP_NUM_THREADS": str(settings.threads)}
    done = subprocess.run(
        [*command, json.dumps(asdict(settings))], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(name: str, settings: Settings, pythons: dict[str, str], report: Report) -> dict[str, dict[str, Any]]:
    """Let the contenders take turns at one case; returns per contender seconds, MiB, tokens and optimizer steps."""
    found: dict[str, list[dict[str, Any]]] = {contender: [] for contender in pythons}
    for _ in range(report.options.repeats):
        for contender, python in pythons.items():
            found[contender].append(run(contender, settings, python))
    result = {
        contender: {
            "seconds": [second for own in runs for second in own["seconds"]],
            "cpu_seconds": [second for own in runs for second in own["cpu_seconds"]],
            "peak_mib": median(own["peak_kib"] for own in runs) / 1024,
            "training_mib": median(own["peak_kib"] - own["before_kib"] for own in runs) / 1024,
            "tokens": runs[0]["tokens"],
            "steps": runs[0]["steps"],
            **({"version": runs[0]["trl_version"]} if contender == "trl" else {}),
        }
        for contender, runs in found.items()
    }
    rest = {contender: {k: v for k, v in own.items() if k != "seconds"} for contender, own in result.items()}
    report.case(name, {contender: own["seconds"] for contender, own in result.items()}, **rest)
    return result


def main() -> None:
    """Measure every case, print the tables, check the goals."""
    options: argparse.ArgumentParser = parser(__doc__, repeats=1)
    options.add_argument("--trl", metavar="PYTHON", help="the interpreter of the environment that has TRL 1.12.0")
    options.add_argument("--model", help="folder of a Llama, in place of the small random one")
    chosen = options.parse_args()
    report = Report(chosen)
    pythons = {"momus": sys.executable, **({"trl": chosen.trl} if chosen.trl else {})}
    cases = {
        name: replace(own, threads=chosen.threads, model=chosen.model or "")
        for name, own in (REAL if chosen.model else CASES).items()
    }
    if chosen.quick:
        cases = {name: replace(own, **SMALL) for name, own in list(cases.items())[:1]}
    found = {}
    for name, settings in cases.items():
        with report.console.status(name):
            found[name] = measure(name, settings, pythons, report)
    rows, goals = [], list[Goal]()
    for name, result in found.items():
        faster = ratio(result["trl"]["seconds"], result["momus"]["seconds"]) if chosen.trl else None
        for contender, own in result.items():
            rows.append(
                (
                    name if contender == "momus" else "",
                    contender,
                    f"{median(own['seconds']):.2f}",
                    f"{faster:.2f}x" if faster and contender == "trl" else "",
                    f"{median(own['cpu_seconds']):.2f}",
                    f"{ratio(own['cpu_seconds'], result['momus']['cpu_seconds']):.2f}x" if contender == "trl" else "",
                    f"{own['tokens']:.0f}",
                    f"{own['peak_mib']:.0f}",
                    f"{own['training_mib']:.0f}",
                )
            )
        if chosen.trl:
            goals += [
                Goal(f"TRL / momus, time: {name}", faster or 0.0, 3.0),
                Goal(
                    f"momus / TRL, peak memory: {name}",
                    result["momus"]["peak_mib"] / result["trl"]["peak_mib"],
                    0.5,
                    at_least=False,
                ),
            ]
    columns = ("", "", "s", "TRL / momus", "CPU s", "TRL / momus", "tokens", "peak MiB", "of it training")
    report.table("An iteration of PPO (medians)", columns, rows)
    one = replace(next(iter(cases.values())), **SMALL, minibatches=MINIBATCHES)
    counts = {contender: run(contender, one, python)["steps"] for contender, python in pythons.items()}
    report.table(
        f"Optimizer steps of {one.iterations} iterations of {MINIBATCHES} minibatches",
        ("", "asked for", "taken"),
        [(contender, str(one.iterations * MINIBATCHES), f"{steps:.0f}") for contender, steps in counts.items()],
    )
    report.case("optimizer steps", {}, asked=one.iterations * MINIBATCHES, **counts)
    goals.append(Goal("momus: optimizer steps of those asked for", counts["momus"] / one.iterations / MINIBATCHES, 1.0))
    report.finish(goals)


if __name__ == "__main__":
    main()
