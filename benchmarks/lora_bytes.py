"""How many bytes do PPO's models, gradients and optimizers take, with and without adapters, against TRL?

    python benchmarks/lora_bytes.py [--trl /tmp/trl112/bin/python] [--json FILE] [--quick]

Counted, not timed: every storage once, in the process of each contender (`ppo_contenders.py`), after the optimizer
steps of the first iteration. Both train a random Llama of 4 layers and width 256 in float32, and hold besides it a
reference, a value network and a reward model of its size; no averaged weights, which TRL does not keep.

* all weights: the reference is a copy for both, and so is the value network of the reward model;
* LoRA (rank 16, all linear layers but the vocabulary head): the reference is the policy with its adapter off for both.
  In Momus the value network has an adapter too, and shares its frozen base with the reward model it is a copy of. TRL
  puts an adapter into the policy alone: its value network is trained whole.

TRL needs the environment that benchmarks/requirements-ppo.txt describes; without it only Momus runs.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from common import Goal, Report, parser
from ppo_contenders import Settings
from ppo_step import SMALL, run

COUNTED = ("models", "trained", "gradients", "optimizers")


def main() -> None:
    """Count, print the table, check the goal."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--trl", metavar="PYTHON", help="the interpreter of the environment that has TRL 1.12.0")
    chosen = options.parse_args()
    report = Report(chosen)
    pythons = {"momus": sys.executable, **({"trl": chosen.trl} if chosen.trl else {})}
    # Lengths and iterations add nothing to what is counted; --quick makes the models smaller too.
    sizes = SMALL if chosen.quick else {k: v for k, v in SMALL.items() if k not in ("width", "layers")}
    settings = replace(Settings(threads=chosen.threads), **sizes)
    rows, totals = [], dict[tuple[bool, str], int]()
    for lora in (False, True):
        for contender, python in pythons.items():
            found = run(contender, replace(settings, lora=lora), python)["bytes"]
            total = totals[lora, contender] = sum(found[name] for name in COUNTED if name != "trained")
            report.case(f"{'LoRA' if lora else 'all weights'}, {contender}", {}, bytes=found, total=total)
            mib = [f"{found[name] / 2**20:.2f}" for name in COUNTED]
            rows.append(("LoRA" if lora else "all weights", contender, *mib, f"{total / 2**20:.2f}"))
    columns = ("", "", "models", "of it trained", "gradients", "optimizers", "together")
    report.table("Bytes of PPO's parameters and what belongs to them, MiB", columns, rows)
    bound = totals[False, "momus"]
    goals = [Goal("LoRA / all weights, Momus", totals[True, "momus"] / bound, 0.5, at_least=False)]
    if chosen.trl:
        share = totals[True, "momus"] / totals[True, "trl"]
        goals.append(Goal("Momus / TRL with LoRA", share, 0.5, at_least=False))
    report.finish(goals)


if __name__ == "__main__":
    main()
