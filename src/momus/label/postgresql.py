"""PostgreSQL behind the same interface as SQLite: a small pool, one transaction per work, conflicts tried again."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors

from momus.errors import UserError
from momus.label.database import Clock, Result, Transaction, Work

ATTEMPTS = 8
_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)


class PostgreSQL:
    """A server; any number of processes and machines may write."""

    dialect = "postgresql"
    now_sql = "extract(epoch from clock_timestamp())"

    def __init__(self, address: str, clock: Clock | None = None) -> None:
        self.address = address
        self.clock = clock
        self._idle: queue.LifoQueue[psycopg.Connection] = queue.LifoQueue()
        with self._connection():
            pass

    def translated(self, sql: str) -> str:
        """Return the statement with psycopg's placeholders."""
        return sql.replace("?", "%s")

    def read(self, work: Work[Result]) -> Result:
        """Run a work on one snapshot."""
        with self._connection() as connection, connection.transaction(force_rollback=True):
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            return work(Transaction(connection.cursor(), self))

    def write(self, work: Work[Result]) -> Result:
        """Run a work in a transaction of its own; the server shares commits among them."""
        for attempt in range(ATTEMPTS):
            try:
                with self._connection() as connection, connection.transaction():
                    return work(Transaction(connection.cursor(), self))
            except _AGAIN:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close idle connections."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        """Lend a connection that was alive when last used; a broken one is not used again."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            try:
                connection = psycopg.connect(self.address, autocommit=True, connect_timeout=10)
            except psycopg.OperationalError as error:
                # The address may hold a password: the server's words are enough.
                reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no answer"
                raise UserError(f"--database: PostgreSQL cannot be reached: {reason}") from error
        try:
            yield connection
        finally:
            if connection.closed or connection.broken:
                connection.close()
            else:
                self._idle.put(connection)
