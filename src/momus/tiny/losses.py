"""The losses that momus-tiny is pretrained with, and its throw-away heads; `tiny/pretrain.py` says what each is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from momus.lm.forward import hidden_states
from momus.lm.tree import TokenTree
from momus.tiny.examples import OPENING, Mixture, TrainingExample

LOOKING = 2
"""Attention heads per layer that are trained where to look: one is too narrow to carry how a line begins."""

BUG_WEIGHT = 3.0
"""Weight of a bug's token in the detector's loss; other tokens, which are far more frequent, weigh 1."""


@dataclass(frozen=True)
class LossWeights:
    """Weight of each loss; the text's is 1."""

    detect: float = 1.0
    """Pointing at the bug."""
    opening: float = 0.3
    """Remembering how a line began."""
    look: float = 0.5
    """Looking at the line to be quoted."""
    follow: float = 1.0
    """Choosing lines as the detector would."""
    top: float = 4.0
    """Factor of `look` and `follow` while only the top layers are trained."""
    right: float = 0.5
    """Knowing whether a quote, and a critique, is right."""


class Heads(nn.Module):
    """The throw-away heads: bugs and how a line began, on the middle layer; what is right, on the last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.bug = nn.RMSNorm(width), nn.Linear(width, 1)
        self.opening = nn.Linear(width, OPENING * width)
        self.right = nn.Linear(width, 1)


def pretraining_loss(
    model: LlamaForCausalLM,
    heads: Heads,
    batch: list[TrainingExample],
    detect_layer: int,
    mixture: Mixture,
    losses: LossWeights,
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the loss of a batch, a scalar, and its parts as numbers to show.

    Args:
        model: The model.
        heads: The throw-away heads.
        batch: Training examples.
        detect_layer: Number of layers below the detector.
        mixture: Meaning of the examples' token weights.
        losses: Weight of each part.
    """
    trees = [example.tree for example in batch]
    row = TokenTree.joined(trees)
    above = model.base_model.layers[detect_layer:]
    projections = [projection for layer in above for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj)]
    with _outputs([model.base_model.layers[detect_layer - 1], *projections]) as outputs:
        hidden = hidden_states(model.base_model, trees)
    detected, queries, keys = heads.norm(outputs[0][0]), outputs[1::2], outputs[2::2]
    bug_logits = heads.bug(detected).squeeze(-1)
    text, text_parts = _text_loss(model, hidden, row, batch, mixture)
    detection = _detection_loss(bug_logits, batch)
    opening = _opening_loss(model, heads, detected, batch)
    right = _right_loss(heads, hidden, batch)
    follow = _follow_loss(model, hidden, bug_logits.detach(), row, batch)
    look = torch.stack([_look_loss(model, batch, row, q[0], k[0]) for q, k in zip(queries, keys, strict=True)]).mean()
    top = 1.0 if model.get_input_embeddings().weight.requires_grad else losses.top
    loss = text + losses.detect * detection + losses.opening * opening
    loss = loss + top * (losses.look * look + losses.follow * follow) + losses.right * right
    parts = {"detection": detection, "opening": opening, "look": look, "follow": follow, "right": right}
    return loss, {**text_parts, **{name: round(part.item(), 4) for name, part in parts.items()}}


def _text_loss(
    model: LlamaForCausalLM, hidden: torch.Tensor, row: TokenTree, batch: list[TrainingExample], mixture: Mixture
) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the weighted cross-entropy of the next token, and its unweighted means over kinds of tokens."""
    weights = np.concatenate([example.weight for example in batch])
    predicted = np.flatnonzero(weights)
    logits = model.lm_head(hidden[_on(hidden, row.parent[predicted])])
    nll = F.cross_entropy(logits, _on(hidden, row.tokens[predicted]), reduction="none")
    weight = _on(hidden, weights[predicted])
    choice, label = weight == mixture.choice_weight, weight == mixture.label_weight
    kinds = {"code": weight == mixture.code_weight, "critique": (weight == 1) | choice}
    kinds |= {name: kind for name, kind in (("choice", choice), ("label", label)) if kind.any()}
    parts = {name: round(nll[kind].mean().item(), 4) for name, kind in kinds.items()}
    return (nll * weight).sum() / weight.sum(), parts


def _detection_loss(bug_logits: torch.Tensor, batch: list[TrainingExample]) -> torch.Tensor:
    """Return the cross-entropy of the detector: whether a bug has been read in each answer token's line."""
    buggy = np.concatenate([example.buggy for example in batch])
    known = np.flatnonzero(buggy >= 0)
    return F.binary_cross_entropy_with_logits(
        bug_logits[_on(bug_logits, known)],
        torch.from_numpy(buggy[known]).to(bug_logits),
        pos_weight=bug_logits.new_tensor(BUG_WEIGHT),
    )


def _opening_loss(
    model: LlamaForCausalLM, heads: Heads, detected: torch.Tensor, batch: list[TrainingExample]
) -> torch.Tensor:
    """Return the cross-entropy, at the end of each line, of the tokens that the line begins with."""
    beginnings = np.concatenate([example.line for example in batch])
    ends = np.flatnonzero(beginnings[:, 0] >= 0)
    recalled = heads.opening(detected[_on(detected, ends)]).unflatten(-1, (OPENING, -1))
    logits = (recalled @ model.get_input_embeddings().weight.T).flatten(0, 1)
    return F.cross_entropy(logits, _on(detected, beginnings[ends]).flatten(), ignore_index=-1)


def _right_loss(heads: Heads, hidden: torch.Tensor, batch: list[TrainingExample]) -> torch.Tensor:
    """Return the cross-entropy of whether a quoted line has a bug, and whether a critique's comments are right."""
    labels = np.concatenate([example.right for example in batch])
    known = np.flatnonzero(labels >= 0)
    logits = heads.right(hidden[_on(hidden, known)]).squeeze(-1)
    return F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels[known]).to(logits))


def _on(tensor: torch.Tensor, array: npt.NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor on the same device as another tensor."""
    return torch.from_numpy(array).to(tensor.device)


@contextmanager
def _outputs(modules: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Yield a list to which each of the modules appends its output, in the order in which they run."""
    outputs: list[torch.Tensor] = []
    hooks = [module.register_forward_hook(lambda *call: outputs.append(call[2])) for module in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _follow_loss(
    model: LlamaForCausalLM,
    hidden: torch.Tensor,
    bug_logits: torch.Tensor,
    row: TokenTree,
    batch: list[TrainingExample],
) -> torch.Tensor:
    """Return the cross-entropy, where a line is chosen, between the next token and the detector's choice among lines.

    Args:
        model: Provides the vocabulary head.
        hidden: States of the last layer, [n, d].
        bug_logits: Logits of the detector, [n]; its choice is their softmax over the ends of the lines left.
        row: Trees of the examples, joined.
        batch: Training examples.
    """
    starts = np.cumsum([0, *(len(example.tree) for example in batch[:-1])])
    options = np.concatenate(
        [example.options + np.array([start, 0, start]) for example, start in zip(batch, starts, strict=True)]
    )
    places, group = np.unique(options[:, 0], return_inverse=True)
    if not len(places):
        return hidden.new_zeros(())
    which, token, end = (_on(hidden, x) for x in (group, options[:, 1], options[:, 2]))
    weight = torch.exp(bug_logits[end].float())
    share = weight / weight.new_zeros(len(places)).index_add(0, which, weight)[which]
    logprobs = model.lm_head(hidden[_on(hidden, row.parent[places])]).float().log_softmax(-1)
    loss: torch.Tensor = -(share * logprobs[which, token]).sum() / len(places)
    return loss


def _look_loss(
    model: LlamaForCausalLM, batch: list[TrainingExample], row: TokenTree, query: torch.Tensor, key: torch.Tensor
) -> torch.Tensor:
    """Return the cross-entropy between the first heads' attention, where a line is chosen, and the end of that line.

    Args:
        model: Provides rotary positions.
        batch: Training examples.
        row: Their trees, joined.
        query: Output of a layer's query projection, [n, heads * D].
        key: Output of its key projection, [n, heads * D].
    """
    size = model.config.hidden_size // model.config.num_attention_heads
    rotation = model.base_model.rotary_emb(query, _on(query, row.depth)[None])
    query, key = (x[:, : LOOKING * size].reshape(-1, LOOKING, size).transpose(0, 1) for x in (query, key))
    query, key = apply_rotary_pos_emb(query[None], key[None], *rotation)
    losses = [query.new_zeros(0)]
    start = 0
    for example in batch:
        choices = np.flatnonzero(example.source >= 0)
        asked, prompt = start + example.tree.parent[choices], slice(start, start + example.tree.branches[0][0])
        scores = query[0, :, _on(query, asked)] @ key[0, :, prompt].mT / size**0.5
        ends = _on(query, example.source[choices])
        losses.append(F.cross_entropy(scores.flatten(0, 1), ends.repeat(LOOKING), reduction="none"))
        start += len(example.tree)
    return torch.cat(losses).sum() / max(1, sum(map(len, losses)))
