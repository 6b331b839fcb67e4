"""Models over the processes of a run: precision, recomputation, adapters, replicas or shards.

For a command::

    setup = Setup(precision="bf16", gradient_checkpointing=True, adapter=LoRA())    # flags, or defaults
    policy = prepare(load_causal_lm(name), setup)
    with fail_together():                              # the failure of one process is the end of all, in one line
        run = Run(out, {**asdict(config), "model": describe(policy)})
        fine_tune(policy, examples, config, run)
        save(policy, out / "model", tokenizer)         # whole, an adapter merged; every process calls it, one writes
        save_adapter(policy, out / "adapter", tokenizer)    # if it has one

and for a stage, between making its copies of a model and its optimizers: `place(model)`.

What `accelerate launch` started decides where weights lie. Plainly launched, every process holds a replica, and
gradients are summed. With ``--use_fsdp --fsdp_version 2`` weights, gradients and the optimizer's states are cut into
shards: the blocks that accelerate's ``--fsdp_auto_wrap_policy`` names (decoder layers by default), and the rest with
the model itself; ``--fsdp_reshard_after_forward`` and ``--fsdp_offload_params`` are honoured. Our forward passes call
backbone and head by themselves, so FSDP's hooks are put around both (`momus.lm.models.within`).

Precision "bf16" is mixed, as accelerate does it: what is trained is held in float32, and computed with in bfloat16, by
autocast or, in shards, gathered in bfloat16 and summed in float32. A frozen base is held in bfloat16.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from momus.errors import UserError
from momus.lm.models import RewardModel, load_causal_lm, save_causal_lm
from momus.runtime.adapters import (
    add_adapter,
    base_of,
    continue_adapter,
    has_adapter,
    is_base,
    merge_adapter,
    merged,
    write_adapter,
)
from momus.runtime.processes import device, is_shard, on_main_process, sharded, world_size
from momus.runtime.settings import Setup
from momus.runtime.states import module_state

Model = TypeVar("Model", bound=nn.Module)
T = TypeVar("T")


def prepare(model: Model, setup: Setup) -> Model:
    """Set a freshly loaded model up for training, in place, and put it on this process's device.

    A model that was loaded with an adapter goes on with it where one is to be trained; else it is merged. A model that
    is going to lie in shards stays where it is until a stage places it.

    Raises:
        UserError: The precision is none that is offered, peft is missing, or as `continue_adapter`.
    """
    if has_adapter(model):
        model = merge_adapter(model) if setup.adapter is None else continue_adapter(model, setup.adapter)
    elif setup.adapter is not None:
        add_adapter(model, setup.adapter)
    if _launched_precision(setup) == "bf16":
        for name, parameter in model.named_parameters():
            parameter.data = parameter.data.to(torch.bfloat16 if is_base(name, model) else torch.float32)
        model.compute_dtype = torch.bfloat16  # type: ignore[assignment]
    if setup.gradient_checkpointing:
        for block in blocks_of(model):
            block.forward = partial(_recomputed, block.forward)
    return model if sharded() else model.to(device())


def _launched_precision(setup: Setup) -> str:
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    precision = setup.precision or {"no": "fp32"}.get(launched, launched)
    if precision not in ("fp32", "bf16"):
        raise UserError(f"mixed precision {precision} is not supported: use bf16 or no")
    return precision


def describe(model: nn.Module) -> dict[str, Any]:
    """Say how a model is held, for the configuration of its run: nothing that depends on the number of processes."""
    root: Any = model.backbone if isinstance(model, RewardModel) else model
    adapter = {**root.adapter_settings, "base": base_of(model)} if base_of(model) else None
    trained = next(parameter for name, parameter in model.named_parameters() if not is_base(name, model))
    return {
        "dtype": str(trained.dtype).removeprefix("torch."),
        "computed_in": str(getattr(model, "compute_dtype", trained.dtype)).removeprefix("torch."),
        "gradient_checkpointing": any("forward" in vars(block) for block in blocks_of(model)),
        "adapter": adapter,
    }


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return a model's layers, as transformers marks them."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _recomputed(forward: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a layer, keeping nothing but its input. Unlike in transformers, also where PPO has dropout off."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    result: T = checkpoint(forward, *args, use_reentrant=False, **kwargs)
    return result


# Placing


def place(model: Model) -> Model:
    """Give a model its place among the processes, in place: the same weights everywhere, in replicas or shards.

    Optimizers are made afterwards, copies before. With one process the model stays as and where it is.

    Raises:
        UserError: accelerate asked for something that cannot be done.
    """
    if world_size() == 1 or any(map(is_shard, model.parameters())):
        return model
    if not sharded():
        model.to(device())
    _same_everywhere(model)
    if sharded():
        _shard(model)
    return model


@torch.no_grad()
def _same_everywhere(model: nn.Module) -> None:
    """Give every process the first one's weights: heads and adapters start at random, files may differ."""
    if any(tensor.is_meta for tensor in model.parameters()):  # accelerate had only the first process load them
        model.to_empty(device="cpu")
        for module in model.modules():
            if isinstance(module, PreTrainedModel):
                module.tie_weights()
    for tensor in [*model.parameters(), *model.buffers()]:
        sent = tensor.to(device())
        dist.broadcast(sent, 0)
        tensor.copy_(sent)


def _shard(model: Any) -> None:
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        FSDPModule,
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    plugin: Any = FullyShardedDataParallelPlugin()
    dtype = getattr(model, "compute_dtype", None)
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device().type, (world_size(),)),
        "offload_policy": plugin.cpu_offload,
        "mp_policy": MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32 if dtype else None),
    }
    for block in _wrapped(plugin, model):
        fully_shard(block, reshard_after_forward=plugin.reshard_after_forward, **options)
    fully_shard(model, reshard_after_forward=False, **options)
    for module in model.modules():
        if isinstance(module, FSDPModule):  # losses are divided by everybody's count: gradients are summed
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    model.reshards = plugin.reshard_after_forward
    model.in_one_piece = _do
    register_fsdp_forward_method(model, "in_one_piece")
    with torch.no_grad():
        model.in_one_piece(_nothing)  # FSDP sets itself up in the first pass, which must not be one of a part
    model.reshard()


def _do(work: Callable[[], T]) -> T:
    return work()


def _nothing() -> None:
    """Stand in for a forward pass."""


def _wrapped(plugin: Any, model: Any) -> list[nn.Module]:
    """Return the modules that are gathered one at a time, inner ones first."""
    from accelerate.utils.fsdp_utils import fsdp2_prepare_auto_wrap_policy

    root = model.backbone if isinstance(model, RewardModel) else model
    try:
        plugin.set_auto_wrap_policy(root)
        policy = fsdp2_prepare_auto_wrap_policy(plugin, root)
    except ValueError as error:
        raise UserError(f"accelerate's FSDP settings do not fit the model: {error}") from error
    chosen = [module for module in root.modules() if policy(module)] if policy else blocks_of(root)
    return [module for module in reversed(chosen) if module is not root and not isinstance(module, nn.Embedding)]


@contextmanager
def gathered(model: Any) -> Iterator[None]:
    """Have all of a model on every process for a while, for sampling, which each process does at its pace.

    Nothing happens to a model that is not in shards.
    """
    shards = [module for module in model.modules() if hasattr(module, "unshard")]
    for module in shards:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in shards:
            module.reshard()
            module.set_reshard_after_forward(module is not model and model.reshards, recurse=False)


# Saving


def save(model: nn.Module, path: Path, tokenizer: Any = None) -> None:
    """Write a language, reward or value model whole, an adapter merged in float32; every process has to call this.

    Raises:
        UserError: The disk is full.
    """
    state = module_state(model, all_of_it=True)
    on_main_process(lambda: _write_whole(model, merged(model, state), path, tokenizer))


def save_merged(model: Any, adapter: Path, path: Path, tokenizer: Any = None) -> None:
    """Write a model whole: the adapter of it that was saved, merged in float32 into its base as it was published.

    Every process has to call this.

    Raises:
        UserError: Its base is gone or another, or the disk is full.
    """

    def write() -> None:
        whole = (RewardModel.load if isinstance(model, RewardModel) else load_causal_lm)(adapter)
        _write_whole(model, merge_adapter(whole).state_dict(), path, tokenizer)

    on_main_process(write)


def _write_whole(model: Any, tensors: dict[str, Tensor], path: Path, tokenizer: Any) -> None:
    """Write a model of the kind and with the settings of `model`, without an adapter, from all of its tensors."""
    if isinstance(model, RewardModel):
        model.save(path, tensors, tokenizer)
        return
    dtype = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    with torch.device("meta"):  # a model of the same kind, plain again, to write the files with
        plain = AutoModelForCausalLM.from_config(model.config, dtype=dtype, trust_remote_code=False)
    plain.generation_config = model.generation_config
    save_causal_lm(plain, path, tokenizer, tensors)


def save_adapter(model: nn.Module, path: Path, tokenizer: Any = None) -> None:
    """Write a model's adapter alone, and the head of a reward model; every process has to call this.

    Raises:
        UserError: It has none, or the disk is full.
    """
    if not has_adapter(model):
        raise UserError("the model has no adapter to save")
    state = module_state(model, all_of_it=True)
    on_main_process(lambda: write_adapter(model, path, state, tokenizer))
