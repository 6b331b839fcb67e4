"""Low-rank adapters (LoRA, arXiv 2106.09685): train little, keep one copy of the rest.

An adapter is put *into* a model by peft: a language model stays the class it was, and so does the backbone of a reward
or value model, whose head is trained whole. Its parameters are float32, whatever the base is held in. What follows:

* the reference policy of PPO is the policy itself with the adapter off while the adapter is fresh (`Reference`), and
  otherwise the shared base with a frozen copy of the adapter;
* averaged weights and value models share the frozen base with what they are copies of (`copy_of`);
* checkpoints hold what is trained, and the fingerprint of the base that it belongs to;
* a finished model is saved as the adapter alone in peft's format (`write_adapter`), which peft, transformers, vLLM
  and `momus.lm.models.load_causal_lm` read, and whole, with the adapter added to the base in float32 (`merged`): of an
  update as small as training makes it, a sum rounded to bfloat16 keeps next to nothing;
* the next stage goes on training an adapter that is loaded with its base (`continue_adapter`), so that in the end there
  is one adapter over the model as it was published.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from momus.errors import UserError
from momus.files import atomic_directory, fill_json
from momus.lm.forward import token_logprobs
from momus.lm.local.adapters import (
    BASE_LAYER,
    HEAD_WEIGHTS_FILE,
    PART,
    BaseIdentity,
    identify,
    state_digest,
    vocabulary_digest,
    without_adapter,
    write_base,
)
from momus.lm.models import HEAD_FILE, RewardModel, fingerprint
from momus.lm.tree import TokenTree
from momus.runtime.processes import is_shard, on_main_process
from momus.runtime.settings import LoRA

Model = TypeVar("Model", bound=nn.Module)

_NAME = "default"
"""What peft calls the adapter of a model that has one."""


def add_adapter(model: Model, settings: LoRA) -> Model:
    """Put a fresh adapter, which changes nothing yet, into a language, reward or value model; freeze the rest of it.

    The base's identity and the settings stay with the model, as `base_identity` and `adapter_settings`.

    Raises:
        UserError: peft is missing, the model has an adapter, or no layer has a name in `settings.targets`.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("training an adapter needs peft: pip install peft") from error
    root = _root(model)
    if has_adapter(model):
        raise UserError("the model has an adapter already: continue it, or merge it first")
    base = _identity_of(root)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # any number does
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets) or "all-linear",
        fan_in_fan_out=root.config.model_type == "gpt2",  # its layers hold their weights the other way round
        task_type="FEATURE_EXTRACTION" if isinstance(model, RewardModel) else "CAUSAL_LM",
        revision=base.revision or None,
    )
    try:
        root.add_adapter(config)
    except ValueError as error:
        raise UserError(f"cannot adapt {settings.targets or 'this model'}: {' '.join(str(error).split())}") from error
    root.peft_config[_NAME].base_model_name_or_path = root.config._name_or_path
    root.base_identity, root.adapter_settings = base, asdict(settings)
    return model


def continue_adapter(model: Model, settings: LoRA) -> Model:
    """Go on training the adapter that a model was loaded with, by its settings; freeze the rest of it.

    Raises:
        UserError: `settings` are neither the defaults nor the adapter's, or it has more than low-rank updates.
    """
    root = _root(model)
    config = root.peft_config[_NAME]
    kinds = ("use_dora", "lora_bias", "modules_to_save", "trainable_token_indices")
    more = [name for name in kinds if getattr(config, name, None)] + ["bias"] * (config.bias != "none")
    if more:
        raise UserError(
            f"the adapter is more than low-rank updates ({', '.join(more)}): merge it and train without --lora"
        )
    stored: dict[str, Any] = {"rank": config.r, "alpha": config.lora_alpha, "dropout": config.lora_dropout}
    stored["targets"] = {name.rpartition(".")[2] for name, _ in _adapted_layers(root)}
    asked = {**asdict(settings), "targets": {name.rpartition(".")[2] for name in settings.targets}}
    for name, value in asdict(LoRA()).items():
        if asked[name] not in (stored[name], type(asked[name])(value)):
            raise UserError(f"the adapter to continue has {name} {stored[name]}, not {asked[name]}: leave it out")
    root.base_identity = getattr(root, "base_identity", None) or _identity_of(root)
    root.adapter_settings = {**stored, "targets": sorted(stored["targets"])}
    return unfreeze(model)


def merge_adapter(model: Model) -> Model:
    """Add a model's adapter to its weights, in place and in float32, and take it out.

    Write it with `sharding.save`: transformers remembers the adapter where it writes a model itself.
    """
    root = _root(model)
    for name, layer in _adapted_layers(root):
        layer.base_layer.float()
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(root.get_submodule(parent), last, layer.base_layer)
    for attribute in ("peft_config", "base_identity", "adapter_settings"):
        if hasattr(root, attribute):
            delattr(root, attribute)
    root._hf_peft_config_loaded = False
    return model.float().requires_grad_(True)


def reward_model_of(language_model: Any) -> RewardModel:
    """Put a new head on a language model's backbone, which is not copied; an adapter of it goes with it."""
    backbone = language_model.base_model
    model = RewardModel(backbone).to(device=language_model.device, dtype=language_model.dtype)
    if hasattr(language_model, "compute_dtype"):
        model.compute_dtype = language_model.compute_dtype
    if has_adapter(model):
        config = copy.copy(language_model.peft_config[_NAME])
        prefix, config.task_type = f"{language_model.base_model_prefix}.", "FEATURE_EXTRACTION"
        if not isinstance(config.target_modules, str):
            config.target_modules = {name.removeprefix(prefix) for name in config.target_modules}
        backbone.peft_config, backbone._hf_peft_config_loaded = {_NAME: config}, True
        backbone.base_identity = _identity_of(backbone)
        if hasattr(language_model, "adapter_settings"):
            backbone.adapter_settings = language_model.adapter_settings
    return model


def has_adapter(model: nn.Module) -> bool:
    """Say whether a model has an adapter."""
    return any(PART in name for name, _ in model.named_parameters())


def is_fresh(model: nn.Module) -> bool:
    """Say whether a model's adapter, if any, changes nothing yet: every B is 0."""
    return not any(bool(p.any()) for name, p in model.named_parameters() if ".lora_B." in name)


def base_of(model: nn.Module) -> str:
    """Return the fingerprint of the base that a model's adapter belongs to; "" where it has none."""
    identity = getattr(_root(model), "base_identity", None)
    return identity.weights if identity else ""


def is_base(name: str, model: nn.Module) -> bool:
    """Say whether an entry of a model's state belongs to the frozen base of its adapter."""
    below = not isinstance(model, RewardModel) or name.startswith("backbone.")
    return bool(base_of(model)) and below and PART not in name


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
    value = reward_model_of(copy_of(policy))
    nn.init.zeros_(value.head.weight)
    return value


def identity(model: nn.Module) -> str:
    """Return what names a model that a run starts from: its fingerprint, a fresh adapter, drawn at random, left out."""
    if not has_adapter(model):
        return on_main_process(lambda: fingerprint(model))
    fresh = is_fresh(model)
    state = model.state_dict()
    rest = {name: state[name] for name in state if not is_base(name, model) and not (fresh and PART in name)}
    return f"{base_of(model)} {on_main_process(lambda: state_digest(rest))}"


class Reference:
    """A policy as it is now, to be kept.

    It is a frozen copy, which shares the base of an adapter; or, while the adapter is fresh, the policy without it.
    """

    def __init__(self, policy: Any) -> None:
        self._without_adapter = has_adapter(policy) and is_fresh(policy)
        self.model = policy if self._without_adapter else copy_of(policy).requires_grad_(False)

    @torch.no_grad()
    def logprobs(self, trees: Sequence[TokenTree], temperature: float) -> Tensor:
        """Log-probabilities of all branch tokens of one batch of trees: float32 [T], see `token_logprobs`."""
        with without_adapter(_root(self.model)) if self._without_adapter else nullcontext():
            return token_logprobs(self.model, trees, temperature).logprobs


def unfreeze(model: Model) -> Model:
    """Let everything be trained that is not the base of an adapter."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not is_base(name, model))
    return model


def merged(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a model's whole state in float32 with its adapter added to the base, by the names of a model without one.

    Args:
        model: The model; the state of one without an adapter is returned as it is.
        state: Its state, every tensor whole.
    """
    if not has_adapter(model):
        return dict(state)
    sums = {name: tensor.float() for name, tensor in state.items() if PART not in name}
    for name, layer in _adapted_layers(model):
        a, b = (state[f"{name}.lora_{part}.{_NAME}.weight"].float() for part in "AB")
        update = layer.scaling[_NAME] * (b @ a)
        sums[f"{name}.base_layer.weight"] = sums[f"{name}.base_layer.weight"] + (
            update.T if layer.fan_in_fan_out else update
        )
    return {name.replace(BASE_LAYER, "."): tensor for name, tensor in sums.items()}


def write_adapter(model: nn.Module, path: Path, state: Mapping[str, Tensor], tokenizer: Any = None) -> None:
    """Write a model's adapter alone, in peft's format, with what its base is known by; a reward model's head too.

    Args:
        model: The model.
        path: The directory.
        state: The model's state, every tensor whole.
        tokenizer: Its tokenizer, which is written too.
    """
    root, prefix = _root(model), "backbone." if isinstance(model, RewardModel) else ""
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    with atomic_directory(path) as folder:
        root.save_pretrained(folder, state_dict=tensors)
        base = root.base_identity
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
            base = replace(base, tokenizer=vocabulary_digest(tokenizer))
        write_base(folder, base)
        if prefix:
            head = {name: value.contiguous() for name, value in state.items() if not name.startswith(prefix)}
            save_file(head, folder / HEAD_WEIGHTS_FILE)
            fill_json(folder / HEAD_FILE, {"kind": "reward adapter", "version": 1})


def _identity_of(root: Any) -> BaseIdentity:
    """Return what the base of a language model or backbone is known by, as the first process has it."""
    return BaseIdentity(**on_main_process(lambda: asdict(identify(root))))


def _adapted_layers(root: nn.Module) -> list[tuple[str, Any]]:
    """Return the layers that hold a part of an adapter, by name."""
    return [(name, layer) for name, layer in root.named_modules() if hasattr(layer, "lora_A")]


def _root(model: nn.Module) -> Any:
    """Return the part of a model that an adapter is put into."""
    return model.backbone if isinstance(model, RewardModel) else model
