"""The best epoch or checkpoint of a run: its weights are kept beside the others, and loaded when training ends."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from momus.errors import UserError
from momus.runtime.runs import Run
from momus.runtime.states import load_module_state, module_state

FOLDER = "best"


class BestEpoch:
    """Checkpoints of a training run, and the weights of its best epoch so far.

    Args:
        run: Run directory.
        model: Trained model.
        optimizer: Its optimizer.
        steps_per_epoch: Steps in an epoch.
        choose: Whether the best epoch's weights are kept; otherwise the last epoch counts as the best.
    """

    def __init__(
        self, run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, steps_per_epoch: int, choose: bool
    ) -> None:
        self._run, self._modules, self._optimizers = run, {"model": model}, {"optimizer": optimizer}
        self._steps_per_epoch, self._choose = steps_per_epoch, choose
        self._state: dict[str, Any] = {"epoch": 0, "value": -math.inf}

    def restore(self) -> int:
        """Load the newest checkpoint, if any; return the steps done."""
        step, self._state = self._run.restore(self._modules, self._optimizers) or (0, self._state)
        self._keep_best(step)  # a kill may have come between the checkpoint and this
        return step

    def save(self, step: int) -> None:
        """Write a checkpoint, and the weights if they are those of the best epoch."""
        self._run.save(step, self._modules, self._optimizers, self._state)
        self._keep_best(step)

    def update(self, epoch: int, value: float) -> int:
        """Take an epoch's value, the higher the better; return the best epoch so far, of equal ones the last."""
        if not self._choose or value >= self._state["value"]:
            self._state = {"epoch": epoch, "value": value}
        return int(self._state["epoch"])

    def load(self) -> None:
        """Load the weights of the best epoch into the model.

        Raises:
            UserError: They are missing or damaged.
        """
        if not self._choose:
            return
        best = self._run.get(FOLDER)
        if best is None or best["epoch"] != self._state["epoch"]:
            raise UserError(
                f"{self._run.path / FOLDER}: the weights of the best epoch, {self._state['epoch']}, are missing or "
                "damaged: train in a new directory"
            )
        load_module_state(self._modules["model"], best["model"])

    def _keep_best(self, step: int) -> None:
        if self._choose and step and step == self._state["epoch"] * self._steps_per_epoch:
            self._run.put(FOLDER, {"epoch": self._state["epoch"], "model": module_state(self._modules["model"])})


class BestCheckpoint:
    """The weights of a run's best checkpoint so far.

    Args:
        run: Run directory.
        model: The model in training.

    Attributes:
        step: The step of the best checkpoint; 0 without any.
    """

    def __init__(self, run: Run, model: nn.Module) -> None:
        self._run, self._model = run, model
        kept = run.get(FOLDER)
        self.step, self._value = (int(kept["step"]), float(kept["value"])) if kept else (0, -math.inf)

    def offer(self, step: int, value: float) -> None:
        """Keep the weights as they are at a checkpoint, where no earlier one has a value as high."""
        if value > self._value:
            self._run.put(FOLDER, {"step": step, "value": value, "model": module_state(self._model)})
            self.step, self._value = step, value

    def load(self) -> None:
        """Load the best weights into the model.

        Raises:
            UserError: They are missing or damaged.
        """
        kept = self._run.get(FOLDER)
        if kept is None or kept["step"] != self.step:
            raise UserError(
                f"{self._run.path / FOLDER}: the weights of the best checkpoint, of step {self.step}, are missing or "
                "damaged: train in a new directory"
            )
        load_module_state(self._model, kept["model"])
