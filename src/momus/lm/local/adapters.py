"""Adapters on disk, in peft's format, and the base model that each belongs to.

An adapter means nothing without the weights it was trained over. So its folder says, beside peft's own
`adapter_config.json` and `adapter_model.safetensors`, what those were (`adapter_base.json`): the architecture, the
tokenizer, the revision on the hub, and digests of the weights as they are and rounded to 16 bits. The same weights
published in another precision are accepted, and the log says so in one line; any other model is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from momus.errors import UserError
from momus.files import check_model_folder, fill_json
from momus.lm.codec import read_tokenizer
from momus.lm.local.adapter_base import base_name, read_json_object

_LOG = logging.getLogger(__name__)

BASE_FILE = "adapter_base.json"
HEAD_WEIGHTS_FILE = "reward_head.safetensors"

WEIGHTS_FILE = "adapter_model.safetensors"
_WRAPPED = "base_model.model."
"""What peft puts before the names of an adapter's tensors, and may leave out."""

PART = ".lora_"
"""What the names of an adapter's tensors contain."""
BASE_LAYER = ".base_layer."
"""What stands in the names of adapted weights, in place of a dot."""


@dataclass(frozen=True)
class BaseIdentity:
    """What the base model of an adapter is known by.

    Attributes:
        weights: SHA-256 of all tensors' names and values, in float32.
        architecture: The model type, and a digest of all tensors' names and shapes; "" where it was not recorded.
        bfloat16: Like `weights`, with the values rounded to bfloat16.
        float16: Like `weights`, with the values rounded to float16.
        tokenizer: Digest of the vocabulary, "" where it was not recorded.
        revision: The commit on the hub that it was loaded from, "" for other models.
    """

    weights: str
    architecture: str = ""
    bfloat16: str = ""
    float16: str = ""
    tokenizer: str = ""
    revision: str = ""


def state_digest(state: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> str:
    """Return the SHA-256 of named tensors, their values in `dtype`."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        values = tensor.detach().to(device="cpu", dtype=dtype).contiguous()  # no copy where it is so already
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def base_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a model without its adapter, by the names of a model that never had one."""
    state = module.state_dict()
    return {name.replace(BASE_LAYER, "."): tensor for name, tensor in state.items() if PART not in name}


def identify(module: Any) -> BaseIdentity:
    """Return what the base of an adapter in `module` is known by; an adapter that is in it already does not count."""
    state = base_state(module)
    shapes = repr([(name, tuple(tensor.shape)) for name, tensor in state.items()])
    return BaseIdentity(
        weights=state_digest(state),
        architecture=f"{module.config.model_type} {hashlib.sha256(shapes.encode()).hexdigest()[:16]}",
        bfloat16=state_digest(state, torch.bfloat16),
        float16=state_digest(state, torch.float16),
        revision=getattr(module.config, "_commit_hash", None) or "",
    )


def vocabulary_digest(tokenizer: Any) -> str:
    """Return the SHA-256 of a tokenizer's vocabulary."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


@contextmanager
def without_adapter(model: Any) -> Iterator[None]:
    """Switch the adapter of a model of transformers off for a while; do nothing with a model that has none."""
    if not getattr(model, "_hf_peft_config_loaded", False):
        yield
        return
    model.disable_adapters()
    try:
        yield
    finally:
        model.enable_adapters()


def load_adapter(base: Any, path: Path) -> None:
    """Put the adapter in a folder into the model it was trained over, in place.

    The identity of the base stays with the model, as `base_identity`.

    Raises:
        UserError: It was trained over another model, or cannot be read.
    """
    check_model_folder(path)
    name, _ = base_name(path)
    base.base_identity = identify(base)
    if (path / BASE_FILE).is_file():
        recorded = read_json_object(path / BASE_FILE)
        fields = BaseIdentity.__dataclass_fields__.keys() & recorded.keys()
        expected = BaseIdentity(**{"weights": recorded.get("sha256", ""), **{key: recorded[key] for key in fields}})
        found = base.base_identity
        if expected.tokenizer:
            with suppress(UserError):  # a base without a tokenizer
                found = replace(found, tokenizer=vocabulary_digest(read_tokenizer(name)))
        _check(expected, found, path, name)
        base.base_identity = replace(found, tokenizer=expected.tokenizer)
    try:
        base.load_adapter(str(path))
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        if "ignore_mismatched_sizes" in why:  # it points to a table that it printed
            why = f"its tensors are of other shapes than its adapter_config.json and {name} ask for"
        raise UserError(f"cannot load the adapter in {path}: {why}") from error
    _check_put(base, path)


def _check_put(base: Any, path: Path) -> None:
    """Refuse an adapter of which something is not in the model: transformers leaves out and draws anew what differs.

    Raises:
        UserError: A tensor of its file is not in the model as it is there, or one that its settings ask for is missing.
    """
    from peft import get_peft_model_state_dict

    held = {_plain(name): tensor for name, tensor in load_file(path / WEIGHTS_FILE).items()}
    state = get_peft_model_state_dict(base, adapter_name="default", save_embedding_layers=False)
    adapted = {_plain(name): tensor for name, tensor in state.items()}
    put = {name: tensor.detach().cpu() for name, tensor in {**base_state(base), **adapted}.items() if name in held}
    if lacking := sorted(adapted.keys() - held.keys()):
        raise UserError(
            f"the adapter in {path} is not whole: {len(lacking)} of the tensors that its adapter_config.json asks for "
            f"are not in it, such as {lacking[0]}"
        )
    same = {
        name
        for name, tensor in held.items()
        if name in put
        and tensor.shape == put[name].shape
        and torch.allclose(tensor.to(put[name].dtype), put[name], rtol=0, atol=0, equal_nan=True)
    }
    if other := sorted(held.keys() - same):
        raise UserError(
            f"the adapter in {path} cannot be used as it is: {len(other)} of its {len(held)} tensors do not get into "
            f"the model, such as {other[0]}: is its adapter_config.json its own?"
        )
    if not held:
        raise UserError(f"the adapter in {path} holds no tensors")


def _plain(name: str) -> str:
    """Return the name of an adapter's tensor as the model has it."""
    return name.removeprefix(_WRAPPED).replace(BASE_LAYER, ".")


def write_base(folder: Path, identity: BaseIdentity) -> None:
    """Write what the base of the adapter in a folder is known by."""
    content = {"version": 2, "sha256": identity.weights, **asdict(identity)}
    fill_json(folder / BASE_FILE, content)


def _check(expected: BaseIdentity, found: BaseIdentity, path: Path, name: str) -> None:
    """Refuse a base that the adapter in `path` was not trained over; log one line where it only is rounded otherwise.

    Raises:
        UserError: It is another model.
    """
    other = f"the adapter in {path} was trained on another model than {name} is now"
    if expected.architecture and expected.architecture != found.architecture:
        kinds = [identity.architecture.partition(" ")[0] for identity in (expected, found)]
        how = f"{kinds[0]}, not {kinds[1]}" if kinds[0] != kinds[1] else "its tensors have other names or shapes"
        raise UserError(f"{other}: {how}")
    if expected.tokenizer and found.tokenizer not in ("", expected.tokenizer):
        raise UserError(f"{other}: its tokenizer has another vocabulary")
    if expected.weights == found.weights:
        return
    if not expected.bfloat16 or (expected.bfloat16 != found.bfloat16 and expected.float16 != found.float16):
        at = [f" (revision {identity.revision[:12]})" if identity.revision else "" for identity in (expected, found)]
        raise UserError(f"{other}: its weights{at[1]} are not those{at[0]} that it was trained over")
    _LOG.warning("%s has the weights that the adapter in %s was trained over, in another precision", name, path)
