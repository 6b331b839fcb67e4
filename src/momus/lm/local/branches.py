"""Branches of one prefix (`lm/branches.py`), sampled by the local engine as a tree: shared tokens are computed once.

A search asks for more than samples: the likeliest continuation, the second likeliest token, draws among the k
likeliest, each with its own length limit and stopping rule, and with the probability it had *under its plan*. While
branches agree they are one row of the batch; where they differ, the row is forked. Keys and values stay in the engine's
cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from momus.lm.branches import Branch, BranchPlan, BranchWriter, check_length
from momus.lm.local.decoding import DecodingBatch, decoding
from momus.lm.local.engine import LocalEngine
from momus.lm.local.sampling import check_numbers
from momus.lm.tree import Tokens


def advance(logits: torch.Tensor, groups: Sequence[Sequence[BranchWriter]], vocabulary: int) -> None:
    """Write one more token of branches that so far agree, group by group, given the logits of what follows: [G, V].

    Raises:
        UserError: The logits are not numbers.
    """
    known = logits[:, :vocabulary].double()
    check_numbers(known.logsumexp(-1))
    sizes = [[min(writing.plan.top_k or 0, known.shape[1]) for writing in group] for group in groups]
    best, names = (part.cpu().numpy() for part in known.topk(max(map(max, sizes))))
    everything = known.cpu().numpy() if any(0 in row for row in sizes) else best
    for row, (group, kept) in enumerate(zip(groups, sizes, strict=True)):
        for writing, size in zip(group, kept, strict=True):
            if size:
                writing.add(best[row, :size], names[row, :size])
            else:
                writing.add(everything[row], np.arange(known.shape[1]))


def write_branches(
    engine: LocalEngine, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]
) -> list[Branch]:
    """Write branches of a prefix, one per plan, together.

    Args:
        engine: The model; every distinct token that is read, is read once.
        prefix: What they continue.
        plans: How each is written.
        ends: Tokens that end a branch.

    Raises:
        UserError: The prefix is empty, or its branches could grow longer than the model reads.
    """
    check_length(engine.context_length, prefix, plans)
    written = [BranchWriter(plan, ends) for plan in plans]
    # Training, say, between two calls is noticed there, and nothing half done is kept.
    with engine.inference(), decoding(engine, [prefix]) as batch:
        logits, groups = batch.begin(), [written]
        while True:
            advance(logits, groups, len(engine.vocabulary))
            _remember(engine, batch, prefix, groups)
            parents, tokens, groups = _parted(groups)
            if not groups:
                break
            batch.keep(parents)
            logits = batch.step(tokens)
    return [writing.branch() for writing in written]


def last_values(engine: LocalEngine, sequence: Tokens) -> npt.NDArray[np.float64]:
    """Return what each token of a sequence says to later ones in the last layer: its attention values, [T, H * D].

    They lie in the engine's memory as a rule, and are computed otherwise.
    """
    with engine.inference():
        found = engine.cached_prefix(sequence)
        if found.length == len(sequence):
            values = torch.cat([piece[-1] for piece in found.pieces], 1)
        else:
            values = engine.read([sequence])[0].layers[-1].values[0, :, -len(sequence) :]
    return flat_values(values)


def flat_values(values: torch.Tensor) -> npt.NDArray[np.float64]:
    """Turn attention values of all heads [H, T, D] into one vector a token [T, H * D]."""
    return values.transpose(0, 1).flatten(1).double().cpu().numpy()


def _parted(groups: Sequence[Sequence[BranchWriter]]) -> tuple[list[int], list[int], list[list[BranchWriter]]]:
    """Part groups by their last token: the row each new one comes from, that token, and its members."""
    found: dict[tuple[int, int], list[BranchWriter]] = {}
    for row, group in enumerate(groups):
        for writing in group:
            if not writing.done:
                found.setdefault((row, writing.tokens[-1]), []).append(writing)
    return [row for row, _ in found], [token for _, token in found], list(found.values())


def _remember(
    engine: LocalEngine, batch: DecodingBatch, prefix: Tokens, groups: Sequence[Sequence[BranchWriter]]
) -> None:
    """Keep what ended branches read of themselves: a search that goes on from one need not read it again."""
    for row, group in enumerate(groups) if engine.has_cache else ():
        ended = next((writing for writing in group if writing.done), None)
        if ended is not None:
            engine.add_branch_to_cache(prefix, ended.tokens, partial(batch.states, row))
