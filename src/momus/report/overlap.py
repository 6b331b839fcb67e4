"""Overlap as one page, with its tables and figures, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pydantic import ConfigDict, TypeAdapter
from rich.markup import escape
from rich.table import Table

from momus import __version__
from momus.evaluate.documents.aspects import AspectTable
from momus.evaluate.documents.overlap import SystemOverlap
from momus.match.calibrate import MatchCalibration
from momus.report.html import template, write_pages
from momus.report.overlap_figures import dots_figure, thresholds_figure
from momus.stats.bootstrap import Interval
from momus.stats.text import interval_text, percent_text


@dataclass(frozen=True)
class OverlapReport:
    """Everything measured of a collection of reviews.

    `matcher` is what it says of itself, `likeness` the similarity that scores 7, `calibration` what was measured of it.
    """

    source: str
    documents: int
    within: tuple[str, ...]
    matcher: dict[str, Any]
    likeness: float
    calibration: MatchCalibration | None
    systems: tuple[SystemOverlap, ...]
    aspects: tuple[AspectTable, ...]

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    def to_json(self) -> str:
        """Return the report as JSON."""
        return _ADAPTER.dump_json(self, indent=1).decode()


_ADAPTER = TypeAdapter(OverlapReport)


def write_overlap(report: OverlapReport, folder: Path, command: str) -> Path:
    """Write `overlap.json` and `overlap.html` into a folder, each complete or not at all; returns the page's path."""
    return write_pages(folder, {"overlap.json": report.to_json(), "overlap.html": render_overlap(report, command)})


def render_overlap(report: OverlapReport, command: str) -> str:
    """Return the page: one HTML document that opens offline."""
    return template("overlap.html").render(
        report=report,
        figures=[_figures(number, model, table) for number, (model, table) in enumerate(_paired(report))],
        aspects={table.system: table for table in report.aspects},
        summaries=[summarise_overlap(model) for model in report.systems],
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        command=command,
    )


def summarise_overlap(model: SystemOverlap) -> str:
    """Say in a sentence how a model's points agree with people's."""
    rows = {row.key: row.hit_rate for row in model.rows}
    parts = [f"{_percent(rows['model'])} of the points of {model.system} are also made by a given reviewer"]
    parts.append(f"{_percent(rows['person'])} of a person's by another")
    parts.append(f"{_percent(rows['shuffled'])} where the model's points are about another document")
    return ", ".join(parts) + "."


def overlap_tables(model: SystemOverlap, aspects: AspectTable) -> list[Table]:
    """Show a model's overlap, differences, curves and aspects in a terminal."""
    main = _table(
        f"{model.system}: overlap at score {model.threshold} or more, % of points, mean over documents",
        "points of, against", "hit rate", "overlap coeff.", "Jaccard", "Dice", "documents", "undefined pairs",
    )  # fmt: skip
    for row in model.rows:
        others = (_percent(measure) for measure in (row.overlap, row.jaccard, row.dice))
        main.add_row(row.name, _percent(row.hit_rate, True), *others, str(row.documents), str(row.undefined))
    differences = _table("Differences of hit rates, paired by document", "", "points", "documents")
    for difference in model.differences:
        differences.add_row(difference.name, _percent(difference.value, True), str(difference.documents))
    shares = _table("People's points that the model hits", "raised by, or place", "hit %", "points")
    for share in model.by_reviewers:
        shares.add_row(f"raised by {share.name}", _percent(share.share, True), str(share.points))
    for share in model.by_position:
        shares.add_row(share.name, _percent(share.share, True), str(share.points))
    about = _table(f"Aspects ({aspects.tagger})", "", "model %", "people %", "log of the ratio")
    for aspect in aspects.rows:
        about.add_row(aspect.aspect, _percent(aspect.model), _percent(aspect.person), _log(aspect.log_ratio))
    tables = [main, differences, shares, about]
    if model.strata:
        strata = _table("Hit rates by stratum", "", "model %", "person %", "documents")
        for stratum in model.strata:
            cells = (_percent(stratum.model, True), _percent(stratum.person, True), str(stratum.documents))
            strata.add_row(escape(f"{stratum.name} {stratum.value}"), *cells)
        tables.append(strata)
    return tables


def _paired(report: OverlapReport) -> list[tuple[SystemOverlap, AspectTable]]:
    return list(zip(report.systems, report.aspects, strict=True))


def _figures(number: int, model: SystemOverlap, aspects: AspectTable) -> dict[str, Markup]:
    rows = model.rows
    strata = [f"{stratum.name}: {stratum.value}" for stratum in model.strata]
    shares = (*model.by_reviewers, *model.by_position)
    names = [f"raised by {share.name}" for share in model.by_reviewers] + [share.name for share in model.by_position]
    figures = {
        "hits": dots_figure(
            f"hits{number}", [row.name for row in rows], {"": [row.hit_rate for row in rows]}, "Hit rate (%)"
        ),
        "thresholds": thresholds_figure(f"thresholds{number}", model.thresholds),
        "shares": dots_figure(
            f"shares{number}", names, {"": [share.share for share in shares]}, "People's points the model hits (%)"
        ),
        "aspects": dots_figure(
            f"aspects{number}",
            [row.aspect for row in aspects.rows],
            {"": [row.log_ratio for row in aspects.rows]},
            "ln(model / people): right, the model speaks of it more",
            ratio=True,
        ),
    }
    series = {"model": [s.model for s in model.strata], "person": [s.person for s in model.strata]}
    label = "Hit rate, one reviewer (%)"
    figures["strata"] = dots_figure(f"strata{number}", strata, series, label) if strata else Markup()
    return figures


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _percent(interval: Interval, bounds: bool = False) -> str:
    if bounds:
        return interval_text(interval, ".1f", scale=100)
    return percent_text(interval.value, 1)


def _log(interval: Interval) -> str:
    return interval_text(interval, "+.2f")
