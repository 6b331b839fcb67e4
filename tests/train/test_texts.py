"""Records to tokens: the limits, what is left out and why, what stays together, and what is held out."""

import copy
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.data.convert import BadRowsError
from momus.errors import UserError
from momus.lm.chat import ChatFormat
from momus.records import Demonstration, Message, Origin, Prompt, Ranking, write_jsonl
from momus.train.reward import group_by_prompt
from momus.train.settings import TextConfig
from momus.train.texts import demonstrations, pretraining, prompts, rankings
from support.tiny import tiny_tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data"
CHAT = ChatFormat(tiny_tokenizer())
ALL = TextConfig(held_out=0.0, max_prompt=200, max_answer=100)


def written(path: Path, *records) -> str:
    write_jsonl(path / "records.jsonl", records)
    return str(path / "records.jsonl")


words = st.text("ab c", min_size=1, max_size=30).filter(str.strip)


@settings(max_examples=30)
@given(made=st.lists(st.tuples(words, words), min_size=1, max_size=8), limit=st.integers(5, 40))
def test_every_demonstration_is_kept_whole_or_left_out_and_counted(tmp_path_factory, made, limit) -> None:
    file = written(tmp_path_factory.mktemp("x"), *(Demonstration(prompt=p, answer=a) for p, a in made))
    config = TextConfig(held_out=0.3, max_prompt=30, max_answer=limit)
    turns = [CHAT.turns(p, a)[0] for p, a in made]
    fit = [turn for turn in turns if len(turn.prompt) <= 30 and len(turn.answer) <= limit]
    try:
        actual = demonstrations([file], CHAT, config)
    except UserError as error:  # nothing to train on is left
        assert "no demonstrations to train on" in str(error)
        return
    assert Counter(turn for (turn,) in actual.train + actual.held_out) == Counter(fit)
    assert actual.dropped.total() == len(made) - len(fit)
    assert sum(actual.summary()["left_out"].values()) == actual.dropped.total()
    assert set(actual.dropped) <= {"prompt over 30 tokens", f"answer over {limit} tokens"}
    sides = [{turn.prompt for (turn,) in side} for side in (actual.train, actual.held_out)]
    assert not sides[0] & sides[1]


def test_k_answers_stay_together_ties_stay_and_labelers_of_a_prompt_meet(tmp_path: Path) -> None:
    made = [
        Ranking(prompt="p", candidates=("a", "b", "c", "d"), ranks=(1, 2, 2, 3), labeler="x"),
        Ranking(prompt="q", candidates=("a", "b"), ranks=(2, 1), labeler="x"),
        Ranking(prompt="p", candidates=("b", "a", "e"), ranks=(1, 2, 3), labeler="y"),
    ]
    actual = rankings([written(tmp_path, *made)], CHAT, ALL)
    assert [item.ranks for item in actual.train] == [(1, 2, 2, 3), (2, 1), (1, 2, 3)]
    assert [CHAT.text(branch) for branch in actual.train[0].branches] == ["a", "b", "c", "d"]
    assert actual.about == {
        "prompts": 2, "pairs": 5 + 1 + 3, "tied_pairs": 1, "of_answers": {"2": 1, "3": 1, "4": 1}, "labelers": 2,
    }  # fmt: skip
    first, second = group_by_prompt(actual.train)
    assert len(first.branches) == 5 and len(first.pairs) == 2 and len(second.pairs) == 1


def test_a_ranking_loses_long_and_equal_answers_and_goes_when_no_preference_is_left(tmp_path: Path) -> None:
    long = "a b " * 100
    made = [
        Ranking(prompt="p", candidates=("a", long, "c"), ranks=(1, 2, 3)),
        Ranking(prompt="q", candidates=("a", long), ranks=(1, 2)),
        Ranking(prompt="r", candidates=("a", "b", long), ranks=(1, 1, 2)),
        Ranking(prompt=long, candidates=("a", "b"), ranks=(1, 2)),
        Ranking(prompt="s", candidates=("", "b"), ranks=(2, 1)),
        Ranking(prompt="t", candidates=("yes", "yes"), ranks=(1, 2)),
        Ranking(prompt="u", candidates=("yes", "no", "yes"), ranks=(1, 2, 3)),
    ]
    actual = rankings([written(tmp_path, *made)], CHAT, ALL)
    assert [item.ranks for item in actual.train] == [(1, 3), (2, 1), (1, 2, 3)]
    silent = actual.train[1].branches[0]  # saying nothing is an answer
    assert CHAT.text(silent) == "" and silent[-1] == CHAT.end_id
    assert actual.dropped == {
        "answers of rankings: answer over 100 tokens": 3,
        "no preference among the answers left": 3,
        "pairs of rankings: an answer preferred to itself": 2,
        "prompt over 200 tokens": 1,
    }


def test_prompts_of_all_records_once_each_and_by_their_own_split(tmp_path: Path) -> None:
    made = [
        Prompt(prompt="a"),
        Prompt(prompt="b", split="valid"),
        Prompt(prompt="c", split="test"),
        Demonstration(prompt="d", answer="x"),
        Ranking(prompt="a", candidates=("x", "y"), ranks=(1, 2)),
        Demonstration(prompt=(Message(role="user", content="d"),), answer="y"),
    ]
    actual = prompts([written(tmp_path, *made)], CHAT, ALL)
    assert [item.content for item in actual.train] == ["a", "d"]
    assert [item.tokens for item in actual.held_out] == [CHAT.prompt("b")]
    assert actual.dropped == {"prompt seen before": 2, "of the test split": 1}


def test_a_tree_or_a_user_is_on_one_side(tmp_path: Path) -> None:
    made = [
        Demonstration(prompt=f"p{i}", answer="x", origin=Origin(group=f"g{i % 7}", user=f"u{i % 3}")) for i in range(40)
    ] + [Demonstration(prompt=f"q{i}", answer="y", origin=Origin(user=f"v{i % 9}")) for i in range(40)]
    actual = demonstrations([written(tmp_path, *made)], CHAT, TextConfig(held_out=0.4, max_prompt=99, max_answer=9))
    owner = {CHAT.prompt(item.prompt): item.origin.group or item.origin.user for item in made}
    sides = [{owner[turns[0].prompt] for turns in side} for side in (actual.train, actual.held_out)]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


@settings(max_examples=30)
@given(owned=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=40))
def test_no_prompt_is_on_both_sides_whoever_owns_it(tmp_path_factory, owned) -> None:
    """Of a prompt that several people wrote, what would be held out is left out and counted."""
    folder = tmp_path_factory.mktemp("x")
    rows = [{"prompt": f"p{prompt}", "origin": Origin(user=f"u{user}")} for prompt, user in owned]
    kinds = [
        (
            demonstrations,
            lambda turns: turns[0].prompt,
            [Demonstration(answer="x", **fields) for fields in rows],
        ),
        (
            rankings,
            lambda item: item.prompt,
            [Ranking(candidates=("x", "y"), ranks=(1, 2), **fields) for fields in rows],
        ),
    ]
    for read, prompt_of, records in kinds:
        try:
            actual = read([written(folder, *records)], CHAT, TextConfig(held_out=0.4, max_prompt=99, max_answer=9))
        except UserError as error:  # nobody is trained on
            assert "to train on" in str(error)
            continue
        sides = [{prompt_of(item) for item in side} for side in (actual.train, actual.held_out)]
        assert not sides[0] & sides[1]
        assert len(actual.train) + len(actual.held_out) + actual.dropped.total() == len(owned)
        assert set(actual.dropped) <= {"held-out prompt that is trained on too"}


def test_turns_that_do_not_fit_are_left_out_of_a_conversation_alone(tmp_path: Path) -> None:
    conversation = [
        Message(role=role, content=text) for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)
    ]
    file = written(tmp_path, Demonstration(prompt=tuple(conversation[:1]), answer=tuple(conversation[1:])))
    last, both = (demonstrations([file], CHAT, ALL, every_turn=every).train[0] for every in (False, True))
    assert [CHAT.text(turn.answer) for turn in last] == ["d"]
    assert [CHAT.text(turn.answer) for turn in both] == ["b", "d"]
    short = TextConfig(held_out=0.0, max_prompt=len(both[0].prompt), max_answer=9)
    assert demonstrations([file], CHAT, short, every_turn=True).train == [both[:1]]


def test_records_that_a_template_refuses_are_counted_and_a_faulty_template_is_an_error(tmp_path: Path) -> None:
    refusing = ChatFormat(
        tiny_tokenizer(),
        "{% for m in messages %}{{ raise_exception('no system') if m.role == 'system' }}{{ m.content }}{% endfor %}",
    )
    system = (Message(role="system", content="s"), Message(role="user", content="u"))
    file = written(tmp_path, Demonstration(prompt=system, answer="a"), Demonstration(prompt="p", answer="a"))
    actual = demonstrations([file], refusing, ALL)
    assert len(actual.train) == 1 and actual.dropped.total() == 1 and "no system" in next(iter(actual.dropped))
    counting = ChatFormat(
        tiny_tokenizer(),
        "{% for m in messages %}{{ m.content }}{% endfor %}{{ messages | length if messages[0].content == 'p' }}",
    )
    with pytest.raises(UserError, match="the model would be trained on another prompt"):
        demonstrations([file], counting, ALL)


def test_bad_rows_are_refused_or_left_out_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    rows = [{"prompt": "p", "completion": "a"}, {"prompt": "p", "completion": 3}, {"prompt": "q", "completion": "b"}]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n{", encoding="utf-8")
    with pytest.raises(BadRowsError, match=r"some.jsonl:2: completion.*1 more bad rows"):
        demonstrations([str(file)], CHAT, ALL)
    actual = demonstrations([str(file)], CHAT, TextConfig(held_out=0.0, skip_bad=True))
    assert len(actual.train) == 2 and actual.summary()["bad_rows"] == 2


def test_what_a_file_lacks_is_said(tmp_path: Path) -> None:
    file = written(tmp_path, Prompt(prompt="p"))
    with pytest.raises(UserError, match=r"no rankings to train on: 1 records of another kind \(Prompt\)"):
        rankings([file], CHAT, ALL)
    with pytest.raises(UserError, match="no demonstrations to train on"):
        demonstrations([], CHAT, ALL)
    for wrong in ({"max_prompt": 0}, {"max_answer": 0}, {"held_out": 1.0}, {"held_out": -0.1}):
        with pytest.raises(UserError, match="must be at least"):
            TextConfig(**wrong)


@settings(max_examples=30)
@given(texts=st.lists(st.text("ab <|eos|>", max_size=40), min_size=1, max_size=4), length=st.integers(2, 9))
def test_pretraining_pieces_are_the_texts_cut(tmp_path_factory, texts, length) -> None:
    folder = tmp_path_factory.mktemp("x")
    files = []
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        files.append(str(folder / f"{number}.txt"))
    pieces = pretraining(files, CHAT, TextConfig(max_prompt=length - 1, max_answer=1)).train
    assert all(1 < len(piece) <= length for piece in pieces)
    tokenizer = CHAT.tokenizer
    item = [[1, *tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True), 2] for text in texts]
    lost = sum(len(tokens) % length == 1 for tokens in item)  # a last piece of one token predicts nothing
    assert sum(map(len, pieces)) + lost == sum(map(len, item))


def test_pretraining_texts_do_not_begin_with_the_header_of_chat_messages(tmp_path: Path) -> None:
    """ChatML's <|im_start|> is SmolLM2's beginning-of-text token."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = (
        "{% for m in messages %}{{ bos_token + m.role + '\\n' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ bos_token + 'assistant\\n' }}{% endif %}"
    )
    (tmp_path / "text.txt").write_text("a b", encoding="utf-8")
    (piece,) = pretraining([str(tmp_path / "text.txt")], ChatFormat(tokenizer), ALL).train
    assert piece == (*tokenizer.encode("a b", add_special_tokens=False), tokenizer.eos_token_id)
    tokenizer.chat_template = tokenizer.chat_template.replace("bos_token + m", "(bos_token if loop.first else '') + m")
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ bos_token + 'as", "{{ 'as")
    (whole,) = pretraining([str(tmp_path / "text.txt")], ChatFormat(tokenizer), ALL).train
    assert whole == (tokenizer.bos_token_id, *piece)


def test_pretraining_texts_come_from_rows_too(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"text": "a b"}\n{"text": "c"}\n', encoding="utf-8")
    assert [CHAT.text(piece) for piece in pretraining([str(file)], CHAT, ALL).train] == ["a b", "c"]
    (tmp_path / "none.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', encoding="utf-8")
    with pytest.raises(UserError, match="no text in it"):
        pretraining([str(tmp_path / "none.jsonl")], CHAT, ALL)
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        pretraining([str(tmp_path / "bad.txt")], CHAT, ALL)


def test_pretraining_texts_are_read_as_other_files_are(tmp_path: Path) -> None:
    """By the format named, and with bad rows refused or left out and counted."""
    file = tmp_path / "corpus.jsonl"
    file.write_text('{"text": "a b"}\n{"text": 3}\n{"text": "c"}\n', encoding="utf-8")
    with pytest.raises(BadRowsError, match=r"corpus.jsonl:2: text"):
        pretraining([str(file)], CHAT, ALL)
    actual = pretraining([str(file)], CHAT, replace(ALL, skip_bad=True))
    assert [CHAT.text(piece) for piece in actual.train] == ["a b", "c"] and actual.problems.count == 1
    with pytest.raises(UserError, match="nope"):
        pretraining([str(file)], CHAT, replace(ALL, format="nope"))


def test_what_was_trained_on_has_a_name(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    files = [written(one, Demonstration(prompt="p", answer="a")), written(other, Demonstration(prompt="p", answer="b"))]
    digests = [demonstrations([file], CHAT, ALL).digest() for file in (*files, files[0])]
    assert digests[0] == digests[2] != digests[1]


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here (../shared/data)")
def test_real_rankings_lose_nothing_unsaid() -> None:
    file = str(DATA / "oasst" / "en_100_tree.jsonl")
    actual = rankings([file], CHAT, TextConfig(max_prompt=400, max_answer=400))
    lost = actual.dropped.total() - actual.dropped["answers of rankings: answer over 400 tokens"]
    assert len(actual.train) + len(actual.held_out) + lost == 207 + 670  # what docs/guides/data.md counts in it
    assert max(map(int, actual.about["of_answers"])) > 2
