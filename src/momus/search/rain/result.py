"""What a RAIN search may use, and what it returns."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from momus.lm.engine import SearchEngine
from momus.lm.tree import Tokens
from momus.search.rain.tree import JudgedAnswer, Node


@dataclass(frozen=True)
class Budget:
    """What one search may use; None is unlimited. With `seconds`, results depend on the machine's speed."""

    tokens: int | None = None
    """Tokens forwarded through the model; of a model on a server, those sent to it and written by it."""
    iterations: int | None = None
    sets: int | None = None
    """Token sets of the answer: to measure the first few, search no more than those."""
    seconds: float | None = None


@dataclass(frozen=True)
class ChildStatistics:
    """A visited child of a root when one was committed to; the fields are those of `Node`."""

    tokens: Tokens
    prior: float
    weight: float
    visits: int
    value: float
    best: JudgedAnswer
    worst: JudgedAnswer

    @classmethod
    def of(cls, node: Node) -> ChildStatistics:
        """Copy the statistics of a visited node."""
        assert node.best is not None and node.worst is not None
        return cls(node.tokens, node.prior, node.weight, node.visits, node.value, node.best, node.worst)


@dataclass(frozen=True)
class Commit:
    """One token set of the answer.

    Attributes:
        chosen: Its statistics.
        rejected: Those of its visited siblings.
        iterations: How many iterations it took.
        met: Whether it reached the threshold.
    """

    chosen: ChildStatistics
    rejected: tuple[ChildStatistics, ...]
    iterations: int
    met: bool


@dataclass(frozen=True)
class RainResult:
    """An answer and how it was searched.

    Attributes:
        tokens: The answer's tokens, including those that ended it.
        text: The answer without what ended it.
        stopped: "end", "length", or the budget that ran out: "tokens", "iterations", "sets", "seconds".
        commits: One per token set.
        iterations: Of all token sets together.
        judged: Number of distinct answers judged.
        abstained: On how many of them the judge abstained.
        disagreed: On how many the two orders contradicted each other.
        embedding: How siblings were compared; "none" if they were not.
        forwarded: Tokens that went through the model.
        root: What is left of the tree.
    """

    tokens: Tokens
    text: str
    stopped: str
    commits: tuple[Commit, ...]
    iterations: int
    judged: int
    abstained: int
    disagreed: int
    embedding: str
    forwarded: int
    root: Node = field(repr=False, compare=False)

    @property
    def met(self) -> bool:
        """Whether every token set reached the threshold and the answer ended by itself."""
        return self.stopped == "end" and all(commit.met for commit in self.commits)


class BudgetTracker:
    """What a search has used of its budget.

    Attributes:
        iterations: Iterations so far; the search counts them.
    """

    def __init__(self, budget: Budget, engine: SearchEngine) -> None:
        self._budget, self._engine = budget, engine
        self._start, self._forwarded_before = time.monotonic(), engine.forwarded_tokens
        self.iterations = 0

    @property
    def forwarded(self) -> int:
        """Tokens that went through the model since the search began."""
        return self._engine.forwarded_tokens - self._forwarded_before

    def exhausted(self) -> str:
        """Return the name of the budget that is used up, or ""; token sets are not counted here."""
        budget = self._budget
        used = {
            "tokens": (self.forwarded, budget.tokens),
            "iterations": (self.iterations, budget.iterations),
            "seconds": (time.monotonic() - self._start, budget.seconds),
        }
        return next((name for name, (now, limit) in used.items() if limit is not None and now >= limit), "")
