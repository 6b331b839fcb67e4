"""Stop a training run that has broken, and report in one line the symptom, the likely cause, and what to do."""

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
    """Stop before a step that would make the weights non-finite.

    Args:
        metrics: All numbers of the step.
        where: Names the step.
        before: Measurements from before the step, shown after the broken numbers.

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


def require_kl_within(limit: float | None, metrics: Mapping[str, float], where: str) -> None:
    """Stop when the policy has moved so far from its reference that its rewards are meaningless.

    Args:
        limit: Largest absolute KL estimate to tolerate; None tolerates all.
        metrics: Measurements of a batch before any step, all of which must be finite. `kl` is the KL from the reference
            in nats per episode. An estimate far below 0 cannot be a KL: the responses were not drawn from the policy.
        where: Names the iteration.

    Raises:
        UserError: A metric is not finite, or the KL is beyond `limit`.
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
