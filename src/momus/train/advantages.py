"""From scores to advantages: KL estimates, token rewards, GAE and whitening, as pure functions.

Episodes are rows of right-padded float64 arrays [E, T]; `mask` is True where there is an action.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats = npt.NDArray[np.float64]


def kl_estimate_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Estimate KL(p || q) by ``k1 = log p(x) - log q(x)``, x drawn from p; elementwise, in nats.

    Unbiased, but often negative. Its sum over a response is what the reward is charged.

    Args:
        logprobs: log p(x), any shape.
        reference: log q(x), same shape.
    """
    return logprobs - reference


def kl_estimate_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """Estimate KL(p || q) by ``k3 = q(x)/p(x) - 1 - log(q(x)/p(x))``, x drawn from p; elementwise, in nats.

    Unbiased and never negative (http://joschu.net/blog/kl-approx.html). Logged for every optimizer step.

    Args:
        logprobs: log p(x), any shape.
        reference: log q(x), same shape.
    """
    difference = reference - logprobs
    return difference.expm1() - difference


def apply_eos_penalty(
    scores: Floats,
    finished: npt.NDArray[np.bool_],
    missing_score: float | None = None,
    missing_penalty: float = 0.0,
) -> Floats:
    """Return the scores, changed for responses without an end-of-text token (the "EOS trick").

    Args:
        scores: [E].
        finished: [E], whether the response ends in an end-of-text token.
        missing_score: Replaces the score of an unfinished response (-1 in the "N+ details", arXiv 2403.17031).
        missing_penalty: Subtracted from the score of an unfinished response (TRL's `missing_eos_penalty`).
    """
    unfinished = scores - missing_penalty if missing_score is None else np.full_like(scores, missing_score)
    return np.where(finished, scores, unfinished)


def token_rewards(scores: Floats, kl: Floats, mask: npt.NDArray[np.bool_], beta: float) -> Floats:
    """Return the reward of every action [E, T]: ``-beta * kl``, plus the score at an episode's last action.

    Args:
        scores: [E].
        kl: [E, T], `kl_estimate_k1` between policy and reference.
        mask: [E, T].
        beta: KL coefficient.
    """
    rewards = np.where(mask, -beta * kl, 0.0)
    rewards[np.arange(len(scores)), mask.sum(1) - 1] += scores
    return rewards


def gae(
    rewards: Floats,
    values: Floats,
    mask: npt.NDArray[np.bool_],
    gamma: float = 1.0,
    lam: float = 0.95,
) -> Floats:
    """Estimate advantages by generalised advantage estimation (arXiv 1506.02438, equation 16).

    Args:
        rewards: [E, T], paid for action t.
        values: [E, T], of the state in which action t was chosen.
        mask: [E, T]. After an episode's last action the value is 0.
        gamma: Discount.
        lam: Weight of longer estimates.

    Returns:
        Advantages [E, T], 0 outside the mask. Adding `values` gives the returns.
    """
    advantages = np.zeros_like(rewards)
    following, next_value = np.zeros(len(rewards)), np.zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = np.where(mask[:, t], delta + gamma * lam * following, 0.0)
        next_value = np.where(mask[:, t], values[:, t], 0.0)
        advantages[:, t] = following
    return advantages


def whiten(x: Floats, mask: npt.NDArray[np.bool_], shift_mean: bool = True) -> Floats:
    """Scale the cells under the mask to (biased) variance 1, and to mean 0 unless `shift_mean` is False."""
    mean, variance = x[mask].mean(), x[mask].var()
    white = (x - mean) / np.sqrt(variance + 1e-8) + (0.0 if shift_mean else mean)
    return np.where(mask, white, 0.0)
