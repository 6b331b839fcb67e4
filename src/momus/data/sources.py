"""Files as streams of rows, in bounded memory: JSON Lines, JSON, CSV, Parquet, Arrow, any of the text ones gzipped.

A source yields each row with its place, or a `Problem` where a row cannot be read and the next one can. What
leaves nothing to go on with (a truncated gzip file, a Git LFS pointer) is a UserError.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from momus.data.arrow import arrow_rows, is_saved_dataset, parquet_rows, saved_files
from momus.data.licences import licence_beside
from momus.errors import UserError
from momus.files import LONGEST, JsonDecoder, JsonError, json_lines, open_bytes, parse_json

_CHUNK = 1 << 16
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".txt")
_OTHER_MAGIC = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it",
    b"\xfd7zXZ": "compressed with xz: unpack it",
    b"BZh": "compressed with bzip2: unpack it",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    b"SQLite format 3": "an SQLite database: export its table as CSV",
}


class Row(NamedTuple):
    """One row as the file has it, and where: "name:line"."""

    place: str
    value: Any


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used: where, which field, and what to do about it."""

    place: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.field}: {self.message}" if self.field else f"{self.place}: {self.message}"


@dataclass(frozen=True)
class Source:
    """A file, directory or hub data set: its kind in words, its licence if one is stated, and its rows."""

    name: str
    kind: str
    licence: str
    rows: Callable[[], Iterator[Row | Problem]]


def open_source(name: str) -> Source:
    """Return the source of a file, a directory written by `save_to_disk`, or a data set of the Hugging Face hub.

    Raises:
        UserError: There is no such source, or it is of a kind that cannot be read.
    """
    path = Path(name)
    if path.is_dir():
        if not is_saved_dataset(path):
            raise UserError(f"{name}: a directory, but not one that save_to_disk wrote: name a file in it")
        files = saved_files(path)
        return Source(name, "Arrow, save_to_disk", licence_beside(path), lambda: _located(arrow_rows(files, path)))
    if not path.exists():
        if (
            re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", name)
            and path.suffix not in _SUFFIXES
            and not path.parent.exists()
        ):
            return _hub_source(name)
        raise UserError(f"{name}: no such file")
    kind = _kind(path)
    readers: dict[str, Callable[[], Iterator[Row | Problem]]] = {
        "Parquet": lambda: _located(parquet_rows(path)),
        "Arrow": lambda: _located(arrow_rows([path], path.parent)),
        "CSV": lambda: _table(path, ","),
        "TSV": lambda: _table(path, "\t"),
        "JSON Lines": lambda: _lines(path),
        "JSON array": lambda: _json_values(path, array=True),
        "JSON": lambda: _json_values(path, array=False),
    }
    return Source(name, kind, licence_beside(path.parent), readers[kind])


def watched(source: Source, tell: Callable[[int], None]) -> Source:
    """Return the same source, which tells the number of rows read after every thousandth."""

    def rows() -> Iterator[Row | Problem]:
        for number, row in enumerate(source.rows(), 1):
            if number % 1000 == 0:
                tell(number)
            yield row

    return replace(source, rows=rows)


def _kind(path: Path) -> str:
    """Return the kind of a file by its first bytes, and by its name where they do not say."""
    with path.open("rb") as raw:
        head = raw.read(_CHUNK)
    if head.startswith(b"version https://git-lfs"):
        raise UserError(f"{path}: a Git LFS pointer, not the data: run git lfs pull, or download the file itself")
    if head.startswith(b"PAR1"):
        return "Parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "Arrow"
    for magic, words in _OTHER_MAGIC.items():
        if head.startswith(magic):
            raise UserError(f"{path}: {words} first")
    with open_bytes(path) as file:
        head = file.read(_CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise UserError(f"{path}: empty")
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    if suffix in (".csv", ".tsv"):
        return suffix[1:].upper()
    if head.startswith(b"[") and suffix != ".jsonl":
        return "JSON array"
    if head.startswith((b"{", b'"', b"[")) or suffix in (".json", ".jsonl", ".ndjson"):
        one_line, newline, _ = head.partition(b"\n")
        if suffix == ".json" and newline and head.startswith(b"{") and not _is_json(one_line):
            return "JSON"
        return "JSON Lines"
    raise UserError(f"{path}: neither JSON nor Parquet; a table must be named .csv or .tsv")


def _lines(path: Path) -> Iterator[Row | Problem]:
    for number, value in json_lines(path):
        place = f"{path.name}:{number}"
        yield Problem(place, "", str(value)) if isinstance(value, JsonError) else Row(place, value)


def _json_values(path: Path, array: bool) -> Iterator[Row | Problem]:
    """Yield the elements of a JSON array, or JSON values one after another, without holding them all."""
    decoder = JsonDecoder()
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as text:
        held, more, item = _decoded(text, _CHUNK, path), True, 0
        at = len(held) - len(held.lstrip()) + array
        line = 1 + held.count("\n", 0, at)
        while True:
            start = _skip(held, at, "," if array else "")
            line += held.count("\n", at, start)
            at = start
            if array and held.startswith("]", at):
                return
            end = None
            try:
                value, end, problem = decoder.decode_at(held, at)
                failure = ""
            except JsonError as error:
                failure = str(error)
            # A number, and a value that fails, may go on in what has not been read yet.
            if more and (end is None or end == len(held)):
                if len(held) - at > LONGEST:
                    raise UserError(f"{path}:{line}: {failure or 'a value that does not end'}")
                chunk = _decoded(text, max(_CHUNK, len(held) - at), path, f" after line {line}")
                held, at, more = held[at:] + chunk, 0, bool(chunk)
                continue
            if end is None:
                if at == len(held):
                    if array:
                        raise UserError(f"{path}:{line}: the array does not end: is the file complete?")
                    return
                raise UserError(f"{path}:{line}: {failure}; nothing after it can be read")
            item += 1
            place = f"{path.name}:{line} (item {item})"
            yield Problem(place, "", str(problem)) if problem is not None else Row(place, value)
            line += held.count("\n", at, end)
            at = end


def _decoded(text: IO[str], count: int, path: Path, place: str = "") -> str:
    try:
        return text.read(count)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text{place}: save the file as UTF-8") from error


def _is_json(text: bytes) -> bool:
    try:
        parse_json(text)
    except JsonError:
        return False
    return True


def _skip(text: str, at: int, signs: str) -> int:
    while at < len(text) and (text[at].isspace() or text[at] in signs):
        at += 1
    return at


def _table(path: Path, separator: str) -> Iterator[Row | Problem]:
    csv.field_size_limit(LONGEST)
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter=separator, strict=True)
        names: list[str] | None = None
        while True:
            place = f"{path.name}:{reader.line_num + 1}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: not UTF-8 text after line {reader.line_num}: save it as UTF-8") from error
            except csv.Error as error:
                yield Problem(place, "", f"not CSV: {error}")
                continue
            if not cells:
                continue
            if names is None:
                names = cells
                if len(set(names)) < len(names):
                    raise UserError(f"{path}:1: two columns have the same name: {', '.join(names)}")
            elif len(cells) != len(names):
                yield Problem(place, "", f"{len(cells)} cells, but the header names {len(names)} columns")
            else:
                yield Row(place, dict(zip(names, cells, strict=True)))


def _located(rows: Iterator[tuple[str, Any]]) -> Iterator[Row | Problem]:
    return (Row(place, value) for place, value in rows)


def _hub_source(name: str) -> Source:
    """Return a data set of the hub, "owner/name" or "owner/name:configuration", read as it is downloaded."""
    try:
        from datasets import load_dataset
    except ModuleNotFoundError as error:
        raise UserError(f"{name}: no such file; to read it from the hub, pip install datasets") from error
    path, _, configuration = name.partition(":")
    # The hub's client raises errors of half a dozen libraries; every one of them is told in its own first line.
    try:
        splits = load_dataset(path, configuration or None, streaming=True)
    except Exception as error:
        raise UserError(f"{name}: no such file, and not read from the hub: {_first_line(error)}") from error

    def rows() -> Iterator[Row | Problem]:
        for split, values in splits.items():
            try:
                for number, value in enumerate(values, 1):
                    yield Row(f"{name}[{split}]:{number}", value)
            except Exception as error:
                raise UserError(f"{name}[{split}]: {_first_line(error)}") from error

    return Source(name, "Hugging Face hub", _hub_licence(path, splits), rows)


def _hub_licence(path: str, splits: Mapping[str, Any]) -> str:
    """Return the licence in a data set's description, else that of its card, else ""."""
    from huggingface_hub import DatasetCard

    described = next((split.info.license for split in splits.values()), None)
    if described:
        return str(described)
    try:
        stated = DatasetCard.load(path).data.get("license")
    except Exception:  # a data set without a card, or one out of reach, states no licence
        return ""
    return ", ".join(stated) if isinstance(stated, list) else str(stated or "")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
