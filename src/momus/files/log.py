"""A file of lines that is only ever added to, and cut back when what it tells of is done again."""

from __future__ import annotations

import os
from pathlib import Path

from momus.files.writing import disk_errors


class Log:
    """Lines in one file, which need not exist yet; a line that a kill cut short does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, line: str) -> None:
        """Append a line.

        Raises:
            UserError: The disk is full.
        """
        with disk_errors(self.path), self.path.open("ab") as file:
            file.write(line.encode() + b"\n")

    def lines(self) -> list[str]:
        """Return all whole lines."""
        if not self.path.exists():
            return []
        *whole, _ = self.path.read_bytes().split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def sync(self) -> int:
        """Force the lines to disk; returns the file's size in bytes, to which it may be cut back."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def cut(self, size: int) -> None:
        """Cut the file back to `size` bytes."""
        if self.path.exists():
            os.truncate(self.path, size)
