"""`momus demo`: the whole loop, start to finish."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from momus.cli.shared.seed import Seed


def command(
    out: Path = Path("runs/demo"),
    preset: Literal["standard", "smoke"] = "standard",
    seed: Seed = 0,
    tamper: bool = True,
) -> int:
    """Put bugs into real code, train a critic on simulated judgements, search, measure, report.

    Interrupted and started again with the same options, it continues where it was.

    Args:
        out: The run directory; the report is its report.html.
        preset: "standard" takes about ten minutes on two cores, "smoke" about two.
        seed: Everything random follows from it.
        tamper: Whether tampered answers take part in the training; without them it is the paper's ablation.
    """
    from momus.demo import DemoConfig, run_demo

    run_demo(DemoConfig(out=out, preset=preset, seed=seed, tamper=tamper))
    return 0
