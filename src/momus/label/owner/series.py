"""What the figures of the dashboard show, as rows: progress, time, use of prefills, win rates, drift of labelers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations
from statistics import mean, quantiles

from momus.label.database import Database, Row, Transaction
from momus.label.owner.agreement import scores_of
from momus.label.owner.overview import prefill_totals
from momus.stats.winrates import win_rate

Series = dict[str, list[Row]]

PERIODS = 5
"""Into so many equal parts each labeler's judgements are cut, in the order they were made, to see their scale drift."""


def series(database: Database) -> Series:
    """Return the rows of every figure by its name; a figure without anything to show has none."""
    return database.read(_series)


def _series(transaction: Transaction) -> Series:
    work = transaction.rows(
        "SELECT submission.*, kind, item.payload FROM submission JOIN item ON item.number = submission.item "
        "WHERE purpose = 'real' AND status = 'accepted' AND NOT EXISTS (SELECT 1 FROM submission AS later WHERE "
        "later.supersedes = submission.id) AND coalesce((SELECT verdict FROM review WHERE review.submission = "
        "submission.id ORDER BY number DESC LIMIT 1), 'approved') = 'approved' ORDER BY submitted"
    )
    games = [game for row in work for game in _games(row)]
    return {
        "progress": list(_progress(work)),
        "minutes": list(_minutes(work)),
        "prefill": _prefill(transaction),
        "win-rates": list(_win_rates(games)),
        "drift": list(_drift(work)),
    }


def _progress(work: list[Row]) -> Iterator[Row]:
    """Yield how many judgements of each kind there were at the end of each day on which one came."""
    counts: dict[str, int] = defaultdict(int)
    days: dict[tuple[str, str], int] = {}
    for row in work:
        counts[row["kind"]] += 1
        day = datetime.fromtimestamp(row["submitted"], UTC).strftime("%Y-%m-%d")
        days[row["kind"], day] = counts[row["kind"]]
    for (kind, day), count in sorted(days.items()):
        yield {"kind": kind, "day": day, "judgements": count}


def _minutes(work: list[Row]) -> Iterator[Row]:
    """Yield quartiles of the minutes in which a page was in use, by kind."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for row in work:
        by_kind[row["kind"]].append(row["active"] / 60)
    for kind, minutes in sorted(by_kind.items()):
        low, middle, high = quantiles(minutes, n=4, method="inclusive") if len(minutes) > 1 else minutes * 3
        yield {"kind": kind, "n": len(minutes), "low": low, "median": middle, "high": high}


def _prefill(transaction: Transaction) -> list[Row]:
    """Return what became of prefilled comments, each as a share of those that were shown."""
    total = prefill_totals(transaction)
    if not total["shown"]:
        return []
    return [
        {"what": name, "comments": total[name], "share": total[name] / total["shown"]}
        for name in ("kept", "edited", "deleted", "added")
    ]


def _games(row: Row) -> Iterator[tuple[str, str, float, int]]:
    """Yield both authors, the first's outcome (1, 0.5, 0) and the item of every pair of answers or critiques judged."""
    if row["kind"] not in ("comparison", "ranking"):
        return
    payload = json.loads(row["payload"])
    sources = payload["sources" if row["kind"] == "comparison" else "authors"]
    scores = scores_of(row["kind"], json.loads(row["content"]), json.loads(row["arrangement"]))
    overall = scores["overall" if row["kind"] == "comparison" else "order"]
    for i, j in combinations(range(min(len(sources), len(overall))), 2):
        if sources[i] and sources[j] and sources[i] != sources[j]:
            yield sources[i], sources[j], (overall[i] > overall[j]) + (overall[i] == overall[j]) / 2, row["item"]


def _win_rates(games: list[tuple[str, str, float, int]]) -> Iterator[Row]:
    """Yield how often each author's critiques or answers are preferred to others', with a 95% interval over items."""
    for source in sorted({name for first, second, *_ in games for name in (first, second)}):
        played = [(won if first == source else 1 - won, item) for first, second, won, item in games
                  if source in (first, second)]  # fmt: skip
        rate = win_rate([won for won, _ in played], [item for _, item in played]).rate
        yield {"source": source, "games": len(played), "rate": rate.value, "low": rate.low, "high": rate.high}


def _drift(work: list[Row]) -> Iterator[Row]:
    """Yield the mean overall rating that each labeler gave in each part of their work, in the order it was done."""
    given: dict[str, list[float]] = defaultdict(list)
    for row in work:
        if row["kind"] in ("comparison", "ranking"):
            scores = scores_of(row["kind"], json.loads(row["content"]), json.loads(row["arrangement"]))
            given[row["person"]].append(mean(scores["overall"]))
    for person, means in sorted(given.items()):
        if len(means) >= PERIODS:
            for period in range(PERIODS):
                part = means[period * len(means) // PERIODS : (period + 1) * len(means) // PERIODS]
                yield {"labeler": person, "part": period + 1, "judgements": len(part), "overall": mean(part)}
