"""Quotes stay verbatim whatever a model would like to write and however its tokenizer cuts text."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.critique import parse_critique
from momus.errors import UserError
from momus.lm.constraint import QuoteState, VerbatimQuotes, Vocabulary, _byte_level, quotable_texts
from momus.lm.token_set import TokenSet
from support.tiny import tiny_engine, tiny_tokenizer

ANSWER = (
    "def total(items):\n    s = 0\n    for x in items:\n        if x:\n            s += x\n\n"
    "    if s:\n        s += x\n    s = 'é漢'\n    return s:\n    # ```\n"
)
LINES = [
    "def total(items):",
    "s = 0",
    "for x in items:",
    "if x:",
    "s += x",
    "if s:",
    "s = 'é漢'",
    "return s:",
]
GROWN = "if s:\n        s += x"

# Pieces that merge newlines, fences and code in every way, and all single bytes.
AWKWARD = Vocabulary(
    [None, None, None]
    + [bytes([b]) for b in range(256)]
    + [
        *(b"```", b"````", b"```\n", b"\n```", b"\n```\n", b":\n```", b"```\n```", b"\n\n```", b"```python", b"``"),
        *(b"\n`", b"x```\n", b"```\ns", b"s:", b":\n```\nThis", b"```\nif", b"```\nnope", b"=0\n```\n"),
    ]
    + [b" =", b"s = 0\n", b"s = 0\n```\nBad", b"x ```", b"  ```"]
)


def state_of(written: str) -> QuoteState:
    state = VerbatimQuotes(ANSWER, AWKWARD, written=written).start()
    assert isinstance(state, QuoteState)
    return state


def test_targets_are_the_lines_as_gold_critiques_quote_them() -> None:
    assert sorted(text for _, text in quotable_texts(ANSWER)) == sorted([*LINES, GROWN])
    assert all(text.endswith(ANSWER.split("\n")[number].strip()) for number, text in quotable_texts(ANSWER))
    assert list(quotable_texts("\n  \n```\n")) == []


def test_vocabulary_is_the_bytes_behind_the_tokens() -> None:
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    assert len(vocabulary) == len(tokenizer)
    assert vocabulary.pieces[:3] == (None, None, None)
    text = "```\nfoo = 'é漢':\n```\nShould"
    tokens = tokenizer.encode(text, add_special_tokens=False)
    pieces = [vocabulary.pieces[t] for t in tokens]
    assert b"".join(piece or b"" for piece in pieces) == text.encode()
    assert b":\n" in pieces or b"':\n" in pieces, "the tokenizer is meant to merge a newline with what precedes it"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.booleans(), st.booleans())
def test_random_writing_never_quotes_anything_but_lines(seed: int, forced: bool, distinct: bool) -> None:
    rng = random.Random(seed)
    written = "```\n" if forced else ""
    rule = VerbatimQuotes(ANSWER, AWKWARD, written=written, distinct=distinct)
    state, text = rule.start(), written.encode()
    fences = [t for t, piece in enumerate(AWKWARD.pieces) if piece and b"``" in piece]
    for _ in range(60):
        allowed = rule.allowed(state)
        choices = list(range(len(AWKWARD))) if allowed is None else list(allowed)
        likely = [t for t in fences if t in choices]
        token = rng.choice(likely if likely and rng.random() < 0.7 else choices)
        state = rule.advance(state, token)
        text += AWKWARD.pieces[token] or b""
    assert isinstance(state, QuoteState)
    critique = text.decode(errors="replace")
    comments = parse_critique(critique, ANSWER).comments
    closed = comments if state.quote is None else comments[: len(state.used)]
    quotes = [comment.highlight for comment in closed]
    assert set(quotes) <= {*LINES, GROWN}
    if distinct and len(quotes) <= len(rule.targets):
        assert len(set(quotes)) == len(quotes)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["", "```\n", "`", "``", "```", "a `", "a ``", "```\ns = ", "```\ns = 0", "```\ns = 0\n``"]),
    st.data(),
)
def test_allowed_tokens_are_exactly_those_that_can_be_read(written: str, data: st.DataObject) -> None:
    rule = VerbatimQuotes(ANSWER, AWKWARD, written=written)
    allowed = rule.allowed(rule.start())
    inside = state_of(written).quote is not None or state_of(written).ticks == 3
    for token, piece in enumerate(AWKWARD.pieces):
        if piece is None:
            legal = not inside  # a special token may stand anywhere but in a quote
        else:
            try:
                rule.advance(rule.start(), token)
                legal = True
            except ValueError:
                legal = False
        assert (allowed is None or token in allowed) == legal, (written, piece)


def test_every_line_can_be_quoted_with_the_tokenizer_s_own_tokens() -> None:
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    for line in [*LINES, GROWN]:
        rule = VerbatimQuotes(ANSWER, vocabulary)
        state = rule.start()
        for token in tokenizer.encode(f"```\n{line}\n```\nShould be `x`.\n\nDone.", add_special_tokens=False):
            allowed = rule.allowed(state)
            assert allowed is None or token in allowed
            state = rule.advance(state, token)


def test_each_line_is_quoted_once_until_all_have_been() -> None:
    rule = VerbatimQuotes("a\nb", AWKWARD, written="```\na\n```\nx\n\n```\n")
    allowed = rule.allowed(rule.start())
    assert {AWKWARD.pieces[t] for t in allowed or ()} == {b"b"}
    again = VerbatimQuotes("a\nb", AWKWARD, written="```\na\n```\nx\n\n```\nb\n```\nx\n\n```\n")
    assert {AWKWARD.pieces[t] for t in again.allowed(again.start()) or ()} == {b"a", b"b"}
    free = VerbatimQuotes("a\nb", AWKWARD, written="```\na\n```\nx\n\n```\n", distinct=False)
    assert {AWKWARD.pieces[t] for t in free.allowed(free.start()) or ()} == {b"a", b"b"}


@pytest.mark.parametrize("answer", ["", "\n \n", "```"])
def test_an_answer_without_lines_cannot_be_quoted(answer: str) -> None:
    rule = VerbatimQuotes(answer, AWKWARD)
    state = rule.advance(rule.advance(rule.start(), AWKWARD.by_piece[b"`"][0]), AWKWARD.by_piece[b"`"][0])
    allowed = rule.allowed(state)
    assert allowed is not None and AWKWARD.by_piece[b"`"][0] not in allowed
    with pytest.raises(UserError, match="without lines"):
        VerbatimQuotes(answer, AWKWARD, written="```\n")


def test_text_that_already_breaks_the_rules_is_refused() -> None:
    for written in ("```\nnope\n```\n", "```python\n", "````\n"):
        with pytest.raises(UserError, match="not a line"):
            VerbatimQuotes(ANSWER, AWKWARD, written=written)


@pytest.mark.parametrize("written", ["", "```\n", "```\ns = 0\n```\nNot it.\n\n```\n"])
def test_a_random_model_quotes_only_lines(written: str) -> None:
    engine = tiny_engine(spread=0.1)
    prompt = engine.encode(f"# sum\n```python\n{ANSWER}\n```\n", bos=True)
    rule = VerbatimQuotes(ANSWER, engine.vocabulary, written=written)
    (samples,) = engine.sample(
        [prompt + engine.encode(written, bos=False)], 16, key=1, max_tokens=120, constraints=[rule]
    )
    quoted = 0
    for sample in samples:
        state = rule.start()
        for token in sample.tokens[: -1 if sample.finished else None]:
            state = rule.advance(state, token)
        assert isinstance(state, QuoteState)
        assert not (sample.finished and state.quote is not None), "ended inside a quote"
        comments = parse_critique(written + sample.text, ANSWER).comments[: len(state.used)]
        quoted += len(comments)
        assert {comment.highlight for comment in comments} <= {*LINES, GROWN}
    assert quoted >= (16 if written else 0)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 30)), st.booleans())
def test_a_token_set_is_the_set_it_stands_for(listed: set[int], excluded: bool) -> None:
    tokens = TokenSet(listed, 31, excluded)
    expected = set(range(31)) - listed if excluded else listed
    assert list(tokens) == sorted(expected) and len(tokens) == len(expected)
    assert all((token in tokens) == (token in expected) for token in range(-2, 34))
    assert tokens == TokenSet(set(range(31)) - listed, 31, not excluded)


def test_critiques_hold_few_tokens_at_a_large_vocabulary() -> None:
    """Outside quotes all share one list of what is banned; in them only what goes on with a line is allowed."""
    large = Vocabulary([*AWKWARD.pieces, *(f" word{i}".encode() for i in range(150_000))])
    rules = [VerbatimQuotes(ANSWER, large) for _ in range(28)]
    text = f"Some words.\n\n```\n{LINES[0]}\n```\nWrong.\n\n```\n"
    held: dict[int, int] = {}
    for rule in rules:
        state = rule.start()
        for byte in text.encode():
            allowed = rule.allowed(state)
            if allowed is not None:
                held[id(allowed.tokens)] = allowed.tokens.nbytes
            state = rule.advance(state, large.by_piece[bytes([byte])][0])
    assert sum(held.values()) < 500_000


@given(st.text(st.characters(max_codepoint=0x180)))
def test_names_of_byte_level_tokens_are_read_as_they_are_written(name: str) -> None:
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    alphabet = {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(rest)}
    expected = bytes(alphabet[c] for c in name) if all(c in alphabet for c in name) else name.encode()
    assert _byte_level(name) == expected
