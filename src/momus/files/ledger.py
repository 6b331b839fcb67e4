"""What long work has done so far: a file it only ever adds to, so that it can be stopped at any time.

The first line holds everything that decides the results; each line after it one result with its key. A line is
written whole before the next thing is done; what a kill left of the last one is cut off on opening, and of a file that
is no ledger nothing is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from momus.errors import UserError
from momus.files.locks import open_locked
from momus.files.run_directory import changed, plain
from momus.files.writing import disk_errors


class Ledger(Mapping[str, Any]):
    """Results by key, in one file that is held for this process alone until it is closed.

    Args:
        path: The file, created if need be.
        settings: All that decides the results, as JSON can hold it; opened again with other settings it is refused.

    Raises:
        UserError: The file was started with other settings, is no ledger, or is in use by another command.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._done: dict[str, Any] = {}
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_locked(path, "a+b", buffering=0)
            try:
                self._read(plain(settings))
            except BaseException:
                self._file.close()
                raise

    def __getitem__(self, key: str) -> Any:
        return self._done[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._done)

    def __len__(self) -> int:
        return len(self._done)

    def add(self, results: Mapping[str, Any]) -> None:
        """Write results, all their lines or none.

        Raises:
            UserError: The disk is full.
        """
        self._append(b"".join(_line({"key": key, "value": value}) for key, value in results.items()))
        self._done.update(results)

    def close(self) -> None:
        """Force everything to disk and let go of the file."""
        if not self._file.closed:
            try:
                os.fsync(self._file.fileno())
            finally:
                self._file.close()

    def remove(self) -> None:
        """Delete the file, once what it was kept for is written; the ledger is closed."""
        self.path.unlink()
        self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, settings: dict[str, Any]) -> None:
        self._file.seek(0)
        data, first = self._file.read(), _line({"settings": settings})
        if len(data) < len(first) and first.startswith(data):  # new, or cut off in its first line
            self._file.truncate(0)
            self._append(first)
            return
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.splitlines()
        try:
            before = dict(json.loads(lines[0])["settings"])
            self._done = {row["key"]: row["value"] for row in map(json.loads, lines[1:])}
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise UserError(f"{self.path} is not a record of an evaluation: name another --out") from error
        if differences := changed(before, settings):
            raise UserError(
                f"{self.path} was started with other settings ({differences}): use the same, "
                "name another --out, or remove it"
            )
        self._file.truncate(len(whole))  # only now is it known to be a ledger, and the rest its own

    def _append(self, data: bytes) -> None:
        size = os.fstat(self._file.fileno()).st_size
        try:
            with disk_errors(self.path):
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except BaseException:
            self._file.truncate(size)
            raise


def digest(*parts: Any) -> str:
    """Return a short name for what `parts`, as JSON can hold them, say."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
