"""The tables of the workbench, as numbered steps that are never changed once released.

Judgements are never changed or removed (the database itself refuses): a correction is a row of its own that names what
it supersedes. `item.accepted` and `item.state` follow from the rows; they are kept for speed and checked by verify.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from momus.errors import UserError
from momus.label.database import Clock, Database, Transaction
from momus.label.sqlite import SQLite, disk_error

_V1 = """
CREATE TABLE person (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, language TEXT NOT NULL,
    state TEXT NOT NULL, created REAL NOT NULL);
CREATE TABLE invitation (
    digest TEXT PRIMARY KEY, role TEXT NOT NULL, person TEXT REFERENCES person(id), created REAL NOT NULL,
    expires REAL NOT NULL, used REAL);
CREATE TABLE session (
    digest TEXT PRIMARY KEY, person TEXT NOT NULL REFERENCES person(id), csrf TEXT NOT NULL, created REAL NOT NULL,
    seen REAL NOT NULL);
CREATE TABLE item (
    number {serial}, digest TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, purpose TEXT NOT NULL, batch TEXT NOT NULL,
    payload TEXT NOT NULL, gold TEXT, want INTEGER NOT NULL, accepted INTEGER NOT NULL, state TEXT NOT NULL,
    created REAL NOT NULL);
CREATE INDEX item_open ON item (kind, purpose, number) WHERE state = 'open';
CREATE TABLE author (
    item INTEGER NOT NULL REFERENCES item(number), person TEXT NOT NULL, PRIMARY KEY (item, person));
CREATE TABLE lease (
    token TEXT PRIMARY KEY, item INTEGER NOT NULL REFERENCES item(number), person TEXT NOT NULL REFERENCES person(id),
    supersedes TEXT, arrangement TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, created REAL NOT NULL,
    expires REAL NOT NULL);
CREATE UNIQUE INDEX lease_held ON lease (item, person) WHERE state = 'held';
CREATE INDEX lease_person ON lease (person, item);
CREATE TABLE draft (
    lease TEXT PRIMARY KEY REFERENCES lease(token), revision INTEGER NOT NULL, content TEXT NOT NULL,
    saved REAL NOT NULL);
CREATE TABLE submission (
    id TEXT PRIMARY KEY, item INTEGER NOT NULL REFERENCES item(number), person TEXT NOT NULL REFERENCES person(id),
    lease TEXT NOT NULL UNIQUE REFERENCES lease(token), revision INTEGER NOT NULL, supersedes TEXT UNIQUE,
    status TEXT NOT NULL, content TEXT NOT NULL, arrangement TEXT NOT NULL, shown REAL NOT NULL,
    submitted REAL NOT NULL, active REAL NOT NULL, UNIQUE (item, person, revision));
CREATE INDEX submission_person ON submission (person, submitted);
CREATE TABLE review (
    number {serial}, submission TEXT NOT NULL REFERENCES submission(id), reviewer TEXT NOT NULL, verdict TEXT NOT NULL,
    note TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE reply (
    person TEXT NOT NULL, request TEXT NOT NULL, digest TEXT NOT NULL, answer TEXT NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (person, request));
CREATE TABLE probe (
    number {serial}, lease TEXT NOT NULL REFERENCES lease(token), request TEXT NOT NULL, content TEXT NOT NULL,
    result TEXT, at REAL NOT NULL, UNIQUE (lease, request));
CREATE TABLE audit (
    number {serial}, at REAL NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL,
    digest TEXT NOT NULL, position INTEGER UNIQUE, seal TEXT);
CREATE INDEX audit_unsealed ON audit (number) WHERE position IS NULL
"""

_V2 = """
CREATE TABLE grade (
    number {serial}, submission TEXT NOT NULL REFERENCES submission(id), grader TEXT NOT NULL, score INTEGER NOT NULL,
    at REAL NOT NULL);
CREATE INDEX grade_submission ON grade (submission)
"""

_V3 = """
ALTER TABLE item ADD COLUMN warning TEXT NOT NULL DEFAULT ''
"""

_V4 = """
CREATE INDEX review_submission ON review (submission)
"""

_STEPS = (_V1, _V2, _V3, _V4)
_KEPT = (("submission", "review"), ("grade",), (), ())
"""The tables of each step whose rows are never changed or removed."""
SCHEMA_VERSION = len(_STEPS)

_SERIAL = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "postgresql": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
}


def open_database(address: str, clock: Clock | None = None) -> Database:
    """Open a database: a path, or `postgresql://…`.

    Raises:
        UserError: There is none there, or it cannot be used.
    """
    if address.startswith(("postgresql://", "postgres://")):
        from momus.label.postgresql import PostgreSQL

        return PostgreSQL(address, clock)
    if "://" in address:
        raise UserError(f"--database {address}: a path (SQLite), or postgresql://…")
    return SQLite(Path(address), clock)


def migrate(database: Database) -> None:
    """Bring a database to the newest schema; an older SQLite file is copied to `NAME.vN.bak` before.

    Raises:
        UserError: It was written by a newer Momus or another program, or is damaged.
    """
    if isinstance(database, SQLite):
        database.check()
    version = database.write(_version)
    if version > SCHEMA_VERSION:
        raise UserError(f"the database has schema {version}, this Momus knows {SCHEMA_VERSION}: install a newer Momus")
    if version == SCHEMA_VERSION:
        return
    if version and isinstance(database, SQLite):
        back_up(database, database.path.with_name(f"{database.path.name}.v{version}.bak"))
    database.write(_upgrade)


def back_up(database: SQLite, target: Path) -> None:
    """Copy an SQLite database, consistent at one instant even while others write.

    Raises:
        UserError: The target is there already or cannot be one, or the database is damaged.
        OSError: The disk is full or fails.
    """
    database.read(lambda transaction: transaction.rows("SELECT 1 AS one"))
    try:
        copy_database(database.path, target)
    except sqlite3.DatabaseError as error:
        raise UserError(f"--database {database.path}: cannot be copied to {target}: {error}") from error


def copy_database(source: Path, target: Path, check: Callable[[Path], None] | None = None) -> None:
    """Copy an SQLite file whole or not at all; `check` looks at the copy before it is put in place, and may refuse it.

    Raises:
        UserError: The target is there already, or cannot be one.
        OSError: The disk is full or fails.
        sqlite3.DatabaseError: The source is none, or damaged.
    """
    if target.exists():
        raise UserError(f"{target}: is there already; name another file")
    if not target.parent.is_dir():
        raise UserError(f"{target}: there is no directory {target.parent}")
    partial = target.with_name(target.name + ".tmp")
    _remove(partial)
    try:
        reading = sqlite3.connect(f"file:{quote(str(source.resolve()))}?mode=ro", uri=True)
        copy = sqlite3.connect(partial)
        try:
            reading.backup(copy)
        finally:
            copy.close()
            reading.close()
        if check is not None:
            check(partial)
        shutil.move(partial, target)
    except sqlite3.DatabaseError as error:
        if failure := disk_error(error, target):
            raise failure from error
        raise
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _version(transaction: Transaction) -> int:
    transaction.run("CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
    value = transaction.value("SELECT value FROM setting WHERE name = 'schema'") or 0
    if not str(value).isdigit() or len(str(value)) > 9:
        raise UserError(f"the database is damaged: its schema is {str(value)[:40]!r}: go on from a copy")
    return int(value)


def _upgrade(transaction: Transaction) -> None:
    # Two that start at once: the second waits here (SQLite: at the beginning) and then has nothing to do.
    if transaction.for_update:
        transaction.run("LOCK TABLE setting IN EXCLUSIVE MODE")
    version = _version(transaction)
    dialect = "postgresql" if transaction.for_update else "sqlite"
    for number, step in enumerate(_STEPS[version:], version + 1):
        text = step.replace("{serial}", _SERIAL[dialect])
        if dialect == "postgresql":
            text = text.replace("REAL", "DOUBLE PRECISION").replace(" INTEGER", " BIGINT")
        for statement in text.split(";"):
            transaction.run(statement)
        if number == 1 and dialect == "postgresql":
            transaction.run(
                "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN RAISE EXCEPTION ''judgements are never changed''; END'"
            )
        for table in _KEPT[number - 1]:
            _refuse_changes(transaction, dialect, table)
    transaction.run("DELETE FROM setting WHERE name = 'schema'")
    transaction.run("INSERT INTO setting VALUES ('schema', ?)", str(SCHEMA_VERSION))


def _refuse_changes(transaction: Transaction, dialect: str, table: str) -> None:
    """Have the database itself refuse to change or remove a row of a table."""
    for change in ("UPDATE", "DELETE"):
        name = f"{table}_{change.lower()}_refused"
        if dialect == "postgresql":
            transaction.run(
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()"
            )
        else:
            transaction.run(
                f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'judgements are never changed'); END"
            )
