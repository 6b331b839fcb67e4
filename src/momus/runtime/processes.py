"""The processes of one training run, and how they share its work.

`accelerate launch` and `torchrun` start the same program several times; each copy reads the same data and takes the
same decisions, and meets the others only in the functions below. A stage is written once::

    for group, weight in share(groups, (seed, step)):     # groups were cut before, whatever the number of processes
        loss = weight * loss_of(group) / everybody's_count
        loss.backward()
    metrics = totals(metrics)                             # sums over processes
    norm = finish_gradients(model, max_norm)              # likewise, then clipped

A loss is divided by the count of the *whole* batch, so gradients are summed, not averaged, and processes with more or
less to do, or nothing, bias nothing. With one process all of this does nothing and `torch.distributed` stays asleep.
Models, weights and precision are the matter of `train/sharding.py`.

The processes meet at first use: on GPUs over NCCL, otherwise over gloo, in accelerate's words for device and backend.
Who waits `MOMUS_TIMEOUT` minutes (30 by default) for another gives up. `together` makes the failure of one the end of
all with one line. A run directory must be on a file system that all processes see.
"""

from __future__ import annotations

import atexit
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from momus.errors import UserError

T = TypeVar("T")

BUCKET = 2**24  # numbers summed over processes at once: 64 MiB in float32
_LOST = ("Connection closed", "Connection reset", "Timed out", "timeout", "Broken pipe", "gloo", "NCCL", "Socket")
_FAILED = "momus/failed"


@cache
def _world() -> Any:
    """Meet the other processes; None where this one was not launched with others.

    Raises:
        UserError: accelerate is missing, or the others did not come.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        return None
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise UserError("training with several processes needs accelerate: pip install accelerate") from error
    cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" or not torch.accelerator.is_available()
    try:
        world = PartialState(cpu=cpu, timeout=timedelta(minutes=_timeout()))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes of this run could not meet: {_one_line(error)}") from error
    atexit.register(_leave)
    return world


def _leave() -> None:
    """Part from the others. After a failure NCCL would wait for them, and is left to die."""
    if dist.is_initialized() and not (_failed and "nccl" in dist.get_backend()):
        dist.destroy_process_group()


def _timeout() -> float:
    """Return how many minutes to wait for another process."""
    value = os.environ.get("MOMUS_TIMEOUT", "30")
    try:
        return float(value)
    except ValueError:
        raise UserError(f"MOMUS_TIMEOUT is {value!r}: give the minutes to wait for another process") from None


def count() -> int:
    """Return the number of processes."""
    return int(_world().num_processes) if _world() else 1


def rank() -> int:
    """Return which of them this is, from 0."""
    return int(_world().process_index) if _world() else 0


def main() -> bool:
    """Say whether this is the process that writes files and shows progress."""
    return rank() == 0


def device() -> torch.device:
    """Return this process's device: its own GPU where there is one."""
    if _world():
        return torch.device(_world().device)
    return (torch.accelerator.is_available() and torch.accelerator.current_accelerator()) or torch.device("cpu")


def sharded() -> bool:
    """Say whether `accelerate launch` asked for models in shards (FSDP2).

    Raises:
        UserError: It asked for the first version of FSDP.
    """
    if count() == 1 or os.environ.get("ACCELERATE_USE_FSDP", "").lower() != "true":
        return False
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError("Momus shards models with FSDP2 only: accelerate launch --use_fsdp --fsdp_version 2")
    return True


def share(groups: Sequence[T], key: tuple[int, ...] | None = None) -> Iterator[tuple[T, float]]:
    """Yield this process's groups of a batch, each with its weight: 1.

    Where models are in shards all processes must go through them equally often: one with fewer groups goes through
    one of the others' with weight 0, by which its losses and counts are to be multiplied.

    Args:
        groups: The whole batch, cut without regard to the number of processes.
        key: Seed and step. Before every group the random generators are set by key and group, so that dropout is
            the same whoever computes it. None leaves them alone.
    """
    rounds = -(-len(groups) // count())
    if len(groups) < count() and main():
        warnings.warn(
            f"{count()} processes share batches of fewer forward passes: some have nothing to do; a smaller "
            "token_budget or larger batches would give all of them work",
            stacklevel=2,
        )
    for turn in range(rounds):
        index = turn * count() + rank()
        weight = float(index < len(groups))
        if not weight and not sharded():
            return
        index = index if weight else len(groups) - 1  # packed last: the smallest
        if key is not None:
            torch.manual_seed(int(np.random.SeedSequence([*key, index]).generate_state(1, np.uint64)[0]))
        yield groups[index], weight


def total(values: Tensor) -> Tensor:
    """Return the sum over processes of tensors of one shape."""
    if count() == 1:
        return values
    summed = values.to(device(), copy=True)
    dist.all_reduce(summed)
    return summed.to(values.device)


def totals(values: Mapping[str, float]) -> dict[str, float]:
    """Return the sums over processes of named numbers."""
    if count() == 1:
        return dict(values)
    return dict(zip(values, total(torch.tensor(list(values.values()), dtype=torch.float64)).tolist(), strict=True))


def finish_gradients(module: nn.Module, max_norm: float) -> float:
    """Sum a module's gradients over processes and clip their global norm; returns the norm before clipping."""
    if count() > 1 and not any(is_shard(parameter) for parameter in module.parameters()):
        _sum_gradients(module)  # shards were summed as they came
    return float(whole(nn.utils.clip_grad_norm_(module.parameters(), max_norm)))


def is_shard(tensor: Tensor) -> bool:
    """Say whether a tensor is this process's part of one (a `DTensor`, whose module takes long to import)."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor, put together from all processes' shards where it is one."""
    shard: Any = tensor
    result: Tensor = shard.full_tensor() if is_shard(tensor) else tensor
    return result


def _sum_gradients(module: nn.Module) -> None:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
    bucket: list[Tensor] = []
    for parameter, somewhere in zip(parameters, total(used).tolist(), strict=True):
        if not somewhere:
            continue  # as with one process, what is not used has no gradient
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and (bucket[0].dtype != parameter.grad.dtype or sum(map(Tensor.numel, bucket)) > BUCKET):
            _sum_in_place(bucket)
            bucket = []
        bucket.append(parameter.grad)
    if bucket:
        _sum_in_place(bucket)


def _sum_in_place(tensors: Sequence[Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def on_main(work: Callable[[], T]) -> T:
    """Do something in the main process alone; every process returns its result, which JSON must be able to hold.

    Raises:
        UserError: What `work` raised, in every process.
    """
    if count() == 1:
        return work()
    said: dict[str, Any] = {}
    if main():
        try:
            said = {"result": work()}
        except UserError as error:
            said = {"error": str(error)}
    said = _said_by(0, said)
    if "error" in said:
        raise UserError(said["error"])
    result: T = said["result"]
    return result


def gather(value: T) -> list[T]:
    """Return every process's value, which JSON must be able to hold, in the order of their ranks."""
    return [value] if count() == 1 else [_said_by(source, value) for source in range(count())]


def _said_by(source: int, value: Any) -> Any:
    """Return one process's value in all of them, through JSON: nothing is unpickled."""
    data = json.dumps(value).encode() if rank() == source else b""
    size = torch.tensor([len(data)], device=device())
    dist.broadcast(size, source)
    text = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(int(size), dtype=torch.uint8)
    text = text.to(device())
    dist.broadcast(text, source)
    return json.loads(bytes(text.tolist()))


@contextmanager
def together() -> Iterator[None]:
    """Make the failure of one process the end of all: the first to fail says why, the others end without a word.

    To be put around a command or a stage, as a context or a decorator. A process that dies without a word (killed,
    out of memory) is noticed by the others, the first of which says so.

    Raises:
        UserError: Here or elsewhere something failed.
        SystemExit: Something failed, and another process says what.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not dist.is_initialized():
            raise
        _failed.append(error)
        if not _first_to_fail():
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None
        here = f"process {rank()} of {count()}"
        if isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST):
            raise UserError(
                f"{here} waited in vain for another, which was killed, is stuck or ran out of memory (it waits "
                f"{_timeout():g} minutes at most, MOMUS_TIMEOUT): {_one_line(error)}. Run again to continue"
            ) from error
        if isinstance(error, UserError) and not str(error).startswith("process "):
            raise UserError(f"{here}: {error}") from error
        raise


_failed: list[BaseException] = []


@cache
def _first_to_fail() -> bool:
    """Say whether no other process has failed before."""
    try:
        return int(dist.distributed_c10d._get_default_store().add(_FAILED, 1)) == 1
    except RuntimeError:  # the store has gone with its process
        return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
