"""Figures on the dashboard: drawn by whatever draws (`momus.report.labeling`), kept for a while, CSV beside each."""

from __future__ import annotations

import csv
import io
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from momus.label.database import Database, Row
from momus.label.owner.overview import harmless
from momus.label.owner.series import Series, series
from momus.label.texts import Words

KEPT_SECONDS = 30.0
"""A page and the figures in it are of one moment, and drawing costs about a second."""


@dataclass(frozen=True)
class Drawn:
    """A figure: what it shows in words, and the SVG file."""

    words: str
    svg: str


Draw = Callable[[Series, Words], Mapping[str, Drawn]]


class Figures:
    """The figures of a workbench, by language."""

    def __init__(self, database: Database, draw: Draw, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._draw, self._clock = database, draw, clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, Series, Mapping[str, Drawn]]] = {}

    def drawn(self, language: str) -> Mapping[str, Drawn]:
        """Return the figures by name, those that have something to show."""
        return self._current(language)[2]

    def rows(self, name: str, language: str) -> list[Row]:
        """Return the numbers of a figure; none where there is no such figure."""
        return self._current(language)[1].get(name, [])

    def _current(self, language: str) -> tuple[float, Series, Mapping[str, Drawn]]:
        with self._lock:  # one at a time draws
            kept = self._kept.get(language)
            if kept is None or self._clock() - kept[0] > KEPT_SECONDS:
                rows = series(self._database)
                kept = (self._clock(), rows, self._draw(rows, Words(language)))
                self._kept[language] = kept
            return kept


def rows_as_csv(rows: list[Row]) -> str:
    """Return rows as CSV; cells that a spreadsheet would run as formulas are quoted."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(rows[0] if rows else [])
    writer.writerows([harmless(value) for value in row.values()] for row in rows)
    return out.getvalue()
