"""Records as JSON Lines, one record a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from momus.errors import UserError
from momus.files import atomic_file, write_lines
from momus.records.types import Record

RecordT = TypeVar("RecordT", bound=Record)


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records one a line, atomically: the file is complete or absent."""
    write_lines(path, (record.model_dump_json() for record in records))


def read_jsonl(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    """Read records of one kind.

    Raises:
        UserError: A line is not a record of that kind; the message names the file, line and field.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield kind.model_validate(json.loads(line))
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number}: not UTF-8 text") from error
            except json.JSONDecodeError as error:
                raise UserError(f"{path}:{number}: not JSON: {error.msg}") from error
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"])) or "record"
                raise UserError(f"{path}:{number}: {field}: {first['msg']}") from error


def is_whole(path: Path, kind: type[Record], count: int) -> bool:
    """Whether a file is there and holds just so many whole records of one kind, and nothing else."""
    try:
        return sum(1 for _ in read_jsonl(path, kind)) == count and path.read_bytes().endswith(b"\n")
    except (FileNotFoundError, UserError):
        return False


def join_jsonl(files: Iterable[Path], path: Path) -> None:
    """Write the lines of several files, one after another, as one."""
    with atomic_file(path) as whole:
        for file in files:
            whole.write(file.read_bytes())
