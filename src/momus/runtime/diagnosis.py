"""Stop a training run that has broken, and say in one line what was seen, what is likely, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping

from momus.errors import UserError

CAUSES = {
    "score": "the reward gives values that are no numbers",
    "value": "the value network's learning rate is too high, or the rewards are far from 1 in size",
    "ptx": "ptx_coefficient or the learning rate is too high, or a pretraining text holds what the model cannot read",
    "kl": "the reference and the policy disagree completely: a learning rate too high some iterations ago",
}
"""Likely causes by the beginning of the first broken metric's name."""
RATE = "the learning rate is too high, or the numbers overflow in low precision"
NEXT = "The same command ends here again, as what was sampled is kept: mend that and start in another directory"


def require_finite(metrics: Mapping[str, float], where: str, before: Mapping[str, float] | None = None) -> None:
    """Stop before a step that would poison the weights.

    Args:
        metrics: All numbers of the step.
        where: Names the step.
        before: What was measured before the step, to be said after the broken numbers.

    Raises:
        UserError: A metric is not finite.
    """
    broken = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if broken:
        first = next(iter(broken))
        cause = next((cause for name, cause in CAUSES.items() if first.startswith(name)), RATE)
        seen = ", ".join(f"{name} {value}" for name, value in broken.items())
        also = ", ".join(f"{name} {value:.4g}" for name, value in (before or {}).items())
        raise UserError(
            f"training became non-finite in {where}: {seen}{f' ({also})' if also else ''}. Likely: {cause}. {NEXT}"
        )


def require_near(metrics: Mapping[str, float], limit: float | None, where: str) -> None:
    """Stop when the policy has left its reference so far that its rewards mean nothing any more.

    Args:
        metrics: What was measured of a batch before any step; all of it has to be finite. `kl` is in nats per episode
            from the reference. An estimate far below 0 cannot be a KL: the responses were not drawn from the policy.
        limit: Most that is tolerated either way; None tolerates all.
        where: Names the iteration.

    Raises:
        UserError: It is further away than `limit`.
    """
    require_finite(metrics, where)
    kl = metrics["kl"]
    if limit is None or abs(kl) <= limit:
        return
    cause = (
        "the learning rate is too high or kl_coefficient too small"
        if kl > 0
        else "the sampler draws from another distribution than the policy's (temperature, top-p, old weights)"
    )
    raise UserError(
        f"the KL from the reference is {kl:.4g} nats per episode in {where}, beyond kl_limit {limit:g}. "
        f"Likely: {cause}. {NEXT}"
    )
