"""What a pointer's word is worth to a reward model (`lm/pointers/reward.py`), learned from rankings.

The same loss as the reward model's (`reward.py`, InstructGPT's equation 1) in the two worths alone. It is convex:
Newton's method finds its minimum in a few steps, with a ridge so small that it only matters where the rankings say
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import expit

from momus.errors import UserError
from momus.lm.pointers.reward import PointerRewardModel
from momus.train.reward import RankedPrompt, group_by_prompt

RIDGE = 1e-3
STEPS = 20


def learn_worth(model: PointerRewardModel, rankings: Sequence[RankedPrompt]) -> tuple[float, float]:
    """Set the model's worths to those that explain the rankings best, whatever its backbone says.

    Args:
        model: The model; nothing else of it changes.
        rankings: Of critiques; those of one prompt weigh as one.

    Returns:
        What an expected bug quoted is worth, and a comment.

    Raises:
        UserError: All ranks are tied, or the pointer's odds are not numbers.
    """
    elements = group_by_prompt(rankings)
    if not elements:
        raise UserError("no ranking prefers one critique to another: there is nothing to learn from")
    differences, weights = [], []
    for element, counts in zip(elements, model.expected_counts([element.tree() for element in elements]), strict=True):
        for pairs in element.pairs:
            better, worse = np.array(pairs).T
            differences.append(counts[better] - counts[worse])
            weights.append(np.full(len(pairs), 1 / (len(elements) * len(element.pairs) * len(pairs))))
    x, w = np.concatenate(differences), np.concatenate(weights)
    worth = np.zeros(2)
    for _ in range(STEPS):
        wrong = expit(-x @ worth)
        gradient = -(w * wrong) @ x + RIDGE * worth
        curvature = (x * (w * wrong * (1 - wrong))[:, None]).T @ x + RIDGE * np.eye(2)
        worth = worth - np.linalg.solve(curvature, gradient)
    if not np.isfinite(worth).all():
        raise UserError("what the pointer says could not be weighed: its odds are not numbers")
    model.worth.copy_(torch.from_numpy(worth))
    return float(worth[0]), float(worth[1])
