"""Watching a run: its metrics as they come, in the terminal and wherever else they are wanted.

A `Monitor` is what a stage calls after every step::

    with Monitor("ppo", run, track=("tensorboard",)) as progress:
        train_policy(..., run, progress=progress)

In a terminal it shows a bar with the time left, and every metric's present value with a sparkline of the whole run,
that of earlier sessions included. Elsewhere (a log file, a batch system) it prints a line now and then. All of it
goes to stderr; of several processes the first one speaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from momus.runtime.processes import is_main_process
from momus.runtime.runs import Run
from momus.runtime.sinks import Sink, check_sinks, open_sink

BARS = "▁▂▃▄▅▆▇█"
LINE_SECONDS = 30.0
"""How long without a line, where there is no terminal."""
REDRAWS = 4
"""Most redraws a second in a terminal."""


class Monitor:
    """Shows the metrics of one run, and hands them to sinks; a `Progress` for any stage.

    Args:
        title: What is running.
        run: The run whose metrics they are.
        track: Sinks by name: see `momus.runtime.sinks`.
        console: Where to show them; by default stderr.

    Raises:
        UserError: There is no such sink, or its package is not installed.
    """

    def __init__(self, title: str, run: Run, track: Sequence[str] = (), console: Console | None = None) -> None:
        check_sinks(tuple(track))
        self._title, self._run, self._track = title, run, tuple(track)
        self._console = console or Console(stderr=True)
        self._sinks: list[Sink] | None = None
        self._series: dict[str, list[float]] = {}
        self._said = -math.inf
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=self._console,
        )  # fmt: skip
        self._task = self._bar.add_task(title, total=None)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        if is_main_process() and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with ExitStack() as stack:
            for sink in self._sinks or []:
                stack.callback(sink.close)
            self._live.stop()
        if is_main_process() and self._series and self._console.is_terminal:
            self._console.print(self._table(self._console.height))

    def __call__(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of the step that makes `done` of `total`."""
        if not is_main_process():
            return
        if self._sinks is None:  # the first step of this process: it is known by now where the run went on
            self._sinks = [open_sink(name, self._run, done) for name in self._track]
            for line in self._run.history():
                if line["step"] < done:
                    self._add({name: value for name, value in line.items() if name != "step"})
            self._bar.reset(self._task, total=total, completed=done - 1)
        self._add(metrics)
        for sink in self._sinks:
            sink.log(done, metrics)
        self._bar.update(self._task, completed=done)
        self._show(done, total, metrics)

    def _add(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._series.setdefault(name, []).append(float(value))

    def _show(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        now, terminal = monotonic(), self._console.is_terminal
        if now - self._said < (1 / REDRAWS if terminal else LINE_SECONDS) and done < total:
            return
        self._said = now
        if terminal:
            self._live.update(Group(self._bar, self._table(self._console.height - 3)), refresh=True)
            return
        left = self._bar.tasks[0].time_remaining
        shown = " ".join(f"{name} {_short(value)}" for name, value in metrics.items())
        ends = "" if left is None else f", {left / 60:.0f} min left"
        self._console.print(f"{self._title} {done}/{total}{ends}: {shown}", soft_wrap=True, highlight=False)

    def _table(self, height: int) -> Table:
        """Show as many metrics as have room, in the order they came."""
        names = list(self._series)[: max(1, height)]
        table = Table.grid(padding=(0, 2))
        width = max(8, self._console.width - max(map(len, names), default=0) - 16)
        for name in names:
            table.add_row(name, f"{_short(self._series[name][-1]):>10}", sparkline(self._series[name], width))
        return table


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw values as at most `width` bars, each the mean of as many neighbours; what is no number is a gap."""
    size = max(1, math.ceil(len(values) / width))
    means = [_mean(values[start : start + size]) for start in range(0, len(values), size)]
    known = [mean for mean in means if math.isfinite(mean)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    spread = high - low or 1.0
    return "".join(
        BARS[round((mean - low) / spread * (len(BARS) - 1))] if math.isfinite(mean) else " " for mean in means
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan


def _short(value: float) -> str:
    return f"{value:.4g}"
