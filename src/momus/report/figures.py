"""Figures as inline SVG: text stays text, colours are the page's, and each says in words what it shows."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from momus.report.data import Curve, EloRating, ParetoPoint
from momus.stats.bootstrap import Interval
from momus.stats.text import NOT_DETERMINED, interval_text

# Stand-ins that matplotlib can draw with; the page's style sheet has the colours, for light and dark.
INK, FAINT, GRID, ACCENT, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_VARIABLES = {INK: "--ink", FAINT: "--faint", GRID: "--grid", ACCENT: "--accent", SECOND: "--second"}
_LIGHT = {"--ink": "#1b1f23", "--faint": "#586069", "--grid": "#d0d7de", "--accent": "#00695c", "--second": "#b45309"}

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "svg.fonttype": "none",
}


def elo_figure(ratings: Sequence[EloRating]) -> Markup:
    """Draw each critic's Elo as a dot with its interval, the best on top.

    Infinite ends reach the frame; a rating that is not determined is written so, without a dot.
    """
    shown = sorted(ratings, key=lambda r: (not np.isnan(r.elo.value), r.elo.value))
    numbers = [x for r in shown for x in (r.elo.value, r.elo.low, r.elo.high) if np.isfinite(x)] or [0.0]
    margin = 0.05 * (max(numbers) - min(numbers) or 1)
    left, right = min(numbers) - margin, max(numbers) + margin
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.7 + 0.36 * len(shown)))
        axes = figure.add_subplot()
        for place, rating in enumerate(shown):
            if rating.elo.has_ends:
                ends = np.clip([rating.elo.low, rating.elo.high], left, right)
                axes.plot(ends, [place, place], color=ACCENT, linewidth=2, alpha=0.45)
            if np.isfinite(rating.elo.value):
                axes.plot(rating.elo.value, place, "o", color=ACCENT, markersize=7)
            else:
                axes.text(left, place + 0.12, f" {NOT_DETERMINED}", fontsize=8, color=FAINT)
        axes.set_yticks(range(len(shown)), [rating.name for rating in shown])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlim(left, right)
        axes.set_xlabel("Elo (a critic 100 points above another is preferred in 64% of decided comparisons)")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        words = "; ".join(f"{r.name} {interval_text(r.elo, '.0f')}" for r in reversed(shown))
        return to_svg(figure, "elo", f"Elo with intervals: {words}.")


def pareto_figure(points: Sequence[ParetoPoint]) -> Markup:
    """Draw bugs caught against false comments, with intervals; one search's operating points are joined."""
    shown = [p for p in points if np.isfinite([p.catch.value, p.false_comments.value]).all()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 4.9))
        axes = figure.add_subplot()
        for curve in dict.fromkeys(p.curve for p in shown if p.curve):
            joined = [p for p in shown if p.curve == curve]
            xs, ys = [p.false_comments.value for p in joined], [100 * p.catch.value for p in joined]
            axes.plot(xs, ys, color=SECOND, linewidth=1.4, alpha=0.7)
        for point in shown:
            _cross(axes, point)
        axes.set_xlabel("False comments per clean answer  (fewer is better: left)")
        axes.set_ylabel("Bugs caught, %  (more is better: up)")
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.set_axisbelow(True)
        figure.tight_layout()
        _label(figure, axes, shown)
        words = "; ".join(
            f"{p.name} catches {100 * p.catch.value:.1f}% at {interval_text(p.false_comments, '.2f')}" for p in shown
        )
        return to_svg(figure, "pareto", f"Bugs caught against false comments per clean answer: {words}.")


def curves_figure(curves: Sequence[Curve]) -> Markup:
    """Draw quantities over training as small multiples: every step faint, their running mean on top."""
    rows = -(-len(curves) // 2)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 2.1 * rows))
        for place, curve in enumerate(curves, 1):
            axes = figure.add_subplot(rows, 2, place)
            values = np.asarray(curve.values, float)
            width = max(1, len(values) // 12)
            axes.plot(curve.steps, values, color=ACCENT, linewidth=0.9, alpha=0.35 if width > 1 else 1)
            if width > 1:
                axes.plot(curve.steps, _running_mean(values, width), color=ACCENT, linewidth=1.8)
            axes.set_title(curve.title)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
        figure.tight_layout(h_pad=1.6, w_pad=2)
        words = "; ".join(f"{c.title} from {c.values[0]:.3g} to {c.values[-1]:.3g}" for c in curves if c.values)
        return to_svg(figure, "curves", f"Training curves: {words}.")


def changes_figure(names: Sequence[str], changes: Mapping[str, Sequence[Interval]]) -> Markup:
    """Draw changes with their intervals: a line for each name, on it a mark for each key of `changes`."""
    colors, marks = (ACCENT, SECOND, INK), "os^"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 1.2 + len(names) * (0.16 + 0.16 * len(changes))))
        axes = figure.add_subplot()
        axes.axvline(0, color=FAINT, linewidth=1)
        for which, (label, intervals) in enumerate(changes.items()):
            color, shift = colors[which % 3], (which + 1) / (len(changes) + 1) - 0.5
            for place, change in enumerate(intervals):
                axes.plot([change.low, change.high], [place + shift] * 2, color=color, linewidth=2, alpha=0.45)
            places = [place + shift for place in range(len(names))]
            values = [change.value for change in intervals]
            axes.plot(values, places, marks[which % 3], color=color, markersize=6, label=label)
        axes.set_yticks(range(len(names)), list(names))
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlabel("Change in points  (right is better)")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
        words = "; ".join(
            f"{name}: " + ", ".join(f"{label} {interval_text(row[place], '.1f')}" for label, row in changes.items())
            for place, name in enumerate(names)
        )
        return to_svg(figure, "changes", f"Changes in points with intervals: {words}.")


def _cross(axes: Axes, point: ParetoPoint) -> None:
    x, y = point.false_comments, point.catch
    color = SECOND if point.curve else ACCENT
    if np.isfinite([x.low, x.high]).all():
        axes.plot([x.low, x.high], [100 * y.value] * 2, color=color, linewidth=1.2, alpha=0.4)
    if np.isfinite([y.low, y.high]).all():
        axes.plot([x.value] * 2, [100 * y.low, 100 * y.high], color=color, linewidth=1.2, alpha=0.4)
    face = color if point.front or point.curve else "none"
    axes.plot(x.value, 100 * y.value, "o", markersize=7, markeredgecolor=color, markerfacecolor=face)


def _label(figure: Figure, axes: Axes, points: Sequence[ParetoPoint]) -> None:
    """Name the points, each at whichever side of it covers the least of points, lines and other names."""
    size, scale = 9.0, figure.dpi / 72
    window = axes.get_window_extent()
    frame = (window.x0, window.y0, window.x1, window.y1)
    places = _places(axes, points)
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in places]
    taken += [(x - scale, y - scale, x + scale, y + scale) for x, y in _inked(axes)]
    for point, (x, y) in zip(points, places, strict=True):
        width, height, gap = (0.6 * len(point.name) + 0.8) * size * scale, 1.2 * size * scale, 7 * scale
        boxes = [
            (left, low, left + width, low + height)
            for dx, dy in _SIDES
            for left in [x + dx * (gap + width / 2) - width / 2]
            for low in [y + dy * (gap + height / 2) - height / 2]
        ]
        best = min(boxes, key=lambda box: sum(_overlap(box, o) for o in taken) + _outside(box, frame))
        taken.append(best)
        left, low = axes.transData.inverted().transform((best[0], best[1] + 0.25 * size * scale))
        axes.text(left, low, point.name, fontsize=size)


# Where a name may stand beside its point, in widths and heights; the first of the equally good ones is taken.
_SIDES = [(1, 0.8), (1, -0.8), (-1, 0.8), (-1, -0.8), (1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 2), (0.8, -2), (-0.8, 2)]


def _places(axes: Axes, points: Sequence[ParetoPoint]) -> list[tuple[float, float]]:
    data = [(point.false_comments.value, 100 * point.catch.value) for point in points]
    return [(float(x), float(y)) for x, y in axes.transData.transform(data)] if data else []


def _inked(axes: Axes) -> list[tuple[float, float]]:
    """Return places a few pixels apart along everything drawn as a line."""
    places = []
    for line in axes.get_lines():
        corners = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float))
        for (x0, y0), (x1, y1) in pairwise(corners):
            steps = np.linspace(0, 1, 2 + int(np.hypot(x1 - x0, y1 - y0) / 3))
            places += [(float(x0 + t * (x1 - x0)), float(y0 + t * (y1 - y0))) for t in steps]
    return places


_Box = tuple[float, float, float, float]


def _overlap(a: _Box, b: _Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: _Box, frame: _Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1]) - _overlap(box, frame)


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def standalone(svg: str) -> str:
    """Return a figure as a file of its own: with a namespace, and with the colours of a light page."""
    colors = "".join(f"{name}:{color};" for name, color in _LIGHT.items())
    head, _, body = str(svg).partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{head}><style>svg{{{colors}font-family:system-ui,sans-serif}}</style>{body}"


def to_svg(figure: Figure, name: str, words: str) -> Markup:
    """Return the figure's SVG element alone, its ids its own, its colours the page's."""
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    before, _, after = out.getvalue().partition("<metadata>")
    text = before + after.partition("</metadata>")[2]
    head, _, body = text[text.index("<svg") :].partition(">")
    box = head.partition('viewBox="')[2].partition('"')[0]
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    body = re.sub(r"font: ([\d.]+px) [^;]*;", r"font-size: \1;", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    return Markup(f'<svg class="plot" viewBox="{box}" role="img" aria-label="{escape(words)}">{body}')
