"""Sources read as records: the format found, every row read or its problem told, the whole summarised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from momus.data.answers import tasks_of
from momus.data.formats import BadRecordError, Format, detect, format_named
from momus.data.formats.conversation import WEIGHTS, is_absent, tools_of, with_system, with_tools
from momus.data.formats.unread import WatchedRow, counting
from momus.data.sources import Problem, Row, Source, open_source
from momus.errors import UserError
from momus.records import Content, Demonstration, Judgement, Origin, Prompt, Ranking, Record, Task, write_jsonl

KINDS: dict[str, type[Record]] = {
    "prompts": Prompt,
    "demonstrations": Demonstration,
    "judgements": Judgement,
    "rankings": Ranking,
    "tasks": Task,
}
"""The kinds of records that can be written, by the names the command line gives them."""

TOOLS = ("tools", "functions")
"""Columns with the tools that the assistant may call."""

MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Columns of what is not text."""

_LOOK_AT = 20
_SHOWN = 20
_MOST_NAMES = 100_000


class BadRowsError(UserError):
    """Rows cannot be used: `problems` are the first of them, `count` is how many there are."""

    def __init__(self, problems: list[Problem], count: int) -> None:
        self.problems = tuple(problems)
        self.count = count
        more = f" (and {count - 1} more bad rows)" if count > 1 else ""
        super().__init__(f"{problems[0]}{more}")


@dataclass
class Problems:
    """The first problems of a source, how many there were, and how often each field was left out of a row."""

    first: list[Problem] = field(default_factory=list)
    count: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Count a problem, and keep it if it is one of the first."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(problem)


def recognise(name: str, format_name: str | None = None) -> tuple[Source, Format]:
    """Return a source and the format its first rows are in, or the one named.

    Raises:
        UserError: The source cannot be read, or its format is not known.
    """
    source = open_source(name)
    if format_name is not None:
        return source, format_named(format_name)
    sample = list(islice(source.rows(), _LOOK_AT))
    rows = [row.value for row in sample if isinstance(row, Row)]
    if not rows:
        raise UserError(f"{sample[0]}" if sample else f"{name}: no rows")
    return source, detect(rows, name)


def read(
    source: Source, source_format: Format, licence: str = "", left_out: Counter[str] | None = None
) -> Iterator[Record | Problem]:
    """Yield the records of a source in order, and a Problem for each row that is not what its format says.

    A record's licence is its row's own, else `licence`, else the one stated beside the file. Fields that hold something
    and are in no record are counted by name in `left_out`.
    """
    left_out = Counter() if left_out is None else left_out
    for row in _together(source.rows(), source_format):
        if isinstance(row, Problem):
            yield row
            continue
        watched = [WatchedRow(value) for value in row.value] if source_format.together else _watched(row.value)
        try:
            with counting(left_out):
                made = [_with_columns(record, watched) for record in source_format.read(watched)]
        except BadRecordError as error:
            yield Problem(row.place, error.field, error.message)
        except ValidationError as error:
            first = error.errors()[0]
            yield Problem(row.place, ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, "))
        else:
            for watched_row in watched if isinstance(watched, list) else [watched]:
                if isinstance(watched_row, WatchedRow):
                    left_out.update(watched_row.unread())
            for record in made:
                yield _placed(record, source_format, row.place, licence or source.licence)


def _watched(value: Any) -> Any:
    return WatchedRow(value) if isinstance(value, dict) else value


def _with_columns(record: Record, row: Any) -> Record:
    """Return a record whose prompt has the row's system prompt and tools.

    Raises:
        BadRecordError: The row has something beside its text that would be lost, or is not to be learned from.
    """
    if not isinstance(row, WatchedRow) or isinstance(record, Task):
        return record
    for column in MEDIA:
        if column in row and not is_absent(row[column]):
            raise BadRecordError(column, "images, sound and video cannot be read: leave the row out")
    for column in WEIGHTS:
        if column in row and column not in row.read and row[column] in (0, "0", "false", "False"):
            raise BadRecordError(column, f"is {row[column]!r}: not to be learned from: leave the row out")
    if isinstance(record, Prompt | Demonstration | Judgement | Ranking) and "system" not in row.read:
        record = record.model_copy(update={"prompt": with_system(record.prompt, row.get("system"))})
    tools = next((tools_of(row[field], field) for field in TOOLS if row.get(field)), ())
    if not tools or not isinstance(record, Prompt | Demonstration | Judgement | Ranking):
        return record
    return record.model_copy(update={"prompt": with_tools(record.prompt, tools)})


def _together(rows: Iterator[Row | Problem], source_format: Format) -> Iterator[Row | Problem]:
    """Pass on what the format can take: rows of its type, joined where it wants them joined."""
    fit = (_fitting(row, source_format) for row in rows)
    if not source_format.together:
        yield from fit
        return

    def key(row: Row | Problem) -> Any:
        return row if isinstance(row, Problem) else str(row.value.get(source_format.together))

    for _, group in groupby(fit, key):
        values, place = [], ""
        for row in group:
            if isinstance(row, Problem):
                yield row
            else:
                values.append(row.value)
                place = place or row.place
        if values:
            yield Row(place, values)


def _fitting(row: Row | Problem, source_format: Format) -> Row | Problem:
    if isinstance(row, Problem) or isinstance(row.value, source_format.row_type):
        return row
    return Problem(
        row.place, "", f"is not {'text' if source_format.row_type is str else 'an object with named fields'}"
    )


def _placed(record: Record, source_format: Format, place: str, licence: str) -> Record:
    origin = getattr(record, "origin", None)
    if not isinstance(origin, Origin):
        return record
    known = {"format": source_format.name, "place": place, "licence": licence}
    missing = {name: value for name, value in known.items() if not getattr(origin, name)}
    return record.model_copy(update={"origin": origin.model_copy(update=missing)})


@dataclass
class Summary:
    """What a source holds. Memory does not grow with the source, but for the distinct names in it, up to a limit."""

    rows: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    candidates: Counter[int] = field(default_factory=Counter)
    tied: int = 0
    empty: int = 0
    labelers: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    datasets: Counter[str] = field(default_factory=Counter)
    scales: Counter[str] = field(default_factory=Counter)
    prompt_lengths: Counter[int] = field(default_factory=Counter)
    answer_lengths: Counter[int] = field(default_factory=Counter)
    examples: list[Record] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)

    def add(self, record: Record) -> None:
        """Count a record."""
        self.records[type(record).__name__] += 1
        if len(self.examples) < 2:
            self.examples.append(record)
        answers: tuple[Content, ...] = ()
        if isinstance(record, Ranking):
            answers = record.candidates
            self.candidates[len(answers)] += 1
            self.tied += len(set(record.ranks)) < len(record.ranks)
        elif isinstance(record, Demonstration | Judgement):
            answers = (record.answer,)
        if isinstance(record, Judgement):
            self.scales.update(record.values.keys())
        if isinstance(record, Ranking | Judgement):
            _count(self.labelers, record.labeler)
        if isinstance(record, Prompt | Demonstration | Judgement | Ranking):
            self.prompt_lengths[length(record.prompt)] += 1
            _count(self.languages, record.origin.language)
            _count(self.licences, record.origin.licence)
            _count(self.datasets, record.origin.dataset)
        for answer in answers:
            self.answer_lengths[length(answer)] += 1
            self.empty += not length(answer)


def _count(names: Counter[str], name: str) -> None:
    if name in names or len(names) < _MOST_NAMES:
        names[name] += 1


def length(content: Content) -> int:
    """Return the number of characters of a text, or of all the messages of a conversation."""
    return len(content) if isinstance(content, str) else sum(len(part.content) for part in content)


def summarise(source: Source, source_format: Format) -> Summary:
    """Read a whole source and count what is in it."""
    summary = Summary()

    def rows() -> Iterator[Row | Problem]:
        for row in source.rows():
            if isinstance(row, Row):
                summary.rows += 1
                for name in row.value if isinstance(row.value, dict) else ():
                    _count(summary.fields, str(name))
            yield row

    for item in read(replace(source, rows=rows), source_format, left_out=summary.problems.left_out):
        if isinstance(item, Problem):
            summary.problems.add(item)
        else:
            summary.add(item)
    return summary


def convert(
    source: Source, source_format: Format, out: Path, kind: str | None = None, licence: str = "", skip_bad: bool = False
) -> tuple[int, Problems]:
    """Write the records of a source as JSON Lines; return how many, and the problems of rows that were left out.

    `kind` is one of `KINDS`; records of other kinds are left out, but "tasks" takes the code out of demonstrations.
    The file is written whole or not at all.

    Raises:
        BadRowsError: There are bad rows and `skip_bad` is not set.
        UserError: The source holds several kinds of records and `kind` names none, or none of the kind it names.
    """
    not_itself(out, source.name)
    problems, written = Problems(), 0

    def records() -> Iterator[Record]:
        """Yield what is to be written; at the end refuse it where rows were bad or none was of the kind."""
        nonlocal written
        only: type[Record] | None = KINDS[kind] if kind is not None else None
        for item in read(source, source_format, licence, problems.left_out):
            if isinstance(item, Problem):
                problems.add(item)
                continue
            if problems.count and not skip_bad:
                continue  # nothing will be written: only the other problems are of interest
            for record in _of_kind(item, kind):
                only = only or type(record)
                if type(record) is not only:
                    raise UserError(
                        f"{source.name}: holds {_kind_name(only)} and {_kind_name(type(record))}: choose with --kind"
                    )
                written += 1
                yield record
        if problems.count and not skip_bad:
            raise BadRowsError(problems.first, problems.count)
        if not written:
            raise UserError(f"{source.name}: no {kind or 'records'} in it: nothing written")

    write_jsonl(out, records())
    return written, problems


def not_itself(out: Path, source: str) -> None:
    """Refuse to write over the file that is read."""
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise UserError(f"--out {out}: is the file that is read: name another")


def _of_kind(record: Record, kind: str | None) -> Iterator[Record]:
    if kind == "tasks" and isinstance(record, Demonstration):
        yield from tasks_of(record)
    elif kind is None or isinstance(record, KINDS[kind]):
        yield record


def _kind_name(kind: type[Record]) -> str:
    return next((name for name, record_type in KINDS.items() if record_type is kind), kind.__name__)
