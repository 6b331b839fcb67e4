"""Drawing tokens from given random numbers."""

from __future__ import annotations

import torch

from momus.errors import UserError

BLOCK = 1024  # probabilities summed up together: a vocabulary of 150,000 is searched block first
LIKELIEST = 1024  # tokens to look for the most probable set among, before all are sorted


def draw(probabilities: torch.Tensor, noise: torch.Tensor, top_p: float = 1.0) -> torch.Tensor:
    """Draw one index per row by inverting the cumulative distribution.

    Args:
        probabilities: float [R, V].
        noise: Uniform numbers in [0, 1), float64 [R].
        top_p: Draw from the smallest set of tokens with at least this probability.
    """
    if top_p < 1:
        probabilities = keep_most_probable(probabilities, top_p)
    size = probabilities.shape[1]
    sums = torch.stack([part.sum(-1, dtype=torch.float64) for part in torch.split(probabilities, BLOCK, -1)], -1)
    cumulative = sums.cumsum(-1)
    total = cumulative[:, -1:]
    goal = torch.minimum(noise[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    block = torch.searchsorted(cumulative, goal, right=True)
    before = torch.nn.functional.pad(cumulative, (1, 0)).gather(-1, block)
    index = block * BLOCK + torch.arange(min(BLOCK, size), device=probabilities.device)
    within = probabilities.gather(-1, index.clamp_max(size - 1)).double().masked_fill(index >= size, 0.0)
    cumulative = before + within.cumsum(-1)
    # Rounding may put the goal past the last sum of its block: the block's last token with a probability is meant.
    likely = torch.where(within > 0, index, -1).amax(-1, keepdim=True)
    place = block * BLOCK + torch.searchsorted(cumulative, goal, right=True)
    return torch.minimum(place, likely)[:, 0]


def keep_most_probable(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Set to 0 all but the smallest set of tokens with at least some probability; of equal ones the first are kept.

    Args:
        probabilities: float [R, V].
        top_p: The probability, in (0, 1).
    """
    size = probabilities.shape[1]
    for few in (min(LIKELIEST, size), size):
        ordered = probabilities.topk(few, -1).values
        before = ordered.double().cumsum(-1) - ordered
        count = (before < top_p).sum(-1, keepdim=True)
        if few == size or bool((count < few).all()):
            break
    least = ordered.gather(-1, count - 1)
    equal = probabilities == least
    surplus = equal.sum(-1, keepdim=True) - (count - (ordered > least).sum(-1, keepdim=True))
    if bool(surplus.any()):
        equal &= equal.cumsum(-1) <= equal.sum(-1, keepdim=True) - surplus
    return probabilities.masked_fill(~((probabilities > least) | equal), 0.0)


def log_total(logits: torch.Tensor) -> torch.Tensor:
    """Return what to subtract from logits [R, V] for log-probabilities: float32 [R].

    Raises:
        UserError: They are not numbers.
    """
    total = logits.logsumexp(-1)
    check_numbers(total)
    return total


def check_numbers(values: torch.Tensor) -> None:
    """Refuse what a damaged model computes.

    Raises:
        UserError: Some values are not finite.
    """
    if not bool(values.isfinite().all()):
        raise UserError("the model's probabilities are not numbers: its training diverged or its precision is too low")
