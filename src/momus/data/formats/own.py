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


def _read(row: Row) -> Iterator[Record]:
    for field, kind in _KINDS:
        if field in row:
            yield kind.model_validate(row)
            return
    raise BadRecordError("record", f"has none of the fields {', '.join(field for field, _ in _KINDS)}")


OWN = (Format("momus", "schema_version", lambda row: "schema_version" in row, _read),)
