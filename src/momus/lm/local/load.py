"""Loading a model into an engine of this process: where it runs, and in what precision."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import torch

from momus.errors import UserError
from momus.lm.codec import read_tokenizer
from momus.lm.gguf import is_gguf
from momus.lm.local.adapter_base import base_path
from momus.lm.local.adapters import load_adapter
from momus.lm.local.engine import LocalEngine
from momus.lm.local.few_rows import multiplies_bfloat16
from momus.lm.models import load_causal_lm

_LOG = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16"]


def load_local_engine(
    model: str | Path,
    device: str | None = None,
    precision: Precision | None = "fp32",
    cache_bytes: int = 2**29,
    adapter: Path | None = None,
    tokenizer: Any = None,
) -> LocalEngine:
    """Load a model with its tokenizer.

    Args:
        model: The model's folder, its name on the hub, or a GGUF file.
        device: Where it runs, such as "cpu" or "cuda:0"; by default on a GPU if there is one.
        precision: What it is held and computed in: 32-bit floats, or bfloat16; None takes what `choose_precision` does.
        cache_bytes: Bytes of keys and values to keep between calls.
        adapter: The folder of an adapter to put into the model.
        tokenizer: Its tokenizer, where it has been read.

    Raises:
        UserError: It cannot be loaded, or there is no such device.
    """
    place = choose_device(device)
    chosen = precision or choose_precision(model, place)
    dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
    loaded = load_causal_lm(model, dtype)
    if adapter is not None:
        load_adapter(loaded, adapter)
        loaded = loaded.to(dtype).eval()
    # Nothing is padded or trained here.
    return LocalEngine(loaded.to(torch.device(place)), tokenizer or read_tokenizer(model), cache_bytes=cache_bytes)


def choose_device(device: str | None) -> str:
    """Return the device that was asked for, or else a GPU if there is one.

    Raises:
        UserError: There is no such device.
    """
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=torch.device(place))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {place}: {' '.join(str(error).split())[:120]}") from error
    return place


def choose_precision(model: str | Path, device: str) -> Precision:
    """Return bfloat16 where it is the faster one and loses nothing of the weights, and say so in one line; else fp32.

    It is faster on GPUs and on CPUs with AMX or AVX512-BF16; it loses nothing where the weights were published in 16
    bits, or in fewer.
    """
    if not (multiplies_bfloat16(device) and is_stored_in_16_bits(model)):
        return "fp32"
    _LOG.warning("%s computes in bfloat16, which is faster here", model)
    return "bf16"


def is_stored_in_16_bits(model: str | Path) -> bool:
    """Whether a model's weights are said to be of 16 bits, or fewer, by its configuration or its base's."""
    from transformers import AutoConfig

    if is_gguf(source := base_path(model)):
        return True
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        return getattr(config, "dtype", None) in (torch.bfloat16, torch.float16)
    except Exception:  # loading it says what is wrong
        return False
