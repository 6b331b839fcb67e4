"""A key/value cache in which many rows share few prefixes: each is stored once, rows add tokens of their own.

With the attention below a prefix is also *read* once for all its rows, as one block of queries, which is what
makes sampling many continuations of a prompt cheap. Where a model's attention is not the plain one, every row
gets its prefix copied in front of its own tokens instead: the same numbers, slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from momus.errors import UserError
from momus.lm.attention import TREE_ATTENTION

ATTENTION = "momus_fork"
PLAIN_ATTENTION = ("llama", "qwen2", "qwen3", "mistral", "olmo2", "smollm3")


Windows = Mapping[str, int | None]
"""How far back the layers of each kind see; None is all the way."""

Masks = torch.Tensor | dict[str, torch.Tensor] | None
"""What a model's `attention_mask` takes: one for all layers, or one by kind of layer."""


def windows_of(config: Any) -> Windows:
    """Return how far back a model's layers see.

    Raises:
        UserError: It has layers that are not attention to a window or to everything.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ("sliding_attention" if window else "full_attention",)
    # What goes by a token's column in the cache and not by its position: GPT-Neo's local layers, ALiBi.
    odd = {"local attention"} if "local" in getattr(config, "attention_layers", ()) else set()
    odd |= {"ALiBi"} if getattr(config, "alibi", False) else set()
    if other := odd | set(kinds) - {"full_attention", "sliding_attention"}:
        raise UserError(f"{config.model_type} models cannot be sampled from here: they have layers of {min(other)}")
    return {kind: window if kind == "sliding_attention" else None for kind in kinds}


def masks(open_to: torch.Tensor, distance: torch.Tensor, windows: Windows, dtype: torch.dtype) -> Masks:
    """Return additive masks for layers of every kind.

    Args:
        open_to: What may be attended to but for the window, bool [R, 1, q, k].
        distance: Positions between query and key, int64, broadcast to the same shape.
        windows: How far back each kind of layer sees.
        dtype: Of the masks.
    """
    lowest, found = torch.finfo(dtype).min, {}
    for kind, window in windows.items():
        allowed = open_to if window is None else open_to & (distance < window)
        found[kind] = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, lowest)
    return found if len(found) > 1 else next(iter(found.values()))


class ForkCache(Cache):  # type: ignore[misc]
    """What the rows of a batch have seen: a prefix each, and then tokens of their own.

    Attributes:
        lengths: Tokens in each prefix, int64 [P].
        owner: The prefix of each row, int64 [R].
        slot: The row's number among the rows of its prefix, int64 [R].
        slots: Most rows that one prefix has.
        even: Whether all prefixes have that many, in the prefixes' order: rows are then a view of their blocks.
        padding: Added to attention scores over the prefixes: 0 or the lowest number, [P, T].
        places: The position of every column of the prefixes, int64 [P, T].
        shared: Whether attention reads prefixes in place (`fork_attention`), or rows see a copy.
    """

    def __init__(self, prefixes: DynamicCache, seen: torch.Tensor, owner: torch.Tensor, shared: bool) -> None:
        """Fork prefixes into rows.

        Args:
            prefixes: Keys and values of the prefixes, [P, H, T, D] a layer.
            seen: Which columns hold tokens of the prefix and not padding, bool [P, T].
            owner: The prefix of each row, int64 [R].
            shared: Whether the model attends by `fork_attention`.
        """
        super().__init__(layers=[_ForkLayer(self, layer) for layer in prefixes.layers])
        self.shared, self.owner, self.lengths = shared, owner, seen.sum(-1)
        dtype = prefixes.layers[0].keys.dtype
        self.padding = torch.zeros(seen.shape, dtype=dtype, device=owner.device)
        self.padding.masked_fill_(~seen, torch.finfo(dtype).min)
        self.places = seen.cumsum(-1) - 1
        self._number()

    def mask(self, generated: int, windows: Windows) -> Masks:
        """Return the next step's additive masks [R, 1, 1, T + generated]; shared prefixes need none."""
        if self.shared:
            return None
        free = self.padding.new_zeros(len(self.owner), generated)
        open_to = torch.cat([self.padding[self.owner], free], -1)[:, None, None, :] == 0
        new = self.lengths[self.owner, None] + torch.arange(generated, device=self.owner.device)
        places = torch.cat([self.places[self.owner], new], -1)[:, None, None, :]
        return masks(open_to, places[..., -1:] - places, windows, self.padding.dtype)

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these, and prefixes without rows once that is worth a copy."""
        self.owner = self.owner[rows]
        needed, owner = torch.unique(self.owner, return_inverse=True)
        rare = 4 * len(needed) <= 3 * len(self.lengths)
        if rare:
            self.owner, self.lengths = owner, self.lengths[needed]
            self.padding, self.places = self.padding[needed], self.places[needed]
        for layer in self.layers:
            layer.keep(rows, needed if rare else None)
        self._number()

    def _number(self) -> None:
        counts = torch.bincount(self.owner, minlength=len(self.lengths))
        first = counts.cumsum(0) - counts
        order = self.owner.argsort(stable=True)
        self.slot = torch.empty_like(order)
        self.slot[order] = torch.arange(len(order), device=order.device) - first[self.owner[order]]
        self.slots = int(counts.max())
        blocks = torch.arange(len(self.lengths), device=self.owner.device).repeat_interleave(self.slots)
        self.even = torch.equal(self.owner, blocks)


class _ForkLayer(DynamicLayer):  # type: ignore[misc]
    """One layer of a `ForkCache`; `keys` and `values` [R, H, t, D] hold the rows' own tokens."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, cache: ForkCache, prefix: Any) -> None:
        super().__init__()
        self.cache, self.prefix_keys, self.prefix_values = cache, prefix.keys, prefix.values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        if self.cache.shared:
            return keys, values
        owner = self.cache.owner
        return torch.cat([self.prefix_keys[owner], keys], -2), torch.cat([self.prefix_values[owner], values], -2)

    def get_seq_length(self) -> int:
        return int(self.prefix_keys.shape[-2] + super().get_seq_length())

    def keep(self, rows: torch.Tensor, prefixes: torch.Tensor | None) -> None:
        if self.is_initialized:
            self.keys, self.values = self.keys[rows], self.values[rows]
        if prefixes is not None:
            self.prefix_keys, self.prefix_values = self.prefix_keys[prefixes], self.prefix_values[prefixes]


def fork_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    fork: ForkCache,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend to a shared prefix and to the row's own tokens: exactly what separate rows compute.

    Args:
        module: The attention layer.
        query: [R, Hq, 1, D].
        key: The rows' own keys [R, Hk, t, D].
        value: The rows' own values [R, Hk, t, D].
        attention_mask: Unused: the cache knows which part of a prefix is padding.
        scaling: Factor on the scores.
        fork: The cache.
        **kwargs: Ignored.

    Returns:
        [R, 1, Hq, D], and None for the weights.
    """
    layer = fork.layers[module.layer_idx]
    rows, heads, _, size = query.shape
    kv_heads = key.shape[1]
    grouped = query.reshape(rows, kv_heads, heads // kv_heads, size) * scaling
    group = heads // kv_heads
    far = _blocks(grouped, fork) @ layer.prefix_keys.transpose(-1, -2) + fork.padding[:, None, None, :]
    near = grouped @ key.transpose(-1, -2)
    scores = torch.cat([_rows(far, fork, group), near], -1)
    weights = scores.softmax(-1, torch.float32).to(value.dtype)
    far, near = weights[..., : far.shape[-1]], weights[..., far.shape[-1] :]
    output = _rows(_blocks(far, fork) @ layer.prefix_values, fork, group) + near @ value
    return output.reshape(rows, 1, heads, size), None


def can_fork(model: Any) -> bool:
    """Tell whether a model's attention is the plain one that `fork_attention` replaces."""
    config = model.config
    plain = config._attn_implementation in ("sdpa", "eager", TREE_ATTENTION)
    return config.model_type in PLAIN_ATTENTION and plain and set(windows_of(config).values()) == {None}


@contextmanager
def forking(model: Any, cache: ForkCache) -> Iterator[None]:
    """Let a model attend the way a cache is laid out, and as before afterwards."""
    config = model.config
    before = config._attn_implementation
    try:
        if cache.shared:
            config._attn_implementation = ATTENTION
        yield
    finally:
        config._attn_implementation = before


def _blocks(rows: torch.Tensor, fork: ForkCache) -> torch.Tensor:
    """Gather the rows of each prefix in one block: [R, Hk, group, X] -> [P, Hk, slots * group, X]."""
    if fork.even:
        block = rows.view(len(fork.lengths), fork.slots, *rows.shape[1:])
    else:
        block = rows.new_zeros(len(fork.lengths), fork.slots, *rows.shape[1:])
        block[fork.owner, fork.slot] = rows
    return block.transpose(1, 2).flatten(2, 3)


def _rows(block: torch.Tensor, fork: ForkCache, group: int) -> torch.Tensor:
    """Undo `_blocks`: [P, Hk, slots * group, X] -> [R, Hk, group, X]."""
    spread = block.view(*block.shape[:2], fork.slots, group, -1).transpose(1, 2)
    rows: torch.Tensor = spread.flatten(0, 1) if fork.even else spread[fork.owner, fork.slot]
    return rows


AttentionInterface.register(ATTENTION, fork_attention)
