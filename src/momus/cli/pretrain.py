"""`momus pretrain`: the recipe of the weights that ship with Momus."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def command(preset: Literal["cpu", "gpu"] = "cpu", out: Path = Path("runs/pretrain")) -> int:
    """Train the small critic from nothing: code, gold critiques, judging. Resumes where it was interrupted.

    Args:
        preset: The machine it is meant for.
        out: The run directory.
    """
    from momus.tiny.pretrain import main

    main(preset, out)
    return 0
