"""What a RAIN search may use, and what it gives."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from momus.lm.engine import SearchEngine
from momus.search.rain.tree import Heard, Node
from momus.search.result import Tokens


@dataclass(frozen=True)
class Budget:
    """What one search may use; None is any amount. With `seconds`, results depend on the machine's speed."""

    tokens: int | None = None
    """Tokens forwarded through the model; of one on a server, those sent to it and written by it."""
    iterations: int | None = None
    sets: int | None = None
    """Token sets of the answer: what is measured of the first few needs no more."""
    seconds: float | None = None


@dataclass(frozen=True)
class Option:
    """A child of a root as it was when one was committed to: `best` and `worst` are judged answers that begin so."""

    tokens: Tokens
    prior: float
    weight: float
    visits: int
    value: float
    best: Heard
    worst: Heard


@dataclass(frozen=True)
class Commit:
    """One token set of the answer: its statistics, those of its visited siblings, and how long it took.

    `met` is False where it was committed to without reaching the threshold.
    """

    chosen: Option
    rejected: tuple[Option, ...]
    iterations: int
    met: bool


@dataclass(frozen=True)
class RainResult:
    """An answer and how it was found.

    Attributes:
        tokens: All of the answer, what ended it included.
        text: What they say, without that.
        stopped: "end", "length", or the budget that ran out: "tokens", "iterations", "sets", "seconds".
        commits: One per token set.
        iterations: Of all sets together.
        judged: Answers judged, `abstained` and `disagreed` of them.
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
        """Whether every token set reached the threshold, and the answer its end."""
        return self.stopped == "end" and all(commit.met for commit in self.commits)


def option_of(node: Node) -> Option:
    """Keep a visited child as it is now."""
    assert node.best is not None and node.worst is not None
    return Option(node.tokens, node.prior, node.weight, node.visits, node.value, node.best, node.worst)


class Meter:
    """What a search has used of its budget."""

    def __init__(self, budget: Budget, engine: SearchEngine) -> None:
        self._budget, self._engine = budget, engine
        self._start, self._before = time.monotonic(), engine.forwarded_tokens
        self.iterations, self.sets = 0, budget.sets

    @property
    def forwarded(self) -> int:
        """Tokens that went through the model."""
        return self._engine.forwarded_tokens - self._before

    def spent(self) -> str:
        """Return the budget that is used up, or ""."""
        budget = self._budget
        used = {
            "tokens": (self.forwarded, budget.tokens),
            "iterations": (self.iterations, budget.iterations),
            "seconds": (time.monotonic() - self._start, budget.seconds),
        }
        return next((name for name, (now, most) in used.items() if most is not None and now >= most), "")
