"""What one system scored on one public task, item by item, so that two systems can be compared on the same items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from momus.errors import UserError
from momus.evaluate.instruct.bleu import corpus_bleu
from momus.records import Record, read_jsonl, write_jsonl
from momus.stats.bootstrap import SHARE, Bounds, Floats, Interval, ratio_interval, statistic_interval

RESULTS = "results.jsonl"
CORPUS_BLEU = "corpus bleu"
"""The metric whose value is not a mean over items: BLEU of all of them together."""

_SHARES = {
    "acc", "acc_norm", "em", "exact", "exact_match", "f1", "mc1", "toxicity", "no comment", "nearer a true answer",
    "stereotyped likelier", "entropy, bits", "true", "informative", "true and informative", "word f1",
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
        counts: What every item adds to the counts of `CORPUS_BLEU` (`bleu.py`), for that metric.
        groups: What each item belongs to (a passage, a template), where several belong to one: that is what is
            resampled, for such items are not independent. Items that are not here stand for themselves.
        source: Where the items came from.
        note: What a reader must know to read the number.
    """

    task: str
    metric: str
    better: Literal["high", "low", ""]
    items: dict[str, float]
    counts: dict[str, tuple[float, ...]] = Field(default_factory=dict)
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
        """Return the mean over items with its interval, or BLEU of all items together."""
        if self.counts:
            return statistic_interval(grouped_counts(self.counts, self.groups), corpus_bleu)
        return grouped_mean(self.items, self.groups, self.bounds)

    def minus(self, other: TaskResult) -> Interval:
        """Return this result's mean (or BLEU) minus another's on the same items, resampled for both at once."""
        if self.counts and other.counts:
            both = {item: (*counts, *other.counts[item]) for item, counts in self.counts.items()}
            return statistic_interval(grouped_counts(both, self.groups), _bleu_difference)
        changes = {item: self.items[item] - value for item, value in other.items.items()}
        bounds = (self.bounds[0] - self.bounds[1], self.bounds[1] - self.bounds[0]) if self.bounds else None
        return grouped_mean(changes, self.groups, bounds)

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


def grouped_counts(counts: Mapping[str, tuple[float, ...]], groups: Mapping[str, str]) -> Floats:
    """Return the sums of counts over each group of items, `[counts, groups]`."""
    sums: dict[tuple[bool, str], Floats] = {}
    for item, values in counts.items():
        group = item in groups, groups.get(item, item)
        sums[group] = sums.get(group, np.zeros(len(values))) + values
    return np.stack(list(sums.values()), axis=1)


def recovered(before: TaskResult, lost: TaskResult, after: TaskResult) -> Interval:
    """Return what share of one system's loss another wins back: (after − lost) / (before − lost), paired by item.

    Resamples in which nothing was lost are left out: it is for losses whose interval leaves 0 out.
    """

    def share(sums: Floats) -> Floats:
        first, second, third = (corpus_bleu(part) if before.counts else part[0] for part in np.split(sums, 3))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Floats = np.where(sign * (first - second) > 0, (third - second) / (first - second), np.nan)
        return ratio

    sign = -1 if before.better == "low" else 1
    systems = (before, lost, after)
    rows = {
        item: tuple(number for result in systems for number in (result.counts.get(item) or (result.items[item],)))
        for item in before.items
    }
    return statistic_interval(grouped_counts(rows, before.groups), share)


def _bleu_difference(sums: Floats) -> Floats:
    one, other = np.split(sums, 2)
    return corpus_bleu(one) - corpus_bleu(other)


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
