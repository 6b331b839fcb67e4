"""The states of modules and optimizers, whole: put together from the processes' shards, and cut up again.

A checkpoint is the same however many processes wrote it, so any number of them can go on from it. Every process has
to call these functions; only the first is given what was put together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from momus.errors import UserError
from momus.runtime.adapters import is_base
from momus.runtime.processes import full_tensor_of, is_main_process, is_shard


def module_state(module: nn.Module, all_of_it: bool = False) -> dict[str, Tensor]:
    """Return a module's parameters and buffers on the CPU, tied ones once; empty but in the first process.

    Args:
        module: The module.
        all_of_it: With the frozen base of an adapter, which is left out otherwise.
    """
    state, seen = {}, set[int]()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in seen or (is_base(name, module) and not all_of_it):
            continue
        seen.add(id(tensor))
        complete = full_tensor_of(tensor.detach())
        if is_main_process():
            state[name] = complete.cpu().contiguous().clone()
    return state


@torch.no_grad()
def load_module_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what `module_state` returned, in place.

    Raises:
        UserError: It is not the state of such a module.
    """
    names: dict[int, list[str]] = {}
    tensors = module.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), []).append(name)
    for aliases in names.values():
        tensor, given = tensors[aliases[0]], next((state[name] for name in aliases if name in state), None)
        if given is None and is_base(aliases[0], module):
            continue
        if given is None or given.shape != tensor.shape:
            raise UserError(
                f"the checkpoint is of another model: it has no {aliases[0]} of shape {tuple(tensor.shape)}"
            )
        tensor.copy_(_like(given, tensor))


def optimizer_state(optimizer: torch.optim.Optimizer) -> Any:
    """Return an optimizer's state with every tensor whole; None but in the first process."""
    whole = _mapped(
        optimizer.state_dict(),
        lambda tensor: full_tensor_of(tensor).cpu() if is_main_process() else full_tensor_of(tensor),
    )
    return whole if is_main_process() else None


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Load what `optimizer_state` returned, in place."""
    optimizer.load_state_dict(state)
    for parameter, state_of in optimizer.state.items():
        if is_shard(parameter):
            for name, value in state_of.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state_of[name] = _like(value, parameter)


def _like(given: Tensor, tensor: Tensor) -> Tensor:
    """Return this process's shard of a tensor where `tensor` is one; every process was given all of it."""
    if not is_shard(tensor):
        return given
    from torch.distributed.tensor import distribute_tensor

    shard: Any = tensor
    on_device = given.to(device=shard.device_mesh.device_type, dtype=tensor.dtype)
    cut: Tensor = distribute_tensor(on_device, shard.device_mesh, shard.placements, src_data_rank=None)
    return cut.to(tensor.device)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(inner, change) for key, inner in value.items()}
    return [_mapped(inner, change) for inner in value] if isinstance(value, list | tuple) else value
