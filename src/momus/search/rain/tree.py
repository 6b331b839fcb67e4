"""The tree of a RAIN search (arXiv 2309.07124): nodes of token sets, their statistics, and PUCT, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from momus.lm.tree import Tokens

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer, possibly cut short by the simulation: all its tokens, and its value from -1 to 1."""

    tokens: Tokens
    value: float


@dataclass
class Node:
    """A token set, and with those above it the beginning of an answer.

    Attributes:
        tokens: The token set; empty at the very first root.
        logprob: Log-probability (nats) it was proposed with.
        greedy: Whether it is the likeliest continuation, token by token.
        parent: The node it continues; None at the root.
        answer: The answer so far: the tokens of all nodes from the very first root down to this one.
        index_path: The index among its siblings of every node from the very first root down to this one. It is part
            of the random key, so that a node's randomness depends on its place in the tree alone.
        terminal: Whether the answer ends here.
        expanded: Whether its children have been proposed.
        children: In the order they were proposed.
        prior: p, set by `set_priors`.
        weight: n, the weighted visits: 1 per visit, and part of each visit of a similar sibling.
        visits: How often an iteration passed through this node itself.
        value: v, the mean value of these visits, weighted in the same way.
        embedding: Mean embedding of what was written from this set on; None before the first visit.
        best: The highest-valued answer judged below this node, the first of equal ones.
        worst: The lowest-valued one.
        additions_tried: How often one more child was sampled because all were alike.
    """

    tokens: Tokens
    logprob: float = 0.0
    greedy: bool = False
    parent: Node | None = None
    answer: Tokens = ()
    index_path: tuple[int, ...] = ()
    terminal: bool = False
    expanded: bool = False
    children: list[Node] = field(default_factory=list)
    prior: float = 1.0
    weight: float = 0.0
    visits: int = 0
    value: float = 0.0
    embedding: Vector | None = None
    best: JudgedAnswer | None = None
    worst: JudgedAnswer | None = None
    additions_tried: int = 0
    _embeddings_seen: int = 0

    @property
    def depth(self) -> int:
        """Token sets from the very first root."""
        return len(self.index_path)

    def path_from_root(self) -> list[Node]:
        """Return the nodes from the root down to this one."""
        path = [self]
        while path[-1].parent is not None:
            path.append(path[-1].parent)
        return path[::-1]

    def siblings(self) -> list[Node]:
        """Return the other children of the parent; none at the root."""
        return [] if self.parent is None else [child for child in self.parent.children if child is not self]

    def add_child(self, tokens: Tokens, logprob: float, *, greedy: bool, terminal: bool) -> None:
        """Add a child, unless its probability is 0 or a child with the same tokens exists."""
        if logprob > -np.inf and tokens not in {child.tokens for child in self.children}:
            index_path = (*self.index_path, len(self.children))
            self.children.append(Node(tokens, logprob, greedy, self, self.answer + tokens, index_path, terminal))

    def add_visit(self, answer: JudgedAnswer) -> None:
        """Count a visit with the value of an answer that begins with this node."""
        self.visits += 1
        self.add_value(answer.value, 1.0)
        if self.best is None or answer.value > self.best.value:
            self.best = answer
        if self.worst is None or answer.value < self.worst.value:
            self.worst = answer

    def add_value(self, value: float, weight: float) -> None:
        """Include a value in the weighted mean."""
        self.weight += weight
        self.value += (value - self.value) * weight / self.weight

    def add_embedding(self, embedding: Vector) -> None:
        """Include an embedding, [D], in the mean."""
        self._embeddings_seen += 1
        before = 0.0 if self.embedding is None else self.embedding
        self.embedding = before + (embedding - before) / self._embeddings_seen

    def most_visited_child(self) -> Node:
        """Return the child with the most weighted visits; ties go to the higher value, then to the first."""
        return max(self.children, key=lambda child: (child.weight, child.value))


def set_priors(node: Node, mixing: float) -> None:
    """Set the priors of a node's children: the probabilities they were proposed with, normalised.

    The greedy continuation gets at least as much as the likeliest and the least likely of the others together, and at
    most as much as all others. At the root, priors are mixed with the uniform distribution so that rare paths are
    tried: (1 - mixing) * p + mixing / number of children.
    """
    logprobs = np.array([child.logprob for child in node.children])
    greedy = np.array([child.greedy for child in node.children])
    bounded = greedy.any() and not greedy.all()
    highest = logprobs[~greedy].max() if bounded else logprobs.max()
    weights = np.exp(np.minimum(logprobs - highest, 700.0))  # products of many probabilities would not fit a float
    if bounded:
        others = weights[~greedy]
        weights[greedy] = max(min(weights[greedy][0], others.sum()), others.max() + others.min())
    priors = (1 - mixing) * weights / weights.sum() + mixing / len(weights)
    for child, prior in zip(node.children, priors.tolist(), strict=True):
        child.prior = prior


def select_child(node: Node, exploration: float) -> Node:
    """Return the child of the highest v + c u, where u = p sqrt(n of the parent) / (1 + n) (PUCT, section 3.2).

    v is scaled from [-1, 1] to [0, 1], and 0 for a child that was never visited. Ties go to the higher prior, then to
    the first.
    """

    def score(child: Node) -> tuple[float, float]:
        value = (child.value + 1) / (2 + 1e-5) if child.weight else 0.0
        return value + exploration * child.prior * node.weight**0.5 / (1 + child.weight), child.prior

    return max(node.children, key=score)


def embedding_variance(nodes: Sequence[Node]) -> float | None:
    """Return the Euclidean norm of the variance of the nodes' embeddings; None if a node has no embedding."""
    embeddings = [node.embedding for node in nodes if node.embedding is not None]
    return float(np.linalg.norm(np.var(embeddings, axis=0))) if len(embeddings) == len(nodes) else None


def cosine_similarity(first: Node, second: Node) -> float:
    """Return the cosine of two nodes' embeddings; 0 where one is missing or zero."""
    if first.embedding is None or second.embedding is None:
        return 0.0
    size = float(np.linalg.norm(first.embedding) * np.linalg.norm(second.embedding))
    return float(first.embedding @ second.embedding) / size if size > 0 else 0.0
