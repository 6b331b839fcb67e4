"""What training takes, told before its first step: memory that is held throughout, and the least time.

Memory: the weights of all networks, and of what is trained gradients and the optimizer's numbers. What a forward pass
keeps comes on top, and depends on `token_budget`. Time: the operations of all steps (`costs`) at the speed at which
this machine multiplies matrices, so that training takes longer, never shorter: by how much the first steps show.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from momus.lm.gguf import available_memory
from momus.runtime.adapters import is_base
from momus.runtime.costs import Work, shape_of

_SIDE = {"cpu": 768}
_LARGE_SIDE = 4096
"""Sides of the matrices that are multiplied: on a CPU some milliseconds' worth, elsewhere enough to be busy."""
_TRIES = 3


@dataclass(frozen=True)
class Needs:
    """What a stage takes.

    Attributes:
        held: Bytes of all weights, gradients and numbers of optimizers.
        to_come: Those of them that are not allocated yet.
        flops: Operations of all steps; None where that is not known.
    """

    held: int
    to_come: int
    flops: float | None = None

    @classmethod
    def of(
        cls,
        loaded: Sequence[nn.Module],
        trained: Sequence[nn.Module],
        copies: Sequence[nn.Module] = (),
        kept: int = 2,
        flops: float | None = None,
    ) -> Needs:
        """Count.

        Args:
            loaded: Networks that are in memory.
            trained: Networks that are trained, each of the size of one of these.
            copies: Networks that will be copied, each as often as it is named; the base of an adapter is shared.
            kept: Numbers that the optimizer keeps of every trained weight: 2 for Adam, 1 for RMSprop.
            flops: Operations of all steps.
        """
        to_come = (1 + kept) * sum(map(_trained_bytes, trained)) + sum(map(_trained_bytes, copies))
        weights = sum(_bytes(parameter) for module in loaded for parameter in module.parameters())
        return cls(weights + to_come, to_come, flops)

    def describe(self, place: torch.device, dtype: torch.dtype) -> str:
        """Return it in words, for a device and what is computed in there."""
        free = _free(place)
        words = f"Weights, gradients and optimizer take {_size(self.held)}"
        if free is None:
            words += f", {_size(self.to_come)} of them yet to come"
        else:
            words += f": {_size(self.to_come)} of them come with the first step, and {_size(free)} are free"
        words += "; what a forward pass keeps comes on top (--token-budget)"
        if free is not None and self.to_come > free:
            words += ". This will not fit: take --lora, a smaller model, or more processes"
        if self.flops:
            speed = matrix_speed(place, dtype)
            words += (
                f". It takes at least {_duration(self.flops / speed)}, at the {speed / 1e9:,.0f} GFLOP/s of matrices"
            )
        return words


def training_flops_of(model: nn.Module, items: Iterable[tuple[int, Sequence[int]]]) -> float:
    """Return the operations of one pass over items of which the lengths of prompt and answers are given."""
    tokens = read = pairs = 0
    for prompt, answers in items:
        tokens += prompt + sum(answers)
        read += sum(answers)
        pairs += prompt * (prompt + 1) // 2 + sum(prompt * n + n * (n + 1) // 2 for n in answers)
    return 3 * shape_of(model).forward(Work(tokens, read, pairs))


def matrix_speed(place: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of a product of large matrices on a device: the best of a few."""
    side = _SIDE.get(place.type, _LARGE_SIDE)
    ones = torch.ones(side, side, device=place, dtype=dtype)
    seconds = []
    for _ in range(_TRIES + 1):
        began = time.perf_counter()
        float((ones @ ones)[0, 0])  # waits until it is done
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds[1:])


def _trained_bytes(module: nn.Module) -> int:
    """Return the bytes of what is not the base of an adapter."""
    return sum(_bytes(parameter) for name, parameter in module.named_parameters() if not is_base(name, module))


def _bytes(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()


def _free(place: torch.device) -> int | None:
    return torch.cuda.mem_get_info(place)[0] if place.type == "cuda" else available_memory()


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
