"""How far the policy has moved from its reference: estimators of the KL, and a coefficient that follows it.

With x drawn from p, and ``d = log p(x) - log q(x)``, two estimates of KL(p || q) in nats have the right mean:

* k1 = d, negative half of the time; its sum over a response is what the reward is charged for;
* k3 = exp(-d) - 1 + d, never negative; what is logged of one optimizer step.
"""

from __future__ import annotations

from torch import Tensor

from momus.train.settings import KL_ERROR_CLIP


def k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Estimate KL(p || q) from log-probabilities under p and q of what p drew; any shape, elementwise."""
    return logprobs - reference


def k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Estimate the same, never below 0; any shape, elementwise."""
    difference = reference - logprobs
    return difference.expm1() - difference


def adapted(coefficient: float, kl: float, target: float, episodes: int, horizon: float) -> float:
    """Return the next KL coefficient of the controller of Ziegler et al. (arXiv 1909.08593, §2.2, and its code).

    Proportional control of the coefficient's logarithm: ``beta * (1 + e * episodes / horizon)`` with the relative
    error ``e = clip(kl / target - 1, -0.2, 0.2)``.

    Args:
        coefficient: The present one, beta.
        kl: Mean over the batch's episodes of the KL from the reference, nats per episode.
        target: What it should be.
        episodes: In the batch.
        horizon: Episodes over which an error at the clip changes the coefficient by its own size; more than the clip's
            share of `episodes`, so that it stays above 0.
    """
    error = min(max(kl / target - 1, -KL_ERROR_CLIP), KL_ERROR_CLIP)
    return coefficient * (1 + error * episodes / horizon)
