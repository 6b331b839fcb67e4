"""What a model has already read: keys and values by token prefix, the least recently used forgotten first.

Any stored sequence serves any prefix it shares with a new one, so a search that comes back to a prompt, or
extends one of its own continuations, only computes what is new.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache

Tokens = tuple[int, ...]


class Match(NamedTuple):
    """Keys and values [2 * layers, H, T, D] of a stored sequence, of which `length` tokens are shared."""

    length: int
    states: torch.Tensor | None


class RadixCache:
    """Keys and values of token sequences, found by longest common prefix.

    In sorted order the sequence that shares most with a new one stands right before or after it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._states: OrderedDict[Tokens, torch.Tensor] = OrderedDict()
        self._sorted: list[Tokens] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def match(self, tokens: Tokens) -> Match:
        """Find the stored sequence with the longest common prefix."""
        at = bisect_left(self._sorted, tokens)
        near = self._sorted[max(0, at - 1) : at + 1]
        length, best = max(((common_prefix(tokens, other), other) for other in near), default=(0, None))
        if best is None or not length:
            return Match(0, None)
        self._states.move_to_end(best)
        return Match(length, self._states[best])

    def put(self, tokens: Tokens, states: torch.Tensor) -> None:
        """Store a sequence in place of what it extends, and forget the oldest until all fits."""
        size = states.nbytes
        found = self.match(tokens)
        if not tokens or size > self.max_bytes or found.length == len(tokens):
            return
        at = bisect_left(self._sorted, tokens)
        if at and self._sorted[at - 1] == tokens[: len(self._sorted[at - 1])]:
            self._forget(self._sorted[at - 1])
        insort(self._sorted, tokens)
        self._states[tokens] = states
        self.bytes += size
        while self.bytes > self.max_bytes:
            self._forget(next(iter(self._states)))

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._sorted.clear()
        self.bytes = 0

    def _forget(self, tokens: Tokens) -> None:
        self.bytes -= self._states.pop(tokens).nbytes
        del self._sorted[bisect_left(self._sorted, tokens)]


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many leading tokens two sequences share."""
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))


def fingerprint(model: Any) -> torch.Tensor:
    """Return some numbers of every parameter: models, or one before and after training, differ in them."""
    parts = [p.detach().flatten()[:: max(1, p.numel() // 32)].double() for p in model.parameters()]
    return torch.cat(parts)


def padded(found: Sequence[Match], size: int) -> DynamicCache:
    """Lay remembered keys and values side by side, padded on the right to `size` columns."""
    past = DynamicCache()
    states = next((match.states for match in found if match.states is not None), None)
    if states is None:
        return past
    layers, heads, _, width = states.shape
    joined = states.new_zeros(layers, len(found), heads, size, width)
    for i, match in enumerate(found):
        if match.states is not None:
            joined[:, i, :, : match.length] = match.states[:, :, : match.length]
    for layer in range(layers // 2):
        past.update(joined[2 * layer], joined[2 * layer + 1], layer)
    return past


def prefill_mask(seen: torch.Tensor, old: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [P, 1, N, old + N]: what is remembered, and among the N new tokens the earlier ones."""
    rows, new = len(seen), seen.shape[1] - old
    causal = torch.ones(new, new, dtype=torch.bool, device=seen.device).tril()
    allowed = torch.cat([seen[:, None, :old].expand(rows, new, old), causal.expand(rows, new, new)], -1)
    return torch.zeros(allowed.shape, dtype=dtype, device=seen.device).masked_fill_(~allowed, torch.finfo(dtype).min)[
        :, None
    ]
