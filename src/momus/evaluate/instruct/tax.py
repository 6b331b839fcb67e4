"""The alignment tax: what training on people's preferences costs on public tasks (InstructGPT, arXiv 2203.02155, §4.2).

The paper's PPO models lost ground on DROP, SQuADv2, HellaSwag and translation against the models they started from,
and PPO-ptx, whose loss keeps a share of pretraining, won most of it back. Here the same comparison is a table: every
task before and after, and the change with its interval. The change is *paired*: both systems answered the same items,
and items are resampled for both at once, which takes out how hard items are.

With many tasks some 95 % intervals leave 0 out by chance, one in twenty of them when nothing has changed; the report
says how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from momus.errors import UserError
from momus.evaluate.instruct.results import TaskResult, recovered
from momus.evaluate.instruct.texts import NATS
from momus.stats.bootstrap import Interval

FEWEST = 6
"""Items that must differ before anything is said of a change: five that all go one way do so by chance once in 16."""

Verdict = Literal["better", "worse", "unclear", "changed"]
"""Of a change whose interval leaves 0 out: better, worse, or changed where neither direction is better."""

Named = tuple[str, Sequence[TaskResult]]


@dataclass(frozen=True)
class Change:
    """One system's mean minus an earlier one's, over the items both answered.

    `enough` is how many such items would show a change of this size four times in five, its interval leaving 0 out.
    `recovered` is the share of the earlier system's loss that this one wins back, where that is worse than the first.
    """

    system: str
    against: str
    difference: Interval
    verdict: Verdict
    enough: int | None = None
    recovered: Interval | None = None


@dataclass(frozen=True)
class TaxRow:
    """One task and metric: every system's mean, and the changes, in the order of the report's `pairs`.

    `scale` is 100 where values lie between 0 and 1, so that times it they are points of a hundred, and 1 elsewhere.
    Nats (`in_points` false) are shown as they are: a hundredth of one is much.
    """

    name: str
    better: Literal["high", "low", ""]
    scale: float
    items: int
    means: dict[str, Interval]
    changes: tuple[Change, ...]
    note: str = ""
    in_points: bool = True

    @property
    def digits(self) -> int:
        """How many digits behind the point of its values and changes say something."""
        return 1 if self.in_points else 3


@dataclass(frozen=True)
class TaxReport:
    """Every task that all systems did; `left_out` names those that some did not do."""

    systems: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    rows: tuple[TaxRow, ...]
    left_out: tuple[str, ...]

    __pydantic_config__ = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    def count(self, pair: tuple[str, str], verdict: Verdict) -> int:
        """Return on how many tasks one system is so against the other."""
        return sum(
            change.verdict == verdict
            for row in self.rows
            for change in row.changes
            if (change.system, change.against) == pair
        )

    def to_json(self) -> str:
        """Return the report as JSON; `from_json` is its inverse."""
        return _ADAPTER.dump_json(self, indent=1).decode()

    @classmethod
    def from_json(cls, text: str) -> TaxReport:
        """Read what `to_json` wrote."""
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(TaxReport)


def compare_systems(before: Named, after: Sequence[Named]) -> TaxReport:
    """Compare systems on the tasks they all did.

    Args:
        before: The name and results of the system that training began with.
        after: Those of the systems it ended with. Each is compared with `before`, and with the one listed before it.

    Raises:
        UserError: Names or results repeat, systems have no task in common, or they were asked otherwise or of other
            items.
    """
    systems = [before, *after]
    names = [name for name, _ in systems]
    if len(systems) < 2 or len(set(names)) < len(names):
        raise UserError(f"comparing takes at least two systems of different names, not {', '.join(names)}")
    pairs = [(name, names[0]) for name in names[1:]] + list(zip(names[2:], names[1:-1], strict=True))
    tables = [_table(name, results) for name, results in systems]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    if not shared:
        raise UserError(f"{', '.join(names)} have no task in common: run momus evaluate public with the same tasks")
    left_out = dict.fromkeys(key for table in tables for key in table if key not in shared)
    rows = [_row({name: table[key] for name, table in zip(names, tables, strict=True)}, pairs) for key in shared]
    return TaxReport(tuple(names), tuple(pairs), tuple(rows), tuple(left_out))


def _table(system: str, results: Sequence[TaskResult]) -> dict[str, TaskResult]:
    table: dict[str, TaskResult] = {}
    for result in results:
        if result.name in table:
            raise UserError(f"{system}: has two results of {result.name}")
        table[result.name] = result
    return table


def _row(results: dict[str, TaskResult], pairs: Sequence[tuple[str, str]]) -> TaxRow:
    first = next(iter(results.values()))
    for system, result in results.items():
        if result.prompt != first.prompt or result.source != first.source:
            raise UserError(
                f"{system}: was asked {result.name} with other data or another text before it: run it again"
            )
        if result.items.keys() != first.items.keys():
            raise UserError(
                f"{system}: answered {len(result.items)} items of {result.name} and {next(iter(results))} "
                f"{len(first.items)}, not the same ones: run both with the same --limit"
            )
    in_points = first.metric != NATS
    largest = max((abs(value) for result in results.values() for value in result.items.values()), default=0.0)
    return TaxRow(
        name=first.name,
        better=first.better,
        scale=100 if largest <= 1 and in_points else 1,
        items=len(first.items),
        means={system: result.mean() for system, result in results.items()},
        changes=_changes(results, first.better, pairs),
        note="; ".join(dict.fromkeys(result.note for result in results.values() if result.note)),
        in_points=in_points,
    )


def _changes(
    results: dict[str, TaskResult], better: Literal["high", "low", ""], pairs: Sequence[tuple[str, str]]
) -> tuple[Change, ...]:
    """Return all changes of a task, with what is won back of every loss."""
    before = next(iter(results))
    changes = {pair: _change(*pair, results, better) for pair in pairs}
    for (system, against), change in changes.items():
        if against != before and changes[against, before].verdict == "worse":
            share = recovered(results[before], results[against], results[system])
            changes[system, against] = replace(change, recovered=share)
    return tuple(changes.values())


def _change(system: str, against: str, results: dict[str, TaskResult], better: Literal["high", "low", ""]) -> Change:
    new, old = results[system], results[against]
    difference = new.minus(old)
    differing = {new.groups.get(item, item) for item, value in old.items.items() if new.items[item] != value}
    verdict: Verdict = "unclear"
    if len(differing) >= FEWEST and (difference.low > 0 or difference.high < 0):
        up = difference.low > 0
        verdict = "changed" if not better else "better" if up == (better == "high") else "worse"
    return Change(system, against, difference, verdict, _enough(difference, len(old.items)))


def _enough(difference: Interval, items: int) -> int | None:
    """Return how many items would show a change of this size, by the width of its interval; None where it has none.

    They are never fewer than must differ before anything is said.
    """
    if not difference.has_ends or not difference.value:
        return None
    error = (difference.high - difference.low) / (2 * 1.96)
    return max(FEWEST, ceil(items * ((1.96 + 0.84) * error / difference.value) ** 2))
