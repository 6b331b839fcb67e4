"""Parquet and Arrow files whose columns are not what text is made of: a record, a problem by row, or one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from momus.data.convert import read, recognise
from momus.data.sources import Problem
from momus.errors import UserError


def texts(*values: bytes) -> pa.Array:
    """Return a column of texts that need not be UTF-8."""
    offsets = [sum(map(len, values[:i])) for i in range(len(values) + 1)]
    return pa.Array.from_buffers(
        pa.string(), len(values), [None, pa.array(offsets, pa.int32()).buffers()[1], pa.py_buffer(b"".join(values))]
    )


def written(folder: Path, table: pa.Table, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return path


def outcome(path: Path) -> str:
    """Return what becomes of the rows, in a word or a line."""
    try:
        items = list(read(*recognise(str(path))))
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 400
        return str(error)
    for item in items:
        if not isinstance(item, Problem):
            assert type(item).model_validate_json(item.model_dump_json()) == item
    return str(items[0]) if isinstance(items[0], Problem) else "kept"


turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
OUTCOMES: dict[str, tuple[Any, str]] = {
    "half a character": ({"prompt": texts(b"\xff", b"ok"), "completion": ["a", "b"]}, "damaged .* after row 0"),
    "a surrogate": ({"prompt": ["a", "b"], "completion": texts(b"a", b"\xed\xa0\x80")}, "damaged .* after row 0"),
    "bytes": ({"prompt": [b"a"], "completion": ["b"]}, "row 1: prompt: is bytes"),
    "numbers": ({"prompt": ["a"], "completion": [3.5]}, "row 1: completion: is"),
    "dates": ({"prompt": pa.array([1], pa.timestamp("s")), "completion": ["b"]}, "row 1: prompt: is datetime"),
    "nothing": ({"prompt": pa.nulls(2), "completion": ["a", "b"]}, "row 1: prompt: is null"),
    "nulls in lists": ({"messages": pa.array([[None], None, [{"role": None, "content": None}]], turns)}, "messages"),
    "dictionary": ({"prompt": pa.array(["a"]).dictionary_encode(), "completion": ["b"]}, "kept"),
    "large lists": ({"prompt": pa.array(["a"], pa.large_string()), "completion": ["b"]}, "kept"),
    "no number": ({"prompt": ["q"], "chosen": ["a"], "rejected": ["b"], "score_chosen": [float("nan")]}, ".*"),
    "no rows": ({"prompt": pa.array([], pa.string()), "completion": pa.array([], pa.string())}, "no rows"),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("name", OUTCOMES)
def test_columns_of_other_kinds_are_told(tmp_path: Path, name: str, kind: str) -> None:
    import re

    columns, expected = OUTCOMES[name]
    assert re.search(expected, outcome(written(tmp_path, pa.table(columns), kind)))


def test_a_date_that_python_does_not_have_and_two_columns_of_one_name(tmp_path: Path) -> None:
    later = pa.table({"prompt": ["a"], "completion": ["b"], "at": pa.array([2**61], pa.timestamp("s"))})
    assert "damaged Arrow file after row 0" in outcome(written(tmp_path, later, "arrow"))
    twice = pa.Table.from_arrays([pa.array(["a"])] * 3, names=["prompt", "prompt", "completion"])
    for kind in ("parquet", "arrow"):
        assert "two columns are called 'prompt'" in outcome(written(tmp_path, twice, kind))
