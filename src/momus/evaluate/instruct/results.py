"""What one system scored on one public task, item by item, so that two systems can be compared on the same items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from momus.errors import UserError
from momus.records import Record, read_jsonl, write_jsonl
from momus.stats.bootstrap import SHARE, Bounds, Interval, ratio_interval

RESULTS = "results.jsonl"

_SHARES = {
    "acc", "acc_norm", "em", "exact", "exact_match", "f1", "mc1", "toxicity", "no comment", "nearer a true answer",
    "stereotyped likelier", "entropy, bits", "true", "informative", "true and informative",
}  # fmt: skip
"""Metrics whose value of one item lies between 0 and 1."""


class TaskResult(Record):
    """One system on one task.

    Attributes:
        task: The task's name.
        metric: What was measured, in a word or two.
        better: Which direction is better; empty where neither is.
        prompt: The text put before every prompt, verbatim, and `style` its name.
        shots: Examples put before every prompt.
        items: The value of every item by its name in the data.
        groups: What each item belongs to (a passage, a template), where several belong to one: that is what is
            resampled, for such items are not independent. Items that are not here stand for themselves.
        source: Where the items came from.
        note: What a reader must know to read the number.
    """

    task: str
    metric: str
    better: Literal["high", "low", ""]
    items: dict[str, float]
    prompt: str = ""
    style: str = "none"
    shots: int = 0
    groups: dict[str, str] = Field(default_factory=dict)
    source: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """Return what two systems' results are matched by: the task, its prefix, its shots and the metric."""
        style = f", {self.style}" if self.style != "none" else ""
        shots = f", {self.shots} shots" if self.shots else ""
        return f"{self.task}{style}{shots}: {self.metric}"

    def mean(self) -> Interval:
        """Return the mean over items with its interval."""
        return grouped_mean(self.items, self.groups, self.bounds)

    @property
    def bounds(self) -> Bounds | None:
        """The least and the greatest value of one item, where the metric has such."""
        return SHARE if self.metric in _SHARES else None


def grouped_mean(values: Mapping[str, float], groups: Mapping[str, str], bounds: Bounds | None = None) -> Interval:
    """Return the mean of items' values, its interval over the groups that items belong to; a single one has none.

    Args:
        values: By item.
        groups: The group of each item that is not its own.
        bounds: The least and the greatest value of one item; without them, values that are all alike have no interval.
    """
    numbers = {
        group: i for i, group in enumerate(dict.fromkeys((item in groups, groups.get(item, item)) for item in values))
    }
    totals = np.zeros((len(numbers), 2))
    for item, value in values.items():
        totals[numbers[item in groups, groups.get(item, item)]] += value, 1
    return ratio_interval(totals[:, 0], totals[:, 1], bounds=bounds if len(totals) > 1 else None)


def write_results(folder: Path, results: list[TaskResult]) -> Path:
    """Write a system's results, whole or not at all; returns the file."""
    write_jsonl(folder / RESULTS, results)
    return folder / RESULTS


def read_results(folder: Path) -> Iterator[TaskResult]:
    """Read what `write_results` wrote.

    Raises:
        UserError: There are no results, or the file is damaged.
    """
    path = folder / RESULTS if folder.is_dir() else folder
    if not path.is_file():
        raise UserError(f"{folder}: no results in it: run momus evaluate public --out {folder} first")
    yield from read_jsonl(path, TaskResult)
