"""One way to talk to SQLite and to PostgreSQL: short transactions, retried or grouped, on the database's own clock.

SQL is written once, with `?` for values; neither literal question marks nor percent signs may occur in it.

sqlite.py and postgresql.py implement it, connect.py chooses between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")
Row = dict[str, Any]
Clock = Callable[[], float]


class Transaction:
    """What a work may do: run statements and ask for the time. Commits and rollbacks belong to the database."""

    def __init__(self, cursor: Any, database: Database) -> None:
        self._cursor = cursor
        self._database = database
        self._now: float | None = None

    @property
    def for_update(self) -> str:
        """What ends a SELECT that locks its rows: nothing on SQLite, where a writer is alone."""
        return " FOR UPDATE" if self._database.dialect == "postgresql" else ""

    @property
    def skip_locked(self) -> str:
        """What ends a SELECT that locks its rows and passes over those that others have locked."""
        return " FOR UPDATE SKIP LOCKED" if self._database.dialect == "postgresql" else ""

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a query."""
        self._cursor.execute(self._database.translated(sql), values)
        names = [column[0] for column in self._cursor.description]
        return [dict(zip(names, row, strict=True)) for row in self._cursor.fetchall()]

    def row(self, sql: str, *values: Any) -> Row | None:
        """Return the first row of a query, or None."""
        rows = self.rows(sql, *values)
        return rows[0] if rows else None

    def value(self, sql: str, *values: Any) -> Any:
        """Return the one value of a query; None where there is no row."""
        row = self.row(sql, *values)
        return None if row is None else next(iter(row.values()))

    def run(self, sql: str, *values: Any) -> int:
        """Run a statement that changes something; return how many rows it changed."""
        self._cursor.execute(self._database.translated(sql), values)
        return int(self._cursor.rowcount)

    def row_and_time(self, sql: str, *values: Any) -> Row | None:
        """Return the first row of a query that has `{now} AS now`; that is the transaction's time from then on."""
        clock = self._database.clock
        row = self.row(sql.replace("{now}", repr(clock()) if clock else self._database.now_sql), *values)
        if row is not None:
            self._now = float(row["now"]) if self._now is None else self._now
            row["now"] = self._now
        return row

    def now(self) -> float:
        """Return the time in seconds since 1970, by the database's clock; one transaction has one time."""
        if self._now is None:
            clock = self._database.clock
            self._now = float(clock() if clock else self.value(f"SELECT {self._database.now_sql} AS now"))
        return self._now


Work = Callable[[Transaction], Result]


class Database(Protocol):
    """What the store needs of a database. `clock` replaces the database's own in tests."""

    dialect: str
    now_sql: str
    clock: Clock | None

    def translated(self, sql: str) -> str:
        """Return a statement as the driver takes it."""

    def read(self, work: Work[Result]) -> Result:
        """Run a work that only reads."""

    def ask(self, work: Work[Result]) -> Result:
        """Run a work of a single query, which sees one moment without a transaction around it."""

    def write(self, work: Work[Result]) -> Result:
        """Run a work in one transaction and return once it is durable; what it raises undoes it."""

    def close(self) -> None:
        """Close all connections."""
