"""Records as JSON Lines, one record a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from momus.errors import UserError
from momus.files import JsonError, atomic_file, json_lines, read_json, write_lines
from momus.records.types import Record

RecordT = TypeVar("RecordT", bound=Record)
ModelT = TypeVar("ModelT", bound=BaseModel)

_LONGEST_FIELD = 200


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records one a line, atomically: the file is complete or absent."""
    write_lines(path, (record.model_dump_json() for record in records))


def read_jsonl(path: Path, kind: type[ModelT]) -> Iterator[ModelT]:
    """Read records, or other models, of one kind.

    Raises:
        UserError: A line is not a record of that kind; the message names the file, line and field.
    """
    for number, value in json_lines(path):
        if isinstance(value, JsonError):
            raise UserError(f"{path}:{number}: {value}")
        try:
            yield kind.model_validate(value)
        except ValidationError as error:
            raise UserError(f"{path}:{number}: {describe(error)}") from error


def read_model(path: Path, kind: type[ModelT], what: str) -> ModelT:
    """Read one pydantic model from a JSON file; `what` names it in what is said of a wrong one.

    Raises:
        UserError: The file does not hold one; the message names the file and the field.
        OSError: It cannot be read.
    """
    value = read_json(path)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{path}: {what}: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """Return the first thing that is wrong with a record, and its field, on one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))[:_LONGEST_FIELD]
    return f"{field or 'record'}: {first['msg'].removeprefix('Value error, ')}"


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
