"""Opens the database that an address names."""

from __future__ import annotations

from pathlib import Path

from momus.errors import UserError
from momus.label.database import Clock, Database
from momus.label.sqlite import SQLite


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
