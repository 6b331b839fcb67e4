"""Loading a model into an engine of this process."""

from __future__ import annotations

import torch

from momus.lm.codec import read_tokenizer
from momus.lm.local.engine import LocalEngine
from momus.lm.models import load_causal_lm


def load_local_engine(model: str) -> LocalEngine:
    """Load a model with its tokenizer, on a GPU if there is one.

    Args:
        model: The model's folder or its name on the hub.

    Raises:
        UserError: It cannot be loaded.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LocalEngine(load_causal_lm(model).to(device), read_tokenizer(model))
