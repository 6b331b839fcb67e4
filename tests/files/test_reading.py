"""What strangers' JSON may hold: whatever a reader takes can be written and read again as the same, and the rest is one
line that names the file and the line."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.cli.shared.searching import read_prompts
from momus.critics.calibration import read_calibration
from momus.critics.run import BadLinesError, read_records
from momus.data.convert import BadRowsError
from momus.documents.drafts import read_feedback
from momus.errors import UserError
from momus.evaluate.instruct.feedback import records_of
from momus.evaluate.instruct.results import TaskResult
from momus.files import JsonError, Ledger, json_lines, parse_json, read_json
from momus.lm.tiny import TINY
from momus.match.calibrate import read_match_calibration
from momus.match.reviews import LabelledLists, Review, read_labels, read_points, read_reviews
from momus.records import (
    Bug,
    Comparison,
    Demonstration,
    Judgement,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Tamper,
    Task,
    ToolCall,
    read_jsonl,
    write_jsonl,
)

HOSTILE = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1.5e308", "9" * 5000, "-" + "9" * 5000, "9" * 301, "9" * 300,
    "1" * 400 + ".5", "0." + "3" * 5000, '"\\ud800"', '"x\\udfffy"', '"\\ud83d\\ude00"', '"\\ude00\\ud83d"',
    '{"\\udc80": 1}', '"\\u0000"', '"\\u2028"', '""', "null", "[]", "{}", "true", "-0", "1E+5", "[" * 90 + "]" * 90,
    "[" * 102 + "]" * 102, "[" * 400 + "]" * 400, "[" * 5000 + "]" * 5000, "[" * 200_000,
    '{"a":' * 150 + "1" + "}" * 150,
    '{"a":' * 100_000, '"' + "\\\\" * 3000 + '"', "1 2", "nul", "'a'", "{,}", '{"a": 1, "a": 2}', '"\t"', "01", "+1",
]  # fmt: skip
VALUES = (
    st.sampled_from(HOSTILE)
    | st.text(max_size=8).map(json.dumps)
    | st.floats().map(json.dumps)
    | st.integers().map(json.dumps)
    | st.recursive(
        st.sampled_from(HOSTILE[:28]),
        lambda inner: st.lists(inner, max_size=3).map(lambda v: f"[{','.join(v)}]"),
        max_leaves=4,
    )
)

TASK = Task(id="m:f", question="Write f(n).", answer="def f(n):\n    return n\n", module="m", split="test")
BUG = Bug(kind="off-by-one", spans=((14, 26),), description="Adds one.", original="n", replacement="n + 1")
TAMPER = Tamper(task=TASK, answer="def f(n):\n    return n + 1\n", bugs=(BUG,))
RATING = Rating(cbi=(7,), comprehensive=6, nitpick=1, fake_problem=1, concise=5, overall=7)
TALK = (
    Message(role="user", content="Weather?", tools=('{"name": "weather"}',)),
    Message(role="assistant", reasoning="I ask.", tool_calls=(ToolCall(name="weather", arguments='{"in": "Seoul"}'),)),
)
RECORDS: list[Record] = [
    TASK,
    TAMPER,
    Prompt(prompt="Why?"),
    Demonstration(prompt="Why?", answer=TALK, author="a"),
    Judgement(prompt="Why?", answer="So.", values={"helpful": 0.5}),
    Ranking(prompt="Why?", candidates=("a", "b"), ranks=(1, 2), scores=(0.5, 0.25), confidence=0.7),
    Comparison(
        tamper=TAMPER, critiques=("a", "b"), sources=("x", "y"), labeler="s", simulated=True, ratings=(RATING, RATING)
    ),
    Review(document="d", reviewer="r", kind="person", text="Good.", strata={"venue": "v"}),
    LabelledLists(document="d", first=("a",), second=("b",), labels=((1.0,),)),
    TaskResult(task="t", metric="accuracy", better="high", items={"a": 1.0}, prompt="", source="s"),
]

READERS: dict[str, Callable[[Path], Iterable[Any]]] = {
    "train and evaluate": lambda path: records_of([str(path)]),
    "critique": lambda path: read_records(path, path.read_bytes()),
    "rain": lambda path: read_prompts([str(path)], [], "answer", None),
    "rain critique": lambda path: read_prompts([str(path)], [], "critique", None),
    "tampers": lambda path: list(read_jsonl(path, Tamper)),
    "results": lambda path: list(read_jsonl(path, TaskResult)),
    "reviews": read_reviews,
    "labels": read_labels,
    "points": read_points,
    "calibration": lambda path: [read_calibration(path)],
    "match calibration": lambda path: [read_match_calibration(path)],
    "feedback": lambda path: [read_feedback(path)],
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterable[tuple[str | int, ...]]:
    """Yield where in a value something may be put: the path of every key and index."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A record as JSON with a strange value in one place, or such a value alone."""
    value = draw(VALUES)
    if draw(st.integers(0, 9)) == 0:
        return value
    row = json.loads(draw(st.sampled_from(RECORDS)).model_dump_json())
    *path, last = draw(st.sampled_from(sorted(places(row), key=str)))
    inner = row
    for key in path:
        inner = inner[key]
    inner[last] = "HERE"
    return json.dumps(row).replace('"HERE"', value)


def refused_well(error: UserError, path: Path) -> None:
    """The message names the file, and is one line that can be printed."""
    problems = getattr(error, "problems", None) or [str(error)]
    for problem in map(str, problems):
        assert path.name in problem or problem.startswith("there are no"), problem
        assert len(problem) < 1000 and "Traceback" not in problem
        problem.encode()


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines(), min_size=1, max_size=2))
def test_what_a_command_reads_it_can_write_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, name: str, lines: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "lines"
    folder.mkdir(exist_ok=True)
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        records = list(READERS[name](path))
    except (UserError, BadLinesError, BadRowsError) as error:
        refused_well(error, path)
        return
    kept = [record for record in records if isinstance(record, Record)]
    again = folder / "again.jsonl"
    for record in kept:
        write_jsonl(again, [record])
        assert list(read_jsonl(again, type(record))) == [record]


@pytest.mark.parametrize("value", HOSTILE)
def test_every_hostile_value_in_every_record_is_kept_or_refused_by_every_reader(tmp_path: Path, value: str) -> None:
    path = tmp_path / "rows.jsonl"
    for record in RECORDS:
        row = json.loads(record.model_dump_json())
        for field in row:
            path.write_text(json.dumps({**row, field: "HERE"}).replace('"HERE"', value) + "\n", encoding="utf-8")
            try:
                [kept] = read_jsonl(path, type(record))
            except UserError as error:
                assert str(error).startswith(f"{path}:1: ") and len(str(error)) < 1000
            else:
                write_jsonl(path, [kept])
                assert list(read_jsonl(path, type(record))) == [kept]


def plain(value: Any) -> bool:
    """Whether a value survives JSON, by brute force."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError):
        return False
    return bool(json.loads(text) == value)


@given(VALUES)
@example("[" * 101 + "]" * 101)
@example('{"a": [' * 50 + "]}" * 50)
def test_a_value_that_is_taken_survives_and_one_that_python_cannot_keep_is_refused(text: str) -> None:
    try:
        value = parse_json(text)
    except JsonError as error:
        assert str(error) and "\n" not in str(error)
        try:
            loaded = json.loads(text)
        except (ValueError, RecursionError):
            return
        doubled = "two fields" in str(error)
        assert doubled or not plain(loaded) or text.count("[") + text.count("{") > 100 or len(text) > 300
    else:
        assert plain(value)
        assert parse_json(json.dumps(value, ensure_ascii=False)) == value
        assert parse_json(json.dumps(value).encode()) == value


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_refusal(text: str) -> None:
    try:
        expected = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError):
        with pytest.raises(JsonError):
            parse_json(text)
    else:
        if plain(expected):
            assert parse_json(text) == expected


def test_lines_are_numbered_as_they_stand_gzipped_or_not(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n[2]\x85\n"\xff"\n3'
    for path, written in ((tmp_path / "a.jsonl", data), (tmp_path / "a.jsonl.gz", gzip.compress(data))):
        path.write_bytes(written)
        rows = [
            (number, value if not isinstance(value, JsonError) else str(value)) for number, value in json_lines(path)
        ]
        assert rows[0] == (1, {"a": 1}) and rows[-1] == (6, 3)
        assert [number for number, _ in rows] == [1, 4, 5, 6] and "not UTF-8" in rows[2][1]
    (tmp_path / "cut.gz").write_bytes(gzip.compress(data * 100)[:-9])
    with pytest.raises(UserError, match="ends too early"):
        list(json_lines(tmp_path / "cut.gz"))


@pytest.mark.parametrize("value", [value for value in HOSTILE if len(value) < 1_000_000])
def test_configurations_and_ledgers_of_run_directories_refuse_strange_values(tmp_path: Path, value: str) -> None:
    (tmp_path / "l.jsonl").write_text('{"settings": {"seed": 1}}\n{"key": "k", "value": ' + value + "}\n")
    try:
        with Ledger(tmp_path / "l.jsonl", {"seed": 1}) as ledger:
            assert len(ledger) == 1
    except UserError as error:
        assert str(tmp_path) in str(error)


@pytest.mark.parametrize(
    "value", ["[" * 100_000, "1e999", "9" * 5000, '"\\ud800"', "NaN", "\x00", "[1", '{"a": "\x1b[31m"}']
)
@pytest.mark.parametrize(
    "command",
    [
        ["data", "convert", "FILE", "--out", "OUT"],
        ["data", "inspect", "FILE"],
        ["critique", "FILE", "--out", "OUT"],
        ["rain", "FILE", "--model", "MODEL", "--out", "OUT"],
        ["train", "sft", "--model", "MODEL", "--data", "FILE", "--out", "OUT"],
        ["overlap", "FILE", "--out", "OUT"],
        ["match", "FILE", "FILE"],
        ["extract", "FILE", "--out", "OUT"],
        ["feedback", "approve", "FILE", "--by", "A"],
    ],
)
def test_a_command_says_in_one_line_what_is_wrong_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], value: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": ' + value + "}\n", encoding="utf-8")
    arguments = [
        {"FILE": str(path), "OUT": str(tmp_path / "out"), "MODEL": str(TINY)}.get(word, word) for word in command
    ]
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and "\x1b[31m" not in shown
    assert len(shown.splitlines()) < 30


def test_a_file_that_holds_one_value_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"x\.json: not JSON"):
        read_json(tmp_path / "x.json")
    assert math.isfinite(parse_json("1e308"))


@given(st.lists(st.sampled_from(["a", "b", "\\u0061", "c"]), max_size=6), st.booleans())
def test_two_fields_of_one_name_are_refused_for_one_would_be_lost(names: list[str], inner: bool) -> None:
    text = "{" + ", ".join(f'"{name}": {number}' for number, name in enumerate(names)) + "}"
    text = f'{{"x": [{text}]}}' if inner else text
    if len({json.loads(f'"{name}"') for name in names}) < len(names):
        with pytest.raises(JsonError, match="two fields of one object"):
            parse_json(text)
    else:
        assert parse_json(text) == json.loads(text)
