"""Conversations: what a message carries is kept, or the row is refused by the field; nothing is dropped untold."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.data.convert import read, recognise
from momus.data.formats import BadRecordError, detect
from momus.data.formats.conversation import METADATA, REASONING, WEIGHTS, message
from momus.data.sources import Problem
from momus.errors import UnfitInputError
from momus.lm.chat import ChatFormat
from momus.records import Demonstration, Message, Ranking, ToolCall, read_jsonl, write_jsonl
from support.tiny import tiny_tokenizer

WITH_TOOLS = """\
{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>
{% endif %}{% for m in messages %}{{ m.role }}: {% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>\
{% endif %}{{ m.content }}{% for call in m.tool_calls or [] %}<call>{{ call.function.name }}\
{{ call.function.arguments | tojson }}</call>{% endfor %}{{ eos_token }}{% endfor %}\
{% if add_generation_prompt %}assistant: {% endif %}"""
TOOL = {"type": "function", "function": {"name": "get_tide", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_tide", "arguments": {"port": "Busan"}}}
ASK = {"role": "user", "content": "How high is the tide?"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "1.2"}
ANSWER = {"role": "assistant", "content": "1.2 metres."}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
calls = st.builds(
    lambda name, arguments, form: {
        "nested": {"type": "function", "id": name, "function": {"name": name, "arguments": arguments}},
        "written": {"function": {"name": name, "arguments": json.dumps(arguments)}},
        "flat": {"name": name, "arguments": arguments},
    }[form],
    texts,
    st.dictionaries(texts, texts | st.integers() | st.booleans(), max_size=3),
    st.sampled_from(["nested", "written", "flat"]),
)
absent = st.sampled_from([None, "", [], {}])


def rows_of(tmp_path: Path, *rows: dict) -> tuple[list, Counter[str]]:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    left_out = Counter[str]()
    return list(read(*recognise(str(path)), left_out=left_out)), left_out


@given(texts, st.lists(calls, max_size=3), st.sampled_from(REASONING), texts, st.sampled_from(WEIGHTS), st.booleans())
def test_a_message_keeps_all_that_it_carries(content, tool_calls, reason_key, reasoning, weight_key, train):
    row = {"role": "assistant", "content": content, "tool_calls": tool_calls, reason_key: reasoning, weight_key: train}
    made = message(row, "messages[0]")
    assert (made.content, made.reasoning, made.train) == (content, reasoning, train)
    for call, given_call in zip(made.tool_calls, tool_calls, strict=True):
        function = given_call.get("function", given_call)
        arguments = function["arguments"]
        assert call.name == function["name"]
        assert json.loads(call.arguments) == (json.loads(arguments) if isinstance(arguments, str) else arguments)
    assert Message.model_validate_json(made.model_dump_json()) == made
    assert made.with_texts(made.texts()) == made


@given(texts, st.dictionaries(st.sampled_from(["tool_calls", "name", "images", "audio", *REASONING]), absent))
def test_what_writers_fill_in_for_a_field_counts_as_absent(content, filled):
    assert message({"role": "assistant", "content": content, **filled}, "m") == message(
        {"role": "assistant", "content": content}, "m"
    )


@given(texts.filter(lambda key: key not in METADATA), texts | st.integers() | st.lists(texts, min_size=1))
def test_a_field_that_would_be_lost_is_refused_by_name(key, value):
    row = {"role": "user", "content": "Hi"}
    if key in (*row, *REASONING, *WEIGHTS, "name", "tool_call_id", "tool_calls", "function_call", "from", "value"):
        return
    with pytest.raises(BadRecordError, match="would be lost") as caught:
        message({**row, key: value}, "messages[2]")
    assert caught.value.field == f"messages[2].{key}"


def test_an_empty_turn_without_calls_is_not_made_of_null():
    with pytest.raises(BadRecordError, match="null"):
        message({"role": "assistant", "content": None}, "messages[1]")


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"weight": 0.5}, "weight"),
        ({"train": "no"}, "train"),
        ({"images": ["a.png"]}, "images"),
        ({"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "tool_calls[0].arguments"),
        ({"tool_calls": "f"}, "tool_calls"),
    ],
)
def test_bad_fields_of_a_message_are_named(row, field):
    with pytest.raises(BadRecordError) as caught:
        message({**ANSWER, **row}, "messages[1]")
    assert caught.value.field == f"messages[1].{field}"


def test_only_the_assistant_calls_tools_and_reasons():
    with pytest.raises(BadRecordError, match="only the assistant"):
        message({**ASK, "tool_calls": [CALL]}, "messages[0]")


def test_tools_go_with_the_first_turn_and_survive_writing(tmp_path):
    row = {"tools": [TOOL], "messages": [ASK, CALLING, RESULT, ANSWER]}
    (record,), left_out = rows_of(tmp_path, row)
    assert not left_out
    assert record.prompt[0].tools == (json.dumps(TOOL),)
    assert record.answer[0].tool_calls == (ToolCall(name="get_tide", arguments='{"port": "Busan"}', id="c1"),)
    assert record.answer[1].tool_call_id == "c1"
    write_jsonl(tmp_path / "out.jsonl", [record])
    assert list(read_jsonl(tmp_path / "out.jsonl", Demonstration)) == [record]
    assert '"content":""' not in (tmp_path / "out.jsonl").read_text()


def test_sharegpt_calls_written_as_text_are_calls(tmp_path):
    call = json.dumps({"name": "get_tide", "arguments": {"port": "Busan"}})
    turns = [("human", "How high?"), ("function_call", call), ("observation", "1.2"), ("gpt", "1.2 metres.")]
    row = {"tools": json.dumps([TOOL]), "conversations": [{"from": who, "value": text} for who, text in turns]}
    (record,), _ = rows_of(tmp_path, row)
    assert record.prompt[0].tools and record.answer[0].tool_calls[0].name == "get_tide"


@pytest.mark.parametrize("column", ["images", "audio"])
def test_rows_with_what_is_not_text_are_problems(tmp_path, column):
    (problem,), _ = rows_of(tmp_path, {"messages": [ASK, ANSWER], column: ["a"]})
    assert isinstance(problem, Problem) and problem.field == column


def test_fields_that_no_record_holds_are_counted(tmp_path):
    row = {"messages": [{**ASK, "timestamp": 3}, ANSWER, ASK], "colour": "blue", "nothing": None, "id": "7"}
    records, left_out = rows_of(tmp_path, row, row)
    assert [record.origin.id for record in records] == ["7", "7"]
    assert left_out == {"colour": 2, "messages.timestamp": 2, "messages after the last answer": 2}


@pytest.mark.parametrize("weight", [{"weight": 0}, {"train": False}, {"trainable": 0}])
def test_a_turn_of_weight_zero_is_context_and_never_trained(weight):
    row = {"messages": [ASK, {**ANSWER, "content": "Wrong."} | weight, ASK, ANSWER]}
    (record,) = detect([row], "rows").read(row)
    chat = ChatFormat(tiny_tokenizer())
    turns = chat.turns(record.prompt, record.answer, every=True)
    assert [chat.text(turn.answer) for turn in turns] == ["1.2 metres."]
    assert "Wrong." in chat.text(turns[0].prompt)
    with pytest.raises(UnfitInputError, match="not to be trained"):
        chat.turns(record.prompt, record.answer[:1])


def test_tools_calls_and_reasoning_are_laid_out_by_the_template():
    row = {"tools": [TOOL], "messages": [ASK, CALLING, RESULT, {**ANSWER, "reasoning_content": "It says 1.2."}]}
    record = Demonstration(prompt=(), answer="-")
    chat = ChatFormat(tiny_tokenizer(), WITH_TOOLS)
    messages = tuple(message(turn, "m") for turn in row["messages"])
    first = messages[0].model_copy(update={"tools": (json.dumps(TOOL),)})
    calling, answering = chat.turns((first,), messages[1:], every=True)
    assert '<call>get_tide{"port": "Busan"}</call>' in chat.text(calling.answer)
    assert '"get_tide"' in chat.text(calling.prompt)
    assert chat.text(answering.answer) == "<think>It says 1.2.</think>1.2 metres."
    assert record.answer == "-"


@pytest.mark.parametrize(
    ("turns", "lost"),
    [
        ([ASK, CALLING], "tool call"),
        ([ASK, {**ANSWER, "reasoning_content": "Because."}], "reasoning"),
        ([ASK, CALLING, RESULT, ANSWER], "tool call"),
    ],
)
def test_a_template_that_leaves_them_out_is_refused(turns, lost):
    chat = ChatFormat(tiny_tokenizer())  # our own layout for models without one knows no tools
    messages = [message(turn, "m") for turn in turns]
    with pytest.raises(UnfitInputError, match=f"leaves out the {lost}"):
        chat.turn(tuple(messages[:-1]), (messages[-1],))


def test_special_tokens_in_calls_and_reasoning_stay_text():
    chat = ChatFormat(tiny_tokenizer(), WITH_TOOLS)
    call = ToolCall(name="f", arguments='{"x": "<|eos|>"}')
    answer = Message(role="assistant", content="done", reasoning="<|eos|> ends it", tool_calls=(call,))
    turn = chat.turn("Why?", (answer,))
    assert turn.answer.count(chat.end_id) == 1 and turn.answer[-1] == chat.end_id


def test_a_ranking_without_a_version_is_no_prompt():
    row = {"prompt": "Why?", "candidates": ["a", "b", "c"], "ranks": [2, 1, 1]}
    (record,) = detect([row], "rows").read(row)
    assert isinstance(record, Ranking) and record.ranks == (2, 1, 1)


NECTAR = {
    "prompt": "\n\nHuman: Spell cat backwards.\n\nAssistant: tac\n\nHuman: And dog?\n\nAssistant: ",
    "answers": [
        {"answer": "god", "model": "b", "rank": 1.0},
        {"answer": "", "model": "a", "rank": 2.0},
        {"answer": "gd", "model": "d", "rank": 2.0},
    ],
}
NEMO = {
    "context": [ASK],
    "completions": [
        {"rank": 1, "completion": [{"role": "assistant", "content": "Low."}]},
        {"rank": 0, "completion": [ANSWER]},
    ],
}
HELPSTEER = {
    "context": [ASK],
    "response1": "Low.",
    "response2": "1.2 metres.",
    "overall_preference": 2,
    "individual_preference": [
        {"score": 3, "reasoning": "One number.", "feedback1": "Vague.", "feedback2": "Exact."},
        {"score": 0, "reasoning": "Alike.", "feedback1": "Fine.", "feedback2": "Fine."},
    ],
}


def test_k_ranked_answers_stay_k():
    (nectar,) = detect([NECTAR], "rows").read(NECTAR)
    assert [turn.content for turn in nectar.prompt] == ["Spell cat backwards.", "tac", "And dog?"]
    assert (nectar.candidates, nectar.ranks, nectar.authors) == (("god", "", "gd"), (1, 2, 2), ("b", "a", "d"))
    (nemo,) = detect([NEMO], "rows").read(NEMO)
    assert (nemo.candidates, nemo.ranks) == (("Low.", "1.2 metres."), (2, 1))


def test_helpsteer_keeps_every_annotator_with_reasons_and_critiques():
    better, tied = detect([HELPSTEER], "rows").read(HELPSTEER)
    assert (better.ranks, better.comment, better.critiques) == ((2, 1), "One number.", ("Vague.", "Exact."))
    assert (tied.ranks, tied.comment) == ((1, 1), "Alike.")
    feedback = {
        "context": [ASK],
        "response1": "Low.",
        "response2": "1.2 metres.",
        "feedback1": ["Vague.", "No."],
        "feedback2": ["Exact."],
    }
    critiques = list(detect([feedback], "rows").read(feedback))
    assert [critique.answer for critique in critiques] == ["Vague.", "No.", "Exact."]
    assert [critique.prompt[1].content for critique in critiques] == ["Low.", "Low.", "1.2 metres."]
    edit = {"context": [ASK], "original_response": "Low.", "edited_response": "1.2 m.", "change_summary": "A number."}
    (ranking,) = detect([edit], "rows").read(edit)
    assert (ranking.candidates, ranking.ranks, ranking.comment) == (("1.2 m.", "Low."), (1, 2), "A number.")


def test_preferences_as_tulu_3_and_ultrafeedback_binarized_have_them():
    both = {"chosen": [ASK, ANSWER], "rejected": [ASK, {**ANSWER, "content": "Low."}], "prompt": ASK["content"]}
    tulu = {**both, "id": "9", "source": "wildchat", "chosen_model": "m-a", "rejected_model": "m-b"}
    (ranking,) = detect([tulu], "rows").read(tulu)
    assert (ranking.authors, ranking.origin.dataset, ranking.ranks) == (("m-a", "m-b"), "wildchat", (1, 2))
    rated = {**both, "chosen_rating": 4.0, "rejected_rating": 4.0}
    (ranking,) = detect([rated], "rows").read(rated)
    assert (ranking.scores, ranking.ranks) == ((4.0, 4.0), (1, 1))
    binarized = {**both, "prompt_id": "p", "messages": [ASK, ANSWER], "score_chosen": 8.0, "score_rejected": 6.5}
    (ranking,) = detect([binarized], "rows").read(binarized)
    assert (ranking.scores, ranking.origin.id) == ((8.0, 6.5), "p")
    kto = {"prompt": [ASK], "completion": [ANSWER], "label": True}
    (judgement,) = detect([kto], "rows").read(kto)
    assert judgement.values == {"label": 1.0}


USER, YES = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, YES]}, {"messages": [SYSTEM, USER, YES]}, {"prompt": "Hi", "completion": "Yes"},
        {"prompt": "Hi"}, {"prompt": [USER], "chosen": [YES], "rejected": [USER | YES | {"content": "No"}]},
        {"prompt": "Hi", "completion": "Yes", "label": True},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]},
    ],
)  # fmt: skip
def test_a_column_with_the_system_prompt_begins_the_conversation(tmp_path, row):
    records, left_out = rows_of(tmp_path, {**row, "system": "Be brief."})
    assert [record.prompt[0] for record in records] == [Message(**SYSTEM)] and not left_out
    assert records[0].prompt[1:] == (Message(**USER),)


def test_a_system_prompt_that_contradicts_the_conversation_and_a_row_of_weight_zero_are_problems(tmp_path):
    records, _ = rows_of(tmp_path, {"messages": [SYSTEM, USER, YES], "system": "Be long."})
    assert "begins with" in records[0].message
    for weight in (0, False, 0.0):
        records, _ = rows_of(tmp_path, {"messages": [USER, YES], "weight": weight})
        assert "not to be learned from" in records[0].message
