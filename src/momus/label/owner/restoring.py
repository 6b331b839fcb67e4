"""Putting a copy of a workbench in place: only one that is whole, and never over another."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from momus.errors import UserError
from momus.label.schema import copy_database
from momus.label.sqlite import SQLite
from momus.label.verify import verify


def restore(copy: Path, target: Path) -> tuple[int, str]:
    """Put an SQLite copy (`momus label backup`) where a workbench is to be; the copy stays as it is.

    Returns:
        How many entries its audit log has, and the last seal, to be compared with one that was noted.

    Raises:
        UserError: There is a file in that place, no copy, or it is damaged, another program's, or does not verify.
    """
    if not copy.is_file():
        raise UserError(f"{copy}: no such file")
    checked: list[tuple[int, str]] = []
    try:
        copy_database(copy, target, lambda partial: checked.append(_check(copy, partial)))
    except sqlite3.DatabaseError as error:
        raise UserError(f"{copy}: no copy of a workbench, or damaged ({error})") from error
    return checked[0]


def _check(copy: Path, partial: Path) -> tuple[int, str]:
    database = SQLite(partial)
    try:
        try:
            database.check()
            tables = database.read(lambda t: {row["name"] for row in t.rows("SELECT name FROM sqlite_master")})
            if "audit" not in tables:
                raise UserError("it has no audit log")
            problems, entries, last = verify(database)
        except UserError as error:
            reason = str(error).removeprefix(f"--database {partial}: ")
            raise UserError(f"{copy}: no copy of a workbench, or damaged: {reason}") from error
    finally:
        database.close()
    if problems:
        raise UserError(f"{copy}: does not verify: {problems[0]}")
    return entries, last
