"""The alignment tax as one page: what changed on every public task, as a figure and as a table, and as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from momus import __version__
from momus.evaluate.instruct.tax import FEWEST, Change, TaxReport, TaxRow
from momus.report.figures import changes_figure
from momus.report.html import template, write_pages
from momus.report.terminal import items_text
from momus.stats.bootstrap import Interval
from momus.stats.text import range_text, value_text


def render_tax(report: TaxReport, command: str) -> str:
    """Return the page: one HTML document that opens offline."""
    directed = [row for row in report.rows if row.better and row.in_points]
    drawn = {
        f"{system} against {against}": [_to_the_right(row, row.changes[place]) for row in directed]
        for place, (system, against) in enumerate(report.pairs)
    }
    return template("tax.html").render(
        report=report,
        figure=changes_figure([row.name for row in directed], drawn) if directed else "",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        command=command,
        summaries=[_summary(report, pair) for pair in report.pairs],
        by_chance=len(report.rows) / 20,
        fewest=FEWEST,
        value_text=_value_text,
        range_text=_range_text,
        items_text=items_text,
    )


def write_tax(report: TaxReport, folder: Path, command: str) -> Path:
    """Write `tax.json` and `tax.html` into a folder, each complete or not at all; returns the page's path."""
    return write_pages(folder, {"tax.json": report.to_json(), "tax.html": render_tax(report, command)})


def _summary(report: TaxReport, pair: tuple[str, str]) -> str:
    """Say in a sentence how one system stands against another."""
    better, worse = report.count(pair, "better"), report.count(pair, "worse")
    rest = len(report.rows) - better - worse
    return f"{pair[0]} against {pair[1]}: worse on {worse}, better on {better}, neither on {rest}."


def _to_the_right(row: TaxRow, change: Change) -> Interval:
    """Return a change in points, turned so that more is better."""
    points = _scaled(change.difference, row.scale)
    return Interval(-points.value, -points.high, -points.low) if row.better == "low" else points


def _scaled(interval: Interval, scale: float) -> Interval:
    return Interval(interval.value * scale, interval.low * scale, interval.high * scale)


def _value_text(interval: Interval, scale: float, digits: int, sign: bool) -> str:
    return value_text(interval.value, f"{'+' * sign}.{digits}f", scale=scale).replace("-", "−")


def _range_text(interval: Interval, scale: float, digits: int, sign: bool) -> str:
    return range_text(interval, f"{'+' * sign}.{digits}f", scale=scale).replace("-", "−")
