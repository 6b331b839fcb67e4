"""How models are held and trained, whatever the stage: precision, recomputation, adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from momus.runtime.ranges import check_ranges


@dataclass(frozen=True)
class LoRA:
    """Settings of an adapter; the defaults are ours, in the range of arXiv 2106.09685, 7.2, and 2305.14314, 4."""

    rank: int = 16
    """Rank r of the update B A that is added to every adapted weight."""
    alpha: float = 32.0
    """The update is scaled by alpha / rank (4.1)."""
    dropout: float = 0.0
    """Dropout of an adapter's input; never in PPO."""
    targets: tuple[str, ...] = ()
    """Names of the linear layers to adapt, such as q_proj; none means all but the vocabulary head."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Setup:
    """How models are held and trained, whatever the stage."""

    precision: Literal["fp32", "bf16"] | None = None
    """What is computed in; weights that are trained are held in float32. None: as accelerate launch
    --mixed_precision says, else fp32."""
    gradient_checkpointing: bool = False
    """Compute every layer again in the backward pass instead of keeping what it computed: memory, not results."""
    adapter: LoRA | None = None
    """Train an adapter of low rank instead of all weights."""
