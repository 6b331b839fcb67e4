"""What a local model may write as feedback: always JSON of the rubric, its quotes always the document's."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.documents.constrained import _HANGUL, JsonFeedback, quotable_passages
from momus.documents.document import Language
from momus.documents.feedback import checked, question, read_answer
from momus.documents.reading import read_document
from momus.documents.rubrics import Rubric, read_rubric
from momus.lm.constraint import Vocabulary
from momus.lm.json_form import FormState
from momus.match.ask import AskConfig, JsonAsker
from support.feedback import PAPER, document, tokens
from support.tiny import tiny_engine

END = 0
VOCABULARY = Vocabulary(
    [None, None]
    + [bytes([b]) for b in range(256)]
    + [b'{"', b'": ', b'", "', b'"}', b'"}]', b'."}]}', b'"}, {"', b' [{"', b"], ", b"words of mine"]
    + [b'"], "quote": "', b'": 1']
)  # fmt: skip
OWN = Rubric.model_validate(
    {
        "name": "own", "title": {"en": "Own", "ko": "나"}, "task": "Advise.",
        "sections": [
            {"key": "a", "title": {"en": "A", "ko": "가"}, "ask": "?", "points": [0, 2], "quote": "must"},
            {"key": "b", "title": {"en": "B", "ko": "나"}, "ask": "?", "points": [1, 1], "quote": "no", "details": 1},
        ],
        "scores": [
            {"key": "x", "title": {"en": "X", "ko": "엑"}, "low": 1, "high": 10, "ask": "?"},
            {"key": "y", "title": {"en": "Y", "ko": "와"}, "low": 3, "high": 4, "ask": "?"},
        ],
    }
)  # fmt: skip
RUBRICS = [OWN, *map(read_rubric, ("paper", "neurips", "pupil"))]
TEXT = document(
    [["Forty documents were read by two people.", 'It said "so" \\ and — 그래서 그것은 좋은 일이었다. Yes.']]
)


def write(
    rubric: Rubric, seed: int, steps: int = 100_000, language: Language = "en"
) -> tuple[str, FormState, JsonFeedback]:
    rule = JsonFeedback(quotable_passages(TEXT, TEXT.text), rubric, language, VOCABULARY, frozenset({END}))
    rng, state, text = random.Random(seed), rule.start(), b""
    for _ in range(steps):
        allowed = list(rule.allowed(state))
        quotes = [t for t in allowed if b'"' in (VOCABULARY.pieces[t] or b"")]
        words = [t for t in allowed if (VOCABULARY.pieces[t] or b"").isalpha()]
        token = rng.choice(quotes if quotes and rng.random() < 0.3 else words or allowed)
        if token == END:
            break
        state = rule.advance(state, token)
        text += VOCABULARY.pieces[token] or b""
    assert isinstance(state, FormState)
    return text.decode(errors="replace"), state, rule


@pytest.mark.parametrize("rubric", RUBRICS, ids=lambda rubric: rubric.name)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_whatever_is_written_is_feedback_and_no_quote_of_it_is_struck(rubric: Rubric, seed: int) -> None:
    text, state, _ = write(rubric, seed)
    assert state.part == "end"
    answer = read_answer(json.loads(text), rubric, "en")
    assert answer is not None, text
    sections, struck = checked(answer[0], rubric, TEXT, "en")
    assert not struck
    for section, asked in zip(sections, rubric.sections, strict=True):
        assert asked.points[0] <= len(section.points) <= asked.points[1]
        assert all(len(point.details) >= asked.details for point in section.points)
        assert all(bool(point.quote) for point in section.points if asked.quote == "must")
        assert not any(point.quote for point in section.points if asked.quote == "no")
    assert set(answer[1]) == {score.key for score in rubric.scores}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_korean_begins_with_a_letter_of_it_and_nothing_else_changes(seed: int) -> None:
    text, state, _ = write(OWN, seed, language="ko")
    assert state.part == "end"
    points = [entry["point"] for entries in json.loads(text)["sections"].values() for entry in entries]
    assert points and all(0xEA <= point.encode()[0] <= 0xED or point[0] == "\ufffd" for point in points)
    assert {letter.encode()[0] for letter in map(chr, range(ord("가"), ord("힣") + 1))} == _HANGUL


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), steps=st.integers(0, 300))
def test_allowed_tokens_can_be_read_and_nothing_else_of_the_text_can(seed: int, steps: int) -> None:
    _, state, rule = write(OWN, seed, steps)
    allowed = rule.allowed(state)
    assert len(allowed)
    for token in allowed:
        rule.advance(state, token)
    if state.part == "text":
        with pytest.raises(ValueError, match="not allowed"):
            rule.advance(state, VOCABULARY.by_piece[b"\n"][0])


def test_what_may_be_quoted_is_what_is_shown_and_can_support_a_point() -> None:
    assert quotable_passages(TEXT, TEXT.text) == (
        "Forty documents were read by two people.", 'It said "so" \\ and — 그래서 그것은 좋은 일이었다.',
    )  # fmt: skip
    text, _ = question(TEXT, OWN, "en", tokens, 1500)
    assert len(quotable_passages(TEXT, text)) == 2
    assert quotable_passages(TEXT, "Forty documents were read by two people.") == (TEXT.pieces[2].text,)
    assert quotable_passages(TEXT, "nothing of it") == ()


def test_a_model_that_knows_nothing_gives_feedback_whose_quotes_are_verbatim(tmp_path) -> None:
    from momus.documents.giving import by_model
    from momus.lm.chats.engine import EngineChat

    (tmp_path / "a.md").write_text(PAPER)
    paper, engine = read_document(tmp_path / "a.md"), tiny_engine()
    engine.context_length = None
    asker = JsonAsker(EngineChat(engine, engine.tokenizer, constrained=True), AskConfig(max_tokens=4000, attempts=1))
    rubric = OWN.model_copy(update={"sections": (OWN.sections[0].model_copy(update={"points": (1, 2)}),), "scores": ()})
    feedback = by_model(asker, "tiny", paper, rubric, "en", 3000)
    points = [point for section in feedback.sections for point in section.points]
    assert points and not feedback.struck
    assert all(point.quote in paper.text for point in points)
