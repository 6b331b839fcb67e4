"""Matching, extraction and tagging by a language model: scripted engines, and a server in this process."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.protocol import Question
from momus.lm.chats.reading import json_values
from momus.match.ask import AskConfig, JsonAsker
from momus.match.aspects import ASPECTS, LexicalTagger
from momus.match.extract import ModelExtractor, RuleExtractor, find_quote, verify_quotes
from momus.match.matcher import find_matches
from momus.match.model import ModelMatcher, ModelTagger, VotingMatcher, VotingMatcherConfig
from momus.match.open import NamedModel
from momus.match.pairwise import PairwiseMatcher
from support.openai_server import OpenAIServer
from support.scripted import Scripted
from support.tiny import tiny_engine


def sides(question: str) -> tuple[list[str], list[str]]:
    return tuple(re.findall(rf"^{label}\d+: (.*)$", question, re.MULTILINE) for label in "AB")


def truthful(question: str, _: int) -> str:
    """Name the pairs that begin with the same word, whatever the order."""
    first, second = sides(question)
    pairs = [
        {"a": i, "b": j, "score": 8, "why": "same word"}
        for i, a in enumerate(first, 1)
        for j, b in enumerate(second, 1)
        if a.split()[0] == b.split()[0]
    ]
    return "Here you are:\n```json\n" + json.dumps({"pairs": pairs}) + "\n```"


def first_places(question: str, _: int) -> str:
    """Name whatever stands first on both sides."""
    return '{"pairs": [{"a": 1, "b": 1, "score": 9, "why": "first"},]}'


A = ["data are few", "proof is wrong", "novelty is small", "clarity is low"]
B = ["novelty is doubted", "typos abound", "data set is toy", "speed is low"]
SAME = np.zeros((4, 4))
SAME[0, 2] = SAME[2, 0] = 8


def judging(question: str, asked: int) -> str:
    """Vote for every pair; call those related that begin with the same word."""
    alone = re.findall(r"point: (\w+)", question)
    if alone:
        return json.dumps({"related": "Medium" if alone[0] == alone[1] else "none", "why": "looked at"})
    first, second = sides(question)
    return json.dumps(
        {"pairs": [{"a": i + 1, "b": j + 1, "score": 9} for i in range(len(first)) for j in range(len(second))]}
    )


def test_a_second_look_strikes_what_the_vote_let_through():
    engine = Scripted(judging)
    (found,) = PairwiseMatcher(JsonAsker(EngineChat(engine)), "m").compare([(A, B)])
    assert (found.similarity == np.where(SAME > 0, 0.5, 0)).all() and found.reason(0, 2) == "looked at"
    assert len(engine.asked) == VotingMatcherConfig().readings + len(A) * len(B)
    (turned,) = PairwiseMatcher(JsonAsker(EngineChat(Scripted(judging))), "m").compare([(B, A)])
    assert (turned.similarity == found.similarity.T).all()
    scores = PairwiseMatcher(JsonAsker(EngineChat(Scripted(judging))), "m").scale.scores(found.similarity)
    assert scores[0, 2] == 7 and scores[1, 1] == 0


def test_a_second_look_without_an_answer_is_a_failure_of_its_list_alone():
    def say(question: str, asked: int) -> str:
        return "maybe" if "point: data" in question else judging(question, asked)

    lost, kept, empty = PairwiseMatcher(JsonAsker(EngineChat(Scripted(say))), "m").compare(
        [(A, B), (A[1:], B[:2]), ([], B)]
    )
    assert lost.failed and not kept.failed and kept.similarity[1, 0] == 0.5 and not empty.failed


@pytest.mark.parametrize("kind", [ModelMatcher, VotingMatcher])
def test_a_truthful_model_is_believed_whatever_the_order(kind):
    matcher = kind(JsonAsker(EngineChat(Scripted(truthful))), "scripted")
    both = [(A, B), (B, A), (A, []), (A[::-1], B)]
    found = [matcher.scale.scores(comparison.similarity) for comparison in matcher.compare(both)]
    np.testing.assert_array_equal(found[0], SAME)
    np.testing.assert_array_equal(found[1], SAME.T)
    assert found[2].shape == (4, 0)
    np.testing.assert_array_equal(found[3][::-1], SAME)
    assert "same word" in find_matches(matcher, A, B)[0].reason


def test_voting_sees_through_a_liking_for_a_place():
    believed = ModelMatcher(JsonAsker(EngineChat(Scripted(first_places))), "biased").compare([(A, B)])[0]
    engine = Scripted(first_places)
    voted = VotingMatcher(JsonAsker(EngineChat(engine)), "biased", config=VotingMatcherConfig(agree=3)).compare(
        [(A, B)]
    )[0]
    assert believed.similarity[0, 0] > 0.5 and not voted.similarity.any()
    orders = [sides(question) for question in engine.asked]
    assert len(orders) == 5 and len({tuple(first) for first, _ in orders}) > 2
    assert [sorted(first) == sorted(A) for first, _ in orders] == [True, False, True, False, True]


@given(st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(5, 10)), max_size=3), max_size=5))
def test_a_pair_has_the_score_that_enough_readings_give_it(readings):
    config = VotingMatcherConfig(readings=5, agree=2)
    lists = (["a x", "b x"], ["c y", "d y"])

    def answer(question: str, number: int) -> str:
        first, second = sides(question)
        named = readings[number - 1] if number <= len(readings) else []
        pairs = []
        for i, j, score in named:
            one, other = (first, second) if lists[0][i] in first else (second, first)
            places = (one.index(lists[0][i]) + 1, other.index(lists[1][j]) + 1)
            a, b = places if one is first else places[::-1]
            pairs.append({"a": a, "b": b, "score": score})
        return json.dumps({"pairs": pairs})

    matcher = VotingMatcher(JsonAsker(EngineChat(Scripted(answer))), "scripted", config=config)
    scores = matcher.scale.scores(matcher.compare([lists])[0].similarity)
    for i in range(2):
        for j in range(2):
            given_ = [max((s for a, b, s in pairs if (a, b) == (i, j)), default=0) for pairs in readings] + [0, 0]
            assert scores[i, j] == sorted(given_)[-2]


@pytest.mark.parametrize("kind", [ModelMatcher, VotingMatcher])
def test_no_usable_answer_is_a_failure_not_a_zero(kind):
    engine = Scripted(lambda question, _: "I would rather not.")
    found = kind(JsonAsker(EngineChat(engine)), "mute").compare([(A, B), (A, [])])
    assert [comparison.failed for comparison in found] == [True, False]
    assert len(engine.asked) == 2 * (5 if kind is VotingMatcher else 1)
    with pytest.raises(UserError, match="no answer that can be read"):
        find_matches(kind(JsonAsker(EngineChat(engine)), "mute"), A, B)


def test_a_second_attempt_is_another_sample_and_what_is_too_long_is_left_alone():
    engine = Scripted(lambda question, number: '{"pairs": []}' if number > 2 else "hm")
    assert not any(
        comparison.failed
        for comparison in ModelMatcher(JsonAsker(EngineChat(engine)), "late").compare([(A, B), (B, A)])
    )
    assert len(set(engine.keys)) == len(engine.keys) == 4
    long = Scripted(truthful, longest=1500)
    found = ModelMatcher(JsonAsker(EngineChat(long)), "short").compare([(A, B), (["data " * 300], B)])
    assert [comparison.failed for comparison in found] == [False, True]


def test_an_answer_depends_on_its_question_alone():
    one, many = Scripted(truthful), Scripted(truthful)
    JsonAsker(EngineChat(one)).ask(["B1: x"], lambda i, value: value)
    JsonAsker(EngineChat(many), config=AskConfig(batch=2)).ask(["A1: y", "A1: z", "B1: x"], lambda i, value: value)
    assert one.keys[0] == many.keys[2]


LOW = [{"a": 1, "b": 2, "score": score} for score in (4, 11)]


@pytest.mark.parametrize(
    ("entry", "kept"),
    [
        ({"a": "A1", "b": "B2", "score": "8"}, True),
        ({"a": 1.0, "b": 2, "score": 8.0}, True),
        ({"a": 0, "b": 2, "score": 8}, False),
        ({"a": 5, "b": 2, "score": 8}, False),
        ({"a": "B1", "b": "A2", "score": 8}, False),
        ({"a": 1, "b": 2, "score": 4}, False),
        ({"a": 1, "b": 2, "score": 11}, False),
        ({"a": 1, "b": 2, "score": 7.5}, False),
        ({"a": 1, "b": 2}, False),
        ({"a": None, "b": [2], "score": float("inf")}, False),
        ("1-2", False),
    ],
)
def test_entries_that_make_no_sense_are_left_out(entry, kept):
    for others in ([], [{"a": 4, "b": 4, "score": 5}]):
        engine = Scripted(lambda question, _, said=[entry, *others]: json.dumps({"pairs": said}))
        found = ModelMatcher(JsonAsker(EngineChat(engine)), "odd").compare([(A, B)])[0]
        assert bool(found.similarity[0, 1]) == kept and bool(found.similarity[3, 3]) == bool(others)
        # A pair that is scored too low is an answer; pairs of no points of these lists, and nothing else, are none.
        assert found.failed == (not others and not kept and entry not in LOW)


def test_json_is_found_in_prose():
    text = 'So {not json} but {"a": [1, 2,],} and [3] and {"open": '
    assert list(json_values(text)) == [{"a": [1, 2]}, [3]]
    assert list(json_values("[" * 5000)) == []
    assert list(json_values('{"quote": "x[0, ], \\"y, ]",}')) == [
        {"quote": 'x[0, ], "y, ]'}
    ]  # strings stay as they are
    assert list(json_values('<think>maybe {"a": 1}, no</think> {"a": 2}')) == [{"a": 2}]


REVIEW = """# Summary
The paper proposes a method. It should be noted that it is nice work overall.

## Strengths
- The writing is clear but long.

## Weaknesses
- There is no “ablation” of the
  gating module, which is needed.
- Too few datasets.
2) The proof of Theorem 1 does not hold for negative inputs.

I am positive about the topic. However, the comparison with prior work is missing. Thanks.
"""


def test_rules_take_concerns_and_quote_them():
    (found,) = RuleExtractor().extract([REVIEW])
    assert [point.text for point in found.points] == [
        "There is no “ablation” of the gating module, which is needed.",
        "The proof of Theorem 1 does not hold for negative inputs.",
        "However, the comparison with prior work is missing.",
    ]
    (korean,) = RuleExtractor().extract(
        ["주제가 흥미롭다. 그러나 선행 연구와의 비교가 부족하다.\n1. 실험 결과의 재현이 어렵다 생각합니다."]
    )
    assert [point.text for point in korean.points] == [
        "그러나 선행 연구와의 비교가 부족하다.", "실험 결과의 재현이 어렵다 생각합니다."
    ]  # fmt: skip


@given(st.text(max_size=200))
def test_every_quote_stands_in_the_review(text):
    text = REVIEW + text
    (found,) = RuleExtractor().extract([text])
    assert all(find_quote(point.quote, text) for point in found.points)


@given(st.integers(0, len(REVIEW)), st.integers(1, 60))
def test_a_quote_is_found_through_spaces_case_and_marks(start, size):
    piece = REVIEW[start : start + size].strip(" \n\"'“”")
    changed = re.sub(r"\s+", "\n ", piece).upper().replace("“", '"').replace("”", '"')
    if not piece:
        assert find_quote(changed, REVIEW) is None
        return
    found = find_quote(changed, REVIEW)
    assert (found is not None and found in REVIEW and found.split() == piece.split()) or found.lower() == piece.lower()


def test_points_without_support_are_rejected_and_counted():
    entries = [
        ("No ablation.", 'There is NO "ablation" of the gating module'),
        ("Invented.", "the authors fabricated their results"),
        ("Nothing quoted.", ""),
        ("Quoted too little.", "datasets"[:3]),
    ]
    found = verify_quotes(REVIEW, entries)
    assert [point.text for point in found.points] == ["No ablation."]
    assert found.points[0].quote == "There is no “ablation” of the\n  gating module"
    assert [comment.text for comment in found.rejected] == ["Invented.", "Nothing quoted.", "Quoted too little."]
    answer = json.dumps({"points": [{"point": p, "quote": q} for p, q in entries] + ["?", {"point": 3}]})
    (extracted,) = ModelExtractor(JsonAsker(EngineChat(Scripted(lambda question, _: answer))), "m").extract([REVIEW])
    assert extracted == found
    (failed,) = ModelExtractor(JsonAsker(EngineChat(Scripted(lambda question, _: "[]"))), "m").extract([REVIEW])
    assert failed.failed and not failed.points
    (none,) = ModelExtractor(JsonAsker(EngineChat(Scripted(lambda *_: '{"points": []}'))), "m").extract([REVIEW])
    (odd,) = ModelExtractor(JsonAsker(EngineChat(Scripted(lambda *_: '{"points": ["no ablation"]}'))), "m").extract(
        [REVIEW]
    )
    assert not none.failed and odd.failed  # nothing to say, and nothing that can be read
    (korean,) = verify_quotes("결과의 재현 불가. 그 밖에는 좋다.", [("재현할 수 없다.", "재현 불가")]).points
    assert korean.quote == "재현 불가"


def test_aspects_by_words_and_by_a_model():
    points = [
        "Novelty is limited: an incremental extension.",
        "Please add an ablation study.",
        "비교와 재현이 필요하다",
    ]
    assert LexicalTagger().tag([*points, "Nice."]) == [
        {"Novelty"},
        {"Add ablation experiments"},
        {"Comparison to Previous Studies", "Reproducibility"},
        set(),
    ]
    number = ASPECTS.index("Novelty") + 1
    engine = Scripted(lambda question, _: f'{{"aspects": [{number}, 99, "x"]}}' if "Novelty is" in question else "no")
    assert ModelTagger(JsonAsker(EngineChat(engine)), "m").tag(points[:2]) == [{"Novelty"}, None]
    for reply, tags in (("[]", set()), ("[99]", None)):
        engine = Scripted(lambda *_, reply=reply: f'{{"aspects": {reply}}}')
        assert ModelTagger(JsonAsker(EngineChat(engine)), "m").tag(points[:1]) == [tags]


def test_a_real_model_and_a_server_are_asked_alike_in_the_chat_format():
    engine = tiny_engine()
    server = OpenAIServer(engine)
    chats = [EngineChat(each, engine.tokenizer) for each in (engine, server.remote())]
    total = Question.of("Total?", 8)
    here, there = ([answer.text for answer in chat.answer([total])] for chat in chats)
    assert here == there
    prompt = engine.decode(server.bodies[-1]["prompt"])
    assert prompt == "User: Total?\n\nAssistant:"
    # A random model writes no JSON, and reads no more than 512 tokens: failures, and said to be.
    asker = JsonAsker(chats[0], AskConfig(max_tokens=8))
    assert ModelMatcher(asker, "random").compare([(["a"], ["b"])])[0].failed
    assert asker.ask(["Total?"], lambda i, value: value) == [None] and asker.problem == "the answer was cut off"
    answers = chats[1].answer([total, Question.of("a b " * 600, 8)])
    assert [answer.text for answer in answers] == [here[0], ""]
    assert not answers[0].refused and answers[1].refused and answers[1].problem
    with pytest.raises(UserError, match="exceed"):
        JsonAsker(chats[1]).ask(["a b " * 600] * 2, lambda i, value: value)


@pytest.mark.parametrize("lacking", [{}, {"chat": False}, {"completions": False}])
def test_any_server_will_do(tmp_path, monkeypatch, lacking):
    engine = tiny_engine()
    engine.tokenizer.save_pretrained(tmp_path)
    server = OpenAIServer(engine, models=(str(tmp_path),), **lacking)
    monkeypatch.setattr("momus.lm.remote.connection._client", lambda *_: server.client)
    asker = NamedModel(str(tmp_path), "http://momus.test/v1").asker("--by model")
    before = len(server.bodies)
    assert asker.ask(["Total?"], lambda i, value: value) == [None]  # 1500 tokens are more than this model writes
    assert "refused the request (400)" in asker.problem
    assert len(server.bodies) > before
    for body in server.bodies[before:]:
        assert ("messages" in body) == server.can.chat
        if server.can.chat:
            assert body["messages"] == [{"role": "user", "content": "Total?"}]
