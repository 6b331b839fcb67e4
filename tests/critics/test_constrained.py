"""What a local model may write as comments: always JSON, quotes always verbatim, however its tokenizer cuts text."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.critics.constrained import MOST_COMMENTS, JsonComments, JsonCritiques, comments_grammar
from momus.critics.reading import read_comments
from momus.critique import lines_of
from momus.errors import UnfitInputError
from momus.lm.constraint import Vocabulary
from momus.lm.engine import apply_choice
from momus.lm.json_form import FormState, JsonForm
from momus.search.result import EncodedTask

CODE = 'def f(x):\n    if x == "a\\n":\n        return x\n    y = \'é漢\'\n\n    if x == "a\\n":\n        return x\n'
END = 0
# All single bytes, and pieces that cross the ends of strings in every way.
VOCABULARY = Vocabulary(
    [None, None]
    + [bytes([b]) for b in range(256)]
    + [
        *(b'{"', b'": ', b'", "', b'"}', b'"}]', b'"}]}', b'."}]}', b'"}, {"line', b' [{"', b"[]}", b'x"}', b'error"'),
        *(
            b"word",
            b" longer words",
            b'a "quote" b',
            b"two\nlines",
            b"back\\slash",
            b'"}]} more',
            b'": []}',
            b"\xc3\xa9",
        ),
    ]
)


def write(seed: int, steps: int = 2000, rule: JsonComments | None = None) -> tuple[str, FormState]:
    rng, rule = random.Random(seed), rule or JsonComments(CODE, VOCABULARY, frozenset({END}))
    state, text = rule.start(), b""
    for _ in range(steps):
        state, _ = apply_choice(rule, state, rng.random(), 1.0)
        allowed = list(rule.allowed(state))
        quotes = [t for t in allowed if b'"' in (VOCABULARY.pieces[t] or b"")]
        token = rng.choice(quotes if quotes and rng.random() < 0.2 else allowed)
        if token == END:
            break
        state = rule.advance(state, token)
        text += VOCABULARY.pieces[token] or b""
    assert isinstance(state, FormState)
    return text.decode(errors="replace"), state


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_whatever_is_written_is_json_whose_quotes_are_the_lines_they_name(seed: int) -> None:
    text, state = write(seed)
    assert state.part == "end"
    comments = json.loads(text)["comments"]
    assert [c["quote"] for c in comments] == [CODE.split("\n")[c["line"] - 1].strip() for c in comments]
    assert len({c["line"] for c in comments}) == len(comments)
    assert all(0 < len(c["problem"].encode(errors="replace")) <= 3 * JsonForm.longest_text + 99 for c in comments)
    critique = read_comments(text, CODE)
    assert critique is not None
    kept = [c for c in comments if c["problem"].strip()]
    assert not critique.unanchored and len(critique.comments) <= len(kept)
    assert {lines_of(c.span, CODE)[0] + 1 for c in critique.anchored if c.span} <= {c["line"] for c in kept}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 120))
def test_allowed_tokens_are_exactly_those_that_can_be_read(seed: int, steps: int) -> None:
    rule = JsonComments(CODE, VOCABULARY, frozenset({END}))
    _, state = write(seed, steps)
    allowed = rule.allowed(state)
    for token in range(len(VOCABULARY)):
        try:
            rule.advance(state, token)
            legal = True
        except ValueError:
            legal = False
        assert legal == (token in allowed), (state, token, VOCABULARY.pieces[token])


def test_no_problems_found_can_be_written_and_nothing_after_the_end() -> None:
    rule = JsonComments(CODE, VOCABULARY, frozenset({END}))
    state = rule.start()
    for byte in b'{"comments": []}':
        state = rule.advance(state, VOCABULARY.by_piece[bytes([byte])][0])
    assert list(rule.allowed(state)) == [END]
    with pytest.raises(ValueError, match="not allowed"):
        rule.advance(state, VOCABULARY.by_piece[b"}"][0])


def test_nothing_can_be_said_of_an_answer_without_lines() -> None:
    rule = JsonComments("\n  \n", VOCABULARY, frozenset({END}))
    state = rule.start()
    for byte in b'{"comments": [':
        state = rule.advance(state, VOCABULARY.by_piece[bytes([byte])][0])
    assert {VOCABULARY.pieces[t] for t in rule.allowed(state)} == {b"]", b"]}"} & set(VOCABULARY.by_piece)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 300), st.booleans())
def test_a_critique_cut_anywhere_goes_on_with_another_comment(seed: int, steps: int, by_odds: bool) -> None:
    form = JsonCritiques(frozenset({END}))
    task = EncodedTask((1,), CODE, tuple(range(CODE.count("\n") + 1)) if by_odds else None)
    cut, _ = write(seed, steps)
    kept = form.strip_end(cut)
    assert cut.startswith(kept) and form.strip_end(kept) == kept
    before = json.loads(kept + "]}")["comments"] if kept else []
    start = form.force_highlight(kept)
    rule = form.constrain(task, VOCABULARY, start, highlight=True)
    assert isinstance(rule, JsonComments)
    more, state = write(seed + 1, rule=rule)
    after = json.loads(start + more)["comments"]
    assert state.part == "end" and after[: len(before)] == before and len(after) > len(before)
    lines = len([line for line in CODE.split("\n") if line.strip()])
    assert len({c["line"] for c in after}) == min(len(after), lines)  # none twice before all were quoted


def test_lines_are_drawn_by_their_odds_and_words_come_from_the_model() -> None:
    odds = [-99.0] * (CODE.count("\n") + 1)
    odds[3] = 0.0
    task = EncodedTask((1,), CODE, tuple(odds))
    form = JsonCritiques(frozenset({END}))
    firsts = set()
    for seed in range(20):
        rule = form.constrain(task, VOCABULARY, highlight=True)
        assert isinstance(rule, JsonComments)
        text, _ = write(seed, rule=rule)
        firsts.add(json.loads(text)["comments"][0]["line"])
    assert firsts == {4}
    free = form.constrain(task, VOCABULARY)  # whether there is anything to say is for the model
    assert free.choice_log_odds(free.start()) is None and form.read(form.nothing, CODE).comments == ()


def test_after_twelve_comments_another_can_be_forced_on_a_line_that_has_none() -> None:
    answer = "\n".join(f"x{i} = {i}" for i in range(MOST_COMMENTS + 2))
    rule = JsonComments(answer, VOCABULARY, frozenset({END}), after=range(1, MOST_COMMENTS + 1))
    text, state = write(0, rule=rule)
    assert state.part == "end" and text.startswith(f' {{"line": {MOST_COMMENTS + 1}')


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(560, 620))
def test_near_the_longest_text_what_is_allowed_can_be_read(seed: int, size: int) -> None:
    rule = JsonComments(CODE, VOCABULARY, frozenset({END}))
    _, state = write(seed, 60)
    state = FormState(state.place, "text", size=size) if state.part in ("text", "escape") else state
    for token in rule.allowed(state):
        rule.advance(state, token)


def test_words_that_end_a_thought_elsewhere_are_words_here() -> None:
    form, code = JsonCritiques(frozenset({END})), 'E = "</think>"\nf()'
    comments = [{"line": 1, "quote": 'E = "</think>"', "severity": "error", "problem": "x"}]
    assert len(form.read(json.dumps({"comments": comments}), code).comments) == 1


def test_no_comment_is_forced_on_an_answer_without_lines() -> None:
    with pytest.raises(UnfitInputError, match="without lines"):
        JsonComments("\n", VOCABULARY, frozenset({END}), forced=True)


_PARTS = r"""\"(?:[^"\\]|\\.)*\"|\[(?:[^\]\\]|\\.)*\]|[a-z]+|[^" ]"""


def as_pattern(grammar: str) -> re.Pattern[str]:
    """Return a grammar as a regular expression: its rules name one another in no circle."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.split("\n"))

    def written(part: str) -> str:
        if part.startswith('"'):
            literal = re.sub(r"\\(.)", lambda escaped: escaped[1], part[1:-1])
            return f"(?:{re.escape(literal)})"
        return f"(?:{expanded(rules[part])})" if part in rules else part

    def expanded(rule: str) -> str:
        return "".join(map(written, re.findall(_PARTS, rule)))

    return re.compile(expanded(rules["root"]))


def is_allowed(rule: JsonComments, text: str) -> bool:
    """Return whether a model may write a text, byte by byte, and end there."""
    state = rule.start()
    try:
        for byte in text.encode():
            state = rule.advance(state, VOCABULARY.by_piece[bytes([byte])][0])
    except ValueError:
        return False
    assert isinstance(state, FormState)
    return state.part == "end"


LINES = ["x = 1", '    return "a\\n"', "", "    # 漢\u2028\x0c", "[y, z] = {}"]
COMMENT = st.tuples(
    st.permutations(range(1, 6)).map(lambda order: order[0]),
    st.sampled_from(["error", "warning", "note", "fatal"]),
    st.text(st.sampled_from('ab "\\\x7f\x01漢}],{'), max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(COMMENT, max_size=4, unique_by=lambda comment: comment[0]), st.data())
def test_a_server_is_given_a_grammar_of_what_a_model_of_this_process_may_write(comments, data) -> None:
    answer = "\n".join(LINES)
    rule, pattern = JsonComments(answer, VOCABULARY, frozenset({END})), as_pattern(comments_grammar(answer))
    text = json.dumps(
        {
            "comments": [
                {"line": line, "quote": LINES[line - 1].strip(), "severity": severity, "problem": problem}
                for line, severity, problem in comments
            ]
        },
        ensure_ascii=False,
    )
    if data.draw(st.booleans()):  # almost right
        at = data.draw(st.integers(0, len(text) - 1))
        text = text[:at] + data.draw(st.sampled_from(["", '"', "x", " ", "\\", "}"])) + text[at + 1 :]
    assert bool(pattern.fullmatch(text)) == is_allowed(rule, text)


def test_the_grammar_ends_where_the_constraint_does() -> None:
    answer = "\n".join(f"x{number} = {number}" for number in range(MOST_COMMENTS + 3))
    pattern = as_pattern(comments_grammar(answer))
    for count, allowed in ((MOST_COMMENTS, True), (MOST_COMMENTS + 1, False)):
        entries = [
            {"line": n, "quote": f"x{n - 1} = {n - 1}", "severity": "note", "problem": "y" * JsonComments.longest_text}
            for n in range(1, count + 1)
        ]
        text = json.dumps({"comments": entries})
        assert bool(pattern.fullmatch(text)) == allowed
        assert is_allowed(JsonComments(answer, VOCABULARY, frozenset({END})), text) == allowed
        assert not pattern.fullmatch(text.replace("yyy", "yyyz", 1))
    assert comments_grammar("\n  \n") == 'root ::= "{\\"comments\\": []}"'
