"""Do Momus and TRL's PPOTrainer learn alike? One toy task, the same settings, the curves side by side.

    python benchmarks/ppo_toy.py --trl /tmp/trl112/bin/python [--seeds 3] [--figure FILE] [--json FILE]

A random Llama of 2 layers and width 32 is paid for every token it says that is among an eighth of its 2,048, in
responses of at most 16. Both start from the same weights and value network (the policy's, with a head of zeros), and
take one pass over batches of 64 responses, once as one minibatch and once as four. TRL 1.12.0 (the last with PPO) needs
an environment of its own: benchmarks/requirements-ppo.txt. Thin lines are seeds, thick ones their means.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import machine, versions
from ppo_contenders import Settings
from ppo_step import run

TOY = Settings(
    prompts=64, prompt=8, response=16, width=32, layers=2, iterations=30, learning_rate=1e-2, toy=True,
    threads=1,
)  # fmt: skip
COLOURS = {"momus": "#0b6e4f", "trl": "#c1440e"}
NAMES = {"momus": "Momus", "trl": "TRL 1.12.0"}


def draw(found: dict[int, dict[str, list[dict[str, Any]]]], file: Path) -> None:
    """Draw the mean score of each iteration, a panel for each number of minibatches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for panel, (minibatches, contenders) in zip(panels, found.items(), strict=True):
        for contender, runs in contenders.items():
            curves = np.array([own["scores"] for own in runs])
            steps = np.mean([own["steps"] for own in runs])
            panel.plot(curves.T, color=COLOURS[contender], alpha=0.3, linewidth=0.8)
            label = f"{NAMES[contender]}: {steps:.0f} optimizer steps"
            panel.plot(curves.mean(0), color=COLOURS[contender], linewidth=2, label=label)
        panel.set_title(f"{minibatches} minibatch{'es' if minibatches > 1 else ''} per iteration", fontsize=10)
        panel.set_xlabel("iteration (64 responses each)")
        panel.legend(fontsize=8, loc="upper left")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("wanted tokens in a response, of 16")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Train, print what was learned, draw the figure."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--trl", metavar="PYTHON", help="the interpreter of the environment that has TRL 1.12.0")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--iterations", type=int, default=TOY.iterations)
    options.add_argument("--figure", type=Path, default=Path("docs/images/ppo_toy.png"))
    options.add_argument("--json", type=Path, metavar="FILE", help="also write machine, versions and all curves")
    chosen = options.parse_args()
    pythons = {"momus": sys.executable, **({"trl": chosen.trl} if chosen.trl else {})}
    found: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for minibatches in (1, 4):
        found[minibatches] = {}
        for contender, python in pythons.items():
            settings = replace(TOY, minibatches=minibatches, iterations=chosen.iterations)
            runs = [run(contender, replace(settings, seed=seed), python) for seed in range(chosen.seeds)]
            found[minibatches][contender] = runs
            last = [np.mean(own["scores"][-3:]) for own in runs]
            steps = np.mean([own["steps"] for own in runs])
            print(
                f"{NAMES[contender]}, {minibatches} minibatch(es): {steps:.0f} optimizer steps, "
                f"{np.mean([own['scores'][0] for own in runs]):.2f} at first, {np.mean(last):.2f} in the last three "
                f"iterations ({min(last):.2f} to {max(last):.2f})",
                flush=True,
            )
    draw(found, chosen.figure)
    if chosen.json:
        result = {"machine": machine(1), "versions": versions(), "runs": found}
        chosen.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
