"""What every format is made of: how it is known, how a row is read, and the fields of rows, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from momus.records import Content, Message, Origin, Record

Row = Mapping[str, Any]


class BadRecordError(Exception):
    """A row is not what its format says: `field` names where, the message says what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
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


ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
"""Names of the speakers in use, and ours."""


def get(row: Row, field: str, at: str = "") -> Any:
    """Return a field that must be there; dots lead into objects. `at` is where in the file's row `row` is."""
    value: Any = row
    for key in field.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise BadRecordError(_path(at, field), "missing: add it, or leave the row out")
        value = value[key]
    return value


def text_of(row: Row, field: str, at: str = "") -> str:
    """Return a field that must be text."""
    return as_text(get(row, field, at), _path(at, field))


def _path(at: str, field: str) -> str:
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


def said(row: Row, *fields: str) -> str:
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
    found = known.get(str(value).lower()) if isinstance(value, bool | int | float | str) else None
    if found is None:
        raise BadRecordError(field, f"is {shown(value)}: must be true or false")
    return found


def list_of(row: Row, field: str, at: str = "") -> Sequence[Any]:
    """Return a field that must be a list."""
    value = get(row, field, at)
    if not isinstance(value, list):
        raise BadRecordError(_path(at, field), f"is {kind_of(value)}: must be a list")
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


def is_message(value: Any) -> bool:
    """Whether a value looks like a message, {role, content} or {from, value}."""
    return isinstance(value, Mapping) and ({"role", "content"} <= value.keys() or {"from", "value"} <= value.keys())


def is_conversation(value: Any) -> bool:
    """Whether a value looks like a list of messages."""
    return isinstance(value, list) and bool(value) and is_message(value[0])


def message(value: Any, field: str) -> Message:
    """Read one message."""
    row = object_at(value, field)
    role_key, text_key = ("from", "value") if "from" in row else ("role", "content")
    role = ROLES.get(text_of(row, role_key, field).lower())
    if role is None:
        raise BadRecordError(f"{field}.{role_key}", f"is {shown(row[role_key])}: must be one of {', '.join(ROLES)}")
    content = get(row, text_key, field)
    if isinstance(content, list):
        at = f"{field}.{text_key}"
        parts = [object_at(part, at) for part in content]
        if any(part.get("type") != "text" for part in parts):
            raise BadRecordError(at, "holds more than text: images and sound cannot be read")
        content = "".join(text_of(part, "text", at) for part in parts)
    return Message.model_validate({"role": role, "content": as_text(content, f"{field}.{text_key}")})


def conversation(value: Any, field: str) -> tuple[Message, ...]:
    """Read a list of messages that is not empty."""
    if not isinstance(value, list) or not value:
        raise BadRecordError(field, f"is {'empty' if value == [] else kind_of(value)}: must be a list of messages")
    return tuple(message(item, f"{field}[{number}]") for number, item in enumerate(value))


def content_of(row: Row, field: str) -> Content:
    """Return a field that must be text or messages."""
    value = get(row, field)
    return conversation(value, field) if isinstance(value, list) else as_text(value, field)


def simplest(messages: Sequence[Message]) -> Content:
    """Return the text of what is one message of the assistant, else the messages."""
    one = len(messages) == 1 and messages[0].role == "assistant"
    return messages[0].content if one else tuple(messages)


def split_answer(messages: Sequence[Message], field: str) -> tuple[Content, Content]:
    """Split a conversation at the assistant's first turn; turns after the assistant's last one are left out.

    All the assistant's turns are in the answer, none in the prompt, so that nothing there is to learn is lost.
    """
    turns = [number for number, own in enumerate(messages) if own.role == "assistant"]
    if not turns:
        raise BadRecordError(field, "no message of the assistant: an answer is needed")
    return tuple(messages[: turns[0]]), simplest(messages[turns[0] : turns[-1] + 1])


def common_prompt(conversations: Sequence[Sequence[Message]], field: str) -> tuple[Content, tuple[Content, ...]]:
    """Split conversations into the longest prompt they share and what follows it in each.

    The prompt ends where in every conversation the assistant speaks next.
    """
    shortest = min(map(len, conversations))
    shared = 0
    while shared < shortest and len({own[shared] for own in conversations}) == 1:
        shared += 1
    while shared and (shared == shortest or any(own[shared].role != "assistant" for own in conversations)):
        shared -= 1
    if not shared:
        raise BadRecordError(field, "the conversations share no prompt: they cannot be compared")
    return tuple(conversations[0][:shared]), tuple(simplest(own[shared:]) for own in conversations)


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
    return said(row, "labeler", "annotator", "annotator_id", "worker", "worker_id", "judge", "rater")


def user_of(row: Row) -> str:
    """Return who wrote the prompt, under any of the names in use."""
    return said(row, "user", "user_id", "organization", "organization_id")


def origin_of(row: Row) -> Origin:
    """Return what a row says about where it came from, under any of the names in use."""
    return Origin(
        id=said(row, "id", "prompt_id"),
        user=user_of(row),
        language=said(row, "language", "lang"),
        licence=said(row, "license", "licence"),
        split=said(row, "split"),
    )


def instruction_of(row: Row) -> str:
    """Return `instruction`, and after a blank line `input` where there is one."""
    question, more = text_of(row, "instruction"), row.get("input")
    return f"{question}\n\n{more}" if more is not None and as_text(more, "input").strip() else question
