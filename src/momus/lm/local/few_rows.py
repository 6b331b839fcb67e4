"""Linear layers over few rows, as decoding has them: in bfloat16 on a CPU, quicker the other way round.

PyTorch multiplies few rows with a weight slower than memory brings the weight. The product with weight and rows
exchanged, and for one row that of matrix and vector, are 1.1 to 1.7 times as fast (`benchmarks/few_rows.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

FEW = 128  # rows up to which that was measured


def multiply_few_rows(layer: torch.nn.Linear, rows: torch.Tensor) -> torch.Tensor:
    """Return what a linear layer makes of rows [..., I]: [..., O], perhaps not contiguous; without gradients."""
    flat = rows.reshape(-1, rows.shape[-1])
    if len(flat) > FEW:
        return torch.nn.functional.linear(rows, layer.weight, layer.bias)
    weight, bias = layer.weight, layer.bias
    if len(flat) == 1:
        found = torch.mv(weight, flat[0]) if bias is None else torch.addmv(bias, weight, flat[0])
    else:
        found = (weight @ flat.t() if bias is None else torch.addmm(bias[:, None], weight, flat.t())).t()
    return found.reshape(*rows.shape[:-1], layer.out_features)


@contextmanager
def few_rows(model: Any) -> Iterator[None]:
    """Let a model's linear layers multiply few rows the faster way where there is one, and as before afterwards."""
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear and _can_be_faster(module)]
    for layer in layers:
        vars(layer)["forward"] = partial(multiply_few_rows, layer)  # the instance's own, before its class's
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def _can_be_faster(layer: torch.nn.Linear) -> bool:
    weight = layer.weight
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and "forward" not in vars(layer)
