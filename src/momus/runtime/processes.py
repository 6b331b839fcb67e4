"""The processes of one training run, and how they share its work.

`accelerate launch` and `torchrun` start the same program several times. Every process reads the same data and takes the
same decisions, and they communicate only in the functions below. A stage is written once::

    sums = accumulate_gradients(groups, group_loss, ("loss",), key=(seed, step))
    norm = reduce_and_clip_gradients(model, max_norm)

`groups` is the whole batch, cut into forward passes regardless of the number of processes, and `group_loss` divides
by the count of the *whole* batch. So gradients are summed over processes, not averaged, and a process with more or less
to do, or nothing, biases nothing. With one process all of this does nothing and leaves `torch.distributed` alone.
Models, weights and precision are the concern of `runtime/sharding.py`.

Processes connect at first use: over NCCL on GPUs, otherwise over gloo, as accelerate's device and backend settings say.
A process that waits longer than `MOMUS_TIMEOUT` minutes (30 by default) for another gives up. `fail_together` ends all
processes with one line when one of them fails. A run directory must be on a file system that all processes see.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
_PATIENCE, _MOMENT = 3.0, 0.5  # seconds for others to fail: by the end of the connection, by themselves
_asked_device: list[str] = []


@cache
def _world() -> Any:
    """Connect to the other processes; return None where this one was launched alone.

    Raises:
        UserError: accelerate is missing, or the others did not connect.
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
    """Disconnect. After a failure NCCL would wait for the others, so its group is not destroyed."""
    if dist.is_initialized() and not (_failed and "nccl" in dist.get_backend()):
        dist.destroy_process_group()


def _timeout() -> float:
    """Return how many minutes to wait for another process."""
    value = os.environ.get("MOMUS_TIMEOUT", "30")
    try:
        return float(value)
    except ValueError:
        raise UserError(f"MOMUS_TIMEOUT is {value!r}: give the minutes to wait for another process") from None


def world_size() -> int:
    """Return the number of processes."""
    return int(_world().num_processes) if _world() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return int(_world().process_index) if _world() else 0


def is_main_process() -> bool:
    """Return whether this is the process that writes files and shows progress."""
    return rank() == 0


def device() -> torch.device:
    """Return this process's device: that of `on_device`, else the GPU of its rank where there is one."""
    if _world():
        return torch.device(_world().device)
    if _asked_device:
        return torch.device(_asked_device[-1])
    return (torch.accelerator.is_available() and torch.accelerator.current_accelerator()) or torch.device("cpu")


@contextmanager
def on_device(name: str | None) -> Iterator[None]:
    """Run this process, alone in its run, on a device such as "cpu" or "cuda:1"; None chooses as ever.

    Raises:
        UserError: There is no such device, or there are several processes: each of them has its own.
    """
    if name is None:
        yield
        return
    from momus.lm.local.load import choose_device

    if world_size() > 1:
        raise UserError("--device is for one process: accelerate launch gives each of several its own")
    _asked_device.append(choose_device(name))
    try:
        yield
    finally:
        _asked_device.pop()


def _asks_for_shards() -> bool:
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def sharded() -> bool:
    """Return whether `accelerate launch` asked for models in shards (FSDP2).

    Raises:
        UserError: It asked for the first version of FSDP.
    """
    if world_size() == 1 or not _asks_for_shards():
        return False
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError("Momus shards models with FSDP2 only: accelerate launch --use_fsdp --fsdp_version 2")
    return True


def share(groups: Sequence[T], key: tuple[int, ...] | None = None) -> Iterator[tuple[T, float]]:
    """Yield this process's groups of a batch, each with a weight of 1.

    Where models are in shards, all processes must run them equally often: one with fewer groups repeats a group of
    another process with weight 0. Multiply losses and counts by the weight.

    Args:
        groups: The whole batch, cut into forward passes regardless of the number of processes.
        key: Seed and step. Seed PyTorch before every group by key and group, so that dropout is the same whichever
            process computes it. None leaves the random state alone.
    """
    rounds = -(-len(groups) // world_size())
    if len(groups) < world_size() and is_main_process():
        warnings.warn(
            f"{world_size()} processes share batches of fewer forward passes: some have nothing to do; a smaller "
            "token_budget or larger batches would give all of them work",
            stacklevel=2,
        )
    for turn in range(rounds):
        index = turn * world_size() + rank()
        weight = float(index < len(groups))
        if not weight and not sharded():
            return
        index = index if weight else len(groups) - 1  # packed last: the smallest
        if key is not None:
            torch.manual_seed(int(np.random.SeedSequence([*key, index]).generate_state(1, np.uint64)[0]))
        yield groups[index], weight


def accumulate_gradients(
    groups: Sequence[T],
    loss_of: Callable[[T], tuple[Tensor, Sequence[float]]],
    names: Sequence[str],
    key: tuple[int, ...] | None = None,
) -> dict[str, float]:
    """Backpropagate a batch's loss one group at a time, shared among processes; return summed metrics.

    Args:
        groups: The whole batch, cut into forward passes regardless of the number of processes.
        loss_of: ``loss_of(group)`` returns the group's share of the batch's loss, a scalar with a graph, and numbers to
            sum, one for each of `names`.
        names: Names of the metrics.
        key: See `share`.

    Returns:
        The sums of the metrics over all groups and processes. Gradients are summed later, by
        `reduce_and_clip_gradients`.
    """
    sums = dict.fromkeys(names, 0.0)
    for group, weight in share(groups, key):
        loss, numbers = loss_of(group)
        (weight * loss).backward()  # type: ignore[no-untyped-call]
        for name, number in zip(names, numbers, strict=True):
            sums[name] += weight * number
    return sum_metrics(sums)


def all_reduce(values: Tensor) -> Tensor:
    """Return the sum over processes of tensors of one shape."""
    if world_size() == 1:
        return values
    summed = values.to(device(), copy=True)
    dist.all_reduce(summed)
    return summed.to(values.device)


def sum_metrics(values: Mapping[str, float]) -> dict[str, float]:
    """Return the sums over processes of named numbers."""
    if world_size() == 1:
        return dict(values)
    return dict(zip(values, all_reduce(torch.tensor(list(values.values()), dtype=torch.float64)).tolist(), strict=True))


def reduce_and_clip_gradients(module: nn.Module, max_norm: float) -> float:
    """Sum a module's gradients over processes and clip their global norm; return the norm before clipping."""
    if world_size() > 1 and not any(is_shard(parameter) for parameter in module.parameters()):
        _sum_gradients(module)  # FSDP has summed shards already
    return float(full_tensor_of(nn.utils.clip_grad_norm_(module.parameters(), max_norm)))


def is_shard(tensor: Tensor) -> bool:
    """Return whether a tensor is this process's shard of one (a `DTensor`, whose module is slow to import)."""
    return hasattr(tensor, "full_tensor")


def full_tensor_of(tensor: Tensor) -> Tensor:
    """Return a whole tensor, assembled from all processes' shards where it is a shard."""
    shard: Any = tensor
    result: Tensor = shard.full_tensor() if is_shard(tensor) else tensor
    return result


def _sum_gradients(module: nn.Module) -> None:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    used = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.float32)
    bucket: list[Tensor] = []
    for parameter, somewhere in zip(parameters, all_reduce(used).tolist(), strict=True):
        if not somewhere:
            continue  # as with one process, an unused parameter has no gradient
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


def on_main_process(work: Callable[[], T]) -> T:
    """Call `work` in the main process only; return its JSON-serialisable result in every process.

    Raises:
        UserError: `work` raised it; raised in every process.
    """
    if world_size() == 1:
        return work()
    outcome: dict[str, Any] = {}
    if is_main_process():
        try:
            outcome = {"result": work()}
        except UserError as error:
            outcome = {"error": str(error)}
    outcome = _broadcast_json(outcome, source=0)
    if "error" in outcome:
        raise UserError(outcome["error"])
    result: T = outcome["result"]
    return result


def gather_json(value: T) -> list[T]:
    """Return every process's JSON-serialisable value, in the order of their ranks."""
    return [value] if world_size() == 1 else [_broadcast_json(value, source) for source in range(world_size())]


def _broadcast_json(value: Any, source: int) -> Any:
    """Return the source process's value in every process, through JSON: nothing is unpickled."""
    data = json.dumps(value).encode() if rank() == source else b""
    size = torch.tensor([len(data)], device=device())
    dist.broadcast(size, source)
    text = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(int(size), dtype=torch.uint8)
    text = text.to(device())
    dist.broadcast(text, source)
    return json.loads(bytes(text.tolist()))


@contextmanager
def fail_together() -> Iterator[None]:
    """End all processes when one fails: the first to fail reports why, the others exit silently.

    Use it around a command or a stage, as a context manager or a decorator. When a process is killed or runs out of
    memory, the first of the others to notice reports it.

    Raises:
        UserError: Something failed in this process, or another process was lost.
        SystemExit: Something failed, and another process reports it.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not dist.is_initialized():
            raise
        _failed.append(error)
        is_first = _first_to_fail()
        _let_others_fail()
        if not is_first:
            raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2) from None
        here = f"process {rank()} of {world_size()}"
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
    """Return whether no other process has failed before."""
    try:
        return int(dist.distributed_c10d._get_default_store().add(_FAILED, 1)) == 1
    except RuntimeError:  # the store ended with its process
        return True


def _let_others_fail() -> None:
    """Wait, in the process that keeps count of failures, until the others have asked, so that one alone reports.

    They fail at once where the connection to them ends. Sharded weights hold on to it, and over NCCL it cannot be ended
    without them: then those that fail by themselves meanwhile are waited for, and the others will report this one lost.
    """
    if rank() != 0:
        return
    store = dist.distributed_c10d._get_default_store()
    ends = not _asks_for_shards() and "nccl" not in dist.get_backend()
    deadline = time.monotonic() + (_PATIENCE if ends else _MOMENT)
    if ends:  # it waits for what is under way
        leaving = threading.Thread(target=dist.destroy_process_group, daemon=True)
        leaving.start()
        leaving.join(_PATIENCE)
    with suppress(RuntimeError):  # the store ended with its process
        while store.add(_FAILED, 0) < world_size() and time.monotonic() < deadline:
            time.sleep(0.01)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
