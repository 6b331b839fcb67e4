"""Schedules: how learning rates, and the KL coefficient, change in the course of training."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from momus.train.settings import KL_ERROR_CLIP


def cosine(progress: float, final_fraction: float) -> float:
    """Return the factor of a cosine schedule, from 1 at `progress` 0 to `final_fraction` at 1."""
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def warm_up(step: int, steps: int, start: float = 0.1) -> float:
    """Return the factor of a linear warm-up: `start` at step 0, 1 from step `steps` on."""
    progress = step / steps if steps else 1.0
    return min(1.0, start + (1 - start) * progress)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set every parameter group's learning rate to `factor` times the rate its optimizer was made with."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * factor


def adaptive_kl_coefficient(coefficient: float, kl: float, target: float, episodes: int, horizon: float) -> float:
    """Return the next KL coefficient of the controller of Ziegler et al. (arXiv 1909.08593, §2.2, and its code).

    Proportional control in log space: ``beta * (1 + e * episodes / horizon)``, where the relative error is
    ``e = clip(kl / target - 1, -0.2, 0.2)``.

    Args:
        coefficient: The current one, beta.
        kl: KL from the reference, nats per episode, mean over the batch's episodes.
        target: Desired KL, nats per episode.
        episodes: Episodes in the batch.
        horizon: Episodes over which an error at the clip changes the coefficient by its own size. It must exceed
            0.2 times `episodes`, or the coefficient would fall below 0.
    """
    error = min(max(kl / target - 1, -KL_ERROR_CLIP), KL_ERROR_CLIP)
    return coefficient * (1 + error * episodes / horizon)
