"""Records: what is written is read back, bad lines are named, quotes are anchored where they were meant."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from momus.critique import Span, anchor, format_critique, parse_critique, quotable
from momus.errors import UserError
from momus.records import (
    Bug,
    Comparison,
    Labeling,
    Message,
    Ranking,
    Rating,
    Tamper,
    Task,
    ToolCall,
    describe,
    read_jsonl,
    write_jsonl,
)

TASK = Task(id="m:f", question="Write f(n).", answer="def f(n):\n    return n\n", module="m", split="test")
BUG = Bug(kind="off-by-one", spans=(Span(14, 26),), description="Adds one.", original="n", replacement="n + 1")
TAMPER = Tamper(task=TASK, answer="def f(n):\n    return n + 1\n", bugs=(BUG,))
RATING = Rating(cbi=(7,), comprehensive=6, nitpick=1, fake_problem=1, concise=5, overall=7)


def test_what_is_written_is_read_back(tmp_path):
    comparison = Comparison(
        tamper=TAMPER,
        critiques=("a", "b"),
        sources=("sft", "gold"),
        labeler="s1",
        simulated=True,
        ratings=(RATING,) * 2,
    )
    path = tmp_path / "new" / "records.jsonl"
    write_jsonl(path, [comparison, comparison])
    assert list(read_jsonl(path, Comparison)) == [comparison, comparison]
    assert [p.name for p in path.parent.iterdir()] == ["records.jsonl"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "tasks.jsonl"
    write_jsonl(path, [TASK])

    def broken():
        yield TASK
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(path, broken())
    assert list(read_jsonl(path, Task)) == [TASK]
    assert [p.name for p in tmp_path.iterdir()] == ["tasks.jsonl"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[1]", "record"),
        (json.dumps({**TASK.model_dump(), "colour": 1}).encode(), "colour"),
        (json.dumps({**TASK.model_dump(), "schema_version": 2}).encode(), "schema_version"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(TASK.model_dump_json().encode() + b"\n\n" + line + b"\n")
    with pytest.raises(UserError, match=rf"tasks\.jsonl:3: .*{message}") as caught:
        list(read_jsonl(path, Task))
    assert "\n" not in str(caught.value)


def test_the_gold_critique_quotes_the_line_of_the_bug_and_survives_its_text():
    gold = TAMPER.gold_critique()
    assert [(c.highlight, c.text) for c in gold.comments] == [("return n + 1", "Adds one.")]
    assert parse_critique(format_critique(gold), TAMPER.answer) == gold
    assert Tamper(task=TASK, answer=TASK.answer).gold_critique().comments == ()


_LINES = st.lists(st.sampled_from(["x = 1", "    x = 1", "if x:", "", "  ", "    return x  "]), min_size=1, max_size=8)


@given(_LINES.map("\n".join), st.data())
def test_a_quotable_span_covers_the_span_and_is_where_its_text_first_stands(answer, data):
    cut = sorted(data.draw(st.tuples(*[st.integers(0, len(answer))] * 2)))
    span = Span(*cut)
    if not answer[span.start : span.end].strip():
        return
    quote = quotable(span, answer)
    text = answer[quote.start : quote.end]
    assert anchor(text, answer) == quote
    assert text == text.strip()
    inside = answer[span.start : span.end]
    first = span.start + len(inside) - len(inside.lstrip())
    last = span.end - (len(inside) - len(inside.rstrip()))
    assert quote.start <= first and last <= quote.end


def test_a_blank_span_cannot_be_quoted():
    with pytest.raises(ValueError, match="blank"):
        quotable(Span(6, 6), "x = 1\n   \ny")


@pytest.mark.parametrize("value", [0, 8])
def test_ratings_are_on_a_scale_of_seven(value):
    with pytest.raises(ValueError, match="overall"):
        Rating(**{**RATING.model_dump(), "overall": value})


VERSION_1 = {
    Ranking: '{"schema_version":1,"prompt":"p","candidates":["a","b"],"ranks":[1,2],"labeler":"kim","scores":[],'
    '"authors":[],"confidence":null,"comment":"","critiques":[],"origin":{"format":"","place":"","dataset":"","id":"",'
    '"group":"","user":"","language":"","licence":"","split":""}}',
    Comparison: '{"schema_version":1,"tamper":{"schema_version":1,"task":{"schema_version":1,"id":"t","question":"q",'
    '"answer":"x","module":"","split":"train"},"answer":"y","bugs":[]},"critiques":["c","d"],"sources":["sft","rl"],'
    '"labeler":"kim","simulated":false,"ratings":[]}',
}


@pytest.mark.parametrize("kind", VERSION_1)
def test_judgements_of_version_1_are_read_and_written_as_they_were(kind):
    record = kind.model_validate_json(VERSION_1[kind])
    assert record.labeling is None
    assert record.model_dump_json() == VERSION_1[kind]


@pytest.mark.parametrize("kind", VERSION_1)
def test_how_a_judgement_was_collected_makes_it_version_2(kind, tmp_path):
    labeling = Labeling(
        rationale="b is clearer",
        order=(1, 0),
        shown_at=datetime(2026, 1, 2, tzinfo=UTC),
        active_seconds=12.5,
        origins=(("model", "edited"), ("human",)),
        gold=True,
        revision=2,
    )
    record = kind(**{**json.loads(VERSION_1[kind]), "schema_version": 2}, labeling=labeling)
    write_jsonl(tmp_path / "records.jsonl", [record])
    assert list(read_jsonl(tmp_path / "records.jsonl", kind)) == [record]
    assert kind(**{**_without_version(kind), "labeling": labeling}) == record
    with pytest.raises(ValueError, match="version 2"):
        kind(**json.loads(VERSION_1[kind]), labeling=labeling)


def _without_version(kind):
    fields = json.loads(VERSION_1[kind])
    del fields["schema_version"]
    return fields


@pytest.mark.parametrize("labeling", [{"order": (0, 0)}, {"order": (0,)}, {"origins": ((),)}])
def test_order_and_origins_are_those_of_the_items(labeling):
    with pytest.raises(ValueError, match="of"):
        Ranking(prompt="p", candidates=("a", "b"), ranks=(1, 2), labeling=Labeling(**labeling))


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"a": ' + "9" * 5000 + "}",
        "[" * 500 + "]" * 500,
        "[1]",
        "",
        "{",
    ],
)
def test_tools_and_their_arguments_are_json_objects_that_come_back_as_they_were(text: str) -> None:
    for made in (
        lambda: ToolCall(name="f", arguments=text),
        lambda: Message(role="user", content="a", tools=(text,)),
        lambda: Message.model_validate({"role": "assistant", "tool_calls": [{"name": "f", "arguments": text}]}),
    ):
        with pytest.raises(ValidationError) as refused:
            made()
        assert len(describe(refused.value)) < 300
    kept = ToolCall(name="f", arguments='{"a": [1.50, "é\\u0041"], "b":1}')
    assert ToolCall.model_validate_json(kept.model_dump_json()) == kept
