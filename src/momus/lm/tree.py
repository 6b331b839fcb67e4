"""Token trees: one prompt with many branches, each distinct token stored (and computed) once.

A tree is stored flat in preorder::

    tokens[n]   the token
    depth[n]    how many ancestors it has: its position id
    end[n]      one past its last descendant

Token q may attend to token k exactly when ``k <= q and q < end[k]``. That one line is the causal mask, the
shared-prefix mask, the search-tree mask and the packing mask (two trees laid end to end never contain each
other). A sliding window is one more condition, ``depth[q] - depth[k] < window``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Tokens = tuple[int, ...]


@dataclass(frozen=True)
class TokenTree:
    """Token sequences that share prefixes, flat in preorder; all arrays are int64 of shape [n].

    `parent[i]` is the flat index of the token before token i on its path (-1 at a root), so the logits that
    predict token i are those at `parent[i]`. `branches[b]` holds the flat indices of branch b's own tokens:
    what follows its prompt. Branches of the same beginning share indices.
    """

    tokens: IntArray
    depth: IntArray
    end: IntArray
    parent: IntArray
    branches: tuple[IntArray, ...]

    @classmethod
    def from_branches(cls, prompt: Sequence[int], branches: Sequence[Sequence[int]]) -> TokenTree:
        """Build the tree of one prompt and any number of branches that hang off its last token.

        Branches are not merged, whatever they have in common: `from_prefixes` does that.

        Raises:
            ValueError: The prompt is empty: the first token of a branch would have no parent.
        """
        if not len(prompt):
            raise ValueError("a token tree needs a prompt of at least one token")
        size, total = len(prompt), len(prompt) + sum(map(len, branches))
        tokens, depth, end, parent = [np.empty(total, np.int64) for _ in range(4)]
        tokens[:size], depth[:size], end[:size] = prompt, np.arange(size), total
        parent[:size] = np.arange(-1, size - 1)
        found, start = [], size
        for branch in branches:
            stop = start + len(branch)
            indices = np.arange(start, stop)
            tokens[start:stop], depth[start:stop], end[start:stop] = branch, indices - start + size, stop
            parent[start:stop] = indices - 1
            if len(branch):
                parent[start] = size - 1
            found.append(indices)
            start = stop
        return cls(tokens, depth, end, parent, tuple(found))

    @classmethod
    def from_prefixes(cls, prefixes: Sequence[Sequence[int]], branches: Sequence[Sequence[int]]) -> TokenTree:
        """Build the tree of any sequences, each a prefix and a branch, merged by longest common token prefix.

        Sequences that do not even share their first token lie end to end.

        Raises:
            ValueError: A prefix is empty: the first token of its branch would have no parent.
        """
        if any(not len(prefix) for prefix in prefixes):
            raise ValueError("a token tree needs prefixes of at least one token")
        rows = [(*prefix, *branch) for prefix, branch in zip(prefixes, branches, strict=True)]
        tokens: list[int] = []
        depth: list[int] = []
        parent: list[int] = []
        path: list[int] = []  # the flat indices of the row before
        last: tuple[int, ...] = ()
        paths: dict[int, IntArray] = {}
        for index in sorted(range(len(rows)), key=rows.__getitem__):
            shared = common_prefix(rows[index], last)
            path, last = path[:shared], rows[index]
            for token in last[shared:]:
                depth.append(len(path))
                parent.append(path[-1] if path else -1)
                path.append(len(tokens))
                tokens.append(token)
            paths[index] = np.array(path, np.int64)
        end = np.arange(1, len(tokens) + 1)
        for node in range(len(tokens) - 1, -1, -1):
            if parent[node] >= 0:
                end[parent[node]] = max(end[parent[node]], end[node])
        ends = tuple(paths[i][len(prefixes[i]) :] for i in range(len(rows)))
        return cls(np.array(tokens, np.int64), np.array(depth, np.int64), end, np.array(parent, np.int64), ends)

    @classmethod
    def joined(cls, trees: Sequence[TokenTree]) -> TokenTree:
        """Lay trees end to end: one row without padding, in which none sees another; branches in order."""
        offsets = np.cumsum([0, *map(len, trees)])[: len(trees)]
        shifted = list(zip(offsets, trees, strict=True))
        return cls(
            np.concatenate([tree.tokens for tree in trees]),
            np.concatenate([tree.depth for tree in trees]),
            np.concatenate([tree.end + offset for offset, tree in shifted]),
            np.concatenate([np.where(tree.parent < 0, -1, tree.parent + offset) for offset, tree in shifted]),
            tuple(branch + offset for offset, tree in shifted for branch in tree.branches),
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def mask(self) -> BoolArray:
        """Return the attention mask [n, n]: True where the row's token may attend to the column's."""
        n = np.arange(len(self))
        return (n[None, :] <= n[:, None]) & (n[:, None] < self.end[None, :])

    def paths(self) -> list[IntArray]:
        """Return for every leaf the flat indices of the tokens from its root down to it."""
        found = []
        for leaf in np.flatnonzero(self.end == np.arange(1, len(self) + 1)):
            path, node = np.empty(self.depth[leaf] + 1, np.int64), leaf
            while node >= 0:
                path[self.depth[node]] = node
                node = self.parent[node]
            found.append(path)
        return found

    def segments(self) -> list[Segment]:
        """Cut the tree into unbranched runs of tokens, in order, each with all that stands before it."""
        n = np.arange(len(self))
        inner = (self.parent == n - 1) & (n > 0) & (self.end == np.roll(self.end, 1))
        starts = np.flatnonzero(~inner)
        stops = np.append(starts[1:], len(self))
        seen = dict[int, IntArray]()  # by the run's last token
        found = []
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            above = seen[int(self.parent[start])] if self.parent[start] >= 0 else np.empty(0, np.int64)
            run = n[start:stop]
            found.append(Segment(above, run))
            if self.end[stop - 1] > stop:
                seen[stop - 1] = np.concatenate([above, run])
        return found


@dataclass(frozen=True)
class Segment:
    """An unbranched run of tokens of a tree (flat `indices`) and all tokens above it (`above`)."""

    above: IntArray
    indices: IntArray


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many leading tokens two sequences share."""
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))


def pack(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Split indices into rows whose lengths add up to at most `token_budget`: first fit, the longest first.

    Every index appears once; an item longer than the budget gets a row of its own.
    """
    rows: list[list[int]] = []
    leaves = 1 << max(len(lengths) - 1, 0).bit_length()
    room = [token_budget] * (2 * leaves)  # a heap: leaf `leaves + r` is row r, above stands the most of the two below
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length, node = lengths[index], 1
        if length > token_budget:  # these come first
            node = leaves + len(rows)
        while node < leaves:
            node *= 2
            node += room[node] < length
        if node - leaves == len(rows):
            rows.append([])
        rows[node - leaves].append(index)
        room[node] -= length
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return rows
