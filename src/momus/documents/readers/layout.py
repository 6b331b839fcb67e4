"""From runs of text on pages to blocks in reading order.

A page has two columns where some vertical line near its middle is crossed by little of its text and has enough on
both sides. What crosses it (a title, a wide figure's caption) cuts the columns into bands, read one after another, in
each the left column before the right. Runs on one baseline are a line; lines are a block until the size, the weight,
the distance or the indentation changes, or a line ends short. Running heads and page numbers are what comes again at
the top or bottom of pages, numbers aside; line numbers of review copies are numbers in a row beside the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from momus.documents.document import Place
from momus.documents.readers.blocks import Block
from momus.documents.readers.words import Words

_MIDDLE = (0.3, 0.7)
"""Where the line between two columns may stand, as shares of the page's width."""
_CROSSING, _EACH_SIDE = 0.4, 0.15
"""Shares of a page's text: at most this much crosses the line, at least this much stands on each side."""
_MARGIN = 0.1
"""The share of a page's height, above and below, where running heads are looked for."""
_SAME_SIZE = 1.06
_CELL = 2.0
"""The gap between two cells of a table, in sizes of its letters; lines set to a width have smaller ones."""

_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
_PAGE_NUMBER = re.compile(r"(?:page|p\.|쪽|[-–—·|\s]|\d{1,4}|of|/|[ivxl]+\b)++", re.IGNORECASE)
_LINE_NUMBER = re.compile(r"\d{1,4}")
_ITEM = re.compile(r"(?:[•‣◦▪∙*]|[-–—]\s|\(?\d{1,2}[.)]\s|\(?[a-z가-하][.)]\s|\[\d{1,3}\]|[①-⑳])")
_SECTION = re.compile(r"\d+(?:\.\d+)*\.?\s+[^\W\d_]")
_NUMBERED = re.compile(r"(?:\d+(?:\.\d+)*\.?|[IVX]+\.|[A-Z]\.?)\s+\S")
_STOPS = (".", "!", "?", ":", "。", "”", '"', ")", "]")


@dataclass(frozen=True)
class Run:
    """Characters side by side; places in points from the left upper corner of the page.

    `cells` is how many parts with wide gaps between them a line has; `spaced` is whether the file draws a space after.
    """

    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float
    bold: bool
    cells: int = 1
    spaced: bool = False

    @property
    def line(self) -> str:
        """Its text as a line to be joined to the next one."""
        return f"{self.text} " if self.spaced else self.text


@dataclass(frozen=True)
class Page:
    """A page's number from 1, its measures in points, and its text."""

    number: int
    width: float
    height: float
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Line:
    """A line of one column, and where the column's text begins and ends."""

    run: Run
    page: Page
    left: float
    right: float
    column: int
    head: bool = False


def lay_out(pages: Sequence[Page]) -> tuple[Block, ...]:
    """Put the text of pages in reading order and cut it into blocks."""
    pages = [_without_line_numbers(page) for page in pages]
    heads = _heads(pages)
    lines, column = [], 0
    for page in pages:
        body = [run for run in page.runs if (page.number, run) not in heads]
        for group in _columns(page, body):
            column += 1
            left, right = min(run.left for run in group), max(run.right for run in group)
            lines += [Line(run, page, left, right, column) for run in group]
        lines += [Line(run, page, 0, page.width, column, head=True) for run in page.runs if (page.number, run) in heads]
    words = Words(line.run.line for line in lines)
    pitch = _pitch(lines)
    return tuple(_block(group, words) for group in _groups(lines, pitch))


def body_size(weights: Iterable[tuple[float, int]]) -> float:
    """Return the size that most of a text has, from sizes and numbers of characters; 0 where there is none."""
    sizes = Counter[float]()
    for size, characters in weights:
        sizes[round(size * 2) / 2] += characters
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _without_line_numbers(page: Page) -> Page:
    """Leave out numbers that count up down one side of the text, at least five of them."""
    texts = [run for run in page.runs if not _LINE_NUMBER.fullmatch(run.text)]
    if not texts:
        return page
    edges = (median(run.left for run in texts), median(run.right for run in texts))
    dropped: set[Run] = set()
    all_numbers = sorted((run for run in page.runs if _LINE_NUMBER.fullmatch(run.text)), key=_top)
    for numbers in (
        [run for run in all_numbers if run.right < edges[0]],
        [run for run in all_numbers if run.left > edges[1]],
    ):
        steps = [int(below.text) - int(above.text) for above, below in pairwise(numbers)]
        if len(numbers) >= 5 and sum(step == steps[0] > 0 for step in steps) >= 0.8 * len(steps):
            dropped |= set(numbers)
    return replace(page, runs=tuple(run for run in page.runs if run not in dropped))


def _heads(pages: Sequence[Page]) -> set[tuple[int, Run]]:
    """Find running heads, page numbers and other things that come again in the upper or lower margin."""
    marginal = [(page, run) for page in pages for run in _apart(page)]
    again = Counter(form for form, _ in {(_form(page, run), page.number) for page, run in marginal})
    repeated = {
        (page.number, run)
        for page, run in marginal
        if again[_form(page, run)] >= max(2, 0.2 * len(pages)) or _PAGE_NUMBER.fullmatch(run.text)
    }
    usual = body_size((run.size, len(run.text)) for page in pages for run in page.runs)
    return repeated | {(page.number, run) for page in pages[1:] for run in _topmost(page, usual)}


def _apart(page: Page) -> list[Run]:
    """Return what stands in the upper and the lower margin with some space between it and the rest."""
    return _outermost(page.runs, page.height * _MARGIN) + _outermost(
        [replace(run, top=page.height - run.bottom, bottom=page.height - run.top) for run in page.runs],
        page.height * _MARGIN,
        page.runs,
    )


def _outermost(runs: Sequence[Run], margin: float, same: Sequence[Run] = ()) -> list[Run]:
    """Return the runs above the last gap that begins in the upper margin, as they are in `same`, where they differ."""
    order = sorted(range(len(runs)), key=lambda index: runs[index].top)
    reached, cut = 0.0, 0
    for place, index in enumerate(order):
        if place and reached < margin and runs[index].top - reached > 0.4 * runs[index].size:
            cut = place
        reached = max(reached, runs[index].bottom)
    return [(same or runs)[index] for index in order[:cut]]


def _topmost(page: Page, usual: float) -> list[Run]:
    """Return a line in the upper margin that looks like a running head: small or far above the rest, no heading."""
    inside = [run for run in page.runs if run.bottom < page.height * _MARGIN]
    if not inside:
        return []
    first = min(inside, key=_top)
    row = [run for run in inside if run.top < first.bottom]
    below = min((run.top for run in page.runs if run not in row), default=page.height)
    gap = below - max(run.bottom for run in row)
    away = gap > 1.2 * first.size or (gap > 0.5 * first.size and first.size < 0.97 * usual)
    heading = any(run.bold or _SECTION.match(run.text) for run in row)
    return row if away and not heading and sum(len(run.text) for run in row) < 120 else []


def _form(page: Page, run: Run) -> tuple[str, bool]:
    return _NUMBER.sub("#", run.text.casefold()), run.top < page.height / 2


def _columns(page: Page, runs: Sequence[Run]) -> list[list[Run]]:
    """Cut a page's runs into columns in reading order, each a list of lines from top to bottom."""
    ordered = sorted(runs, key=lambda run: (run.top, run.left))
    middle = _gutter(page, ordered)
    if middle is None:
        return [_lines(ordered)] if ordered else []
    groups: list[list[Run]] = [[], [], []]  # what crosses, left, right

    def flush() -> list[list[Run]]:
        done = [_lines(group) for group in groups if group]
        for group in groups:
            group.clear()
        return done

    blocks = []
    for run in ordered:
        side = 0 if run.left < middle < run.right else 1 if run.right <= middle else 2
        if (side == 0 and (groups[1] or groups[2])) or (side and groups[0]):
            blocks += flush()
        groups[side].append(run)
    return blocks + flush()


def _gutter(page: Page, runs: Sequence[Run]) -> float | None:
    """Return where the line between two columns stands, or None where there is one column."""
    total = sum(len(run.text) for run in runs)
    best: list[float] = []
    least = _CROSSING * total
    for step in range(int(_MIDDLE[0] * 200), int(_MIDDLE[1] * 200) + 1):
        x = page.width * step / 200
        crossing = sum(len(run.text) for run in runs if run.left < x < run.right)
        left = sum(len(run.text) for run in runs if run.right <= x)
        if crossing > least or min(left, total - crossing - left) < _EACH_SIDE * total:
            continue
        if crossing < least:
            best = []
        least = crossing
        best.append(x)
    return best[len(best) // 2] if best else None


def _lines(runs: Sequence[Run]) -> list[Run]:
    """Join runs on one baseline, left to right, into lines from top to bottom."""
    rows: list[list[Run]] = []
    for run in sorted(runs, key=_top):
        row = next((row for row in reversed(rows[-3:]) if _beside(row, run)), None)
        if row is None:
            rows.append([run])
        else:
            row.append(run)
    return [_joined(sorted(row, key=lambda run: run.left)) for row in rows]


def _beside(row: Sequence[Run], run: Run) -> bool:
    """Whether a run stands on the same line as a row of others, overlapping none of them sideways."""
    shared = min(row[0].bottom, run.bottom) - max(row[0].top, run.top)
    apart = all(run.left >= other.right - 1 or run.right <= other.left + 1 for other in row)
    return apart and shared > 0.5 * min(row[0].bottom - row[0].top, run.bottom - run.top)


def _joined(row: Sequence[Run]) -> Run:
    longest = max(row, key=lambda run: len(run.text))
    return Run(
        " ".join(run.text for run in row),
        row[0].left,
        max(run.right for run in row),
        min(run.top for run in row),
        max(run.bottom for run in row),
        longest.size,
        all(run.bold for run in row if run.text.isalnum() or len(run.text) > 2) and any(run.bold for run in row),
        1 + sum(right.left - left.right > _CELL * longest.size for left, right in pairwise(row)),
        row[-1].spaced,
    )


def _top(run: Run) -> float:
    return (run.top + run.bottom) / 2


def _pitch(lines: Sequence[Line]) -> float:
    """Return the usual distance from line to line, in the size of the lower one."""
    steps = [
        (below.run.bottom - above.run.bottom) / below.run.size
        for above, below in pairwise(lines)
        if above.column == below.column and below.run.size and not above.head and not below.head
    ]
    usual = [step for step in steps if 0.8 < step < 2.5]
    return median(usual) if usual else 1.2


def _groups(lines: Sequence[Line], pitch: float) -> list[list[Line]]:
    groups: list[list[Line]] = []
    for line in lines:
        if groups and not _breaks(groups[-1], line, pitch):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _breaks(group: Sequence[Line], line: Line, pitch: float) -> bool:
    """Whether a line begins a new block after those of a group."""
    above, run = group[-1].run, line.run
    if line.head or group[-1].head or line.column != group[-1].column:
        return True
    step = (run.bottom - above.bottom) / max(run.size, 1)
    if step > 1.3 * pitch or step < 0:
        return True
    if run.bold == above.bold and run.text[0].islower() and not above.text.endswith(_STOPS):
        return False  # in the middle of a sentence the size of a line is that of some name or formula in it
    if run.bold != above.bold or max(run.size, above.size) > _SAME_SIZE * min(run.size, above.size):
        return True
    if run.bold and _NUMBERED.match(run.text):
        return True
    width = line.right - line.left
    short = above.right < line.right - 0.1 * width
    item, form = _item(group[0].run.text), _item(run.text)
    if form and (form == item or (not item and (short or above.text.endswith(_STOPS)))):
        return True
    indented = run.left > above.left + 0.7 * run.size
    if indented and not (item and len(group) == 1):
        return above.text.endswith(_STOPS) or short
    back = run.left < above.left - 0.7 * run.size  # out of an item, or the second line of an indented paragraph
    if back and item and len(group) > 1:
        return True
    return short and above.text.endswith(_STOPS)


def _item(text: str) -> str:
    """Return how a text is marked as an item of a list, its number aside; "" where it is not."""
    match = _ITEM.match(text)
    return re.sub(r"\d+|[a-z가-하]", "#", match.group().strip()) if match else ""


def _block(group: Sequence[Line], words: Words) -> Block:
    first = group[0]
    size = body_size((line.run.size, len(line.run.text)) for line in group)
    return Block(
        text=words.joined([line.run.line for line in group]),
        places=(_place(group),),
        size=size,
        bold=all(line.run.bold for line in group),
        hint="head" if first.head else "",
        tabular=sum(line.run.cells > 1 for line in group) > 0.5 * len(group),
    )


def _place(group: Sequence[Line]) -> Place:
    page = group[0].page
    left, right = min(line.run.left for line in group), max(line.run.right for line in group)
    top, bottom = min(line.run.top for line in group), max(line.run.bottom for line in group)
    shares = (left / page.width, top / page.height, right / page.width, bottom / page.height)
    return Place(page.number, tuple(round(min(1.0, max(0.0, share)), 4) for share in shares))  # type: ignore[arg-type]
