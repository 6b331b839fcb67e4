"""The Pareto front of critics: recall against false comments."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(recall: ArrayLike, false_comments: ArrayLike) -> NDArray[np.bool_]:
    """Return which points no other point dominates (recall no lower, false comments no more, one of the two better).

    Args:
        recall: `[points]`, higher is better.
        false_comments: `[points]`, lower is better.

    Returns:
        A mask `[points]`; equal points are all on the front.
    """
    up = np.asarray(recall, dtype=float)
    down = np.asarray(false_comments, dtype=float)
    no_worse = (up[None, :] >= up[:, None]) & (down[None, :] <= down[:, None])
    better = (up[None, :] > up[:, None]) | (down[None, :] < down[:, None])
    return np.asarray(~(no_worse & better).any(axis=1))
