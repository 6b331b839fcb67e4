"""Muon (Keller Jordan, 2024) for hidden matrices beside AdamW for the rest.

Muon replaces the gradient's momentum by the nearest orthogonal matrix, found by five Newton-Schulz iterations.
`torch.optim.Muon` runs them in bfloat16, which a CPU without bfloat16 units does some thirty times slower than
float32; this one keeps the parameter's own type and does all matrices of one shape at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


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
