"""Token trees: one prompt with many branches, each distinct token stored (and computed) once.

A tree is stored flat in preorder::

    tokens[n]   the token
    depth[n]    how many ancestors it has: its position id
    end[n]      one past its last descendant

Token q may attend to token k exactly when ``k <= q and q < end[k]``. That one line is the causal mask, the
shared-prefix mask and the packing mask (two trees laid end to end never contain each other).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TokenTree:
    """A prompt and its branches, flat in preorder; all arrays are int64 of shape [n].

    `parent[i]` is the flat index of the token before token i on its path (-1 at the root), so the logits that
    predict token i are those at `parent[i]`. `branches[b]` holds the flat indices of branch b's own tokens.
    """

    tokens: IntArray
    depth: IntArray
    end: IntArray
    parent: IntArray
    branches: tuple[IntArray, ...]

    @classmethod
    def from_branches(cls, prompt: Sequence[int], branches: Sequence[Sequence[int]]) -> TokenTree:
        """Build the tree of one prompt and any number of branches that hang off its last token.

        Raises:
            ValueError: The prompt is empty: the first token of a branch would have no parent.
        """
        if not len(prompt):
            raise ValueError("a token tree needs a prompt of at least one token")
        size, total = len(prompt), len(prompt) + sum(map(len, branches))
        tokens, depth, end, parent = [np.empty(total, np.int64) for _ in range(4)]
        tokens[:size], depth[:size], end[:size] = prompt, np.arange(size), total
        parent[:size] = np.arange(-1, size - 1)
        indices, start = [], size
        for branch in branches:
            stop = start + len(branch)
            own = np.arange(start, stop)
            tokens[start:stop], depth[start:stop], end[start:stop] = branch, own - start + size, stop
            parent[start:stop] = own - 1
            if len(branch):
                parent[start] = size - 1
            indices.append(own)
            start = stop
        return cls(tokens, depth, end, parent, tuple(indices))

    def __len__(self) -> int:
        return len(self.tokens)

    def mask(self) -> BoolArray:
        """Return the attention mask [n, n]: True where the row's token may attend to the column's."""
        n = np.arange(len(self))
        return (n[None, :] <= n[:, None]) & (n[:, None] < self.end[None, :])
