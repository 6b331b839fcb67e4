"""Hours for pay: how long each labeler was at work, day by day.

Counted is the time in which a task's page was in use, as the page measured it (visible, and touched within the last
minute), of everything that was submitted: what was returned, rejected or surplus was work, too, and so are corrections.
Time on tasks that were declined or never submitted is not measured.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

from momus.errors import UserError
from momus.label.database import Database, Row, Transaction


def hours(database: Database, since: date | None = None, until: date | None = None) -> list[Row]:
    """Return a row for each labeler and day (UTC) with work: `labeler`, `name`, `day`, `submissions`, `hours`.

    Args:
        database: The workbench.
        since: The first day; all from the beginning where it is None.
        until: The last day, included.
    """
    first = _start(since) if since else 0.0
    after = _start(until + timedelta(days=1)) if until else float("inf")

    def work(transaction: Transaction) -> list[Row]:
        names = {row["id"]: row["name"] for row in transaction.rows("SELECT id, name FROM person")}
        spent: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in transaction.rows("SELECT person, submitted, active FROM submission WHERE submitted >= ?", first):
            if row["submitted"] < after:
                day = datetime.fromtimestamp(row["submitted"], UTC).date().isoformat()
                spent[day, row["person"]].append(row["active"])
        return [
            {"labeler": person, "name": names.get(person, ""), "day": day, "submissions": len(seconds),
             "hours": round(sum(seconds) / 3600, 4)}
            for (day, person), seconds in sorted(spent.items())
        ]  # fmt: skip

    return database.read(work)


def day_of(text: str) -> date | None:
    """Return a day as YYYY-MM-DD; None for an empty text.

    Raises:
        UserError: It is none.
    """
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{text[:20]!r}: a day like 2026-11-30") from error
    if not 1970 <= day.year <= 9998:
        raise UserError(f"{text[:20]!r}: a day like 2026-11-30")
    return day


def _start(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
