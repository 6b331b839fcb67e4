"""Which database a command of the workbench is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from momus.errors import UserError

if TYPE_CHECKING:
    from momus.label.database import Database


@dataclass(frozen=True)
class OnDatabase:
    """A command on a workbench's database."""

    database: str = "label.db"
    """A path (SQLite), or postgresql://…"""

    def open(self) -> Database:
        """Open the database, which must be there."""
        from momus.label.serve import open_store

        if "://" not in self.database and not Path(self.database).exists():
            raise UserError(f"--database {self.database}: no such file; momus label serve or import makes one")
        return open_store(self.database)
