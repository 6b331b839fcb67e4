"""A review as one page that opens offline: the comments under the lines of code that they are about."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count as numbers_from
from pathlib import Path

from markupsafe import Markup
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_for_filename
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound

from momus.files import write_text
from momus.report.html import colored, template, token_classes
from momus.review.files import Source, spelled
from momus.review.findings import Coverage, FileReview, Finding
from momus.review.result import Manifest, Outcome, Review
from momus.terminal import visible, visible_line

AROUND = 6
"""Lines shown before and after those that a comment is about."""

MAX_COLORED = 200_000
"""Characters of a file whose syntax is coloured."""

OUTCOMES = {
    Outcome.CLEAN: "No problems found, and all of it was read.",
    Outcome.FINDINGS: "Comments were made.",
    Outcome.PARTLY_READ: "No problems found in what was read, which is not all of it.",
    Outcome.NOT_RUN: "Nothing was reviewed.",
}

BADGES = {"error": "failure", "warning": "partial", "note": "win"}

SCRIPT = """\
"use strict";
(() => {
  const remarks = [...document.querySelectorAll(".remark")];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !remarks.length) return;
    if (event.key === "g") {
      document.getElementById("list").focus();
      return;
    }
    const step = { n: 1, j: 1, p: -1, k: -1 }[event.key];
    if (!step) return;
    const now = remarks.findIndex((remark) => remark.contains(document.activeElement));
    const next = now < 0 ? (step > 0 ? 0 : remarks.length - 1) : (now + step + remarks.length) % remarks.length;
    remarks[next].focus({ preventScroll: true });
    remarks[next].scrollIntoView({ block: "center" });
  });
})();
"""


@dataclass(frozen=True)
class Remark:
    """A comment with its number on the page."""

    number: int
    finding: Finding
    outside: bool

    @property
    def text(self) -> str:
        """What the critic says, nothing in it invisible."""
        return visible(self.finding.text)

    @property
    def function(self) -> str:
        """The definition that it is in."""
        return visible_line(self.finding.function)

    @property
    def summary(self) -> str:
        """Its beginning."""
        line = visible_line(" ".join(self.finding.text.split()))
        return line if len(line) <= 100 else f"{line[:100].rsplit(' ', 1)[0]} …"

    @property
    def replacement(self) -> str | None:
        """What it proposes."""
        return None if self.finding.replacement is None else visible(self.finding.replacement)


@dataclass(frozen=True)
class Row:
    """A line of code with the comments that follow it, or a number of lines that are left out."""

    number: int = 0
    html: str = ""
    classes: str = ""
    remarks: tuple[Remark, ...] = ()
    gap: int = 0


@dataclass(frozen=True)
class FilePage:
    """A file: its comments, and the code around them."""

    path: str
    remarks: tuple[Remark, ...]
    rows: tuple[Row, ...]


def write_review(review: Review, sources: Mapping[Path, Source], path: Path) -> None:
    """Write a review as one HTML file, complete or not at all."""
    write_text(path, render_review(review, sources))


def render_review(review: Review, sources: Mapping[Path, Source]) -> str:
    """Return a review as one self-contained HTML document.

    Args:
        review: What was found.
        sources: The files by the paths that the review has them under.
    """
    numbers = numbers_from(1)
    files = []
    for file in review.files:
        remarks = [
            Remark(next(numbers), finding, outside)
            for findings, outside in ((file.findings, False), (file.outside, True))
            for finding in findings
            if not finding.hidden
        ]
        rows = _rows(file, sources.get(file.path), remarks) if remarks else ()
        files.append(FilePage(visible_line(spelled(file.path)), tuple(remarks), rows))
    manifest = _spelled_out(review.manifest)
    coverages = [(visible_line(each.path), each.coverage) for each in manifest.files]
    coverages = coverages or [(visible_line(spelled(file.path)), file.coverage) for file in review.files]
    critic = visible_line(str(manifest.critic.get("kind", "")))
    return template("review.html").render(
        files=files,
        comments=sum(len(file.remarks) for file in files),
        outcome=OUTCOMES[review.outcome],
        manifest=manifest,
        critic=critic,
        coverages=coverages,
        read=sum(coverage.lines_read for _, coverage in coverages),
        unread=sum(coverage.lines_unread for _, coverage in coverages),
        skipped=[(visible_line(spelled(file.path)), visible_line(file.reason)) for file in review.skipped],
        badges=BADGES,
        count=_count,
        reasons=_reasons,
        script=Markup(SCRIPT),
        script_digest=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
    )


def _spelled_out(manifest: Manifest) -> Manifest:
    """Return a manifest with nothing invisible in its texts."""
    return replace(
        manifest,
        promise=visible_line(manifest.promise),
        base=visible_line(manifest.base),
        head=visible_line(manifest.head),
        cost=visible_line(manifest.cost),
        notes=tuple(map(visible_line, manifest.notes)),
    )


def _rows(file: FileReview, source: Source | None, remarks: Sequence[Remark]) -> tuple[Row, ...]:
    """Return the lines around comments, each comment after its last line."""
    if source is None:
        return ()
    lines = source.text.split("\n")
    total = len(lines) - (not lines[-1])
    shown = sorted(
        {
            number
            for remark in remarks
            for number in range(remark.finding.line - AROUND, remark.finding.end_line + AROUND + 1)
            if 1 <= number <= total
        }
    )
    commented = {n for remark in remarks for n in range(remark.finding.line, remark.finding.end_line + 1)}
    unread = {
        number
        for part in file.coverage.unread
        if not part.why.by_design
        for number in range(part.lines.first, part.lines.last + 1)
    }
    paint = _Painter(source, lines)
    rows, before = list[Row](), 0
    for number in shown:
        if number > before + 1:
            rows.append(Row(gap=number - before - 1))
        classes = " ".join(["commented"] * (number in commented) + ["unread"] * (number in unread))
        after = tuple(remark for remark in remarks if remark.finding.end_line == number)
        rows.append(Row(number, paint(number), classes, after))
        before = number
    return (*rows, Row(gap=total - before)) if total > before else tuple(rows)


class _Painter:
    """Marks up lines of a file."""

    def __init__(self, source: Source, lines: Sequence[str]) -> None:
        self._text = source.text
        self._classes = (
            token_classes(source.text, _lexer(source.path))
            if len(source.text) <= MAX_COLORED
            else [""] * len(source.text)
        )
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    def __call__(self, number: int) -> Markup:
        """Return line `number`, from 1."""
        start, stop = self._starts[number - 1], self._starts[number] - 1
        return colored(self._text, self._classes, start, stop, visible)


def _lexer(path: Path) -> Lexer:
    try:
        return get_lexer_for_filename(f"code{path.suffix or '.py'}", stripnl=False, ensurenl=False)
    except ClassNotFound:
        return TextLexer(stripnl=False, ensurenl=False)


def _reasons(coverage: Coverage) -> list[str]:
    """Return why lines were left out that should have been read."""
    return [
        f"{part.lines.first}-{part.lines.last}: {part.why}" + (f" ({visible_line(part.detail)})" if part.detail else "")
        for part in coverage.unread
        if not part.why.by_design
    ][:20]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
