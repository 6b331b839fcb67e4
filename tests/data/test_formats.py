"""The ecosystem's formats: each on rows of its published shape, and on the real files where they are at hand."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.data.convert import read, recognise, summarise
from momus.data.formats import FORMATS, BadRecordError, detect
from momus.data.sources import Problem
from momus.errors import UserError
from momus.records import Content, Demonstration, Judgement, Message, Prompt, Ranking, Task

SHARED = Path(__file__).parents[3] / "shared" / "data"


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def spoken_by(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


def records_of(*rows, name=None):
    """Read rows in the format they are found to be in."""
    source_format = detect(rows, "rows")
    assert name in (None, source_format.name)
    together = [list(rows)] if source_format.together else rows
    return [record for row in together for record in source_format.read(row)]


def plain(content: Content) -> str:
    return content if isinstance(content, str) else " | ".join(part.content for part in content)


ASK, YES, NO = turn("user", "Is it?"), turn("assistant", "Yes."), turn("assistant", "No.")

# One row of every form TRL documents, and what must come of it.
TRL_ROWS = [
    ({"text": "The sky is blue."}, "trl-text", Demonstration, "", "The sky is blue."),
    ({"messages": [ASK, YES]}, "trl-messages", Demonstration, "Is it?", "Yes."),
    ({"prompt": "The sky is"}, "trl-prompt", Prompt, "The sky is", None),
    ({"prompt": [ASK]}, "trl-prompt", Prompt, "Is it?", None),
    ({"prompt": "The sky is", "completion": " blue."}, "trl-prompt-completion", Demonstration, "The sky is", " blue."),
    ({"prompt": [ASK], "completion": [YES]}, "trl-prompt-completion", Demonstration, "Is it?", "Yes."),
    (
        {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."},
        "trl-preference",
        Ranking,
        "The sky is",
        " blue.> green.",
    ),
    ({"prompt": [ASK], "chosen": [YES], "rejected": [NO]}, "trl-preference", Ranking, "Is it?", "Yes.>No."),
    ({"chosen": [ASK, YES], "rejected": [ASK, NO]}, "trl-preference", Ranking, "Is it?", "Yes.>No."),
    (
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        "trl-preference",
        Ranking,
        "The sky is",
        " blue.> black.",
    ),
    (
        {"prompt": "Is it?", "chosen": [ASK, YES], "rejected": [ASK, NO], "score_chosen": 8, "score_rejected": 5},
        "trl-preference",
        Ranking,
        "Is it?",
        "Yes.>No.",
    ),
    (
        {"prompt": "The sky is", "completion": " blue.", "label": True},
        "trl-unpaired",
        Judgement,
        "The sky is",
        " blue.",
    ),
    ({"messages": [ASK], "chosen": YES, "rejected": NO}, "trl-preference", Ranking, "Is it?", "Yes.>No."),
    ({"messages": [ASK, YES], "label": False}, "kto-messages", Judgement, "Is it?", "Yes."),
]


@pytest.mark.parametrize(("row", "name", "kind", "prompt", "answer"), TRL_ROWS)
def test_trl(row, name, kind, prompt, answer):
    [record] = records_of(row, name=name)
    assert type(record) is kind
    assert plain(record.prompt) == prompt
    if isinstance(record, Ranking):
        assert ">".join(map(plain, record.candidates)) == answer
        assert record.ranks == (1, 2)
    elif answer is not None:
        assert plain(record.answer) == answer


def test_trl_stepwise_gives_a_judgement_for_every_step_after_the_ones_before_it():
    row = {"prompt": "Which is larger?", "completions": ["Compare.", "So 9.11."], "labels": [True, False]}
    first, second = records_of(row, name="trl-stepwise")
    assert (first.answer, first.values) == ("Compare.", {"step": 1.0})
    assert (second.prompt, second.values) == ("Which is larger?\nCompare.", {"step": 0.0})


def test_equal_scores_of_chosen_and_rejected_are_a_tie():
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 5.0, "score_rejected": 5.0}
    [record] = records_of(row)
    assert record.ranks == (1, 1)


def test_bare_strings_are_prompts():
    assert [record.prompt for record in records_of("one", "two", name="prompts")] == ["one", "two"]


def test_hh_splits_at_the_turns_both_share():
    start = "\n\nHuman: Hi\n\nAssistant:"
    one, other = f"{start} Hello.", f"{start}"
    [record] = records_of({"chosen": one, "rejected": other}, name="hh-rlhf")
    assert record.prompt == (user("Hi"),)
    assert record.candidates == ("Hello.", "")
    diverging = {
        "chosen": f"{one}\n\nHuman: A\n\nAssistant: B",
        "rejected": f"{start} Bye.\n\nHuman: A\n\nAssistant: C",
    }
    [record] = records_of(diverging)
    assert record.candidates[1] == (assistant("Bye."), user("A"), assistant("C"))


def test_a_problem_is_demonstrated_by_its_solution():
    row = {"text": "Add\r\nthem.", "code": "def f(a, b):\r\n  return a + b", "task_id": 3, "test_list": ["assert 1"]}
    [record] = records_of(row, name="mbpp")
    assert (record.prompt, record.answer, record.origin.id) == ("Add\nthem.", "def f(a, b):\n  return a + b", "3")


def test_hh_red_team():
    row = {"transcript": "\n\nHuman: Hi\n\nAssistant: No.", "rating": 2.0, "red_team_member_id": 7, "tags": None}
    [record] = records_of(row, name="hh-rlhf-red-team")
    assert (record.values, record.labeler) == ({"rating": 2.0}, "7")


def test_summaries_keep_worker_and_confidence():
    info = {"id": "t3_1", "post": "It broke.", "title": "Help", "subreddit": "cars"}
    row = {
        "info": info,
        "summaries": [{"text": " a", "policy": "sup4", "note": None}, {"text": " b", "policy": "ref", "note": None}],
        "choice": 1,
        "worker": "w1",
        "batch": "batch3",
        "split": "valid1",
        "extra": {"confidence": 8},
    }
    [record] = records_of(row, name="summarize-from-feedback")
    assert (record.ranks, record.labeler, record.confidence, record.authors) == ((2, 1), "w1", 8.0, ("sup4", "ref"))
    assert record.origin.split == "valid1"
    axes = {"overall": 3, "accuracy": None}
    axis = {"info": {"id": "x", "article": "Long."}, "summary": {"text": "s", "axes": axes}, "worker": "w2"}
    [record] = records_of(axis, name="summarize-from-feedback-axes")
    assert record.values == {"overall": 3.0}


def completion(text, rating):
    return {"text": text, "rating": rating, "flagged": None}


def test_prm800k_keeps_alternative_steps_together():
    steps = [
        {"completions": [completion("s1", 0)], "human_completion": None, "chosen_completion": 0},
        {
            "completions": [completion("a", -1), completion("b", 0), completion("c", -1), completion("d", None)],
            "human_completion": {"text": "mine"},
            "chosen_completion": None,
        },
        {"completions": [completion("s3", 1)], "human_completion": None, "chosen_completion": 0},
    ]
    row = {"labeler": "L", "question": {"problem": "P"}, "label": {"steps": steps, "finish_reason": "solution"}}
    first, second, third = records_of(row, name="prm800k")
    assert (first.prompt, first.answer, first.values) == ("P", "s1", {"step": 0.0})
    assert (second.prompt, second.candidates, second.ranks) == ("P\ns1", ("a", "b", "c", "mine"), (3, 2, 3, 1))
    assert (third.prompt, third.labeler) == ("P\ns1\nmine", "L")


def test_webgpts_scores_rank_two_answers_and_zero_is_a_tie():
    row = {"question": {"dataset": "eli5", "id": "q1", "full_text": "Why?"}, "answer_0": "a", "answer_1": "b"}
    row |= {"quotes_0": {"title": [], "extract": []}, "score_0": 0.5, "score_1": -0.5}
    [record] = records_of(row, name="webgpt")
    assert (record.prompt, record.candidates, record.ranks, record.scores) == ("Why?", ("a", "b"), (1, 2), (0.5, -0.5))
    assert (record.origin.id, record.origin.dataset) == ("q1", "eli5")
    assert records_of(row | {"score_0": 0, "score_1": 0})[0].ranks == (1, 1)
    with pytest.raises(BadRecordError, match="answer_0"):
        records_of(row | {"answer_1": "a"})


def test_openais_preferences_for_fine_tuning_keep_turns_and_tools():
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    asked = {"messages": [turn("system", "Be brief."), ASK], "tools": [tool], "parallel_tool_calls": True}
    row = {"input": asked, "preferred_output": [YES], "non_preferred_output": [NO]}
    [record] = records_of(row, name="openai-preference")
    assert plain(record.prompt) == "Be brief. | Is it?" and json.loads(record.prompt[0].tools[0]) == tool
    assert ([plain(c) for c in record.candidates], record.ranks) == (["Yes.", "No."], (1, 2))


def test_helpsteer2_has_ratings_by_attribute_and_preferences_with_reasons():
    attributes = {"helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 0}
    [record] = records_of({"prompt": "p", "response": "r", **attributes}, name="helpsteer2")
    assert (record.prompt, record.answer, record.values) == ("p", "r", attributes)
    row = {"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": 2, "preference_statement": "b."}
    [record] = records_of(row, name="helpsteer2-preference")
    assert (record.ranks, record.scores, record.confidence, record.comment) == ((2, 1), (-2, 2), 2, "b.")
    with pytest.raises(BadRecordError, match="preference_strength: is 4: must be from -3 to 3"):
        records_of(row | {"preference_strength": 4})


def rated(model, *ratings):
    aspects = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    annotations = {name: {"Rating": rating, "Rationale": "r"} for name, rating in zip(aspects, ratings, strict=False)}
    return {"model": model, "response": f"by {model}", "overall_score": 10, "annotations": annotations}


def test_ultrafeedback_is_one_ranking_by_mean_rating_whatever_the_overall_score():
    completions = [rated("a", "1", "N/A"), rated("b", "5", "4"), rated("c", "N/A", "N/A"), rated("d", "1", "1")]
    [record] = records_of({"source": "flan", "instruction": "Do.", "completions": completions}, name="ultrafeedback")
    assert (record.authors, record.ranks, record.scores) == (("a", "b", "d"), (2, 1, 2), (1.0, 4.5, 1.0))
    assert record.origin.dataset == "flan"


def node(name, role, *replies, **more):
    return {"message_id": name, "role": role, "text": f"text of {name}", "replies": list(replies), **more}


TREE = node(
    "p",
    "prompter",
    node("a", "assistant", node("q", "prompter", node("e", "assistant")), rank=1),
    node("b", "assistant", rank=0, user_id="u"),
    node("c", "assistant", node("z", "prompter", node("y", "assistant")), rank=2, synthetic=True),
    node("d", "assistant", rank=3),
    node("f", "assistant", rank=4, deleted=True),
)


def flat(node, parent=None):
    yield {key: value for key, value in node.items() if key != "replies"} | {
        "parent_id": parent,
        "message_tree_id": "p",
    }
    for reply in node["replies"]:
        yield from flat(reply, node["message_id"])


def test_oasst_keeps_all_ranked_replies_together_and_drops_what_models_wrote():
    records = records_of({"message_tree_id": "p", "tree_state": "ready_for_export", "prompt": TREE})
    [ranking] = [record for record in records if isinstance(record, Ranking)]
    assert ranking.candidates == ("text of a", "text of b", "text of d")
    assert (ranking.ranks, ranking.authors) == ((2, 1, 3), ("", "u", ""))
    answers = {record.answer: len(record.prompt) for record in records if isinstance(record, Demonstration)}
    assert answers == {"text of a": 1, "text of b": 1, "text of d": 1, "text of e": 3}


def test_oasst_tables_give_what_the_trees_give():
    tree = records_of({"message_tree_id": "p", "prompt": TREE}, name="oasst-trees")
    assert records_of(*flat(TREE), name="oasst-messages") == tree


def test_alpaca_with_the_columns_of_llama_factory():
    row = {"instruction": "Add.", "input": "1 2", "output": "3"}
    [record] = records_of(row, name="alpaca")
    assert (record.prompt, record.answer) == ("Add.\n\n1 2", "3")
    [record] = records_of({**row, "system": "Be brief.", "history": [["Hi", "Hello"]], "input": ""})
    assert [message.content for message in record.prompt] == ["Be brief.", "Hi"]
    assert [message.content for message in record.answer] == ["Hello", "Add.", "3"]
    [record] = records_of({"instruction": "Add.", "input": "", "chosen": "3", "rejected": "4"})
    assert record.candidates == ("3", "4")
    [record] = records_of({**row, "kto_tag": False})
    assert record.values == {"label": 0.0}


def test_sharegpt():
    turns = [
        spoken_by("human", "Hi"),
        spoken_by("gpt", "Hello"),
        spoken_by("human", "Bye"),
        spoken_by("gpt", "Bye"),
        spoken_by("human", "?"),
    ]
    [record] = records_of({"id": "s", "conversations": turns}, name="sharegpt")
    assert record.prompt == (user("Hi"),)
    assert record.answer == (assistant("Hello"), user("Bye"), assistant("Bye"))
    pair = {"conversations": turns[:1], "chosen": spoken_by("gpt", "A"), "rejected": spoken_by("gpt", "B")}
    [record] = records_of(pair)
    assert (record.prompt, record.candidates) == ((user("Hi"),), ("A", "B"))


@pytest.mark.parametrize(
    ("winner", "ranks"),
    [("model_a", (1, 2)), ("model_b", (2, 1)), ("tie", (1, 1)), ("tie (bothbad)", (1, 1)), ("both_bad", (1, 1))],
)
def test_lmsys_cuts_at_the_turn_that_was_judged_and_keeps_ties(winner, ranks):
    more = [turn("user", "And?"), turn("assistant", "So.")]
    row = {
        "question_id": 81,
        "model_a": "x",
        "model_b": "y",
        "winner": winner,
        "judge": "expert_0",
        "conversation_a": [ASK, YES, *more],
        "conversation_b": [ASK, NO, *more],
        "turn": 1,
    }
    [record] = records_of(row, name="lmsys")
    assert (record.ranks, record.candidates, record.labeler) == (ranks, ("Yes.", "No."), "expert_0")
    assert record.comment == (winner if "bad" in winner else "")
    [record] = records_of({**row, "turn": 2})
    assert record.candidates[0] == (assistant("Yes."), user("And?"), assistant("So."))


def test_kaggle_cells_are_json():
    row = {
        "id": "3",
        "model_a": "x",
        "model_b": "y",
        "prompt": '["q1"]',
        "response_a": '["a"]',
        "response_b": "[null]",
        "winner_model_a": "0",
        "winner_model_b": "0",
        "winner_tie": "1",
    }
    [record] = records_of(row, name="lmsys-kaggle")
    assert (record.candidates, record.ranks) == (("a", ""), (1, 1))


def test_chat_logs():
    row = {"conversation_id": "c", "model": "m", "conversation": [ASK, YES], "turn": 1, "language": "English"}
    [record] = records_of(row, name="chat-log")
    assert (record.prompt, record.answer, record.author) == ((user("Is it?"),), "Yes.", "m")


@pytest.mark.parametrize(("preference", "ranks"), [(1, (1, 2)), (1.9, (2, 1)), (1.5, (1, 1)), (0, (1, 1))])
def test_alpaca_eval(preference, ranks):
    row = {
        "instruction": "Do.",
        "output_1": "a",
        "generator_1": "g1",
        "output_2": "b",
        "generator_2": "g2",
        "annotator": "j",
        "preference": preference,
    }
    [record] = records_of(row, name="alpaca-eval")
    assert (record.ranks, record.authors, record.labeler) == (ranks, ("g1", "g2"), "j")
    assert records_of({**row, "input": "This."})[0].prompt == "Do.\n\nThis."


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=6), st.sampled_from(["query", "input", "question"]))
def test_k_few_shot_pairs_are_k_demonstrations_each_after_the_others(letters, asked):
    answered = {"query": "response", "input": "output", "question": "answer"}[asked]
    pairs = [(f"{letter}{number}?", f"{letter}{number}!") for number, letter in enumerate(letters)]
    row = {"id": "i", "instruction": "Shout.", "examples": [{asked: q, answered: a} for q, a in pairs], "labeler": "L"}
    records = records_of(row, name="few-shot")
    assert [record.answer for record in records] == [answer for _, answer in pairs]
    assert {(record.origin.group, record.author) for record in records} == {("i", "L")}
    assert len({record.origin.id for record in records}) == len(pairs)
    for record, (query, answer) in zip(records, pairs, strict=True):
        assert record.prompt.startswith("Shout.\n\n") and record.prompt.endswith(f"{query}\n\nResponse:\n")
        assert answer not in record.prompt
        others = [other for other in pairs if other != (query, answer)]
        shown = [record.prompt.index(f"Query:\n{q}\n\nResponse:\n{a}\n") for q, a in others]
        assert shown == sorted(shown)


def test_a_few_shot_prompt_without_pairs_is_a_problem():
    with pytest.raises(BadRecordError, match="examples: is empty"):
        records_of({"instruction": "Do.", "examples": []})


MIXTURES = [
    # FLAN, with both spellings of its columns, P3, Natural Instructions, Aya
    ({"inputs": "q", "targets": "a", "task_name": "cot_gsm8k", "task_source": "CoT"}, "q", "cot_gsm8k"),
    ({"inputs": "q", "targets": "a", "_task_name": "anli", "_template_type": "fs_opt"}, "q", "anli"),
    ({"source": "q", "target": "a", "task_name": "anli", "template_idx": 3}, "q", "anli"),
    ({"inputs": [3, 1], "targets": [4], "inputs_pretokenized": "q", "targets_pretokenized": "a"}, "q", ""),
    ({"task_name": "task1", "id": "1", "definition": "Do.", "inputs": "q", "targets": "a"}, "Do.\n\nq", "task1"),
    ({"inputs": "q", "targets": "a", "language": "Korean", "user_id": "u"}, "q", ""),
]


@pytest.mark.parametrize(("row", "prompt", "dataset"), MIXTURES)
def test_mixtures_of_tasks(row, prompt, dataset):
    [record] = records_of(row, name="mixture")
    assert (record.prompt, record.answer, record.origin.dataset) == (prompt, "a", dataset)
    assert (record.origin.language, record.origin.user) == (row.get("language", ""), row.get("user_id", ""))


def test_a_wrong_choice_of_p3_is_no_demonstration():
    row = {"inputs_pretokenized": "q", "targets_pretokenized": "a"}
    assert len(records_of({**row, "is_correct": True})) == 1
    assert records_of({**row, "is_correct": False}) == []


RANKED = [{"value": "r1", "rank": 1}, {"value": "r2", "rank": 1}, {"value": "r3", "rank": 2}]
ORDERED = ["r2", "r1", "r3"]
FIELDS = {"prompt": "Q", "r1": "A", "r2": "B", "r3": "C"}
ARGILLA = [
    {
        "id": "1",
        "fields": FIELDS,
        "responses": {
            "order": [
                {"value": RANKED, "user_id": "u1", "status": "submitted"},
                {"value": RANKED, "user_id": "u2"},
                {"value": RANKED, "user_id": "u3", "status": "draft"},
            ]
        },
    },
    {
        **FIELDS,
        "order.responses": [RANKED, RANKED, RANKED],
        "order.responses.users": ["u1", "u2", "u3"],
        "order.responses.status": ["submitted", None, "discarded"],
    },
    {
        **FIELDS,
        "order": {
            "user_id": ["u1", "u2", "u3"],
            "value": [{"rank": [1, 1, 2], "value": ["r1", "r2", "r3"]}] * 3,
            "status": ["submitted", "submitted", "draft"],
        },
        "order-suggestion": None,
    },
]


@pytest.mark.parametrize("row", ARGILLA)
def test_argilla_keeps_every_user_and_ties(row):
    records = records_of(row, name="argilla")
    assert [record.labeler for record in records] == ["u1", "u2"]
    assert all(record.prompt == "Q" and record.candidates == ("A", "B", "C") for record in records)
    assert all(record.ranks == (1, 1, 2) for record in records)


def test_argilla_orders_and_ratings():
    [record] = records_of({**FIELDS, "order.responses": [ORDERED], "order.responses.users": ["u"]})
    assert (record.candidates, record.ranks) == (("B", "A", "C"), (1, 2, 3))
    rating = {"prompt": "Q", "response": "A", "good.responses": [4], "good.responses.users": ["u"]}
    [record] = records_of(rating)
    assert (record.prompt, record.answer, record.values) == ("Q", "A", {"good": 4.0})


def test_openai_evals_give_a_demonstration_for_every_ideal():
    row = {"input": [turn("system", "Be brief."), ASK], "ideal": ["Yes.", "Yes"]}
    assert [record.answer for record in records_of(row, name="openai-evals")] == ["Yes.", "Yes"]


def test_a_format_is_found_though_some_rows_are_bad():
    rows = [{"nothing": 1}, {"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q"}]
    assert detect(rows, "rows").name == "trl-preference"
    with pytest.raises(UserError, match=r"rows: no known format has the fields id, prompt, winner"):
        detect([{"id": 1, "prompt": "8", "winner": "left"}], "rows")


@pytest.mark.parametrize("text", [b'[{"prompt": "\xe9"}]', b'{\n"prompt": "\xe9"}'])
def test_json_that_is_not_utf8_from_its_beginning_is_one_line(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=r"rows\.json: not UTF-8 text: save the file as UTF-8"):
        recognise(str(path))


def test_an_arrow_file_whose_offsets_lead_out_of_it_is_refused_before_they_are_followed(tmp_path):
    import pyarrow
    from pyarrow import feather

    path = tmp_path / "rows.arrow"
    feather.write_feather(pyarrow.table({"prompt": ["one", "two"]}), path, compression="uncompressed")
    offsets = b"".join(offset.to_bytes(4, "little") for offset in (0, 3, 6))
    data = path.read_bytes()
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, offsets[:-4] + b"\x00\x00\x00\x7f"))
    with pytest.raises(UserError, match=r"rows\.arrow: damaged Arrow file after row 0"):
        recognise(str(path))


def test_names_of_formats_differ():
    assert len({known.name for known in FORMATS}) == len(FORMATS)


def real(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return str(path)


def test_real_hh_rlhf():
    source, source_format = recognise(real("hh-rlhf/harmless-base-test.jsonl.gz"))
    summary = summarise(source, source_format)
    assert source_format.name == "hh-rlhf"
    assert summary.records == Counter(Ranking=2312)
    assert summary.problems.count == 0
    records = [record for record in read(source, source_format) if isinstance(record, Ranking)]
    assert summary.empty == 4
    assert sum(len(record.prompt) == 1 for record in records) == 662
    assert sum(any(isinstance(answer, tuple) for answer in record.candidates) for record in records) == 5
    with gzip.open(source.name, "rt", encoding="utf-8") as file:
        for line, record in zip(file, records, strict=True):
            best = record.candidates[0]
            turns = (*record.prompt, *((assistant(best),) if isinstance(best, str) else best))
            spoken = "".join(f"{'Human' if turn.role == 'user' else 'Assistant'}:{turn.content}" for turn in turns)
            assert "".join(spoken.split()) == "".join(json.loads(line)["chosen"].split())


def test_real_oasst():
    source, source_format = recognise(real("oasst/en_100_tree.jsonl"))
    records = list(read(source, source_format))
    rankings = [record for record in records if isinstance(record, Ranking)]
    kept = ranked = 0
    for line in Path(source.name).read_text(encoding="utf-8").splitlines():
        todo = [json.loads(line)["prompt"]]
        while todo:
            message = todo.pop()
            if message["role"] == "assistant" and message["synthetic"]:
                continue
            todo += message["replies"]
            kept += message["role"] == "assistant"
            siblings = [r for r in message["replies"] if r.get("rank") is not None and not r["synthetic"]]
            ranked += len(siblings) if len(siblings) > 1 else 0
    assert sum(isinstance(record, Demonstration) for record in records) == kept
    assert sum(len(record.candidates) for record in rankings) == ranked
    assert max(len(record.candidates) for record in rankings) == 9
    assert not any(isinstance(record, Problem) for record in records)


def test_real_prompts():
    source, source_format = recognise(real("oasst/prompt_lottery_en_250_text.jsonl"))
    assert summarise(source, source_format).records == Counter(Prompt=250)


def test_tasks_are_not_taken_for_anything_else():
    row = Task(id="t", question="q", answer="a").model_dump()
    assert records_of(row, name="momus") == [Task(id="t", question="q", answer="a")]
