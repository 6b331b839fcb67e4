"""The networks of a PPO run: made, placed, stepped, saved and restored together."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn

from momus.errors import UserError
from momus.lm.models import RewardModel
from momus.runtime.adapters import Reference, copy_of, identity, unfreeze, update_average, value_of
from momus.runtime.processes import reduce_and_clip_gradients
from momus.runtime.runs import Run
from momus.runtime.sharding import place
from momus.train.schedules import set_learning_rate
from momus.train.settings import PPOConfig


class PPONetworks:
    """Policy, reference, value network and averaged policy, with the optimizers of policy and value.

    Args:
        policy: Trained in place.
        reward_model: Copied as the initial value network; None starts it as the policy with a head of zeros.
        config: All settings.
        run: Run directory with the checkpoints.

    Attributes:
        policy: The policy.
        reference: The policy as it was on entry.
        value: The value network.
        average: Averaged policy, None where `config.ema_decay` is.
        start: Identifies the models the run started from.
    """

    def __init__(self, policy: Any, reward_model: RewardModel | None, config: PPOConfig, run: Run) -> None:
        self._config, self._run = config, run
        self.policy = policy.eval()
        self.reference = Reference(policy)
        self.value = unfreeze(copy_of(reward_model) if reward_model else value_of(policy)).eval()
        self.average = None if config.ema_decay is None else copy_of(policy).requires_grad_(False)
        self.trained: dict[str, nn.Module] = {"policy": policy, "value": self.value}
        self.start = json.dumps({name: identity(module) for name, module in self.trained.items()})
        for module in (policy, self.value, self.reference.model, *([self.average] if self.average else [])):
            place(module)
        rates = {"policy": config.policy_learning_rate, "value": config.value_learning_rate}
        settings: dict[str, Any] = {"betas": config.betas, "eps": config.adam_eps, "weight_decay": 0.0}
        self.optimizers = {
            name: torch.optim.AdamW(module.parameters(), lr=rates[name], **settings)
            for name, module in self.trained.items()
        }

    def restore(self) -> tuple[int, float]:
        """Load the newest checkpoint, if any; return the iterations done and the KL coefficient.

        Raises:
            UserError: The run was started from other models.
        """
        restored = self._run.restore(self._saved(), self.optimizers)
        step, state = restored or (0, {"start": self.start, "beta": self._config.kl_coefficient})
        before, now = json.loads(state["start"]), json.loads(self.start)
        if other := [name for name in now if before[name] != now[name]]:
            what = "reward model" if other == ["value"] else "policy"
            raise UserError(f"{self._run.path} was started from another {what}: use that one or another directory")
        return step, state["beta"]

    def save(self, iteration: int, kl_coefficient: float) -> None:
        """Write a checkpoint."""
        self._run.save(iteration, self._saved(), self.optimizers, {"start": self.start, "beta": kl_coefficient})

    def _saved(self) -> dict[str, nn.Module]:
        return self.trained | ({"ema": self.average} if self.average is not None else {})

    def set_learning_rates(self, factor: float) -> None:
        """Set both learning rates to `factor` times their peak."""
        set_learning_rate(self.optimizers.values(), factor)

    def zero_grad(self) -> None:
        """Reset the gradients of policy and value."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()

    def clip_gradients(self) -> dict[str, float]:
        """Sum gradients over processes and clip them by network; return the norms before clipping."""
        limit = self._config.max_grad_norm
        return {f"{name}_grad_norm": reduce_and_clip_gradients(module, limit) for name, module in self.trained.items()}

    def step(self) -> None:
        """Step both optimizers and update the averaged policy."""
        for optimizer in self.optimizers.values():
            optimizer.step()
        if self.average is not None and self._config.ema_decay is not None:
            update_average(self.average, self.policy, self._config.ema_decay)
