"""Attention over token trees, for any Hugging Face decoder that takes its attention from transformers' registry.

Many trees lie end to end in one row without padding. Every layer calls `tree_attention` with that row's
`TreeLayout`, which reaches it as a keyword of the model's own forward pass, so gradient checkpointing sees it too:

* on a GPU the tree's rule is the `mask_mod` of FlexAttention;
* elsewhere the tree is cut into unbranched runs, and each run of queries attends to the tokens above it and to
  itself. No query ever meets the keys of another branch, so nothing is paid for the blocks between branches. A row
  of few tokens is attended to at once under a dense mask, which costs less than cutting it.

Without a layout it is transformers' own `sdpa`: a model stays what it was for everything else.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from momus.lm.tree import Segment, TokenTree

TREE_ATTENTION = "momus_tree"

DENSE = 128  # tokens in a row up to which a dense mask is faster
WASTE = 1.25  # padded attention cells per cell needed, above which a block of runs is split


class SegmentBlock(NamedTuple):
    """Runs of like size, attended to together; flat indices padded with 0.

    `queries` [B, Q] are the runs; `keys` [B, A + Q] what stands above each run, on the right of A columns, and
    the run itself; `above` [B] how many of the A columns are real; `real` [B, Q] which queries are.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    above: torch.Tensor
    real: torch.Tensor

    def mask(self, window: int | None) -> torch.Tensor | None:
        """Return who may attend to whom, bool [B, 1, Q, A + Q]; None for a plain causal block."""
        size = self.queries.shape[1]
        width = self.keys.shape[1] - size
        if not width and (window is None or window >= size):
            return None  # the padding stands on the right, where causal attention never looks
        column = torch.arange(width + size, device=self.queries.device) - width
        row = torch.arange(size, device=self.queries.device)
        # Depths rise by one along a path, so a difference of columns is a difference of depths.
        allowed = column[None, :] <= row[:, None]
        if window is not None:
            allowed = allowed & (row[:, None] - column[None, :] < window)
        return (allowed[None] & (column[None, None, :] >= -self.above[:, None, None]))[:, None]


class TreeLayout:
    """How one row of trees attends: made once, used by every layer.

    Attributes:
        windows: How far back the layers that have used it see.
    """

    def __init__(self, tree: TokenTree, device: torch.device) -> None:
        self._tree, self._device = tree, device
        self.windows: set[int | None] = set()
        self._masks: dict[int | None, Any] = {}

    @cached_property
    def blocks(self) -> list[tuple[SegmentBlock, dict[int | None, torch.Tensor | None]]]:
        """The runs of the tree in blocks, each with the masks it has needed so far, by window."""
        return [(_block(runs, self._device), {}) for runs in _alike(self._tree.segments())]

    @cached_property
    def queries(self) -> tuple[torch.Tensor, list[int]]:
        """The indices of the blocks' queries, end to end, and how many are each block's."""
        return _end_to_end([block.queries for block, _ in self.blocks])

    @cached_property
    def keys(self) -> tuple[torch.Tensor, list[int]]:
        """The same of the blocks' keys."""
        return _end_to_end([block.keys for block, _ in self.blocks])

    @cached_property
    def order(self) -> torch.Tensor:
        """Where each token of the row stands among the blocks' queries, padding counted, int64 [n]."""
        queries, _ = self.queries
        places = torch.cat([block.real.flatten() for block, _ in self.blocks]).nonzero().flatten()
        return places[queries[places].argsort()]

    def dense_mask(self, window: int | None) -> torch.Tensor:
        """Return the tree's rule as a mask, bool [1, 1, n, n]."""
        if window not in self._masks:
            allowed = self._tree.mask()
            if window is not None:
                allowed &= self._tree.depth[:, None] - self._tree.depth[None, :] < window
            self._masks[window] = torch.from_numpy(allowed)[None, None].to(self._device)
        mask: torch.Tensor = self._masks[window]
        return mask

    def flex_mask(self, window: int | None) -> Any:
        """Return FlexAttention's block mask of the tree's rule."""
        if window not in self._masks:
            end = torch.from_numpy(self._tree.end).to(self._device)
            depth = torch.from_numpy(self._tree.depth).to(self._device)

            def rule(_batch: Any, _head: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
                allowed = (k <= q) & (q < end[k])
                return allowed if window is None else allowed & (depth[q] - depth[k] < window)

            size = len(self._tree)
            self._masks[window] = _block_mask()(rule, None, None, size, size, device=str(self._device))
        return self._masks[window]


def tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    tree: TreeLayout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attend along the paths of a row of trees; plain `sdpa` where there is no layout.

    Args:
        module: The attention layer.
        query: [1, H, n, D].
        key: [1, Hk, n, D].
        value: [1, Hk, n, D].
        attention_mask: Not looked at where there is a layout.
        dropout: Of attention weights.
        scaling: Of attention scores; 1 / sqrt(D) by default.
        sliding_window: How far back a token sees: the difference of depths is less.
        tree: The layout of the row.
        **kwargs: What else a model passes, of no matter to a tree.

    Returns:
        [1, n, H, D], and no weights.
    """
    if tree is None:
        output: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return output
    tree.windows.add(sliding_window)
    if query.device.type == "cuda" and not dropout:  # which FlexAttention does not have
        flexed: tuple[torch.Tensor, Any] = flex_attention_forward(
            module, query, key, value, tree.flex_mask(sliding_window), scaling=scaling, dropout=dropout
        )
        return flexed[0], None
    groups = query.shape[1] // key.shape[1]
    if query.shape[2] <= DENSE:
        key, value, dense = repeat_kv(key, groups), repeat_kv(value, groups), tree.dense_mask(sliding_window)
        attended = F.scaled_dot_product_attention(query, key, value, dense, dropout, scale=scaling)
        return attended.transpose(1, 2), None
    gathered = [  # [n, heads, D], once for all blocks: one by one, the gradient of each would be as large as the row
        torch.split(part[0].transpose(0, 1).index_select(0, index), sizes)
        for part, (index, sizes) in zip((query, key, value), (tree.queries, tree.keys, tree.keys), strict=True)
    ]
    found = []
    for (block, masks), *parts in zip(tree.blocks, *gathered, strict=True):
        if sliding_window not in masks:
            masks[sliding_window] = block.mask(sliding_window)
        mask = masks[sliding_window]
        q, k, v = (part.unflatten(0, (len(block.queries), -1)).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(
            q, repeat_kv(k, groups), repeat_kv(v, groups), mask, dropout, is_causal=mask is None, scale=scaling
        )
        found.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(found).index_select(0, tree.order)[None], None


@cache
def _block_mask() -> Any:
    """`create_block_mask`, compiled on a GPU, where it else holds the whole mask of a row."""
    from torch.nn.attention.flex_attention import create_block_mask

    return torch.compile(create_block_mask) if torch.cuda.is_available() else create_block_mask


def _end_to_end(indices: list[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    return torch.cat([index.flatten() for index in indices]), [index.numel() for index in indices]


def _alike(runs: list[Segment]) -> list[list[Segment]]:
    """Group runs so that padding them to one size wastes little."""
    groups: list[list[Segment]] = []
    needed = queries = keys = 0
    for run in sorted(runs, key=lambda run: (bool(len(run.above)), len(run.indices), len(run.above))):
        above, size = len(run.above), len(run.indices)
        widest = max(queries, size), max(keys, above)
        padded = (len(groups[-1]) + 1 if groups else 1) * widest[0] * (sum(widest) or 1)
        cells = size * (above + size)
        apart = not groups or bool(len(groups[-1][0].above)) != bool(above)
        if apart or padded > WASTE * (needed + cells):
            groups.append([run])
            needed, queries, keys = cells, size, above
        else:
            groups[-1].append(run)
            needed, queries, keys = needed + cells, *widest
    return groups


def _block(runs: list[Segment], device: torch.device) -> SegmentBlock:
    size, width = max(len(run.indices) for run in runs), max(len(run.above) for run in runs)
    queries, keys = np.zeros((len(runs), size), np.int64), np.zeros((len(runs), width + size), np.int64)
    real = np.zeros((len(runs), size), np.bool_)
    for row, (above, indices) in enumerate((run.above, run.indices) for run in runs):
        queries[row, : len(indices)] = indices
        keys[row, width - len(above) : width] = above
        keys[row, width : width + len(indices)] = indices
        real[row, : len(indices)] = True
    heights = np.array([len(run.above) for run in runs], np.int64)
    return SegmentBlock(*(torch.from_numpy(array).to(device) for array in (queries, keys, heights, real)))


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
