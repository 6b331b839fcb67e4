"""Drawing tokens from given random numbers."""

from __future__ import annotations

import torch


def draw(probabilities: torch.Tensor, noise: torch.Tensor, top_p: float = 1.0) -> torch.Tensor:
    """Draw one index per row by inverting the cumulative distribution.

    Args:
        probabilities: float [R, V].
        noise: Uniform numbers in [0, 1), float64 [R].
        top_p: Draw from the smallest set of tokens with at least this probability.
    """
    if top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = ordered.double().cumsum(-1) - ordered
        probabilities = probabilities.scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
    cumulative = probabilities.double().cumsum(-1)
    total = cumulative[:, -1:]
    goal = torch.minimum(noise[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, goal, right=True)[:, 0]
