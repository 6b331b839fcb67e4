"""Line-ups: how systems are asked, what is kept of their answers, and models as labelers."""

import json
from dataclasses import replace
from itertools import combinations, count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.instruct import labelers
from momus.evaluate.instruct.feedback import prompts_in, records_of
from momus.evaluate.instruct.labelers import JudgeLabeler, RewardLabeler, rank_answers, rankings_in
from momus.evaluate.instruct.systems import (
    PREFIX,
    Layout,
    System,
    answer_key,
    answer_prompts,
    answers_in,
    by_prompt,
    read_systems,
)
from momus.files import Ledger
from momus.lm.chat import ChatFormat
from momus.lm.engine import Choice
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel, save_causal_lm
from momus.lm.tree import TokenTree
from momus.records import Demonstration, Message, Origin, Prompt, Ranking, read_jsonl
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer

PROMPTS = [Prompt(prompt=f"def f{i}(items):") for i in range(5)]
LONG = Prompt(prompt="for x in items: " * 400)
WARM = System("warm", "tiny", temperature=1.0, max_tokens=5)


@pytest.fixture(scope="module")
def engine():
    return tiny_engine()


def _sampled(tmp_path, engine, system, prompts, name="s.jsonl"):
    with Ledger(tmp_path / name, {}) as ledger:
        answer_prompts(system, engine, prompts, ledger)
        return list(answers_in(ledger, [system], prompts)), dict(ledger)


def test_answers_do_not_depend_on_the_order_or_on_being_stopped(tmp_path, engine):
    answers, stored = _sampled(tmp_path, engine, WARM, PROMPTS)
    assert [item.author for item in answers] == ["warm"] * 5 and len({item.answer for item in answers}) > 1
    reverse, _ = _sampled(tmp_path, engine, WARM, PROMPTS[::-1], "reverse.jsonl")
    assert reverse[::-1] == answers
    lines = (tmp_path / "s.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:10])
    again, restored = _sampled(tmp_path, engine, WARM, PROMPTS, "cut.jsonl")
    assert again == answers and restored == stored
    other, _ = _sampled(tmp_path, engine, replace(WARM, name="other"), PROMPTS, "other.jsonl")
    assert [item.answer for item in other] != [item.answer for item in answers]


def test_finished_prompts_are_not_sampled_again(tmp_path, engine):
    _sampled(tmp_path, engine, WARM, PROMPTS)
    before = engine.forwarded_tokens
    _sampled(tmp_path, engine, WARM, PROMPTS)
    assert engine.forwarded_tokens == before


def test_too_long_prompt_is_reported_and_the_others_answered(tmp_path, engine):
    answers, stored = _sampled(tmp_path, engine, WARM, [PROMPTS[0], LONG, PROMPTS[1]])
    assert [item.prompt for item in answers] == [PROMPTS[0].prompt, PROMPTS[1].prompt]
    assert "tokens" in stored[answer_key(WARM, LONG.prompt)]["skipped"]


def test_layouts_give_the_documented_prompts(engine):
    def read(**settings):
        layout = Layout(System("s", "tiny", **settings), engine)
        return engine.tokenizer.decode(layout.prompt("def f():"), skip_special_tokens=False)

    assert read(layout="text") == "<|bos|>def f():"
    assert read(layout="chat") == "<|bos|>User: def f():\n\nAssistant:"
    assert read(layout="few-shot") == f"<|bos|>{PREFIX}User: def f():\n\nAssistant:"
    assert read(layout="few-shot", prefix="{{ 7 }} {% x\n") == "<|bos|>{{ 7 }} {% x\nUser: def f():\n\nAssistant:"
    turns = (
        Message(role="user", content="f"),
        Message(role="assistant", content="g"),
        Message(role="user", content="h"),
    )
    layout = Layout(System("s", "tiny", layout="text"), engine)
    assert "User: f" in engine.tokenizer.decode(layout.prompt(turns))


def test_a_few_shot_answer_ends_where_the_next_question_begins(tmp_path, engine):
    class Talkative:
        tokenizer = engine.tokenizer

        def sample(self, prefixes, **settings):
            self.stop = settings["stop"]
            return engine.sample(prefixes, **settings)

    talkative = Talkative()
    _sampled(tmp_path, talkative, System("p", "tiny", layout="few-shot", max_tokens=3), PROMPTS[:1])
    assert "\n\nUser:" in talkative.stop
    _sampled(tmp_path, talkative, System("c", "tiny", max_tokens=3), PROMPTS[:1])
    assert talkative.stop == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model = 'a'", "model stands outside a table"),
        ("[a", "not TOML"),
        ("", "names no system"),
        ("[a]\nlayout = 'chat'", r"\[a\]: has no model"),
        ("[a]\nmodel = 'm'\nlayuot = 'chat'", r"\[a\] layuot: no such setting"),
        ("[a]\nmodel = 'm'\nlayout = 'poem'", "must be chat, few-shot or text"),
        ("[a]\nmodel = 'm'\ntemperature = 'hot'", "temperature: is 'hot': must be a number"),
        *(
            (f"[a]\nmodel = 'm'\n{key} = {value}", rf"systems.toml: \[a\] {key}: is {value}: must be {range_}")
            for key, values, range_ in (
                ("temperature", ("-1", "-0.1", "inf", "nan"), "at least 0"),
                ("top_p", ("0", "-0.5", "1.1", "nan"), "above 0 and at most 1"),
                ("max_tokens", ("0", "-3"), "at least 1"),
            )
            for value in values
        ),
        ("[a]\nmodel = 'm'\nprefix = 'p.txt'", 'is for layout = "few-shot"'),
    ],
)
def test_line_up_reader_names_mistakes(tmp_path, text, problem):
    path = tmp_path / "systems.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=problem):
        read_systems(path)


def test_a_line_up_says_its_prefix_and_finds_models_beside_it(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "p.txt").write_text("Q\n")
    path = tmp_path / "systems.toml"
    path.write_text("[a]\nmodel = 'm'\nlayout = 'few-shot'\n[b]\nmodel = 'm'\nlayout = 'few-shot'\nprefix = 'p.txt'\n")
    first, second = read_systems(path)
    assert first.prefix == PREFIX and second.prefix == "Q\n" and first.model == str(tmp_path / "m")


def test_prompts_are_those_of_any_record_once():
    records = [
        Prompt(prompt="a"),
        Demonstration(prompt="b", answer="x"),
        Ranking(prompt="a", candidates=("x", "y"), ranks=(1, 2)),
    ]
    assert [item.prompt for item in prompts_in(records)] == ["a", "b"]


def test_answers_are_gathered_by_prompt_and_say_who_wrote_them():
    answers = [Demonstration(prompt="p", answer="x", author="a"), Demonstration(prompt="p", answer="y", author="b")]
    assert by_prompt(answers) == [("p", Origin(), {"a": "x", "b": "y"})]
    with pytest.raises(UserError, match="twice"):
        by_prompt([*answers, Demonstration(prompt="p", answer="z", author="a")])
    with pytest.raises(UserError, match="author"):
        by_prompt([Demonstration(prompt="p", answer="x")])


def test_a_reward_model_ranks_all_answers_at_once_by_its_own_scores(tmp_path):
    model, chat = RewardModel.from_causal_lm(tiny_model()).eval(), ChatFormat(tiny_tokenizer())
    answers = {"a": "return total", "b": "for x in items", "c": "return total", "d": ""}
    with Ledger(tmp_path / "r", {}) as ledger:
        groups = [("def f():", Origin(id="7"), answers), ("alone", Origin(), {"a": "x"})]
        rank_answers(groups, RewardLabeler("rm", model, chat), ledger)
        (result,), skipped = rankings_in(ledger, groups)
    turns = [chat.turn("def f():", text) for text in answers.values()]
    apart = [score_trees(model, [TokenTree.from_branches(turn.prompt, [turn.answer])])[0][0] for turn in turns]
    np.testing.assert_allclose(result.scores, apart, atol=1e-5)
    assert result.ranks[0] == result.ranks[2] and not skipped and result.origin.id == "7"
    order = sorted(range(4), key=lambda i: -apart[i])
    assert [result.ranks[i] for i in order] == sorted(result.ranks)
    assert (result.authors, result.labeler) == (tuple("abcd"), "rm")


@given(st.lists(st.sampled_from(["x", "y", "z y"]), min_size=2, max_size=9), st.booleans())
def test_equal_answers_tie_whatever_the_rounding(texts, judged):
    noise = count(1)

    def score(model, trees):
        return [[next(noise) / 1e9 for _ in tree.branches] for tree in trees]

    def choose(engine, pairs, options):
        return [Choice(0.5 + next(noise) / 1e9, 1.0) for _ in pairs]

    reward = RewardLabeler("rm", RewardModel.from_causal_lm(tiny_model()), ChatFormat(tiny_tokenizer()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelers, "score_trees", score)
        patch.setattr(labelers, "choose_in_both_orders", choose)
        labeler = JudgeLabeler("judge", tiny_engine(), None) if judged else reward
        for ranking in labeler.rank("p", {str(number): text for number, text in enumerate(texts)}):
            ranked = zip(ranking.candidates, ranking.ranks, strict=True)
            for (one, first), (other, second) in combinations(ranked, 2):
                assert (one == other) == (first == second)


@pytest.mark.parametrize("plain", [True, False])
def test_judge_labeler_is_blind_to_answer_order(tmp_path, engine, plain):
    chat = None if plain else ChatFormat(engine.tokenizer)
    judge = JudgeLabeler("judge", engine, chat)
    answers = {"a": "return total", "b": "for x", "c": "for x"}
    one = {item.authors: item for item in judge.rank("def f():", answers)}
    other = {item.authors: item for item in judge.rank("def f():", dict(reversed(answers.items())))}
    assert len(one) == len(other) == 3
    for (first, second), result in one.items():
        np.testing.assert_allclose(result.scores, other[second, first].scores[::-1], atol=1e-5)
        assert 0 < result.confidence <= 1
    assert one["b", "c"].scores == pytest.approx((0.5, 0.5), abs=1e-6)  # the same answer twice
    even = replace(judge, tie=0.499).rank("def f():", answers)
    assert all(item.ranks == (1, 1) for item in even)


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_that_leaves_nothing_or_counts_from_the_end_is_refused(tmp_path, capsys, limit):
    command = ["evaluate", "sample", "none", "--systems", "none", "--out", str(tmp_path / "run"), "--limit", limit]
    assert main(command) == 2 and capsys.readouterr().err == f"momus: error: --limit {limit}: must be at least 1\n"


def test_the_commands_sample_rank_and_compare(tmp_path, capsys):
    save_causal_lm(tiny_model(), tmp_path / "m", tiny_tokenizer())
    reward = tmp_path / "rm"
    RewardModel.from_causal_lm(tiny_model(seed=3)).save(reward)
    tiny_tokenizer().save_pretrained(reward)
    (tmp_path / "systems.toml").write_text(
        "[base]\nmodel = 'm'\nlayout = 'text'\nmax_tokens = 4\n"
        "[prompted]\nmodel = 'm'\nlayout = 'few-shot'\nmax_tokens = 4\n"
    )
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(item.prompt) + "\n" for item in PROMPTS))
    sample = ["evaluate", "sample", str(tmp_path / "prompts.jsonl"), "--systems", str(tmp_path / "systems.toml")]
    assert main([*sample, "--out", str(tmp_path / "run")]) == 0
    assert PREFIX.strip() in capsys.readouterr().err  # shown verbatim
    answers = tmp_path / "run" / "answers.jsonl"
    first = answers.read_bytes()
    assert len(list(read_jsonl(answers, Demonstration))) == 10
    assert main([*sample, "--out", str(tmp_path / "run")]) == 0
    assert answers.read_bytes() == first
    out = tmp_path / "rankings.jsonl"
    assert main(["evaluate", "rank", str(answers), "--reward", str(reward), "--out", str(out)]) == 0
    assert len(records_of([str(out)])) == 5
    capsys.readouterr()
    assert main(["evaluate", "preferences", str(out), "--baseline", "base"]) == 0
    assert "prompted" in capsys.readouterr().out
    assert main(["evaluate", "rank", str(answers), "--out", str(out)]) == 2
    assert "give one labeler" in capsys.readouterr().err
    assert main(["evaluate", "rank", str(answers), "--reward", str(tmp_path / "m"), "--out", str(tmp_path / "x")]) == 2
    assert "does not hold a reward model" in capsys.readouterr().err
