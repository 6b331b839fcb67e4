"""What every benchmark here shares: options, the machine, timing in turns, counting tokens, tables and JSON.

Contenders take turns in one process (warm-up first), so that whatever else the machine does hits all of them; the
number of each is the median of its repeats, and a ratio is one of medians of the same run. JSON keeps all repeats.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

PACKAGES = ("momus", "torch", "transformers", "trl", "accelerate", "datasets", "numpy")


@dataclass(frozen=True)
class Goal:
    """A claim that a benchmark checks: `measured` has to be at least, or at most, `bound`."""

    text: str
    measured: float
    bound: float
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether the claim held in this run."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


class TokenCounter:
    """Counts the tokens a Llama backbone computes, padding included.

    Counted where its first layer's feed-forward block is entered, because there every token is a row of its own,
    however the forward pass lays them out; B rows of T tokens count B * T.
    """

    def __init__(self, backbone: Any) -> None:
        self.tokens = 0
        backbone.layers[0].mlp.register_forward_pre_hook(self._count)

    def _count(self, module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        self.tokens += inputs[0].numel() // inputs[0].shape[-1]

    def during(self, action: Callable[[], Any]) -> int:
        """Return how many tokens an action computes."""
        before = self.tokens
        action()
        return self.tokens - before


def parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=repeats, help=f"timed repeats ({repeats})")
    options.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write machine, versions and all repeats")
    options.add_argument("--quick", action="store_true", help="tiny sizes: does it run? Its numbers mean nothing")
    return options


def timed(action: Callable[[], object]) -> float:
    """Return the seconds an action takes."""
    start = perf_counter()
    action()
    return perf_counter() - start


def alternate(contenders: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Let contenders take turns; each call returns its seconds. The first round is the warm-up and is dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, action in contenders.items():
            taken = action()
            if turn:
                seconds[name].append(taken)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times faster the second is: the ratio of medians."""
    return median(slow) / median(fast)


def agreement(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> float:
    """Return the relative difference of two lists of tensors: |first - second| / |second|, Euclidean."""
    difference = sum(float((a.double() - b.double()).square().sum()) for a, b in zip(first, second, strict=True))
    return float((difference / sum(float(b.double().square().sum()) for b in second)) ** 0.5)


def machine(threads: int) -> dict[str, Any]:
    """Describe where the numbers come from, other load included."""
    cpus = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return {
        "cpu": cpus[0].split(":")[1].strip() if cpus else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_gib": round(int(memory[0].split()[1]) / 2**20, 1) if memory else None,
        "load_at_start": round(os.getloadavg()[0], 2),
        "platform": platform.platform(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of the packages compared; None for one that is not installed."""
    return {name: _version(name) for name in PACKAGES}


class Report:
    """One run's results: shown as tables, and written as JSON where asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.set_num_threads(options.threads)
        self.options, self.console, self.cases = options, Console(width=120), list[dict[str, Any]]()
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.machine = machine(options.threads)
        if self.machine["load_at_start"] > 0.5:
            self.console.print(
                f"The machine is busy (load {self.machine['load_at_start']}): do not quote these numbers."
            )

    def case(self, name: str, seconds: Mapping[str, Sequence[float]], **more: Any) -> None:
        """Keep one case: all repeats of every contender in seconds, and whatever else was measured."""
        contenders = {key: {"median_s": median(own), "repeats_s": list(own)} for key, own in seconds.items()}
        self.cases.append({"case": name, "contenders": contenders, **more})

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table whose first column is text and whose others are numbers."""
        table = Table(title=title, title_justify="left")
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    def finish(self, goals: Sequence[Goal]) -> None:
        """Print the goals and what was measured, and write the JSON file."""
        rows = [
            (g.text, f"{g.measured:.3g}", ("≥ " if g.at_least else "≤ ") + f"{g.bound:g}", _verdict(g)) for g in goals
        ]
        if rows:
            self.table("Goals", ("", "measured", "goal", ""), rows)
        if self.options.quick:
            self.console.print("--quick: the script runs; its numbers mean nothing.")
        if self.options.json:
            result = {
                "benchmark": Path(sys.argv[0]).stem,
                "settings": {k: v for k, v in vars(self.options).items() if k != "json" and v is not None},
                "started": self.started,
                "machine": self.machine,
                "versions": versions(),
                "cases": self.cases,
                "goals": [{**asdict(goal), "met": goal.met} for goal in goals],
            }
            self.options.json.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")


def _verdict(goal: Goal) -> str:
    return "met" if goal.met else "MISSED"


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
