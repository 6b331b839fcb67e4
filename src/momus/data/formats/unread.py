"""What a format leaves out of a row, so that nothing is dropped without being told.

A row is read through `WatchedRow`, which remembers the fields that were asked for. The others that hold something are
left out by the format, and counted by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_LEFT_OUT: ContextVar[Counter[str] | None] = ContextVar("left_out", default=None)


class WatchedRow(dict[str, Any]):
    """A row that remembers which of its fields were read."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, or `default`; it counts as read."""
        self.read.add(key)
        return super().get(key, default)

    def items(self) -> Any:
        """Return all fields, which then count as read."""
        self.read.update(self)
        return super().items()

    def unread(self) -> list[str]:
        """Return the fields that hold something and were not read."""
        return [str(key) for key, value in super().items() if key not in self.read and value not in (None, "", [], {})]


@contextmanager
def counting(counter: Counter[str]) -> Iterator[None]:
    """Count in `counter` what is left out while the body runs."""
    token = _LEFT_OUT.set(counter)
    try:
        yield
    finally:
        _LEFT_OUT.reset(token)


def leave_out(field: str) -> None:
    """Count a field that is left out, once for every time."""
    counter = _LEFT_OUT.get()
    if counter is not None:
        counter[field] += 1
