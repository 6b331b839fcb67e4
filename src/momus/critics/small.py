"""The small critic (`momus review --critic small`): a code model of others, its adapter and pointer ship."""

from __future__ import annotations

import logging
from pathlib import Path

from momus.errors import UserError

BASE = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
"""The model on the hub; a folder or GGUF file with it is taken by --model."""

ADAPTER = Path(__file__).with_name("shipped")
"""The adapter for it, trained on critiques; its card is README.md there."""

SIZE_GB = 1.0
LICENCE = "Apache-2.0"

_LOG = logging.getLogger(__name__)


def say_what_is_fetched(model: str) -> None:
    """Say what is fetched from the hub and how large it is, where it has not been fetched before."""
    if model != BASE:
        return
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(BASE, "model.safetensors"), str):
        _LOG.warning(
            "fetching %s from the Hugging Face hub, once: %.1f GB, licence %s (or give --model a folder or GGUF file "
            "that has it)",
            BASE,
            SIZE_GB,
            LICENCE,
        )


def another_model(model: str) -> UserError:
    """Return what is said of a model that is not the base, whatever it is called."""
    return UserError(f"--critic small is {BASE}, in any precision, and {model} is another model: leave --critic out")
