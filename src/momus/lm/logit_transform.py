"""The vocabulary head apart from the rest of a model, with what the model does to its logits afterwards.

Some models cap or scale their logits (Gemma 2 and 3, Cohere, Granite, Falcon-H1), and name the number in their
configuration without saying what they do with it. So it is tried once per model: numbers of our own are put in the
place of what the head gives, and what the model makes of them must be one of the changes known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch

from momus.errors import UserError

Change = Callable[[torch.Tensor], torch.Tensor]
"""What a model does to its logits after the head, elementwise."""

_PLAIN = ("gpt2", "llama", "mistral", "qwen2", "qwen3")  # whose code does nothing
_NAMES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
_TRIED = 40.0  # logits from minus to plus this

_changes: WeakKeyDictionary[Any, Change] = WeakKeyDictionary()


def logit_transform(model: Any) -> Change:
    """Return what a causal language model does to its logits after its vocabulary head.

    Raises:
        UserError: It is none of the changes known here.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if causal not in _changes:
        _changes[causal] = _same if causal.config.model_type in _PLAIN else _tried(causal)
    return _changes[causal]


@torch.no_grad()
def _tried(model: Any) -> Change:
    head = model.get_output_embeddings()
    size = head.weight.shape[0]
    given = torch.linspace(-_TRIED, _TRIED, size, device=model.device).to(model.dtype)
    handle = head.register_forward_hook(lambda _module, _inputs, output: given.expand_as(output).clone())
    training = model.training
    model.eval()
    try:
        made = model(torch.tensor([[1]], device=model.device), use_cache=False).logits[0, -1].float()
    finally:
        handle.remove()
        model.train(training)
    tolerance = 4 * torch.finfo(model.dtype).eps
    for change in _known(model.config):
        if torch.allclose(change(given.float()), made, rtol=tolerance, atol=tolerance):
            return change
    named = next((name for name in _NAMES if hasattr(model.config, name)), "in a way of its own")
    raise UserError(f"{model.config.model_type} models change their logits ({named}): their tokens cannot be scored")


def _known(config: Any) -> list[Change]:
    """The changes that the numbers in a configuration may mean."""
    numbers = [getattr(config, name, None) for name in _NAMES]
    found: list[Change] = [_same]
    for number in (float(n) for n in numbers if isinstance(n, int | float) and n):
        found += [_scaled(number), _scaled(1 / number), _capped(number)]
    return found


def _same(logits: torch.Tensor) -> torch.Tensor:
    return logits


def _scaled(by: float) -> Change:
    return lambda logits: logits * by


def _capped(at: float) -> Change:
    return lambda logits: at * (logits / at).tanh()
