"""One forward pass over token trees: every distinct token computed once, exactly as in separate rows.

Trees lie end to end in one row without padding, their depths are the position ids, and attention keeps to their
paths (`lm/attention.py`). Models that cannot do this exactly (recurrent layers, ALiBi, attention of their own) are
run on plain padded rows instead, with one warning. Vocabulary logits are computed only where a branch token is
predicted, some columns at a time: the [tokens x vocabulary] matrix of a batch is never held.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch

from momus.errors import UserError
from momus.lm.attention import TREE_ATTENTION, TreeLayout
from momus.lm.context_length import context_length
from momus.lm.local.fork import windows_of
from momus.lm.models import RewardModel, within
from momus.lm.tree import IntArray, TokenTree, pack
from momus.lm.vocabulary_head import logit_transform, predict_tokens

TOKEN_BUDGET = 8192  # tokens in one forward pass

_KNOWN = ("gpt2", "llama", "mistral", "gemma3_text", "qwen2", "qwen3")  # tested; others prove themselves at first use
_PROBE = TokenTree.from_prefixes([[1], [1, 2], [1, 2, 3, 1]], [[2, 3, 1, 2, 1, 3], [1, 1, 2, 3], [3, 3, 2, 1, 2]])

_problems: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


class BranchLogprobs(NamedTuple):
    """Log-probabilities and entropies (nats) of branch tokens: float32 [T], by tree, branch, token.

    Gradients flow through the log-probabilities alone.
    """

    logprobs: torch.Tensor
    entropies: torch.Tensor


def backbone_of(model: Any) -> Any:
    """Return the part of a causal language model below its vocabulary head; adapters of peft stay in it."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model


def hidden_states(backbone: Any, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Run a backbone (no vocabulary head) over trees; returns last hidden states [tokens of all trees, d].

    Raises:
        UserError: A path is longer than the model can read, or than tokens that share a row can be read alike.
    """
    limit, longest = context_length(backbone.config), max(int(tree.depth.max()) + 1 for tree in trees)
    if limit is not None and longest > limit:
        raise UserError(
            f"a sequence of {longest} tokens is too long: {backbone.config.model_type} models have positions for "
            f"{limit}, or turn them by the length of the row beyond that; cut the data to at most {limit}"
        )
    if problem := tree_problem(backbone):
        if problem not in _warned:
            _warned.add(problem)
            warnings.warn(f"token trees run as plain rows, every branch with its own prefix: {problem}", stacklevel=2)
        return _in_rows(backbone, trees)
    return _in_trees(backbone, trees)


_warned: set[str] = set()


def tree_problem(backbone: Any) -> str:
    """Say why a backbone cannot be run on token trees exactly, or return "" where it can.

    An architecture that is not among those of Momus's tests is tried once on a few tokens against plain rows.
    """
    if backbone not in _problems:
        known = backbone.config.model_type in _KNOWN
        _problems[backbone] = _structural_problem(backbone) or ("" if known else _numerical_problem(backbone))
    return _problems[backbone]


def _structural_problem(backbone: Any) -> str:
    config = backbone.config
    kinds = set(getattr(config, "layer_types", None) or ())
    name = f"a {config.model_type} model"
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        return f"the positions of {name} cannot be set"
    if not getattr(backbone, "_supports_attention_backend", False):
        return f"{name} has attention of its own"
    if other := kinds - {"full_attention", "sliding_attention"}:
        return f"{name} has layers of {min(other)}"
    if getattr(config, "attn_logit_softcapping", None) or getattr(config, "reorder_and_upcast_attn", False):
        return f"{name} changes its attention scores"
    return ""


@torch.no_grad()
def _numerical_problem(backbone: Any) -> str:
    training, before = backbone.training, backbone.config._attn_implementation
    backbone.eval()
    try:
        layout, windows = TreeLayout(_PROBE, backbone.device), set(windows_of(backbone.config).values())
        expected, found = _in_rows(backbone, [_PROBE]).float(), _along(backbone, _PROBE, layout).float()
    except (RuntimeError, TypeError, ValueError, IndexError, UserError) as error:
        return f"a {backbone.config.model_type} model does not take them ({str(error).splitlines()[0]})"
    finally:
        backbone.train(training)
        backbone.config._attn_implementation = before  # rows, and the model itself, attend as they did
    if layout.windows != windows:  # longer than the few tokens tried, it would not show in the numbers
        return f"a {backbone.config.model_type} model keeps to a window that its attention is not given"
    off = ((found - expected).norm() / expected.norm()).item()
    limit = 1e-4 if expected.dtype == backbone.dtype else 3e-2
    return "" if off < limit else f"a {backbone.config.model_type} model differs on them by {off:.1e}"


def _in_trees(backbone: Any, trees: Sequence[TokenTree]) -> torch.Tensor:
    row = TokenTree.joined(trees)
    return _along(backbone, row, TreeLayout(row, backbone.device))


def _along(backbone: Any, row: TokenTree, layout: TreeLayout) -> torch.Tensor:
    """Run a row of trees as it is laid out."""
    device = backbone.device
    # Stays: a checkpointed layer attends again in the backward pass. Without a layout it is sdpa.
    backbone.config._attn_implementation = TREE_ATTENTION
    output = backbone(
        input_ids=torch.from_numpy(row.tokens)[None].to(device),
        position_ids=torch.from_numpy(row.depth)[None].to(device),
        attention_mask=torch.zeros(1, 1, 1, 1, device=device),  # in four dimensions: keeps the model from making one
        use_cache=False,
        tree=layout,
    )
    states: torch.Tensor = output.last_hidden_state[0]
    return states


def _in_rows(backbone: Any, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Run every path from a root to a leaf as a padded row; a shared token is read off the first of its rows."""
    row, device = TokenTree.joined(trees), backbone.device
    paths = row.paths()
    size = max(map(len, paths))
    tokens, real = np.zeros((len(paths), size), np.int64), np.zeros((len(paths), size), np.int64)
    place = np.empty(len(row), np.int64)
    for i, path in reversed(list(enumerate(paths))):
        tokens[i, : len(path)], real[i, : len(path)] = row.tokens[path], 1
        place[path] = i * size + np.arange(len(path))
    output = backbone(
        input_ids=torch.from_numpy(tokens).to(device), attention_mask=torch.from_numpy(real).to(device), use_cache=False
    )
    states: torch.Tensor = output.last_hidden_state.flatten(0, 1)[torch.from_numpy(place).to(device)]
    return states


def token_logprobs(model: Any, trees: Sequence[TokenTree], temperature: float = 1.0) -> BranchLogprobs:
    """Log-probabilities of all branch tokens of one batch of trees, flat.

    Args:
        model: A causal language model.
        trees: One batch; see `pack`.
        temperature: Divides the logits, as in sampling.

    Raises:
        UserError: The model changes its logits after the vocabulary head in an unknown way
            (`lm/vocabulary_head.py`), or a path is too long for it.
    """
    return within(model, lambda: _token_logprobs(model, trees, temperature))


def _token_logprobs(model: Any, trees: Sequence[TokenTree], temperature: float) -> BranchLogprobs:
    change = logit_transform(model)
    # Branches of the same beginning share tokens: each is predicted once.
    shared = [np.unique(np.concatenate(tree.branches), return_inverse=True) for tree in trees]
    own = [nodes for nodes, _ in shared]
    states = _take(
        hidden_states(backbone_of(model), trees), trees, [t.parent[nodes] for t, nodes in zip(trees, own, strict=True)]
    )
    tokens = np.concatenate([tree.tokens[nodes] for tree, nodes in zip(trees, own, strict=True)])
    targets = torch.from_numpy(tokens).to(states.device)
    predicted = predict_tokens(model.get_output_embeddings(), states, targets, change, temperature)
    starts = np.cumsum([0, *map(len, own)])
    places = np.concatenate([start + where for start, (_, where) in zip(starts, shared, strict=False)])
    index = torch.from_numpy(places).to(states.device)  # by tree, branch, token
    return BranchLogprobs(predicted.logprobs.index_select(0, index), predicted.entropies.index_select(0, index))


def branch_logprobs(
    model: Any, trees: Sequence[TokenTree], temperature: float = 1.0, token_budget: int = TOKEN_BUDGET
) -> list[list[torch.Tensor]]:
    """Log-probabilities of every branch's tokens: result[tree][branch] is float32 [tokens of the branch]."""
    result: list[list[torch.Tensor]] = [[] for _ in trees]
    for group in pack([len(tree) for tree in trees], token_budget):
        chosen = [trees[i] for i in group]
        flat = token_logprobs(model, chosen, temperature).logprobs
        for index, logprobs in zip(group, split_branches(flat, chosen), strict=True):
            result[index] = logprobs
    return result


def split_branches(flat: torch.Tensor, trees: Sequence[TokenTree]) -> list[list[torch.Tensor]]:
    """Cut a flat [T] of branch tokens into result[tree][branch]."""
    parts = iter(torch.split(flat, [len(branch) for tree in trees for branch in tree.branches]))
    return [[next(parts) for _ in tree.branches] for tree in trees]


def token_values(model: RewardModel, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Values of the states in which the branch tokens were chosen: read at each one's parent, float32 [T]."""
    parents = [tree.parent[np.concatenate(tree.branches)] for tree in trees]
    # `forward`, not a call: it is within the model's forward pass already.
    return within(model, lambda: model.forward(_take(hidden_states(model.backbone, trees), trees, parents)))


def leaf_scores(model: RewardModel, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Score every branch at its last token: float32 [number of branches], in order.

    Raises:
        ValueError: A branch is empty.
    """
    if any(not len(branch) for tree in trees for branch in tree.branches):
        raise ValueError("an empty branch has no last token to score")
    last = [np.array([branch[-1] for branch in tree.branches], np.int64) for tree in trees]
    scores = within(model, lambda: model.forward(_take(hidden_states(model.backbone, trees), trees, last)))
    return scores + model.added(trees)


@torch.no_grad()
def score_trees(model: RewardModel, trees: Sequence[TokenTree], token_budget: int = TOKEN_BUDGET) -> list[list[float]]:
    """Score every branch of any number of trees, without gradients: result[tree][branch].

    Raises:
        UserError: The scores are not numbers.
    """
    model.eval()
    result: list[list[float]] = [[] for _ in trees]
    for group in pack([len(tree) for tree in trees], token_budget):
        scored = leaf_scores(model, [trees[i] for i in group])
        if not torch.isfinite(scored).all():
            raise UserError(
                "the reward model's scores are not numbers: its training diverged or its precision is too low"
            )
        scores = iter(scored.tolist())
        for index in group:
            result[index] = [next(scores) for _ in trees[index].branches]
    return result


def _take(states: torch.Tensor, trees: Sequence[TokenTree], indices: Sequence[IntArray]) -> torch.Tensor:
    """Pick rows of [tokens of all trees, d] by per-tree indices: [sum of lengths, d]."""
    offsets = np.cumsum([0, *map(len, trees)])
    flat = np.concatenate([index + offset for index, offset in zip(indices, offsets, strict=False)])
    return states.index_select(0, torch.from_numpy(flat).to(states.device))


def trees_from_rows(rows: Iterable[Sequence[int]]) -> list[TokenTree]:
    """Turn plain token sequences of at least two tokens into trees that predict all tokens but the first."""
    return [TokenTree.from_branches(row[:1], [row[1:]]) for row in rows]
