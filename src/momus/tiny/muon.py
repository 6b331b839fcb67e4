"""Muon (Keller Jordan, 2024) for hidden matrices beside AdamW for the rest.

Muon replaces the gradient's momentum by the nearest orthogonal matrix, found by five Newton-Schulz iterations.
`torch.optim.Muon` runs them in bfloat16, which a CPU without bfloat16 units does some thirty times slower than
float32; this one keeps the parameter's own type and does all matrices of one shape at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Rates(Protocol):
    """The settings of `muon_and_adamw`."""

    @property
    def matrix_lr(self) -> float:
        """Muon's rate."""

    @property
    def other_lr(self) -> float:
        """AdamW's."""

    @property
    def weight_decay(self) -> float:
        """Of the matrices."""


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return approximately the nearest orthogonal matrix to each of `matrices` [n, rows, columns]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    transposed = matrices.size(-2) > matrices.size(-1)
    x: Tensor = matrices.mT if transposed else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz, for matrices only, with decoupled weight decay.

    The update's size is scaled by ``sqrt(max(1, rows / columns))``, so one learning rate suits every shape.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; `closure` is not supported."""
        for group in self.param_groups:
            by_shape: defaultdict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonalize(torch.stack([self._direction(p, group["momentum"]) for p in parameters]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Return the Nesterov momentum of one matrix's gradient."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        buffer: Tensor = state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(buffer, momentum)


def muon_and_adamw(
    matrices: Iterable[Tensor], others: Iterable[Tensor], config: Rates
) -> dict[str, torch.optim.Optimizer]:
    """Return the two optimizers of the embedded model's recipe, "muon" for hidden matrices and "adamw" for the rest."""
    return {
        "muon": Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay),
        "adamw": torch.optim.AdamW(others, lr=config.other_lr, betas=(0.9, 0.95), weight_decay=0.0),
    }


def set_rates(optimizers: Mapping[str, torch.optim.Optimizer], config: Rates, factor: float) -> None:
    """Set the rates of `muon_and_adamw` to so much of the configured ones."""
    for name, rate in (("muon", config.matrix_lr), ("adamw", config.other_lr)):
        for group in optimizers[name].param_groups:
            group["lr"] = rate * factor


def take_step(loss: Tensor, trained: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]) -> float:
    """Take one step down a loss, gradients of `trained` clipped to norm 1; returns the norm before that."""
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
    for optimizer in optimizers.values():
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return round(norm.item(), 4)
