"""Rows that continue prefixes side by side, one token at a time: what prefixes share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from momus.lm.local.fork import ForkCache, Windows, can_fork
from momus.lm.tree import Tokens


class Reader(Protocol):
    """What computes prefixes, or remembers them: the local engine."""

    model: Any
    windows: Windows
    cache_argument: str
    forwarded_tokens: int

    def read(self, sequences: Sequence[Tokens]) -> tuple[DynamicCache, torch.Tensor]:
        """Return the keys and values of some sequences; see `LocalEngine.read`."""


class DecodingBatch:
    """The rows of one batch: their prefixes computed, one step at a time from there.

    Its cache belongs into the model with `forking` for as long as it is used.
    """

    def __init__(self, engine: Reader, prefixes: Sequence[Tokens]) -> None:
        self.engine, self.device = engine, engine.model.device
        distinct = {prefix: index for index, prefix in enumerate(dict.fromkeys(prefixes))}
        past, seen = engine.read([prefix[:-1] for prefix in distinct])
        every = torch.arange(len(distinct), device=self.device)
        self.cache = ForkCache(past, seen, every, shared=can_fork(engine.model))
        self.generated = 0
        self._last, self._owner = [prefix[-1] for prefix in distinct], [distinct[prefix] for prefix in prefixes]

    def begin(self) -> torch.Tensor:
        """Read the last token of every distinct prefix, and fork into rows; returns logits as `step` does."""
        logits = self.step(self._last)
        self.keep(self._owner)
        return logits[self._tensor(self._owner)]

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of every row; returns the logits of the next, in the model's precision: [R, V]."""
        cache = self.cache
        positions = cache.lengths[cache.owner] + self.generated
        self.generated += 1
        self.engine.forwarded_tokens += len(tokens)
        logits: torch.Tensor = self.engine.model(
            self._tensor(tokens)[:, None],
            position_ids=positions[:, None],
            attention_mask=cache.mask(self.generated, self.engine.windows),
            use_cache=True,
            logits_to_keep=1,
            **{self.engine.cache_argument: cache, **({"fork": cache} if cache.shared else {})},
        ).logits
        return logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in this order; one may be named again and again."""
        self.cache.keep(self._tensor(rows))

    def states(self, row: int) -> torch.Tensor:
        """Return a copy of the keys and values of a row's own tokens: [2 * layers, H, t, D]."""
        layers: Any = self.cache.layers
        return torch.stack([part[row] for layer in layers for part in (layer.keys, layer.values)])

    def _tensor(self, values: npt.ArrayLike) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self.device)
