"""How much better an action was than expected: scores, token rewards, advantages, whitening; pure functions.

Episodes are rows of right-padded [E, T] arrays of float64; `mask` is True where there is an action.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def ended(
    scores: npt.NDArray[np.float64],
    finished: npt.NDArray[np.bool_],
    missing_score: float | None = None,
    missing_penalty: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Return the scores with those of responses that never ended changed; the "EOS trick".

    Args:
        scores: [E].
        finished: [E], whether the response ends in an end-of-text token.
        missing_score: A fixed score instead of its own (-1 in the "N+ details", arXiv 2403.17031).
        missing_penalty: What its own score loses (TRL's `missing_eos_penalty`).
    """
    unfinished = scores - missing_penalty if missing_score is None else np.full_like(scores, missing_score)
    return np.where(finished, scores, unfinished)


def token_rewards(
    scores: npt.NDArray[np.float64], kl: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_], beta: float
) -> npt.NDArray[np.float64]:
    """Reward of every action: the KL penalty, and at an episode's last action the score.

    Args:
        scores: [E].
        kl: [E, T], ``log pi - log pi_ref`` of the token taken, an unbiased estimate of the KL.
        mask: [E, T].
        beta: Weight of the penalty.
    """
    rewards = np.where(mask, -beta * kl, 0.0)
    rewards[np.arange(len(scores)), mask.sum(1) - 1] += scores
    return rewards


def gae(
    rewards: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    gamma: float = 1.0,
    lam: float = 0.95,
) -> npt.NDArray[np.float64]:
    """Generalised advantage estimation (arXiv 1506.02438, equation 16) of right-padded episodes.

    Args:
        rewards: [E, T], paid for action t.
        values: [E, T], of the state in which action t was chosen.
        mask: [E, T], True where there is an action. After an episode's last action the value is 0.
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


def whiten(x: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_], shift_mean: bool = True) -> npt.NDArray[np.float64]:
    """Scale what is under the mask to (biased) variance 1, and to mean 0 unless `shift_mean` is off."""
    mean, variance = x[mask].mean(), x[mask].var()
    white = (x - mean) / np.sqrt(variance + 1e-8) + (0.0 if shift_mean else mean)
    return np.where(mask, white, 0.0)
