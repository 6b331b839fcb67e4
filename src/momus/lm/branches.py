"""Branches of one prefix, each written by a rule of its own: the rules, and the choice of one token by them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from momus.errors import UnfitInputError, UserError
from momus.lm.engine import uniforms
from momus.lm.tree import Tokens


def never_stop(tokens: Sequence[int]) -> bool:
    """Leave a branch to its end tokens and its length."""
    return False


@dataclass(frozen=True)
class BranchPlan:
    """The rule by which one branch is written.

    Attributes:
        max_tokens: Longest branch.
        key: Names the randomness, as in `uniforms`; None takes the likeliest token each time.
        sample: The number of the random stream under that key.
        rank: Without a key: the place of the first token among the `top_k`, 0 for the likeliest.
        top_k: The likeliest tokens, which are chosen among at every place; None is all.
        temperature: Divides the logits; above 0.
        should_stop: Whether the branch ends here, given its tokens so far.
    """

    max_tokens: int
    key: tuple[int, ...] | None = None
    sample: int = 0
    rank: int = 0
    top_k: int | None = None
    temperature: float = 1.0
    should_stop: Callable[[Sequence[int]], bool] = never_stop

    def noise(self) -> npt.NDArray[np.float64]:
        """Return the random numbers of a branch with a key, one per token."""
        return uniforms(self.key or (), self.sample, self.max_tokens)


@dataclass(frozen=True)
class Branch:
    """One branch: `logprob` is that of all its tokens under its plan (nats), `ended` that an end token is its last."""

    tokens: Tokens
    logprob: float
    ended: bool


class BranchWriter:
    """A branch while it is being written."""

    def __init__(self, plan: BranchPlan, ends: frozenset[int]) -> None:
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
        self.done = ended or len(self.tokens) == self.plan.max_tokens or self.plan.should_stop(self.tokens)

    def branch(self) -> Branch:
        """Return what was written."""
        return Branch(tuple(self.tokens), self.logprob, self.tokens[-1] in self._ends)


def check_length(limit: int | None, prefix: Tokens, plans: Sequence[BranchPlan]) -> None:
    """Refuse what the model cannot read.

    Raises:
        UserError: The prefix is empty, or too long with the longest branch.
    """
    if not prefix:
        raise UserError("a prefix is empty: start it with the beginning-of-text token")
    more = max(plan.max_tokens for plan in plans)
    if limit is not None and len(prefix) + more > limit:
        raise UnfitInputError(
            f"a prefix of {len(prefix)} tokens and {more} new ones exceed the {limit} that the model reads"
        )
