"""Settings of a pointer's training (`pointer.py`); there is no paper to follow here. They were chosen on validation."""

from __future__ import annotations

from dataclasses import dataclass

from momus.errors import UserError
from momus.runtime.ranges import check_ranges

FEWEST = 10
"""Answers, to learn from and held out, below which nothing can be learnt."""


@dataclass(frozen=True)
class PointerConfig:
    """Settings of a pointer's training.

    Raises:
        UserError: A value is out of range.
    """

    heads: int = 3
    """Heads whose mean is the pointer."""
    width: int = 192
    """Width of a head."""
    layers: int = 2
    """Its bidirectional layers."""
    attention_heads: int = 4
    dropout: float = 0.2
    passes: int = 8
    """Passes over the answers; of each head the best one on held-out answers is kept."""
    batch: int = 32
    """Answers per step, those without their bugs counted."""
    pairs: bool = False
    """Whether answers are read without their bugs, too, and the two told apart: twice the reading."""
    learning_rate: float = 6e-4
    weight_decay: float = 0.05
    warmup: int = 50
    """Steps over which the rate rises; it falls to zero at the end."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.pairs and self.batch < 2:
            raise UserError(f"batch {self.batch}: with pairs it must be at least 2")
        if self.width % self.attention_heads:
            raise UserError(f"width {self.width} is no multiple of attention_heads {self.attention_heads}")


@dataclass(frozen=True)
class PointerData:
    """Which answers a pointer learns from.

    Raises:
        UserError: A value is out of range.
    """

    functions: int = 3000
    """Answers to learn from, each with one bug; where there are fewer functions they are taken again, with another."""
    held_out: int = 300
    """Answers of other modules, or other files, to choose by."""
    clean: float = 0.1
    """Share of the answers that are left without a bug."""
    scripts: float = 0.4
    """Share of the functions to learn from that are rewritten as scripts, where that can be done."""
    renamed: float = 0.25
    """Share of them whose variables get short names."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("functions", "held_out"):
            if getattr(self, name) < FEWEST:
                raise UserError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least {FEWEST}")
        for name in ("clean", "scripts", "renamed"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)}: must be at least 0 and below 1")
