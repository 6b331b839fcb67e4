"""Argilla exports: records of version 2, nested or flat, and the columns of version 1.

Every user's submitted ranking becomes a Ranking, ties kept; every user's ratings of a record become one Judgement
with a value for each question. Drafts and discarded responses are left out. A ranking must rank fields of the record
by their names. Texts and labels are left out, for an export does not tell one from the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from momus.data.formats.base import (
    BadRecordError,
    Format,
    Row,
    as_number,
    as_text,
    get,
    list_of,
    object_at,
    optional_text,
    ranks_of,
)
from momus.records import Judgement, Origin, Ranking, Record

_PROMPTS = ("prompt", "instruction", "question", "input", "query")
_ANSWERS = ("response", "answer", "output", "completion", "generation")
_RESPONSE = {"user_id", "value", "status"}


class _Response(NamedTuple):
    question: str
    user: str
    value: Any


def _read(row: Row) -> Iterator[Record]:
    fields, responses = _nested(row) if _is_nested(row) else _flat(row) if _is_flat(row) else _columns(row)
    origin = Origin(id=optional_text(row, "id", "external_id"))
    ratings: dict[str, dict[str, float]] = {}
    made = False
    for question, user, value in responses:
        ranks = _ranks(value, fields, question)
        if ranks:
            made = True
            yield Ranking(
                prompt=fields[_prompt_field(fields, ranks)],
                candidates=tuple(fields[name] for name in ranks),
                ranks=ranks_of([-rank for rank in ranks.values()]),
                authors=tuple(ranks),
                labeler=user,
                origin=origin,
            )
        elif isinstance(value, int | float) and not isinstance(value, bool):
            ratings.setdefault(user, {})[question] = as_number(value, question)
    for user, values in ratings.items():
        answer = _field(fields, _ANSWERS, ())
        prompt = fields[_prompt_field(fields, (answer,))]
        yield Judgement(prompt=prompt, answer=fields[answer], values=values, labeler=user, origin=origin)
    if not made and not ratings:
        raise BadRecordError("responses", "no submitted ranking or rating: leave the record out")


def _is_nested(row: Row) -> bool:
    return isinstance(row.get("fields"), Mapping) and isinstance(row.get("responses"), Mapping)


def _is_flat(row: Row) -> bool:
    return any(key.endswith(".responses") for key in row)


def _is_columns(row: Row) -> bool:
    return any(_is_answered(value) for value in row.values())


def _is_answered(value: Any) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, Mapping) and first.keys() >= _RESPONSE


def _nested(row: Row) -> tuple[dict[str, str], list[_Response]]:
    responses = []
    for question, given in row["responses"].items():
        for number, item in enumerate(given if isinstance(given, list) else [given]):
            at = f"responses.{question}[{number}]"
            response = object_at(item, at)
            if _submitted(response.get("status")):
                responses.append(_Response(question, optional_text(response, "user_id"), get(response, "value", at)))
    return _texts(row["fields"]), responses


def _flat(row: Row) -> tuple[dict[str, str], list[_Response]]:
    questions = [key.removesuffix(".responses") for key in row if key.endswith(".responses")]
    responses = []
    for question in questions:
        values = row[f"{question}.responses"] or ()
        users = _as_long(row.get(f"{question}.responses.users"), values, f"{question}.responses.users")
        status = _as_long(row.get(f"{question}.responses.status"), values, f"{question}.responses.status")
        for value, user, state in zip(values, users, status, strict=True):
            if _submitted(state):
                responses.append(_Response(question, user if isinstance(user, str) else "", value))
    others = {key: value for key, value in row.items() if not any(key.startswith(f"{q}.") for q in questions)}
    return _texts(others), responses


def _columns(row: Row) -> tuple[dict[str, str], list[_Response]]:
    responses = []
    for question, given in row.items():
        if not _is_answered(given):
            continue
        if isinstance(given, Mapping):  # a list of objects, as the `datasets` library turns it round
            values = list_of(given, "value")
            columns = [_as_long(given[key], values, f"{question}.{key}") for key in ("user_id", "value", "status")]
            given = [
                dict(zip(("user_id", "value", "status"), values, strict=True)) for values in zip(*columns, strict=True)
            ]
        for number, item in enumerate(given):
            at = f"{question}[{number}]"
            response = object_at(item, at)
            if _submitted(response.get("status")):
                responses.append(_Response(question, optional_text(response, "user_id"), get(response, "value", at)))
    return _texts({key: value for key, value in row.items() if "-suggestion" not in key}), responses


def _as_long(given: Any, values: Any, field: str) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise BadRecordError(field, "the responses must be a list")
    if given is None:
        return [None] * len(values)
    if not isinstance(given, list) or len(given) != len(values):
        raise BadRecordError(field, f"must be a list as long as the {len(values)} responses")
    return given


def _submitted(status: Any) -> bool:
    return status in (None, "", "submitted")


def _texts(row: Row) -> dict[str, str]:
    about = ("id", "_server_id", "external_id", "status", "metadata", "inserted_at", "updated_at")
    return {key: as_text(value, key) for key, value in row.items() if isinstance(value, str) and key not in about}


def _ranks(value: Any, fields: Mapping[str, str], question: str) -> dict[str, float]:
    """Return the rank of each ranked field, 1 the best; nothing where the value is no ranking."""
    if isinstance(value, Mapping) and value.keys() >= {"rank", "value"}:
        ranks = list_of(value, "rank")
        value = [{"rank": r, "value": v} for r, v in zip(ranks, _as_long(value["value"], ranks, question), strict=True)]
    if not isinstance(value, list) or len(value) < 2:
        return {}
    if all(isinstance(name, str) for name in value):
        if not all(name in fields for name in value):
            return {}  # several labels
        value = [{"rank": rank, "value": name} for rank, name in enumerate(value, 1)]
    by_name: dict[str, float] = {}
    for item in value:
        entry = object_at(item, question)
        name = as_text(get(entry, "value", question), f"{question}.value")
        if name not in fields:
            raise BadRecordError(question, f"ranks {name!r}, which is no field of the record")
        if entry.get("rank") is not None:
            by_name[name] = as_number(entry["rank"], f"{question}.rank")
    return by_name if len(by_name) > 1 else {}


def _prompt_field(fields: Mapping[str, str], judged: Any) -> str:
    return _field(fields, _PROMPTS, judged)


def _field(fields: Mapping[str, str], names: Sequence[str], taken: Any) -> str:
    """Return the field with one of `names`, or else the only one not taken."""
    left = [name for name in fields if name not in taken]
    known = [name for name in names if name in left]
    if known or len(left) == 1:
        return (known or left)[0]
    raise BadRecordError("fields", f"none is named {', '.join(names)}: rename the right one of {', '.join(fields)}")


ARGILLA = (
    Format(
        "argilla",
        "fields and responses, question.responses, or answers with user_id, value and status",
        lambda row: _is_nested(row) or _is_flat(row) or _is_columns(row),
        _read,
    ),
)
