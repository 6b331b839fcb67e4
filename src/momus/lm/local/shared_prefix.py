"""Prompts that begin alike, read as one token tree over what is remembered of their beginning: one forward pass.

What a judge is asked in both orders differs in a few lines at the end. Row by row that is a pass for what the orders
share, one for the rest of each, one for their last tokens, each with its own copy of what was read before; as a tree it
is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from momus.lm.local.decoding import Reader, decoding
from momus.lm.local.fork import masks
from momus.lm.local.radix import CachedPrefix, stack_padded
from momus.lm.tree import Tokens, TokenTree, common_prefix

FEW = 1024  # tokens to read as one tree: its mask grows with their square


class Remembering(Reader, Protocol):
    """What computes prefixes and remembers them: the local engine."""

    @property
    def has_cache(self) -> bool:
        """Whether anything is kept from one call to the next."""

    def cached_prefix(self, sequence: Tokens) -> CachedPrefix:
        """Return what is remembered of a sequence."""

    def add_to_cache(self, sequence: Tokens, before: CachedPrefix, states: torch.Tensor) -> None:
        """Keep a sequence."""


def shared_prefix(prompts: Sequence[Tokens]) -> Tokens:
    """Return what several prompts begin with, leaving each at least two tokens of its own; nothing for a single one."""
    if len(prompts) < 2:
        return ()
    return prompts[0][: max(0, min(min(common_prefix(prompts[0], prompt), len(prompt) - 2) for prompt in prompts))]


def logits_after(engine: Remembering, prompts: Sequence[Tokens]) -> torch.Tensor:
    """Return the logits after each prompt, [P, V]; what all begin with is read once.

    Args:
        engine: The engine; within its `inference`.
        prompts: Alike or not, each of at least one token.
    """
    shared = shared_prefix(prompts)
    apart = sum(map(len, prompts)) - len(prompts) * len(shared)
    new = len(shared) - engine.cached_prefix(shared).length
    if new and engine.has_cache and new + apart > FEW:
        engine.read([shared])
        new = len(shared) - engine.cached_prefix(shared).length  # it may not fit
    if apart <= len(shared) and new + apart <= FEW:
        return read_shared_prefix(engine, prompts, shared)
    with decoding(engine, prompts) as batch:
        return batch.begin()


def read_shared_prefix(engine: Remembering, prompts: Sequence[Tokens], shared: Tokens) -> torch.Tensor:
    """Return the logits after each of some prompts that begin alike, [P, V], and remember what they share.

    Args:
        engine: The engine; within its `inference`.
        prompts: With little to read: the mask grows with its square.
        shared: Their `shared_prefix`, not empty.
    """
    device = engine.model.device
    found = engine.cached_prefix(shared)
    old, rest = found.length, [prompt[found.length :] for prompt in prompts]
    tree = TokenTree.from_prefixes([row[:1] for row in rest], [row[1:] for row in rest])
    depth = torch.from_numpy(tree.depth).to(device) + old
    before = torch.ones(len(tree), old, dtype=torch.bool, device=device)
    allowed = torch.cat([before, torch.from_numpy(tree.mask()).to(device)], 1)
    places = torch.cat([torch.arange(old, device=device), depth])
    past = stack_padded([found], old)
    engine.forwarded_tokens += len(tree)
    logits: torch.Tensor = engine.model(
        torch.from_numpy(tree.tokens).to(device)[None],
        position_ids=depth[None],
        attention_mask=masks(
            allowed[None, None], (depth[:, None] - places)[None, None], engine.windows, engine.model.dtype
        ),
        use_cache=True,
        logits_to_keep=torch.tensor([branch[-1] for branch in tree.branches], device=device),
        **{engine.cache_argument: past},
    ).logits
    if engine.has_cache and old < len(shared):
        columns = slice(old, len(shared))  # in preorder what all share comes first
        parts = [part[0][:, columns] for layer in past.layers for part in (layer.keys, layer.values)]
        engine.add_to_cache(shared, found, torch.stack(parts))
    return logits[0]
