"""Figures of overlap: dots with intervals, and hit rates by threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from momus.evaluate.documents.overlap import AtThreshold
from momus.report.figures import ACCENT, FAINT, INK, SECOND, STYLE, to_svg
from momus.stats.bootstrap import Interval
from momus.stats.text import NOT_DETERMINED, interval_text, value_text

_COLORS, _MARKS = (ACCENT, SECOND, FAINT), "os^"


def dots_figure(
    key: str, names: Sequence[str], series: Mapping[str, Sequence[Interval]], label: str, *, ratio: bool = False
) -> Markup:
    """Draw values with intervals, a line for each name, on it a mark for each series.

    Args:
        key: Names the figure on its page.
        names: What the lines are.
        series: Values in the order of the names; NaN is written "not determined", an infinite bound ends at the frame.
        label: What the axis says.
        ratio: The values are logarithms: 0 is marked, and they are not percentages.
    """
    factor = 1.0 if ratio else 100.0
    scaled = {
        title: [Interval(interval.value * factor, interval.low * factor, interval.high * factor) for interval in values]
        for title, values in series.items()
    }
    finite = [x for row in scaled.values() for i in row for x in (i.value, i.low, i.high) if np.isfinite(x)] or [0.0]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.9 + len(names) * (0.2 + 0.14 * len(series))))
        axes = figure.add_subplot()
        margin = 0.05 * (max(finite) - min(finite) or 1)
        left, right = (min(finite) - margin if ratio else 0.0), max(finite) + margin
        if ratio:
            axes.axvline(0, color=FAINT, linewidth=1)
        for which, (title, values) in enumerate(scaled.items()):
            color, shift = _COLORS[which % 3], (which + 1) / (len(scaled) + 1) - 0.5
            for place, interval in enumerate(values):
                if np.isnan(interval.value):
                    axes.text(max(left, 0), place + shift, f" {NOT_DETERMINED}", fontsize=8, color=FAINT, va="center")
                    continue
                ends = np.clip([interval.low, interval.high], left, right)
                axes.plot(ends, [place + shift] * 2, color=color, linewidth=2, alpha=0.45)
            axes.plot(
                [interval.value for interval in values],
                [place + shift for place in range(len(names))],
                _MARKS[which % 3],
                color=color,
                markersize=6,
                label=title,
            )
        axes.set_yticks(range(len(names)), list(names))
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(left, right)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlabel(label)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        if len(series) > 1:
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
        spec = ".2f" if ratio else ".1f"
        words = "; ".join(
            f"{name}: " + ", ".join(f"{title} {interval_text(row[place], spec)}" for title, row in scaled.items())
            for place, name in enumerate(names)
        )
        return to_svg(figure, key, f"{label}. {words}.")


def thresholds_figure(key: str, rows: Sequence[AtThreshold]) -> Markup:
    """Draw pairwise hit rates by the score from which pairs count."""
    series = {
        "model": [row.model for row in rows],
        "person": [row.person for row in rows],
        "shuffled": [row.shuffled for row in rows],
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 3.2))
        axes = figure.add_subplot()
        for which, (title, values) in enumerate(series.items()):
            color, xs = _COLORS[which], [row.threshold + 0.06 * (which - 1) for row in rows]
            for x, interval in zip(xs, values, strict=True):
                axes.plot([x, x], [100 * interval.low, 100 * interval.high], color=color, linewidth=2, alpha=0.45)
            shown = [100 * interval.value for interval in values]
            axes.plot(xs, shown, _MARKS[which] + "-", color=color, linewidth=1.2, markersize=5, label=title)
        axes.set_xticks([row.threshold for row in rows])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("Pairs count as the same from this score on")
        axes.set_ylabel("Hit rate, one reviewer (%)")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.legend(frameon=False, loc="upper right")
        words = "; ".join(
            f"from {row.threshold}: "
            + ", ".join(f"{title} {value_text(row[place].value, '.1f', scale=100)}" for title, row in series.items())
            for place, row in enumerate(rows)
        )
        return to_svg(figure, key, f"Hit rates by threshold, in per cent: {words}.")
