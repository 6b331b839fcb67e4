"""Branches of one prefix, each written by a rule of its own, computed as a tree: what they share is read once.

A search asks for more than samples: the likeliest continuation, the second likeliest token, draws among the k
likeliest, each up to a length or an end of its own, and with the probability it had *under its rule*. As long as
branches agree they are one row of the batch; where they part, the row is forked. What was read stays in the engine's
memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from momus.errors import UnfitInputError, UserError
from momus.lm.engine import uniforms
from momus.lm.fork import ForkCache, can_fork, forking
from momus.lm.local import LocalEngine
from momus.lm.radix import Match, Tokens


def never(tokens: Sequence[int]) -> bool:
    """Leave a branch to its end tokens and its length."""
    return False


@dataclass(frozen=True)
class Plan:
    """The rule by which one branch is written.

    Attributes:
        max_tokens: Longest branch.
        key: Names the randomness, as in `uniforms`; None takes the likeliest token each time.
        sample: The number of the random stream under that key.
        rank: Without a key: the place of the first token among the `top_k`, 0 for the likeliest.
        top_k: The likeliest tokens, which are chosen among at every place; None is all.
        temperature: Divides the logits; above 0.
        over: Told the tokens so far, whether the branch is to end here.
    """

    max_tokens: int
    key: tuple[int, ...] | None = None
    sample: int = 0
    rank: int = 0
    top_k: int | None = None
    temperature: float = 1.0
    over: Callable[[Sequence[int]], bool] = never

    def noise(self) -> npt.NDArray[np.float64]:
        """Return the random numbers of a branch with a key, one per token."""
        return uniforms(self.key or (), self.sample, self.max_tokens)


@dataclass(frozen=True)
class Branch:
    """One branch: `logprob` is that of all its tokens under its plan (nats), `ended` that an end token is its last."""

    tokens: Tokens
    logprob: float
    ended: bool


class Writing:
    """A branch while it is being written."""

    def __init__(self, plan: Plan, ends: frozenset[int]) -> None:
        self.plan, self._ends = plan, ends
        self.tokens: list[int] = []
        self.logprob, self.done = 0.0, False
        self._noise = plan.noise() if plan.key is not None else None

    def add(self, logits: npt.NDArray[np.float64], tokens: npt.NDArray[np.int64]) -> None:
        """Choose the next token among `tokens`, whose logits are given: [k] each; the likeliest first if k is top_k."""
        scaled = logits / self.plan.temperature
        scaled -= scaled.max()
        weights = np.exp(scaled)
        step = len(self.tokens)
        if self._noise is not None:
            goal = self._noise[step] * weights.sum()
            place = min(int(np.searchsorted(weights.cumsum(), goal, side="right")), len(tokens) - 1)
        elif step == 0 and self.plan.rank:
            place = min(self.plan.rank, len(tokens) - 1)
        else:
            place = int(scaled.argmax())
        self.logprob += float(scaled[place] - np.log(weights.sum()))
        self.tokens.append(int(tokens[place]))
        ended = self.tokens[-1] in self._ends
        self.done = ended or len(self.tokens) == self.plan.max_tokens or self.plan.over(self.tokens)

    def branch(self) -> Branch:
        """Return what was written."""
        return Branch(tuple(self.tokens), self.logprob, self.tokens[-1] in self._ends)


def advance(logits: torch.Tensor, own: Sequence[Writing], vocabulary: int) -> None:
    """Write one more token of branches that so far agree, given the logits of what follows: [V].

    Raises:
        UserError: The logits are not numbers.
    """
    known = logits[:vocabulary].double()
    if not bool(known.logsumexp(-1).isfinite()):
        raise UserError("the model's probabilities are not numbers: its training diverged or its precision is too low")
    sizes = [min(writing.plan.top_k or 0, len(known)) for writing in own]
    best, names = (part.cpu().numpy() for part in known.topk(max(sizes)))
    everything = known.cpu().numpy() if 0 in sizes else best
    for writing, size in zip(own, sizes, strict=True):
        if size:
            writing.add(best[:size], names[:size])
        else:
            writing.add(everything, np.arange(len(everything)))


def write_branches(engine: LocalEngine, prefix: Tokens, plans: Sequence[Plan], ends: frozenset[int]) -> list[Branch]:
    """Write branches of a prefix, one per plan, together.

    Args:
        engine: The model; every distinct token that is read, is read once.
        prefix: What they continue.
        plans: How each is written.
        ends: Tokens that end a branch.

    Raises:
        UserError: The prefix is empty, or its branches could grow longer than the model reads.
    """
    check_room(engine, prefix, plans)
    written = [Writing(plan, ends) for plan in plans]
    # Training, say, between two calls is noticed there, and nothing half done is kept.
    with engine._inference():
        batch = _Batch(engine, prefix)
        with forking(engine.model, batch.cache):
            groups, tokens = [written], [prefix[-1]]
            while groups:
                logits = batch.step(tokens)
                for row, group in zip(logits, groups, strict=True):
                    advance(row, group, len(engine.vocabulary))
                _remember(engine, batch, prefix, groups)
                parents, tokens, groups = _parted(groups)
                batch.keep(parents)
    return [writing.branch() for writing in written]


def check_room(engine: LocalEngine, prefix: Tokens, plans: Sequence[Plan]) -> None:
    """Refuse what the model cannot read.

    Raises:
        UserError: The prefix is empty, or too long with the longest branch.
    """
    if not prefix:
        raise UserError("a prefix is empty: start it with the beginning-of-text token")
    more = max(plan.max_tokens for plan in plans)
    if engine.limit is not None and len(prefix) + more > engine.limit:
        raise UnfitInputError(
            f"a prefix of {len(prefix)} tokens and {more} new ones exceed the {engine.limit} that the model reads"
        )


def last_values(engine: LocalEngine, sequence: Tokens) -> npt.NDArray[np.float64]:
    """Return what each token of a sequence says to later ones in the last layer: its attention values, [T, H * D].

    They lie in the engine's memory as a rule, and are computed otherwise.
    """
    with engine._inference():
        found = engine._memory.match(sequence)
        if found.length == len(sequence):
            values = torch.cat([piece[-1] for piece in found.pieces], 1)
        else:
            values = engine.read([sequence])[0].layers[-1].values[0, :, -len(sequence) :]
    return flat_values(values)


def read_ahead(engine: LocalEngine, sequence: Tokens) -> None:
    """Read what several prompts that are asked next begin with, so that it is read once."""
    with engine._inference():
        engine.read([sequence])


def remembers(engine: LocalEngine) -> bool:
    """Whether an engine keeps anything from one call to the next."""
    return engine._memory.max_bytes > 0


def forget(engine: LocalEngine, but: Tokens = ()) -> None:
    """Let an engine start as if it had read nothing but one sequence: what comes then depends on nothing before."""
    if not remembers(engine):
        return
    with engine._inference():
        found = engine._memory.match(but)
        engine._memory.clear()
        if but and found.length == len(but):
            engine._memory.put(but, Match(0, ()), torch.cat(found.pieces, 2))
        elif but and (engine.limit is None or len(but) <= engine.limit):
            engine.read([but])


def end_tokens(engine: LocalEngine) -> frozenset[int]:
    """Return the tokens that end a text of the model's."""
    return engine._ends


def flat_values(values: torch.Tensor) -> npt.NDArray[np.float64]:
    """Turn attention values of all heads [H, T, D] into one vector a token [T, H * D]."""
    return values.transpose(0, 1).flatten(1).double().cpu().numpy()


class _Batch:
    """Rows that continue one prefix, a token at a time."""

    def __init__(self, engine: LocalEngine, prefix: Tokens) -> None:
        self._engine, self._length = engine, len(prefix) - 1
        past, seen = engine.read([prefix[:-1]])
        owner = torch.zeros(1, dtype=torch.int64, device=engine.model.device)
        self.cache = ForkCache(past, seen, owner, shared=can_fork(engine.model))
        self._generated = 0

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Read one more token of every row; returns the logits of what follows, [R, V]."""
        engine, device = self._engine, self._engine.model.device
        position = self._length + self._generated
        self._generated += 1
        engine.forwarded_tokens += len(tokens)
        ids = torch.tensor(tokens, device=device)[:, None]
        logits: torch.Tensor = engine.model(
            ids,
            position_ids=torch.full_like(ids, position),
            attention_mask=self.cache.mask(self._generated, engine.windows),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            **({"fork": self.cache} if self.cache.shared else {}),
        ).logits
        return logits[:, -1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows; one may be named several times."""
        if rows:
            self.cache.keep(torch.tensor(rows, device=self._engine.model.device))

    def states(self, row: int) -> torch.Tensor:
        """Return a copy of the keys and values of a row's own tokens: [2 * layers, H, t, D]."""
        layers: Any = self.cache.layers
        return torch.stack([part[row] for layer in layers for part in (layer.keys, layer.values)])


def _parted(groups: Sequence[Sequence[Writing]]) -> tuple[list[int], list[int], list[list[Writing]]]:
    """Part groups by their last token: the row each new one comes from, that token, and its members."""
    found: dict[tuple[int, int], list[Writing]] = {}
    for row, group in enumerate(groups):
        for writing in group:
            if not writing.done:
                found.setdefault((row, writing.tokens[-1]), []).append(writing)
    return [row for row, _ in found], [token for _, token in found], list(found.values())


def _remember(engine: LocalEngine, batch: _Batch, prefix: Tokens, groups: Sequence[Sequence[Writing]]) -> None:
    """Keep what ended branches read of themselves: a search that goes on from one need not read it again."""
    for row, group in enumerate(groups):
        ended = next((writing for writing in group if writing.done), None)
        if ended is None or not remembers(engine):
            continue
        before = engine._memory.match(prefix[:-1])
        if before.length == len(prefix) - 1:  # not forgotten meanwhile
            engine._memory.put((*prefix, *ended.tokens[:-1]), before, batch.states(row))
