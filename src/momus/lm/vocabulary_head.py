"""The vocabulary head apart from the rest of a model, with what the model does to its logits afterwards.

Some models cap or scale their logits (Gemma 2 and 3, Cohere, Granite, Falcon-H1), and name the number in their
configuration without saying what they do with it. So it is tried once per model: numbers of our own are put in the
place of what the head gives, and what the model makes of them must be one of the changes known here.

What a state predicts of one token needs a sum over the whole vocabulary and never all logits at once: 150,000 of them
take 600 KB a token, more than any cache holds. So they are computed some columns at a time, forward and backward, with
the largest logit so far carried along (as attention does in FlashAttention, and Cut Cross-Entropy, arXiv 2411.09009).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from momus.errors import UserError

Change = Callable[[Tensor], Tensor]
"""What a model does to its logits after the head, elementwise."""

CELLS = {"cpu": 2**22}
"""Logits held at once, by kind of device: 16 MiB in float32 where a cache should hold them."""
MOST_CELLS = 2**26
"""Logits held at once on any other device."""
CELLS_OF_OTHERS = 2**24
"""Logits held at once of a head that is more than a weight."""
ROWS = 2048
"""Tokens whose logits are computed together, at most."""

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


def _same(logits: Tensor) -> Tensor:
    return logits


def _scaled(by: float) -> Change:
    return lambda logits: logits * by


def _capped(at: float) -> Change:
    return lambda logits: at * (logits / at).tanh()


class Predictions(NamedTuple):
    """What states say of the token that follows each, float32 [tokens]; gradients flow through `logprobs` alone.

    Attributes:
        logprobs: The token's log-probability, nats.
        margins: How far its logit is below the largest one.
        entropies: The entropy of the whole prediction, nats.
    """

    logprobs: Tensor
    margins: Tensor
    entropies: Tensor


def predict_tokens(
    head: Any, states: Tensor, tokens: Tensor, change: Change | None = None, temperature: float = 1.0
) -> Predictions:
    """Return what states predict of tokens, without ever holding all logits.

    Args:
        head: The vocabulary head: a linear layer, or an adapter over one.
        states: The last hidden states [tokens, d].
        tokens: The token that follows each, [tokens].
        change: What the model does to its logits.
        temperature: Divides the logits after that.
    """
    adjust = _Adjustment(change or _same, temperature)
    if type(head) is not torch.nn.Linear or head._forward_pre_hooks:
        # There is more to it than a weight: an adapter, or FSDP, which gathers the weight as the head is called.
        rows = max(1, CELLS_OF_OTHERS // head.weight.shape[0])
        pieces = zip(torch.split(states, rows), torch.split(tokens, rows), strict=True)
        results = [checkpoint(_predict_whole, head, *piece, adjust, use_reentrant=False) for piece in pieces]
    else:
        pieces = zip(torch.split(states, ROWS), torch.split(tokens, ROWS), strict=True)
        kind = states.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else head.weight.dtype
        weight, bias = head.weight.to(dtype), None if head.bias is None else head.bias.to(dtype)
        apply: Any = _Predict.apply
        results = [apply(part.to(dtype), weight, bias, goal, adjust) for part, goal in pieces]
    return Predictions(*(torch.cat(values) for values in zip(*results, strict=True)))


class _Adjustment(NamedTuple):
    """What becomes of logits: changed, then divided by a temperature."""

    change: Change
    temperature: float

    def __call__(self, logits: Tensor) -> Tensor:
        changed = self.change(logits.float())
        return changed if self.temperature == 1.0 else changed / self.temperature

    def backward(self, logits: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of the logits, given that of what becomes of them."""
        if self.change is _same:
            return gradient if self.temperature == 1.0 else gradient / self.temperature
        with torch.enable_grad():
            before = logits.detach().requires_grad_()
            (found,) = torch.autograd.grad(self(before), before, gradient)
        return found


def _predict_whole(head: Any, states: Tensor, tokens: Tensor, adjust: _Adjustment) -> tuple[Tensor, Tensor, Tensor]:
    logits = adjust(head(states))
    log_all = logits.log_softmax(-1)
    chosen = logits.gather(-1, tokens[:, None])[:, 0]
    entropy = -(log_all.exp() * log_all).sum(-1)
    return log_all.gather(-1, tokens[:, None])[:, 0], (logits.amax(-1) - chosen).detach(), entropy.detach()


class _Predict(torch.autograd.Function):
    """`predict_tokens` of at most `ROWS` tokens: logprobs, margins and entropies."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor, adjust: _Adjustment
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Go over the columns once, with the largest logit so far and sums of what is below it carried along."""
        largest = states.new_full((len(states),), torch.finfo(torch.float32).min, dtype=torch.float32)
        chosen, total, weighted = (torch.zeros_like(largest) for _ in range(3))
        for part, first, raw in _blocks(states, weight, bias):
            logits = adjust(raw)
            here = ((tokens >= first) & (tokens < first + len(part))).nonzero()[:, 0]
            chosen[here] = logits[here, tokens[here] - first]
            before, largest = largest, torch.maximum(largest, logits.amax(-1))
            below, moved = logits - largest[:, None], before - largest
            odds = below.exp()
            weighted = moved.exp() * (weighted + moved * total) + torch.linalg.vecdot(odds, below)
            total = moved.exp() * total + odds.sum(-1)
        log_total, margins = total.log(), largest - chosen  # apart: their sum loses what large logits round away
        entropies = log_total - weighted / total
        ctx.save_for_backward(states, weight, bias, tokens, largest, log_total)
        ctx.adjust = adjust
        ctx.mark_non_differentiable(margins, entropies)
        return -margins - log_total, margins, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of states [tokens, d], weight [vocabulary, d] and bias, the logits computed again."""
        states, weight, bias, tokens, largest, log_total = ctx.saved_tensors
        gradient, (to_states, to_weight, to_bias) = gradients[0], ctx.needs_input_grad[:3]
        of_states = torch.zeros_like(states, dtype=torch.float32) if to_states else None
        of_weight: list[Tensor] | None = [] if to_weight else None
        of_bias: list[Tensor] | None = [] if to_bias else None
        for part, first, raw in _blocks(states, weight, bias):
            inner = (ctx.adjust(raw) - largest[:, None] - log_total[:, None]).exp_().mul_(-gradient[:, None])
            here = ((tokens >= first) & (tokens < first + len(part))).nonzero()[:, 0]
            inner[here, tokens[here] - first] += gradient[here]
            outer = ctx.adjust.backward(raw, inner).to(states.dtype)
            if of_states is not None:
                of_states += outer @ part
            if of_weight is not None:
                of_weight.append(outer.T @ states)
            if of_bias is not None:
                of_bias.append(outer.sum(0))
        return (
            None if of_states is None else of_states.to(states.dtype),
            None if of_weight is None else torch.cat(of_weight),
            None if of_bias is None else torch.cat(of_bias),
            None,
            None,
        )


def _blocks(states: Tensor, weight: Tensor, bias: Tensor | None) -> Iterator[tuple[Tensor, int, Tensor]]:
    """Yield some columns of the vocabulary after the others: their weight, the first one, their logits as computed."""
    columns = max(1, CELLS.get(states.device.type, MOST_CELLS) // max(1, len(states)))
    for number, part in enumerate(torch.split(weight, columns)):
        first = number * columns
        yield part, first, F.linear(states, part, None if bias is None else bias[first : first + len(part)])
