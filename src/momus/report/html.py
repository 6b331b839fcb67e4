"""The report: one HTML file that opens offline, readable in light, in dark and on paper."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
from pygments.lexer import Lexer
from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, String

from momus.files import write_text
from momus.report import figures
from momus.report.data import Column, CriticSummary, Example, Remark, ReportData, Unit
from momus.stats.bootstrap import Interval
from momus.stats.text import range_text, value_text

_TOKENS = [
    (Comment, "tc"),
    (Keyword, "tk"),
    (String, "ts"),
    (Number, "tn"),
    (Name.Builtin, "tb"),
    (Name.Function, "tf"),
]
_FORMATS: dict[Unit, tuple[str, float]] = {"percent": (".1f", 100), "number": (".2f", 1), "points": (".0f", 1)}
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class CodeLine:
    """A line of an example's code: its number, its marked-up text and the letters of the known bugs on it."""

    number: int
    html: Markup
    bugs: str


def template(name: str) -> Template:
    """Return one of this room's templates: everything in it is escaped, and values are written as in all reports."""
    environment = Environment(
        loader=PackageLoader("momus.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(value=_value, range=_range, duration=_duration, prose=_prose)
    return environment.get_template(name)


def render(data: ReportData) -> str:
    """Return the report as one self-contained HTML document."""
    return template("report.html").render(
        data=data,
        best={column.key: _best(data.critics, column) for column in data.columns},
        code_lines=_code_lines,
        config=json.dumps(data.config, indent=2, default=str),
        elo_figure=figures.elo_figure(data.elo) if data.elo else "",
        pareto_figure=figures.pareto_figure(data.pareto) if data.pareto else "",
        curves_figure=figures.curves_figure(data.curves) if data.curves else "",
        elo=sorted(data.elo, key=lambda rating: (math.isnan(rating.elo.value), -rating.elo.value)),
        letter=_letter,
    )


def write_report(data: ReportData, folder: Path) -> Path:
    """Write `report.json` and `report.html` into a run directory, each complete or not at all.

    Returns:
        The path of the HTML file.
    """
    return write_pages(folder, {"report.json": data.to_json(), "report.html": render(data)})


def write_pages(folder: Path, files: dict[str, str]) -> Path:
    """Write files of text into a folder, each complete or not at all; returns the path of the last."""
    for name, text in files.items():
        write_text(folder / name, text)
    return folder / next(reversed(files))


def _best(critics: tuple[CriticSummary, ...], column: Column) -> float | None:
    values = [row.metrics[column.key].value for row in critics if column.key in row.metrics and row.ours]
    values = [value for value in values if math.isfinite(value)]
    if len(set(values)) < 2 or not column.better:
        return None
    return max(values) if column.better == "high" else min(values)


def _value(value: float, unit: Unit) -> str:
    spec, scale = _FORMATS[unit]
    return value_text(value, spec, scale=scale, unit="%" if unit == "percent" else "").replace("-", "−")


def _range(interval: Interval, unit: Unit) -> str:
    spec, scale = _FORMATS[unit]
    return range_text(interval, spec, scale=scale).replace("-", "−")


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _prose(text: str) -> Markup:
    """Mark up what a critique says: `code` between backticks becomes code, everything else stays text."""
    pieces = _CODE.split(text)
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def _letter(index: int) -> str:
    return chr(ord("A") + index % 26)


def _code_lines(example: Example, key: str) -> list[CodeLine]:
    """Mark up an example's code: syntax, highlights with links to their comments, lines with known bugs."""
    classes = token_classes(example.code, PythonLexer(stripnl=False, ensurenl=False))
    lines, start = [], 0
    for number, line in enumerate(example.code.split("\n"), 1):
        bugs = "".join(_letter(i) for i, bug in enumerate(example.bugs) if number in bug.lines)
        html = _marked(example, key, classes, start, start + len(line))
        lines.append(CodeLine(number, html, bugs))
        start += len(line) + 1
    return lines


def token_classes(code: str, lexer: Lexer) -> list[str]:
    """Return the class of each character of some code: what kind of token it is in."""
    classes = [""] * len(code)
    for start, kind, text in lexer.get_tokens_unprocessed(code):
        name = next((name for parent, name in _TOKENS if kind in parent), "")
        classes[start : start + len(text)] = [name] * len(text)
    return classes


def _marked(example: Example, key: str, classes: list[str], start: int, stop: int) -> Markup:
    """Return a line: runs of characters covered by the same comments, inside them runs of one token."""
    covering = [
        tuple(i for i, r in enumerate(example.remarks) if r.span and r.span[0] <= place < r.span[1])
        for place in range(start, stop)
    ]
    html, place = Markup(), start
    while place < stop:
        numbers = covering[place - start]
        end = place + 1
        while end < stop and covering[end - start] == numbers:
            end += 1
        inner = colored(example.code, classes, place, end)
        refs = Markup().join(_reference(key, i) for i in numbers if _first_end(example, i) == end)
        verdict = _worst([example.remarks[i] for i in numbers])
        html += Markup('<mark class="{}">{}{}</mark>').format(verdict, inner, refs) if numbers else inner
        place = end
    return html


def colored(
    code: str, classes: list[str], start: int, stop: int, spell: Callable[[str], str] = lambda text: text
) -> Markup:
    """Return a stretch of code with its tokens marked up, each written as `spell` returns it."""
    html, place = Markup(), start
    while place < stop:
        end = place + 1
        while end < stop and classes[end] == classes[place]:
            end += 1
        text = escape(spell(code[place:end]))
        html += Markup('<span class="{}">{}</span>').format(classes[place], text) if classes[place] else text
        place = end
    return html


def _first_end(example: Example, index: int) -> int | None:
    """Return where the first line of a comment's highlight ends: the link to the comment stands there."""
    span = example.remarks[index].span
    if span is None:
        return None
    quoted = example.code[span[0] : span[1]]
    start = span[0] + len(quoted) - len(quoted.lstrip("\n"))
    stop = example.code.find("\n", start, span[1])
    return span[1] if stop < 0 else stop


def _reference(key: str, index: int) -> Markup:
    link = Markup('<a class="ref" id="{0}-q{1}" href="#{0}-c{1}" aria-label="comment {1}">{1}</a>')
    return link.format(key, index + 1)


def _worst(remarks: list[Remark]) -> str:
    return next((v for v in ("real", "fake", "nitpick") if any(r.verdict == v for r in remarks)), "")
