"""What a model has already read: keys and values by token prefix, the least recently used forgotten first.

Any stored sequence serves any prefix it shares with a new one, so a search that comes back to a prompt, or
extends one of its own continuations, only computes what is new.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from momus.lm.local.fork import Masks, Windows, masks
from momus.lm.tree import Tokens, common_prefix

WASTE = 1.25  # tokens with padding for each without, up to which sequences are read together,
FEW = 16  # or tokens of padding: a forward pass of its own would cost more


class CachedPrefix(NamedTuple):
    """The first `length` tokens of a stored sequence: keys and values [2 * layers, H, t, D], piece after piece."""

    length: int
    pieces: tuple[torch.Tensor, ...]


class RadixCache:
    """Keys and values of token sequences, found by longest common prefix.

    In sorted order the sequence that shares most with a new one stands right before or after it. A sequence is kept
    in pieces, and one that continues another shares its pieces: what is common is stored once.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._pieces: OrderedDict[Tokens, tuple[torch.Tensor, ...]] = OrderedDict()
        self._sorted: list[Tokens] = []
        self._users: Counter[int] = Counter()  # of each piece's memory, by its address

    def __len__(self) -> int:
        return len(self._sorted)

    def match(self, tokens: Tokens) -> CachedPrefix:
        """Find the stored sequence with the longest common prefix."""
        at = bisect_left(self._sorted, tokens)
        near = self._sorted[max(0, at - 1) : at + 1]
        length, best = max(((common_prefix(tokens, other), other) for other in near), default=(0, None))
        if best is None or not length:
            return CachedPrefix(0, ())
        self._pieces.move_to_end(best)
        return CachedPrefix(length, _cut(self._pieces[best], length))

    def put(self, tokens: Tokens, before: CachedPrefix, new: torch.Tensor) -> None:
        """Store a sequence in place of what it extends, and forget the oldest until all fits.

        Args:
            tokens: The sequence.
            before: Its beginning, as `match` returned it.
            new: Keys and values of the rest [2 * layers, H, t, D]; must not be a view of something larger.
        """
        pieces = (*before.pieces, new)
        if sum(piece.untyped_storage().nbytes() for piece in pieces) > self.max_bytes:
            return
        if self.match(tokens).length == len(tokens):
            return
        at = bisect_left(self._sorted, tokens)
        self._count(pieces, 1)
        if at and self._sorted[at - 1] == tokens[: len(self._sorted[at - 1])]:
            self._forget(self._sorted[at - 1])
        insort(self._sorted, tokens)
        self._pieces[tokens] = pieces
        while self.bytes > self.max_bytes:
            self._forget(next(iter(self._pieces)))

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._sorted.clear()
        self._users.clear()
        self.bytes = 0

    def _forget(self, tokens: Tokens) -> None:
        self._count(self._pieces.pop(tokens), -1)
        del self._sorted[bisect_left(self._sorted, tokens)]

    def _count(self, pieces: tuple[torch.Tensor, ...], change: int) -> None:
        for storage in (piece.untyped_storage() for piece in pieces):
            address = storage.data_ptr()
            before = self._users[address]
            self._users[address] += change
            if not before or not before + change:
                self.bytes += change * storage.nbytes()
            if not before + change:
                del self._users[address]


def _cut(pieces: tuple[torch.Tensor, ...], length: int) -> tuple[torch.Tensor, ...]:
    """Return the first `length` columns of pieces laid end to end, as views."""
    kept = []
    for piece in pieces:
        if length <= 0:
            break
        kept.append(piece[:, :, :length])
        length -= piece.shape[2]
    return tuple(kept)


def parameter_sample(model: Any) -> torch.Tensor:
    """Return some numbers of every parameter, and one of the adapters in use.

    Models, or one before and after training or with another adapter of peft, differ in them.
    """
    parts = [p.detach().flatten()[:: max(1, p.numel() // 32)].double() for p in model.parameters()]
    # Of transformers' models it is a method, whose text is that of the whole model; of peft's layers a yes or no.
    layers = (m for m in model.modules() if isinstance(getattr(m, "disable_adapters", None), bool))
    used = [(layer.disable_adapters, layer.active_adapters) for layer in layers]
    return torch.cat([*parts, parts[0].new_tensor([hash(str(used)) >> 11])])


def stack_padded(found: Sequence[CachedPrefix], size: int) -> DynamicCache:
    """Lay remembered keys and values side by side, padded on the right to `size` columns."""
    past = DynamicCache()
    pieces = [match.pieces for match in found]
    some = next((parts[0] for parts in pieces if parts), None)
    if some is None:
        return past
    layers, heads, _, width = some.shape
    joined = some.new_zeros(layers, len(found), heads, size, width)
    for i, parts in enumerate(pieces):
        start = 0
        for piece in parts:
            joined[:, i, :, start : start + piece.shape[2]] = piece
            start += piece.shape[2]
    for keys, values in zip(joined[::2], joined[1::2], strict=True):
        layer = DynamicLayer()  # filled by hand: its `update` would copy everything once more
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        past.layers.append(layer)
    return past


def group_by_length(sizes: Sequence[int]) -> list[list[int]]:
    """Split indices into groups, the largest first, so that padding each to its largest wastes little."""
    groups: list[list[int]] = []
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        joined = [*groups[-1], index] if groups else []
        needed = sum(sizes[i] for i in joined)
        if joined and sizes[joined[0]] * len(joined) <= max(WASTE * needed, needed + FEW):
            groups[-1] = joined
        else:
            groups.append([index])
    return groups


def prefill_mask(seen: torch.Tensor, old: int, starts: torch.Tensor, windows: Windows, dtype: torch.dtype) -> Masks:
    """Additive masks [P, 1, N, old + N]: what is remembered, and among the N new tokens the earlier ones.

    Args:
        seen: Which columns hold tokens and not padding, bool [P, old + N].
        old: Columns of what is remembered; there they start at position 0.
        starts: The position of each row's first new token, int64 [P].
        windows: How far back each kind of layer sees.
        dtype: Of the masks.
    """
    rows, new = len(seen), seen.shape[1] - old
    causal = torch.ones(new, new, dtype=torch.bool, device=seen.device).tril()
    allowed = torch.cat([seen[:, None, :old].expand(rows, new, old), causal.expand(rows, new, new)], -1)
    queries = starts[:, None] + torch.arange(new, device=seen.device)
    places = torch.cat([torch.arange(old, device=seen.device).expand(rows, old), queries], -1)
    return masks(allowed[:, None], (queries[:, :, None] - places[:, None, :])[:, None], windows, dtype)
