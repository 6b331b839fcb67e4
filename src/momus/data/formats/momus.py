"""Records of Momus itself, as `momus data convert` writes them, told apart by their fields."""

from __future__ import annotations

from collections.abc import Iterator

from momus.data.formats.base import BadRecordError, Format, Row
from momus.records import Comparison, Demonstration, Judgement, Prompt, Ranking, Record, Tamper, Task

_KINDS: tuple[tuple[str, type[Record]], ...] = (
    ("candidates", Ranking),
    ("critiques", Comparison),
    ("values", Judgement),
    ("task", Tamper),
    ("question", Task),
    ("answer", Demonstration),
    ("prompt", Prompt),
)

_UNVERSIONED = ({"prompt", "candidates", "ranks"}, {"prompt", "answer", "values"}, {"tamper", "critiques", "ratings"})
"""Fields that only our records have together: taken for them without a `schema_version` too."""


def _is_ours(row: Row) -> bool:
    return "schema_version" in row or any(fields <= row.keys() for fields in _UNVERSIONED)


def _read(row: Row) -> Iterator[Record]:
    for field, kind in _KINDS:
        if field in row:
            yield kind.model_validate(dict(row.items()))  # unknown fields are refused
            return
    raise BadRecordError("record", f"has none of the fields {', '.join(field for field, _ in _KINDS)}")


MOMUS = (Format("momus", "schema_version, or the fields of a record", _is_ours, _read),)
