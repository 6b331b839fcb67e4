"""The tree of a RAIN search (arXiv 2309.07124): nodes of token sets, and the arithmetic on them, without any model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from momus.search.result import Tokens

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Heard:
    """An answer that was judged, possibly cut short: its tokens from the beginning, and its value."""

    tokens: Tokens
    value: float


@dataclass
class Node:
    """A token set, and with those above it the beginning of an answer.

    Attributes:
        tokens: The set; empty at the very first root.
        log_weight: The log-probability it was proposed with.
        greedy: Whether it is the likeliest continuation, token by token.
        parent: The node it continues; None at the root.
        name: The place among its siblings of every node from the very first root down to it: names its randomness.
        final: Whether an answer ends here.
        children: What may follow, in the order of proposal.
        open: Whether there are no proposals yet.
        prior: p, set by `set_priors`.
        weight: n, visits; those of similar siblings count in part.
        visits: fn, visits of its own.
        value: v, the mean value, weighted as visits are.
        embedding: Mean embedding of what was written from here on; None before a first visit.
        best: The highest judged answer that begins like this, the first of several; `worst` the lowest.
        tried: How often a further child was looked for.
    """

    tokens: Tokens
    log_weight: float = 0.0
    greedy: bool = False
    parent: Node | None = None
    name: tuple[int, ...] = ()
    final: bool = False
    children: list[Node] = field(default_factory=list)
    open: bool = True
    prior: float = 1.0
    weight: float = 0.0
    visits: int = 0
    value: float = 0.0
    embedding: Vector | None = None
    best: Heard | None = None
    worst: Heard | None = None
    tried: int = 0
    _embedded: int = 0

    @property
    def depth(self) -> int:
        """Token sets from the very first root."""
        return len(self.name)

    def path(self) -> list[Node]:
        """Return the nodes from the root down to this one."""
        path = [self]
        while path[-1].parent is not None:
            path.append(path[-1].parent)
        return path[::-1]

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)

    def add(self, tokens: Tokens, log_weight: float, greedy: bool, final: bool) -> None:
        """Add a child, unless there is one of the same tokens or it has no probability."""
        if log_weight > -np.inf and tokens not in {child.tokens for child in self.children}:
            name = (*self.name, len(self.children))
            self.children.append(Node(tokens, log_weight, greedy, self, name, final))

    def hear(self, heard: Heard) -> None:
        """Take in an answer that begins like this, and was judged."""
        self.visits += 1
        self.weigh(heard.value, 1.0)
        if self.best is None or heard.value > self.best.value:
            self.best = heard
        if self.worst is None or heard.value < self.worst.value:
            self.worst = heard

    def weigh(self, value: float, weight: float) -> None:
        """Move the mean towards a value of some weight."""
        self.weight += weight
        self.value += (value - self.value) * weight / self.weight

    def embed(self, embedding: Vector) -> None:
        """Take one more embedding into the mean."""
        self._embedded += 1
        before = 0.0 if self.embedding is None else self.embedding
        self.embedding = before + (embedding - before) / self._embedded

    def favourite(self) -> Node:
        """Return the child of the most visits, similar ones' included; ties go by value, then to the first."""
        return max(self.children, key=lambda child: (child.weight, child.value))


def set_priors(node: Node, evenly: float) -> None:
    """Set the priors of a node's children: the probabilities they were proposed with, made to add up to 1.

    The likeliest continuation gets at least as much as the likeliest and the least likely of the others together, and
    at most as much as all others. A share is spread evenly over all (at the root, so that rare paths are tried).
    """
    logs = np.array([child.log_weight for child in node.children])
    likeliest = np.array([child.greedy for child in node.children])
    bounded = likeliest.any() and not likeliest.all()
    highest = logs[~likeliest].max() if bounded else logs.max()
    weights = np.exp(np.minimum(logs - highest, 700.0))  # products of many probabilities would not fit a float
    if bounded:
        rest = weights[~likeliest]
        weights[likeliest] = max(min(weights[likeliest][0], rest.sum()), rest.max() + rest.min())
    priors = (1 - evenly) * weights / weights.sum() + evenly / len(weights)
    for child, prior in zip(node.children, priors.tolist(), strict=True):
        child.prior = prior


def select(node: Node, exploration: float) -> Node:
    """Return the child of the highest v + c u, where u = p sqrt(n of the parent) / (1 + n) (PUCT, section 3).

    v is brought from [-1, 1] to [0, 1] and is 0 for what was never visited. Ties go by prior, then to the first.
    """

    def score(child: Node) -> tuple[float, float]:
        value = (child.value + 1) / (2 + 1e-5) if child.weight else 0.0
        return value + exploration * child.prior * node.weight**0.5 / (1 + child.weight), child.prior

    return max(node.children, key=score)


def spread_of(nodes: Sequence[Node]) -> float | None:
    """Return the Euclidean norm of the variance of the nodes' embeddings; None if one has none."""
    known = [node.embedding for node in nodes if node.embedding is not None]
    return float(np.linalg.norm(np.var(known, axis=0))) if len(known) == len(nodes) else None


def similarity(first: Node, second: Node) -> float:
    """Return the cosine of two nodes' embeddings; 0 where one has none, or a zero one."""
    if first.embedding is None or second.embedding is None:
        return 0.0
    size = float(np.linalg.norm(first.embedding) * np.linalg.norm(second.embedding))
    return float(first.embedding @ second.embedding) / size if size > 0 else 0.0
