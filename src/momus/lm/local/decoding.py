"""Samples that continue prefixes side by side, token by token: what prefixes or samples share is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from momus.lm.local.fork import ForkCache, Windows, can_fork, forking
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
    """The samples of one batch: their prefixes computed, one token of each at a time from there.

    Samples that agree so far are one row of the computation; where they differ, the row is forked. `decoding` opens it.
    """

    def __init__(self, engine: Reader, prefixes: Sequence[Tokens]) -> None:
        self.engine, self.device = engine, engine.model.device
        distinct = {prefix: index for index, prefix in enumerate(dict.fromkeys(prefixes))}
        past, seen = engine.read([prefix[:-1] for prefix in distinct])
        every = torch.arange(len(distinct), device=self.device)
        self.cache = ForkCache(past, seen, every, shared=can_fork(engine.model))
        self.generated = 0
        self._last, self._row = [prefix[-1] for prefix in prefixes], [distinct[prefix] for prefix in prefixes]

    def begin(self) -> torch.Tensor:
        """Read the last token of every prefix; returns logits as `step` does."""
        return self.step(self._last)

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of every sample; returns the logits of the next, in the model's precision: [S, V]."""
        ends = list(zip(self._row, tokens, strict=True))
        rows = {end: row for row, end in enumerate(dict.fromkeys(ends))}
        self._row = [rows[end] for end in ends]
        parents = [parent for parent, _ in rows]
        if parents != list(range(len(self.cache.owner))):
            self.cache.keep(self._tensor(parents))
        logits = self._read([token for _, token in rows])
        return logits if len(rows) == len(ends) else logits[self._tensor(self._row)]

    def keep(self, samples: Sequence[int]) -> None:
        """Go on with these samples alone, in this order; one may be named again and again."""
        self._row = [self._row[sample] for sample in samples]

    def _read(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of every row; returns the logits of the next: [R, V]."""
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

    def states(self, sample: int) -> torch.Tensor:
        """Return a copy of the keys and values of a sample's own tokens: [2 * layers, H, t, D]."""
        layers: Any = self.cache.layers
        return torch.stack([part[self._row[sample]] for layer in layers for part in (layer.keys, layer.values)])

    def _tensor(self, values: npt.ArrayLike) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.int64), device=self.device)


@contextmanager
def decoding(engine: Reader, prefixes: Sequence[Tokens]) -> Iterator[DecodingBatch]:
    """Compute prefixes, one for each sample, and let the model go on from them; it is as before afterwards."""
    batch = DecodingBatch(engine, prefixes)
    with forking(engine.model, batch.cache):
        yield batch
