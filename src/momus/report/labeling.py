"""Figures of the workbench: progress, time for each task, use of prefills, win rates, drift of labelers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from datetime import date

import matplotlib
from matplotlib.figure import Figure

from momus.label.database import Row
from momus.label.owner.figures import Drawn
from momus.label.owner.series import Series
from momus.label.texts import Words
from momus.report.figures import ACCENT, FAINT, GRID, INK, SECOND, STYLE, standalone, to_svg

_LINES = (ACCENT, SECOND, INK, FAINT)
_DASHES = ("-", "--", ":", "-.")


def draw_labeling(rows: Series, words: Words) -> Mapping[str, Drawn]:
    """Draw every figure that has rows, with labels in a language; each as an SVG file by itself."""
    drawn = {}
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        # Text stays text in the files, and browsers have the fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        for name, draw in _FIGURES.items():
            if rows.get(name):
                figure, text = draw(rows[name], words)
                drawn[name] = Drawn(text, standalone(to_svg(figure, name, text)))
    return drawn


def _progress(rows: list[Row], words: Words) -> tuple[Figure, str]:
    days = sorted({date.fromisoformat(row["day"]).toordinal() for row in rows})
    figure = Figure(figsize=(7.6, 3.0))
    axes = figure.add_subplot()
    values = []
    for which, kind in enumerate(dict.fromkeys(row["kind"] for row in rows)):
        points = [
            (date.fromisoformat(row["day"]).toordinal(), row["judgements"]) for row in rows if row["kind"] == kind
        ]
        points = [*points, (days[-1], points[-1][1])]
        label = words.get(f"kind.{kind}", kind)
        axes.plot(*zip(*points, strict=True), color=_LINES[which % 4], linestyle=_DASHES[which // 4 % 4], marker="o",
                  markersize=4, drawstyle="steps-post", label=label)  # fmt: skip
        values.append(f"{label} {points[-1][1]}")
    shown = sorted({days[0], days[-1], *range(days[0], days[-1], -(-(days[-1] - days[0]) // 4) or 1)})
    axes.set_xticks(shown, [date.fromordinal(day).isoformat() for day in shown])
    axes.set_ylim(bottom=0)
    axes.set_ylabel(words["figure.judgements"])
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure, f"{words['figure.progress']}: {'; '.join(values)}."


def _minutes(rows: list[Row], words: Words) -> tuple[Figure, str]:
    names = [f"{words.get('kind.' + row['kind'], row['kind'])} ({row['n']})" for row in rows]
    ends = [(row["low"], row["median"], row["high"]) for row in rows]
    figure = _intervals(names, ends, words["figure.minutes.axis"])
    values = "; ".join(f"{name} {row['median']:.1f}" for name, row in zip(names, rows, strict=True))
    return figure, f"{words['figure.minutes']}: {values}."


def _prefill(rows: list[Row], words: Words) -> tuple[Figure, str]:
    names = [words[f"prefill.{row['what']}"] for row in rows]
    figure = Figure(figsize=(7.6, 0.9 + 0.36 * len(rows)))
    axes = figure.add_subplot()
    axes.barh(range(len(rows)), [100 * row["share"] for row in rows], color=ACCENT, height=0.6)
    for place, row in enumerate(rows):
        axes.text(100 * row["share"] + 1, place, f" {row['comments']}", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, max(100.0, *(115 * row["share"] for row in rows)))
    axes.set_xlabel(words["figure.prefill.axis"])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    values = "; ".join(f"{name} {100 * row['share']:.0f}%" for name, row in zip(names, rows, strict=True))
    return figure, f"{words['figure.prefill']}: {values}."


def _win_rates(rows: list[Row], words: Words) -> tuple[Figure, str]:
    ordered = sorted(rows, key=lambda row: -row["rate"])
    names = [f"{row['source']} ({row['games']})" for row in ordered]
    ends = [(100 * row["low"], 100 * row["rate"], 100 * row["high"]) for row in ordered]
    figure = _intervals(names, ends, words["figure.win-rates.axis"], middle=50)
    figure.axes[0].set_xlim(0, 100)
    values = "; ".join(f"{row['source']} {100 * row['rate']:.0f}%" for row in ordered)
    return figure, f"{words['figure.win-rates']}: {values}."


def _drift(rows: list[Row], words: Words) -> tuple[Figure, str]:
    figure = Figure(figsize=(7.6, 3.0))
    axes = figure.add_subplot()
    values = []
    for which, labeler in enumerate(dict.fromkeys(row["labeler"] for row in rows)):
        points = [(row["part"], row["overall"]) for row in rows if row["labeler"] == labeler]
        axes.plot(*zip(*points, strict=True), color=_LINES[which % 4], linestyle=_DASHES[which // 4 % 4], marker="o",
                  markersize=4, label=labeler)  # fmt: skip
        values.append(f"{labeler} {points[0][1]:.1f} → {points[-1][1]:.1f}")
    axes.set_xticks(sorted({row["part"] for row in rows}))
    axes.set_ylim(1, 7)
    axes.set_xlabel(words["figure.drift.axis"])
    axes.set_ylabel(words["field.overall"])
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure, f"{words['figure.drift']}: {'; '.join(values)}."


def _intervals(
    names: list[str], ends: list[tuple[float, float, float]], label: str, middle: float | None = None
) -> Figure:
    """Draw a dot with its lower and upper end for each name, the first on top."""
    figure = Figure(figsize=(7.6, 0.9 + 0.36 * len(names)))
    axes = figure.add_subplot()
    if middle is not None:
        axes.axvline(middle, color=GRID, linewidth=1.5)
    for place, (low, value, high) in enumerate(ends):
        axes.plot([low, high], [place, place], color=ACCENT, linewidth=2, alpha=0.45)
        axes.plot(value, place, "o", color=ACCENT, markersize=7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_xlabel(label)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    return figure


_FIGURES: Mapping[str, Callable[[list[Row], Words], tuple[Figure, str]]] = {
    "progress": _progress, "minutes": _minutes, "prefill": _prefill, "win-rates": _win_rates, "drift": _drift,
}  # fmt: skip
