"""Where a run's metrics go besides its `metrics.jsonl`: TensorBoard, Weights & Biases, trackio, chosen by name.

A run that was killed goes back to its checkpoint and takes some steps again. No sink shows a step twice: TensorBoard
drops its events from that step on; the others are sent only steps beyond the last one sent, which `sent-NAME.json` in
the run directory holds. What is sent again would be the same numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from momus.errors import UserError
from momus.files import read_json, write_json, write_text
from momus.runtime.runs import Run

PROJECT = "momus"
"""What runs are filed under, where a sink has projects."""


class Sink(Protocol):
    """Takes the metrics of one step after another."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step."""

    def close(self) -> None:
        """Write out what is left."""


def open_sink(name: str, run: Run, step: int) -> Sink:
    """Open a sink for a run whose next step is `step`."""
    return SINKS[name](run, step)


def check_sinks(names: tuple[str, ...]) -> None:
    """Refuse names of no sink, and sinks whose package is not installed.

    Raises:
        UserError: With what to install.
    """
    for name in names:
        if name not in SINKS:
            raise UserError(f"metrics cannot go to {name!r}: there are {', '.join(SINKS)}")
        if find_spec(name) is None:
            raise UserError(f"metrics cannot go to {name}, which is not installed: pip install {name}")


class _TensorBoard:
    def __init__(self, run: Run, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run.path / "tensorboard"), purge_step=step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Service:
    """One run of wandb or of trackio, whose functions are alike, continued under the name that it began with."""

    def __init__(self, name: str, run: Run, **settings: Any) -> None:
        self._service, self._sent = import_module(name), run.path / f"sent-{name}.json"
        self._last = int(read_json(self._sent)["step"]) if self._sent.exists() else 0
        title = f"{run.path.resolve().parent.name}-{run.path.name}"
        self._service.init(project=PROJECT, name=title, config=run.config, resume="allow", **settings)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step > self._last:
            self._service.log(dict(metrics), step=step)
            self._last = step
            write_json(self._sent, {"step": step})

    def close(self) -> None:
        self._service.finish()


def _wandb(run: Run, step: int) -> Sink:
    file = run.path / "wandb-id"
    if not file.exists():
        write_text(file, secrets.token_hex(8) + "\n")
    return _Service("wandb", run, id=file.read_text().strip(), dir=str(run.path))


def _trackio(run: Run, step: int) -> Sink:
    return _Service("trackio", run)


SINKS: dict[str, Callable[[Run, int], Sink]] = {"tensorboard": _TensorBoard, "wandb": _wandb, "trackio": _trackio}
