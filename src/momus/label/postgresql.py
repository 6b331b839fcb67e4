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
CONNECTIONS = 4
"""At most so many for each process: a server that is as busy as it can be gains nothing from more, and each plans the
statements that it prepares anew."""
_AGAIN = (errors.SerializationFailure, errors.DeadlockDetected)


class PostgreSQL:
    """A server; any number of processes and machines may write."""

    dialect = "postgresql"
    now_sql = "extract(epoch from clock_timestamp())"

    def __init__(self, address: str, clock: Clock | None = None) -> None:
        self.address = address
        self.clock = clock
        self._pool: queue.LifoQueue[psycopg.Connection | None] = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self._pool.put(None)  # a place for one
        with self._connection():
            pass

    def translated(self, sql: str) -> str:
        """Return the statement with psycopg's placeholders."""
        return sql.replace("?", "%s")

    def read(self, work: Work[Result]) -> Result:
        """Run a work on one snapshot."""
        with self._connection() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return work(Transaction(connection.cursor(), self))
            finally:
                if not connection.closed:
                    connection.execute("ROLLBACK")

    def ask(self, work: Work[Result]) -> Result:
        """Run a work of a single query in one round trip."""
        with self._connection() as connection:
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
        places = 0
        with suppress(queue.Empty):
            while True:
                if connection := self._pool.get_nowait():
                    connection.close()
                places += 1
        for _ in range(places):
            self._pool.put(None)

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        """Lend a connection that was alive when last used, once there is one; a broken one is not used again."""
        connection = self._pool.get()
        try:
            connection = connection or self._connect()
            yield connection
        finally:
            if connection is not None and (connection.closed or connection.broken):
                connection.close()
                connection = None
            self._pool.put(connection)

    def _connect(self) -> psycopg.Connection:
        try:
            return psycopg.connect(self.address, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            # The address may hold a password: the server's words are enough.
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no answer"
            raise UserError(f"--database: PostgreSQL cannot be reached: {reason}") from error
