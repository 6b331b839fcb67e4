"""The tables of `momus judge`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from momus.evaluate.rain.comparison import WayReport
    from momus.evaluate.rain.judge import JudgeReport


def print_ways(found: Sequence[WayReport], prompts: int) -> None:
    """Print what every way to answer came to, on average over prompts."""
    table = Table(title=f"{prompts} prompts; values from -1 to 1, 95% intervals")
    table.add_column("")
    for name in ("own value", "graded", "gain over greedy", "tokens", "× greedy", "seconds", "samples"):
        table.add_column(name, justify="right")
    for own in found:
        values = (own.own, own.graded, own.gain)
        table.add_row(
            own.way,
            *(f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})" for value in values),
            f"{own.tokens:.0f}",
            f"{own.tokens / found[0].tokens:.1f}",
            f"{own.seconds:.2f}",
            f"{own.samples:.1f}",
        )
    Console(width=140).print(table)


def print_judge(found: JudgeReport) -> None:
    """Print what was measured of a judge."""
    table = Table(title=f"{found.measured} pairs" + (f", {found.unfit} more did not fit" if found.unfit else ""))
    table.add_column("")
    for name in ("share", "95% interval"):
        table.add_column(name, justify="right")
    rows = {
        "the better of two answers is preferred (ties half)": found.pairs,
        "… by probability instead of verdict": found.soft,
        "a single answer is told right (undecided half)": found.answers,
        "    better answers": found.better,
        "    worse answers": found.worse,
        "both orders agree": found.decided,
        "probability of the first label (no bias: 50%)": found.first_label,
        "probability of both labels together": found.mass,
        "abstained": found.abstained,
    }
    for name, share in rows.items():
        table.add_row(name, f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}")
    Console().print(table)
