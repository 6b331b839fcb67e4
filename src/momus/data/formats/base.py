"""What every format is made of: how it is known, how a row is read, and the fields of rows, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from momus.records import Content, Origin, Record

Row = Mapping[str, Any]


_LONGEST_FIELD = 200
"""Characters of a field's name that are shown."""


class BadRecordError(Exception):
    """A row is not what its format says: `field` names where, the message says what to do."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field if len(field) <= _LONGEST_FIELD else f"{field[:_LONGEST_FIELD]}…"
        super().__init__(f"{self.field}: {message}")
        self.message = message


@dataclass(frozen=True)
class Format:
    """A data format: its name, the fields it is known by in words, and how a row is known and read.

    `detect` is given a row of `row_type` with any content and never raises; `read` raises BadRecordError. Where
    `together` names a field, `read` is given the list of the rows that follow one another with the same value in it.
    """

    name: str
    known_by: str
    detect: Callable[[Any], bool]
    read: Callable[[Any], Iterator[Record]]
    row_type: type = dict
    together: str = ""


def get(row: Row, field: str, at: str = "") -> Any:
    """Return a field that must be there; dots lead into objects. `at` is where in the file's row `row` is."""
    value: Any = row
    for key in field.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise BadRecordError(path_of(at, field), "missing: add it, or leave the row out")
        value = value[key]
    return value


def text_of(row: Row, field: str, at: str = "") -> str:
    """Return a field that must be text."""
    return as_text(get(row, field, at), path_of(at, field))


def path_of(at: str, field: str) -> str:
    """Return where a field of `at` is."""
    return f"{at}.{field}" if at else field


def as_text(value: Any, field: str) -> str:
    """Return `value` if it is text that can be written as UTF-8."""
    if not isinstance(value, str):
        raise BadRecordError(field, f"is {kind_of(value)}: must be text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRecordError(field, "holds half a character (a lone surrogate): repair the text") from error
    return value


def optional_text(row: Row, *fields: str) -> str:
    """Return the first of `fields` that is there and not null, as text; "" if none is."""
    for field in fields:
        value = row.get(field)
        if isinstance(value, str):
            return as_text(value, field)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return str(value)
    return ""


def number_of(row: Row, field: str) -> float:
    """Return a field that must be a finite number, or text of one."""
    return as_number(get(row, field), field)


def as_number(value: Any, field: str) -> float:
    """Return `value` as a finite number."""
    try:
        if isinstance(value, str | int | float):
            number = float(value)
            if math.isfinite(number):
                return number
    except (ValueError, OverflowError):
        pass
    raise BadRecordError(field, f"is {shown(value)}: must be a number")


def as_truth(value: Any, field: str) -> bool:
    """Return `value` as true or false."""
    known = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    truth = known.get(str(value).lower()) if isinstance(value, bool | int | float | str) else None
    if truth is None:
        raise BadRecordError(field, f"is {shown(value)}: must be true or false")
    return truth


def list_of(row: Row, field: str, at: str = "") -> Sequence[Any]:
    """Return a field that must be a list."""
    value = get(row, field, at)
    if not isinstance(value, list):
        raise BadRecordError(path_of(at, field), f"is {kind_of(value)}: must be a list")
    return value


def object_at(value: Any, field: str) -> Row:
    """Return `value` if it is an object."""
    if not isinstance(value, Mapping):
        raise BadRecordError(field, f"is {kind_of(value)}: must be an object")
    return value


def kind_of(value: Any) -> str:
    """Name the kind of a value in words."""
    names = {type(None): "null", bool: "true or false", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def shown(value: Any) -> str:
    """Show a short value as it is, another by its kind."""
    text = repr(value)
    return text if isinstance(value, str | int | float) and len(text) <= 40 else kind_of(value)


def ranks_of(scores: Sequence[float]) -> tuple[int, ...]:
    """Return the place of each score, the highest first, from 1 without gaps; equal scores are tied."""
    places = {score: place for place, score in enumerate(sorted(set(scores), reverse=True), 1)}
    return tuple(places[score] for score in scores)


def different(candidates: Sequence[Content], field: str) -> None:
    """Refuse candidates that are all the same text under different ranks."""
    if len(set(candidates)) == 1:
        raise BadRecordError(field, "the answers are the same: leave the row out")


def labeler_of(row: Row) -> str:
    """Return who judged, under any of the names in use."""
    return optional_text(row, "labeler", "annotator", "annotator_id", "worker", "worker_id", "judge", "rater")


def user_of(row: Row) -> str:
    """Return who wrote the prompt, under any of the names in use."""
    return optional_text(row, "user", "user_id", "organization", "organization_id")


def origin_of(row: Row) -> Origin:
    """Return what a row says about where it came from, under any of the names in use."""
    return Origin(
        id=optional_text(row, "id", "prompt_id"),
        dataset=optional_text(row, "source") if isinstance(row.get("source"), str) else "",
        user=user_of(row),
        language=optional_text(row, "language", "lang"),
        licence=optional_text(row, "license", "licence"),
        split=optional_text(row, "split"),
    )


def instruction_of(row: Row) -> str:
    """Return `instruction`, and after a blank line `input` where there is one."""
    question, more = text_of(row, "instruction"), row.get("input")
    return f"{question}\n\n{more}" if more is not None and as_text(more, "input").strip() else question
