"""What a stage costs: floating-point operations from the model's shape and the tokens it read.

Per token a forward pass takes ``2 N`` operations, N the weights of the matrices the token is multiplied with (no
embedding look-up; the vocabulary head only where a token is predicted; of experts those that a token is sent to, which
in transformers are tensors of three dimensions), and attention ``4 w`` for every token attended to, w the width of all
heads summed over layers: queries times keys, and weights times values. A training step takes three times a forward
pass: the backward pass multiplies every matrix twice (Kaplan et al., arXiv 2001.08361, §2.1, is the same count: 6 N per
token trained). Normalisation, activations, optimizers, and whatever is computed twice to save memory or padded are left
out; so is attention to a token that the mask forbids.

InstructGPT (arXiv 2203.02155, §5.1) counts its stages like this: 4.9 petaflop/s-days for SFT at 175B, 60 for PPO-ptx,
3,640 for GPT-3 itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn

from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree

PETAFLOP_DAY = 1e15 * 86_400
"""Operations of one petaflop/s-day."""


@dataclass(frozen=True)
class Shape:
    """What decides the cost of one token: `matrices` weights in the backbone, `head` weights after it, `width`."""

    matrices: int
    head: int
    width: int

    def forward(self, work: Work) -> float:
        """Operations of one forward pass."""
        return 2 * self.matrices * work.tokens + 2 * self.head * work.read + 4 * self.width * work.pairs


class Work(NamedTuple):
    """What a forward pass reads: distinct tokens, states that a head reads, and (token, token attended to) pairs."""

    tokens: int
    read: int
    pairs: int


def work_of(trees: Iterable[TokenTree]) -> Work:
    """Count the work of a forward pass over trees whose branch tokens are predicted or valued."""
    per_layer = [
        (len(tree), sum(map(len, tree.branches)), int(tree.depth.sum(dtype="int64")) + len(tree)) for tree in trees
    ]
    return Work(*map(sum, zip(*per_layer, strict=True))) if per_layer else Work(0, 0, 0)


def shape_of(model: Any) -> Shape:
    """Read the shape off a causal language model, or a reward or value model; adapters of peft count."""
    if model not in _shapes:
        config: Any = (model.backbone if isinstance(model, RewardModel) else model).config
        head = model.head if isinstance(model, RewardModel) else model.get_output_embeddings()
        heads = getattr(config, "num_attention_heads", 0)  # none where layers are recurrent
        size = heads and (getattr(config, "head_dim", None) or config.hidden_size // heads)
        embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        left_out = {id(head.weight)} | embeddings
        chosen = getattr(config, "num_experts_per_tok", None) or 0
        weights = [p for name, p in model.named_parameters() if not name.endswith("bias") and id(p) not in left_out]
        matrices = sum(p.numel() for p in weights if p.ndim == 2)
        experts = sum(chosen * p.numel() // p.shape[0] for p in weights if p.ndim == 3)
        _shapes[model] = Shape(matrices + experts, head.weight.numel(), heads * size * config.num_hidden_layers)
    return _shapes[model]


_shapes: WeakKeyDictionary[Any, Shape] = WeakKeyDictionary()


def training_flops(model: Any, trees: Sequence[TokenTree]) -> float:
    """Return the operations of one training pass over trees."""
    return 3 * shape_of(model).forward(work_of(trees))


class FlopMeter:
    """Adds up operations until they are read."""

    def __init__(self) -> None:
        self._flops = 0.0

    def forward(self, model: Any, trees: Sequence[TokenTree], times: float = 1) -> None:
        """Add forward passes; sampling with cached keys and values is one."""
        self._flops += times * shape_of(model).forward(work_of(trees))

    def train(self, model: Any, trees: Sequence[TokenTree], times: float = 1) -> None:
        """Add training passes."""
        self.forward(model, trees, 3 * times)

    def ppo(self, policy: Any, value: Any, trees: Sequence[TokenTree], epochs: int) -> None:
        """Add an iteration of PPO without pretraining text; the reward model is taken to be as large as the value's.

        The policy samples, is evaluated as it was then, and so is the reference; the value before the steps, and the
        reward model.
        """
        self.forward(policy, trees, 3 + 3 * epochs)
        self.forward(value, trees, 2 + 3 * epochs)

    def read(self) -> float:
        """Return what was added since the last reading."""
        total, self._flops = self._flops, 0.0
        return total


def summary(history: Iterable[Mapping[str, Any]], pretraining: tuple[float, float] | None = None) -> dict[str, float]:
    """Sum up a run from its metrics: operations, petaflop/s-days, and their share of pretraining's.

    Args:
        history: The logged lines, each with its step's `flops`.
        pretraining: Parameters and tokens of the model's pretraining, which cost 6 operations for each of both.
    """
    flops = sum(float(line.get("flops", 0.0)) for line in history)
    cost = {"flops": flops, "petaflop_s_days": flops / PETAFLOP_DAY}
    if pretraining:
        cost["share_of_pretraining"] = flops / (6 * pretraining[0] * pretraining[1])
    return cost
