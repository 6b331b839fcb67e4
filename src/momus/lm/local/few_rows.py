"""Linear layers over few rows, as decoding has them: in bfloat16 on a CPU, quicker the other way round.

PyTorch multiplies few rows with a weight slower than memory brings the weight. The product of matrix and vector for one
row, and for more the product with weight and rows exchanged, are faster (`benchmarks/few_rows.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

FEW = 16
"""Rows up to which it is faster, its result laid out as PyTorch's."""
_LARGE = 2**19
"""Weights of a layer from which on it is."""


def multiply_few_rows(layer: torch.nn.Linear, input: torch.Tensor) -> torch.Tensor:
    """Return what a linear layer makes of rows [..., I]: [..., O]; without gradients."""
    rows = input.reshape(-1, input.shape[-1])
    weight, bias = layer.weight, layer.bias
    if len(rows) > FEW or rows.dtype != weight.dtype:
        return torch.nn.functional.linear(input, weight, bias)
    if len(rows) == 1:
        found = torch.mv(weight, rows[0]) if bias is None else torch.addmv(bias, weight, rows[0])
    else:
        found = (weight @ rows.t() if bias is None else torch.addmm(bias[:, None], weight, rows.t())).t().contiguous()
    return found.view(*input.shape[:-1], layer.out_features)


@contextmanager
def few_rows(model: Any) -> Iterator[None]:
    """Let a model's linear layers multiply few rows the faster way where there is one, and as before afterwards."""
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear and _can_be_faster(module)]
    try:
        for layer in layers:
            vars(layer)["forward"] = partial(multiply_few_rows, layer)  # the instance's own, before its class's
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than those of float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    checks = (getattr(torch.cpu, name, bool) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return torch.device(device).type == "cpu" and any(check() for check in checks)


def _can_be_faster(layer: torch.nn.Linear) -> bool:
    weight = layer.weight
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and weight.numel() >= _LARGE
        and "forward" not in vars(layer)
        and multiplies_bfloat16("cpu")
    )
