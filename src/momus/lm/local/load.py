"""Loading a model into an engine of this process."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from momus.errors import UserError
from momus.lm.codec import read_tokenizer
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm

Precision = Literal["fp32", "bf16"]


def load_local_engine(
    model: str | Path, device: str | None = None, precision: Precision = "fp32", cache_bytes: int = 2**29
) -> LocalEngine:
    """Load a model with its tokenizer.

    Args:
        model: The model's folder, its name on the hub, or a GGUF file.
        device: Where it runs, such as "cpu" or "cuda:0"; by default on a GPU if there is one.
        precision: What it is held and computed in: 32-bit floats, or bfloat16.
        cache_bytes: Bytes of keys and values to keep between calls.

    Raises:
        UserError: It cannot be loaded, or there is no such device.
    """
    loaded = load_causal_lm(model, torch.bfloat16 if precision == "bf16" else torch.float32)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        loaded = loaded.to(torch.device(place))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {place}: {' '.join(str(error).split())[:120]}") from error
    return LocalEngine(loaded, read_tokenizer(model), cache_bytes=cache_bytes)  # nothing is padded or trained here
