"""SQLite: a file on a local disk.

Write-ahead log, `synchronous=FULL`, and every writing transaction takes the write lock when it begins (one that
starts to read and then writes fails whatever the timeout). Writers of one process share commits: works that arrive
while the disk is busy run one after the other, each behind its own savepoint, and are made durable together.
"""

from __future__ import annotations

import errno
import json
import queue
import re
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from momus.errors import UserError
from momus.label.database import Clock, Result, Transaction, Work

GROUP = 64
"""At most so many works share one commit."""
_BUSY_SECONDS = 30.0
_DAMAGE = re.compile(
    "malformed|no such|decode to UTF-8|readonly|not a database|no column|incomplete|too big|unsupported file format"
)
"""What SQLite calls an operational error and is one of the file's."""
_DISK = {sqlite3.SQLITE_IOERR: errno.EIO, sqlite3.SQLITE_FULL: errno.ENOSPC}
"""Errors of the disk, by SQLite's primary code."""
_Waiting = tuple[Work[Any], Future[Any]]
_Works = queue.SimpleQueue[_Waiting | None]


class SQLite:
    """A file on a local disk; one thread of each process writes."""

    dialect = "sqlite"
    now_sql = "(julianday('now') - 2440587.5) * 86400.0"

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path = path
        self.clock = clock
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._works: _Works = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._connect().close()

    def translated(self, sql: str) -> str:
        """Return the statement as it is."""
        return sql

    def read(self, work: Work[Result]) -> Result:
        """Run a work on one snapshot."""
        if not hasattr(self._local, "connection"):
            self._local.connection = self._connect()
            with self._lock:
                self._connections.append(self._local.connection)
        connection: sqlite3.Connection = self._local.connection
        try:
            connection.execute("BEGIN")
            return work(Transaction(connection.cursor(), self))
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error
        except (UnicodeDecodeError, json.JSONDecodeError, ValidationError, KeyError) as error:  # was whole once
            raise self._damaged(error) from error
        finally:
            connection.rollback()

    def ask(self, work: Work[Result]) -> Result:
        """Run a work of a single query."""
        return self.read(work)

    def write(self, work: Work[Result]) -> Result:
        """Hand a work to the writer and wait until it is durable.

        Raises:
            UserError: The file is damaged or cannot be opened.
            OSError: The disk is full or fails; nothing of the work is kept.
        """
        future: Future[Result] = Future()
        with self._lock:
            if self._writer is None:
                connection = self._connect()  # here, so that whoever waits learns that it failed
                self._works = queue.SimpleQueue()
                self._writer = threading.Thread(
                    target=self._write_all, args=(connection, self._works), name="label-writer", daemon=True
                )
                self._writer.start()
            self._works.put((work, future))  # with the lock: what comes after `close` is for another writer
        try:
            return future.result()
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from error

    def check(self) -> None:
        """Refuse a file that is damaged, or another program's database, before anything is written to it.

        Raises:
            UserError: It is one.
        """

        def look(transaction: Transaction) -> None:
            names = {row["name"] for row in transaction.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
            others = sorted(name for name in names if not name.startswith("sqlite_"))
            if others and not {"setting", "item", "submission"} <= names and others != ["setting"]:
                raise UserError(
                    f"--database {self.path}: a database of another program (it has {', '.join(others)[:80]}): name "
                    "another file"
                )
            if (problem := transaction.value("PRAGMA quick_check(1)")) != "ok":
                raise sqlite3.DatabaseError(problem)

        self.read(look)

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        """Return in words what is wrong with the file or the disk; an error that says something else as it is."""
        if failure := disk_error(error, self.path):
            return failure
        other = isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError)
        if other or (type(error) is sqlite3.OperationalError and not _DAMAGE.search(str(error))):
            return error
        return self._damaged(error)

    def _damaged(self, error: Exception) -> UserError:
        what = " ".join(str(error).split())[:100]
        return UserError(f"--database {self.path}: damaged, or written by another program ({what}): go on from a copy")

    def close(self) -> None:
        """Stop the writer and close what was opened."""
        with self._lock:
            writer, self._writer = self._writer, None
            self._works.put(None)
        if writer is not None:
            writer.join()
        for connection in self._connections:
            with suppress(sqlite3.ProgrammingError):
                connection.close()
        self._connections.clear()
        self._local = threading.local()

    def _connect(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            raise UserError(f"--database {self.path}: {error}") from error
        return connection

    def _write_all(self, connection: sqlite3.Connection, works: _Works) -> None:
        while (first := works.get()) is not None:
            if self._write_group(connection, works, first):
                break
        connection.close()

    def _write_group(self, connection: sqlite3.Connection, works: _Works, first: _Waiting) -> bool:
        """Run works that are waiting in one transaction, then answer them all; True when asked to stop."""
        taken: list[_Waiting] = [first]
        answers: list[tuple[Any, BaseException | None]] = []
        stopped = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            answers.append(self._attempt(connection, first[0]))
            while len(taken) < GROUP and not stopped and not works.empty():
                waiting = works.get()
                if waiting is None:
                    stopped = True
                else:
                    taken.append(waiting)
                    answers.append(self._attempt(connection, waiting[0]))
            connection.execute("COMMIT")
        except BaseException as error:  # the disk is full, the lock is not to be had: nobody is told of success
            with suppress(sqlite3.Error):
                connection.rollback()
            answers = [(None, error)] * len(taken)
        for (_, future), (result, problem) in zip(taken, answers, strict=True):
            if problem is None:
                future.set_result(result)
            else:
                future.set_exception(problem)
        return stopped

    def _attempt(self, connection: sqlite3.Connection, work: Work[Any]) -> tuple[Any, BaseException | None]:
        connection.execute("SAVEPOINT work")
        try:
            result = work(Transaction(connection.cursor(), self))
        except BaseException as error:
            if not connection.in_transaction:  # SQLite gave up the whole transaction
                raise
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            return None, error
        connection.execute("RELEASE work")
        return result, None


def disk_error(error: sqlite3.DatabaseError, path: Path) -> OSError | None:
    """Return the error of the disk that SQLite reports of a file, None where it reports another."""
    number = _DISK.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    return OSError(number, str(error), str(path)) if number else None
