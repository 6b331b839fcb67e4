"""One forward pass over token trees: every distinct token computed once, exactly as in separate rows.

Trees are padded to a batch with a dense attention mask (``k <= q < end[k]``) and their depths as position
ids, which any transformer with explicit positions takes; what cannot be exact is refused. Vocabulary logits
are computed only where a branch token is predicted, a chunk at a time: the [tokens x vocabulary] matrix of
a batch is never held.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from momus.errors import UserError
from momus.lm.models import RewardModel
from momus.lm.tree import IntArray, TokenTree

TOKEN_BUDGET = 8192  # padded tokens in one forward pass
LOGIT_CELLS = 2**24  # logits held at once: 64 MiB in float32

_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


class BranchLogprobs(NamedTuple):
    """Log-probabilities and entropies (nats) of branch tokens: float32 [T], by tree, branch, token."""

    logprobs: torch.Tensor
    entropies: torch.Tensor | None


def length_groups(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Split indices into groups of similar length whose padded size stays within `token_budget`.

    Every index appears once; an item longer than the budget gets a group of its own.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= token_budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def hidden_states(backbone: Any, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Run a backbone (no vocabulary head) over trees.

    Returns:
        Last hidden states [B, N, d], N the longest tree; rows past a tree's own length are meaningless.

    Raises:
        UserError: The architecture cannot be run on trees exactly.
    """
    check_architecture(backbone)
    size = max(map(len, trees))
    tokens, positions = np.zeros((len(trees), size), np.int64), np.zeros((len(trees), size), np.int64)
    allowed = np.broadcast_to(np.eye(size, dtype=np.bool_), (len(trees), size, size)).copy()
    for row, tree in enumerate(trees):
        n = len(tree)
        tokens[row, :n], positions[row, :n], allowed[row, :n, :n] = tree.tokens, tree.depth, tree.mask()
    # Additive, because eager attention would add a boolean mask without complaint.
    mask = torch.zeros(allowed.shape, dtype=backbone.dtype)
    mask.masked_fill_(torch.from_numpy(~allowed), torch.finfo(backbone.dtype).min)
    output = backbone(
        input_ids=torch.from_numpy(tokens).to(backbone.device),
        position_ids=torch.from_numpy(positions).to(backbone.device),
        attention_mask=mask[:, None].to(backbone.device),
        use_cache=False,
    )
    states: torch.Tensor = output.last_hidden_state
    return states


def token_logprobs(
    model: Any, trees: Sequence[TokenTree], temperature: float = 1.0, entropies: bool = False
) -> BranchLogprobs:
    """Log-probabilities of all branch tokens of one batch of trees, flat.

    Args:
        model: A causal language model.
        trees: One batch; see `length_groups`.
        temperature: Divides the logits, as in sampling.
        entropies: Also return the entropy of each prediction.
    """
    states = _take(hidden_states(model.base_model, trees), [t.parent[np.concatenate(t.branches)] for t in trees])
    tokens = np.concatenate([tree.tokens[np.concatenate(tree.branches)] for tree in trees])
    targets = torch.from_numpy(tokens).to(states.device)
    head = model.get_output_embeddings()
    rows = max(1, LOGIT_CELLS // head.weight.shape[0])

    def chunk(part: torch.Tensor, goal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = head(part).float() / temperature
        log_all = logits.log_softmax(-1)
        entropy = -(log_all.exp() * log_all).sum(-1) if entropies else part.new_empty(0)
        return log_all.gather(-1, goal[:, None]).squeeze(-1), entropy

    pieces = list(zip(torch.split(states, rows), torch.split(targets, rows), strict=True))
    if len(pieces) > 1 and torch.is_grad_enabled():
        results = [checkpoint(chunk, *piece, use_reentrant=False) for piece in pieces]
    else:
        results = [chunk(*piece) for piece in pieces]
    logprobs = torch.cat([logprob for logprob, _ in results])
    return BranchLogprobs(logprobs, torch.cat([entropy for _, entropy in results]) if entropies else None)


def branch_logprobs(
    model: Any, trees: Sequence[TokenTree], temperature: float = 1.0, token_budget: int = TOKEN_BUDGET
) -> list[list[torch.Tensor]]:
    """Log-probabilities of every branch's tokens: result[tree][branch] is float32 [tokens of the branch]."""
    result: list[list[torch.Tensor]] = [[] for _ in trees]
    for group in length_groups([len(tree) for tree in trees], token_budget):
        chosen = [trees[i] for i in group]
        flat = token_logprobs(model, chosen, temperature).logprobs
        for index, own in zip(group, split_branches(flat, chosen), strict=True):
            result[index] = own
    return result


def split_branches(flat: torch.Tensor, trees: Sequence[TokenTree]) -> list[list[torch.Tensor]]:
    """Cut a flat [T] of branch tokens into result[tree][branch]."""
    parts = iter(torch.split(flat, [len(branch) for tree in trees for branch in tree.branches]))
    return [[next(parts) for _ in tree.branches] for tree in trees]


def token_values(model: RewardModel, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Values of the states in which the branch tokens were chosen: read at each one's parent, float32 [T]."""
    parents = [tree.parent[np.concatenate(tree.branches)] for tree in trees]
    scores: torch.Tensor = model(_take(hidden_states(model.backbone, trees), parents))
    return scores


def leaf_scores(model: RewardModel, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Score every branch at its last token: float32 [number of branches], in order.

    Raises:
        ValueError: A branch is empty.
    """
    if any(not len(branch) for tree in trees for branch in tree.branches):
        raise ValueError("an empty branch has no last token to score")
    last = [np.array([branch[-1] for branch in tree.branches], np.int64) for tree in trees]
    scores: torch.Tensor = model(_take(hidden_states(model.backbone, trees), last))
    return scores


@torch.no_grad()
def score_trees(model: RewardModel, trees: Sequence[TokenTree], token_budget: int = TOKEN_BUDGET) -> list[list[float]]:
    """Score every branch of any number of trees, without gradients: result[tree][branch]."""
    model.eval()
    result: list[list[float]] = [[] for _ in trees]
    for group in length_groups([len(tree) for tree in trees], token_budget):
        scores = iter(leaf_scores(model, [trees[i] for i in group]).tolist())
        for index in group:
            result[index] = [next(scores) for _ in trees[index].branches]
    return result


def check_architecture(backbone: Any) -> None:
    """Refuse a backbone that token trees cannot be run through exactly.

    Raises:
        UserError: It has recurrent or sliding-window layers, no explicit positions, attention that takes no
            mask, or changes its logits after the vocabulary head.
    """
    config = backbone.config
    kinds: Iterable[str] = getattr(config, "layer_types", None) or ()
    reason = ""
    if not {"position_ids", "attention_mask"} <= set(inspect.signature(backbone.forward).parameters):
        reason = "its positions cannot be set"
    elif any(kind != "full_attention" for kind in kinds) or getattr(config, "sliding_window", None):
        reason = "it has layers that are not full attention"
    elif config._attn_implementation not in ("sdpa", "eager"):
        reason = f"attention {config._attn_implementation!r} takes no mask: load it with sdpa"
    elif changed := [name for name in _LOGIT_CHANGES if getattr(config, name, None) not in (None, 1, 1.0)]:
        reason = f"it changes its logits ({changed[0]})"
    if reason:
        raise UserError(f"{config.model_type} models cannot be run on token trees: {reason}")


def _take(states: torch.Tensor, indices: Sequence[IntArray]) -> torch.Tensor:
    """Pick rows of [B, N, d] by per-tree indices: [sum of lengths, d]."""
    size = states.shape[1]
    flat = np.concatenate([row * size + own for row, own in enumerate(indices)])
    return states.flatten(0, 1)[torch.from_numpy(flat).to(states.device)]


def trees_from_rows(rows: Iterable[Sequence[int]]) -> list[TokenTree]:
    """Turn plain token sequences of at least two tokens into trees that predict all tokens but the first."""
    return [TokenTree.from_branches(row[:1], [row[1:]]) for row in rows]
