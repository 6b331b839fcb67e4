"""Low-rank adapters (LoRA, arXiv 2106.09685): train little, keep one copy of the rest.

An adapter is put *into* a model by peft: a language model stays the class it was, and so does the backbone of a reward
or value model, whose head is trained whole. What follows from that:

* the reference policy of PPO is the policy itself with the adapter off (`without_adapter`), no second copy;
* averaged weights and value models share the frozen base with what they are copies of (`copy_of`);
* checkpoints hold what is trained, and the fingerprint of the base that it belongs to;
* a finished model is saved whole, the adapter added to its weights (`merged`), and the adapter alone in peft's own
  format (`save_adapter`), which peft, transformers, vLLM and `momus.lm.models.load_causal_lm` read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from momus.errors import UserError
from momus.files import atomic_directory, fill_json
from momus.lm.forward import token_logprobs
from momus.lm.models import ADAPTER_BASE_FILE, ADAPTER_HEAD_FILE, HEAD_FILE, RewardModel, fingerprint
from momus.lm.tree import TokenTree
from momus.runtime.processes import is_shard, on_main_process
from momus.runtime.settings import LoRA

Model = TypeVar("Model", bound=nn.Module)

_PART = ".lora_"


def add_adapter(model: Model, settings: LoRA) -> Model:
    """Put a fresh adapter, which changes nothing yet, into a language, reward or value model; freeze the rest of it.

    The base's fingerprint and the settings stay with the model, as `base_fingerprint` and `adapter_settings`.

    Raises:
        UserError: peft is missing, the model has an adapter, or no layer has a name in `settings.targets`.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("training an adapter needs peft: pip install peft") from error
    root = _root(model)
    if has_adapter(model):
        raise UserError("the model has an adapter already: merge it first")
    base = on_main_process(lambda: fingerprint(root))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # any number does
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or "all-linear",
        fan_in_fan_out=root.config.model_type == "gpt2",  # its layers hold their weights the other way round
    )
    try:
        root.add_adapter(config)
    except ValueError as error:
        raise UserError(f"cannot adapt {settings.targets or 'this model'}: {' '.join(str(error).split())}") from error
    root.base_fingerprint, root.adapter_settings = base, asdict(settings)
    return model


def has_adapter(model: nn.Module) -> bool:
    """Say whether a model has an adapter."""
    return any(_PART in name for name, _ in model.named_parameters())


def is_fresh(model: nn.Module) -> bool:
    """Say whether a model's adapter, if any, changes nothing yet: every B is 0."""
    return not any(bool(p.any()) for name, p in model.named_parameters() if ".lora_B." in name)


def base_of(model: nn.Module) -> str:
    """Return the fingerprint of the base that a model's adapter belongs to; "" where it has none."""
    return str(getattr(_root(model), "base_fingerprint", ""))


def is_base(name: str, model: nn.Module) -> bool:
    """Say whether an entry of a model's state belongs to the frozen base of its adapter."""
    below = not isinstance(model, RewardModel) or name.startswith("backbone.")
    return bool(base_of(model)) and below and _PART not in name


def copy_of(model: Model) -> Model:
    """Copy a model; a frozen base is shared by the copy.

    Raises:
        UserError: It lies in shards.
    """
    if any(map(is_shard, model.parameters())):
        raise UserError("a model in shards cannot be copied: save it and load it again")
    tensors = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    return copy.deepcopy(model, {id(tensor): tensor for name, tensor in tensors.items() if is_base(name, model)})


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move averaged weights towards a model's: ``average = decay * average + (1 - decay) * model``, in place."""
    for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
        if parameter.requires_grad:  # the frozen base of an adapter is shared by both
            mean.lerp_(parameter, 1 - decay)


def value_of(policy: Any) -> RewardModel:
    """Return a value model that starts as the policy with a head of zeros; a frozen base is shared."""
    value = RewardModel(copy_of(policy).base_model).to(policy.device)
    nn.init.zeros_(value.head.weight)
    for name in ("base_fingerprint", "compute_dtype"):
        if hasattr(policy, name):
            setattr(value.backbone if name == "base_fingerprint" else value, name, getattr(policy, name))
    return value


def identity(model: nn.Module) -> str:
    """Return what names a model that a run starts from: its fingerprint, a fresh adapter left out."""
    if not has_adapter(model):
        return on_main_process(lambda: fingerprint(model))
    head = on_main_process(lambda: fingerprint(model.head)) if isinstance(model, RewardModel) else ""
    return f"{base_of(model)} {head}".strip()


class Reference:
    """A policy as it is now, to be kept: a frozen copy, or itself without its adapter, which must be fresh.

    Raises:
        UserError: The adapter was trained before, so that the policy without it is another.
    """

    def __init__(self, policy: Any) -> None:
        self._adapted = has_adapter(policy)
        if self._adapted and not is_fresh(policy):
            raise UserError("the policy's adapter was trained before: save the model merged and start from that")
        self.model = policy if self._adapted else copy_of(policy).requires_grad_(False)

    @torch.no_grad()
    def logprobs(self, trees: Sequence[TokenTree], temperature: float) -> Tensor:
        """Log-probabilities of all branch tokens of one batch of trees: float32 [T], see `token_logprobs`."""
        with without_adapter(self.model) if self._adapted else nullcontext():
            return token_logprobs(self.model, trees, temperature).logprobs


def unfreeze(model: Model) -> Model:
    """Let everything be trained that is not the base of an adapter."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_base(name, model))
    return model


@contextmanager
def without_adapter(model: nn.Module) -> Iterator[None]:
    """Switch a model's adapter off for a while."""
    root = _root(model)
    root.disable_adapters()
    try:
        yield
    finally:
        root.enable_adapters()


def merged(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's whole state with its adapter added to the base, by the names of a model without one.

    Args:
        model: The model.
        state: Its state, every tensor whole; the weights' own type is kept.
    """
    found = {name: tensor for name, tensor in state.items() if _PART not in name}
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A") and hasattr(layer, "scaling"):
            a, b = (state[f"{name}.lora_{part}.default.weight"].float() for part in "AB")
            update = layer.scaling["default"] * (b @ a)
            weight = found[f"{name}.base_layer.weight"]
            update = update.T if layer.fan_in_fan_out else update
            found[f"{name}.base_layer.weight"] = (weight.float() + update).to(weight.dtype)
    return {name.replace(".base_layer.", "."): tensor for name, tensor in found.items()}


def write_adapter(model: nn.Module, path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a model's adapter alone, in peft's format, with the fingerprint of its base; a reward model's head too.

    Args:
        model: The model.
        path: The directory.
        state: The model's state, every tensor whole.
    """
    root, prefix = _root(model), "backbone." if isinstance(model, RewardModel) else ""
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    with atomic_directory(path) as folder:
        root.save_pretrained(folder, state_dict=own)
        fill_json(folder / ADAPTER_BASE_FILE, {"version": 1, "sha256": base_of(model)})
        if prefix:
            head = {name: value.contiguous() for name, value in state.items() if not name.startswith(prefix)}
            save_file(head, folder / ADAPTER_HEAD_FILE)
            fill_json(folder / HEAD_FILE, {"kind": "reward adapter", "version": 1})


def _root(model: nn.Module) -> Any:
    """Return the part of a model that an adapter is put into."""
    return model.backbone if isinstance(model, RewardModel) else model
