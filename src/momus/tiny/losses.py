"""What the embedded model learns from, besides the text itself (`tiny/pretrain.py` says why): heads and losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from momus.lm.forward import hidden_states
from momus.lm.tree import TokenTree
from momus.tiny.examples import OPENING, Mixture, TrainingExample

LOOKING = 2
"""Heads of a layer that are told where to look: one is too narrow to bring along how a line begins."""

BUG_WEIGHT = 3.0
"""How much more a token of a bug weighs in the detector's loss than one of the rest, which is more frequent."""


@dataclass(frozen=True)
class LossWeights:
    """What each loss weighs beside that of the text."""

    detect: float = 1.0
    """Pointing at the bug."""
    opening: float = 0.3
    """Remembering how a line began."""
    look: float = 0.5
    """Looking at the line to be quoted."""
    follow: float = 1.0
    """Choosing lines as the detector would."""
    top: float = 4.0
    """How much more looking and following weigh while only the top is trained."""
    right: float = 0.5
    """Knowing whether a quote, and a critique, is right."""


class Heads(nn.Module):
    """The throw-away heads: bugs and how a line began, on the middle layer; what is right, on the last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.bug = nn.RMSNorm(width), nn.Linear(width, 1)
        self.opening = nn.Linear(width, OPENING * width)
        self.right = nn.Linear(width, 1)


def loss_of(
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
        batch: The examples.
        detect_layer: How many layers the detector reads from.
        mixture: What the examples' weights mean.
        losses: What each part weighs.
    """
    device = model.device
    trees = [example.tree for example in batch]
    row = TokenTree.joined(trees)
    layers = model.base_model.layers[detect_layer - 1 :]
    with _outputs(
        [layers[0], *(p for own in layers[1:] for p in (own.self_attn.q_proj, own.self_attn.k_proj))]
    ) as made:
        hidden = hidden_states(model.base_model, trees)
    weights = np.concatenate([example.weight for example in batch])
    chosen = np.flatnonzero(weights)
    logits = model.lm_head(hidden[torch.from_numpy(row.parent[chosen]).to(device)])
    nll = F.cross_entropy(logits, torch.from_numpy(row.tokens[chosen]).to(device), reduction="none")
    weight = torch.from_numpy(weights[chosen]).to(device)
    code = weight == mixture.code_weight
    buggy = np.concatenate([example.buggy for example in batch])
    known = np.flatnonzero(buggy >= 0)
    found = heads.norm(made[0][0])
    odd = heads.bug(found).squeeze(-1)
    detection = F.binary_cross_entropy_with_logits(
        odd[torch.from_numpy(known).to(device)],
        torch.from_numpy(buggy[known]).to(odd),
        pos_weight=odd.new_tensor(BUG_WEIGHT),
    )
    begun = np.concatenate([example.line for example in batch])
    ends = np.flatnonzero(begun[:, 0] >= 0)
    recalled = heads.opening(found[torch.from_numpy(ends).to(device)]).unflatten(-1, (OPENING, -1))
    opening = F.cross_entropy(
        (recalled @ model.get_input_embeddings().weight.T).flatten(0, 1),
        torch.from_numpy(begun[ends]).to(device).flatten(),
        ignore_index=-1,
    )
    judged = np.concatenate([example.right for example in batch])
    told = np.flatnonzero(judged >= 0)
    verdict = heads.right(hidden[torch.from_numpy(told).to(device)]).squeeze(-1)
    right = F.binary_cross_entropy_with_logits(verdict, torch.from_numpy(judged[told]).to(verdict))
    follow = _follow(model, hidden, odd.detach(), row, batch)
    looks = [_look(model, batch, row, q[0], k[0]) for q, k in zip(made[1::2], made[2::2], strict=True)]
    look = torch.stack(looks).mean()
    top = 1.0 if model.get_input_embeddings().weight.requires_grad else losses.top
    loss = (nll * weight).sum() / weight.sum() + losses.detect * detection + losses.opening * opening
    loss = loss + top * (losses.look * look + losses.follow * follow) + losses.right * right
    written = (weight == 1) | (weight == mixture.choice_weight)
    chosen_line, labels = weight == mixture.choice_weight, weight == mixture.label_weight
    return loss, {
        "code": round(nll[code].mean().item(), 4),
        "critique": round(nll[written].mean().item(), 4),
        **({"choice": round(nll[chosen_line].mean().item(), 4)} if chosen_line.any() else {}),
        **({"label": round(nll[labels].mean().item(), 4)} if labels.any() else {}),
        "detection": round(detection.item(), 4),
        "opening": round(opening.item(), 4),
        "look": round(look.item(), 4),
        "follow": round(follow.item(), 4),
        "right": round(right.item(), 4),
    }


@contextmanager
def _outputs(modules: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Yield a list that gets what each of the modules returns, in the order in which they run."""
    made: list[torch.Tensor] = []
    hooks = [module.register_forward_hook(lambda *call: made.append(call[2])) for module in modules]
    try:
        yield made
    finally:
        for hook in hooks:
            hook.remove()


def _follow(
    model: LlamaForCausalLM, hidden: torch.Tensor, odd: torch.Tensor, row: TokenTree, batch: list[TrainingExample]
) -> torch.Tensor:
    """Return the cross-entropy of the next token where a line is chosen, against the detector's choice among the lines.

    Args:
        model: For its vocabulary head.
        hidden: The last layer's states, [n, d].
        odd: The detector's logits, [n]; a softmax over the ends of the lines left is what it would choose.
        row: The examples' trees, joined.
        batch: The examples.
    """
    starts = np.cumsum([0, *(len(example.tree) for example in batch[:-1])])
    options = np.concatenate(
        [own.options + np.array([start, 0, start]) for own, start in zip(batch, starts, strict=True)]
    )
    places, group = np.unique(options[:, 0], return_inverse=True)
    if not len(places):
        return hidden.new_zeros(())
    which, token, end = (torch.from_numpy(x).to(hidden.device) for x in (group, options[:, 1], options[:, 2]))
    weight = torch.exp(odd[end].float())
    share = weight / weight.new_zeros(len(places)).index_add(0, which, weight)[which]
    logprobs = model.lm_head(hidden[torch.from_numpy(row.parent[places]).to(hidden.device)]).float().log_softmax(-1)
    loss: torch.Tensor = -(share * logprobs[which, token]).sum() / len(places)
    return loss


def _look(
    model: LlamaForCausalLM, batch: list[TrainingExample], row: TokenTree, query: torch.Tensor, key: torch.Tensor
) -> torch.Tensor:
    """Return the loss of the first heads' attention, from where a line is chosen to its end, among the prompt's tokens.

    Args:
        model: For its rotary positions.
        batch: The examples.
        row: Their trees, joined.
        query: What a layer's query projection returned, [n, heads * D].
        key: Its keys, likewise.
    """
    size = model.config.hidden_size // model.config.num_attention_heads
    turn = model.base_model.rotary_emb(query, torch.from_numpy(row.depth)[None].to(query.device))
    query, key = (x[:, : LOOKING * size].reshape(-1, LOOKING, size).transpose(0, 1) for x in (query, key))
    query, key = apply_rotary_pos_emb(query[None], key[None], *turn)
    losses = [query.new_zeros(0)]
    start = 0
    for example in batch:
        choices = np.flatnonzero(example.source >= 0)
        asked, prompt = start + example.tree.parent[choices], slice(start, start + example.tree.branches[0][0])
        scores = query[0, :, torch.from_numpy(asked).to(query.device)] @ key[0, :, prompt].mT / size**0.5
        ends = torch.from_numpy(example.source[choices]).to(query.device)
        losses.append(F.cross_entropy(scores.flatten(0, 1), ends.repeat(LOOKING), reduction="none"))
        start += len(example.tree)
    return torch.cat(losses).sum() / max(1, sum(map(len, losses)))
