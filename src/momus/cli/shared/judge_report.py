"""The tables of `momus judge`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from momus.evaluate.rain.comparison import WayReport
    from momus.evaluate.rain.judge import JudgeReport


def print_ways(ways: Sequence[WayReport], prompts: int) -> None:
    """Print what every way to answer came to, on average over prompts."""
    table = Table(title=f"{prompts} prompts; values from -1 to 1, 95% intervals")
    table.add_column("")
    for name in ("own value", "graded", "gain over greedy", "tokens", "× greedy", "seconds", "samples"):
        table.add_column(name, justify="right")
    for way in ways:
        values = (way.own, way.graded, way.gain)
        table.add_row(
            way.way,
            *(f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})" for value in values),
            f"{way.tokens:.0f}",
            f"{way.tokens / ways[0].tokens:.1f}",
            f"{way.seconds:.2f}",
            f"{way.samples:.1f}",
        )
    Console(width=140).print(table)


def print_judge(report: JudgeReport) -> None:
    """Print what was measured of a judge."""
    table = Table(title=f"{report.measured} pairs" + (f", {report.unfit} more did not fit" if report.unfit else ""))
    table.add_column("")
    for name in ("share", "95% interval"):
        table.add_column(name, justify="right")
    rows = (
        ("the better of two answers is preferred (ties half)", report.pairs),
        ("… by probability instead of verdict", report.soft),
        ("… by log-odds, the liking for a label taken out", report.unbiased),
        ("a single answer is told right (undecided half)", report.answers),
        ("    better answers", report.better),
        ("    worse answers", report.worse),
        ("… by the sign of these log-odds", report.unbiased_answers),
        ("both orders agree", report.decided),
        ("probability of the first label (no bias: 50%)", report.first_label),
        ("probability of both labels together", report.mass),
        ("abstained", report.abstained),
    )
    for name, share in rows:
        table.add_row(name, f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}")
    Console().print(table)
