"""The critique format: parsing and formatting are inverse on everything legal, and nothing raises."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from momus.critique import (
    NO_PROBLEMS,
    Comment,
    Critique,
    Span,
    anchor,
    focus,
    format_critique,
    lines_of,
    parse_critique,
    quotable,
    strip_closing,
)

# Few characters, chosen to collide: fences, blank lines, every kind of space, code, quotes.
_PIECES = [
    "`",
    "``",
    "```",
    "````",
    "```L2",
    "```L2-note",
    "\n",
    "\n\n",
    " ",
    "\t",
    "\r",
    "\x0b",
    "\x1c",
    "\u00a0",
    "a",
    "py",
    "x = 1",
    "é",
    "-",
]
_DENSE = st.lists(st.sampled_from(_PIECES), max_size=12).map("".join)
_TEXT = _DENSE | st.text(max_size=40)


_LINE_NUMBERS = st.none() | st.integers(1, 6)


def _legal(build, *fields):
    """Whether a model can be built of these fields, as a strategy: legal is what the class accepts."""

    def attempt(values):
        try:
            return build(*values)
        except ValidationError:
            return None

    return st.tuples(*fields).map(attempt).filter(lambda value: value is not None)


@st.composite
def _anchored_critiques(draw):
    answer = draw(_TEXT)
    cuts = st.integers(0, len(answer))
    quotes = st.tuples(cuts, cuts).map(lambda cut: answer[min(cut) : max(cut)]) | _TEXT
    comment = _legal(
        lambda h, t, n, s: Comment(highlight=h, text=t, span=anchor(h, answer, n), line=n, severity=s if n else None),
        quotes,
        _TEXT,
        _LINE_NUMBERS,
        st.sampled_from([None, "error", "warning", "note"]),
    )
    comments = draw(st.lists(comment, max_size=4))
    closing = draw(st.just("") | _TEXT)
    try:
        return answer, Critique(comments=tuple(comments), closing=closing)
    except ValidationError:
        return answer, Critique(comments=tuple(comments))


@given(_anchored_critiques())
def test_parse_inverts_format(case):
    answer, critique = case
    assert parse_critique(format_critique(critique), answer) == critique


@given(_TEXT, _TEXT)
@example("said\n\n ```", "")  # an indented fence must not turn into one only once it is stripped
@example("```\nx\n```\nsaid\n\n\x0b```py\x0b", "x")
@example("```\n\n```\nsaid", "")
def test_formatting_what_was_parsed_is_a_fixpoint(text, answer):
    critique = parse_critique(text, answer)
    once = format_critique(critique)
    assert parse_critique(once, answer) == critique
    assert format_critique(parse_critique(once, answer)) == once


@given(_TEXT, _TEXT)
def test_every_comment_is_anchored_truly_or_counted_apart(text, answer):
    critique = parse_critique(text, answer)
    for comment in critique.anchored:
        assert answer[comment.span.start : comment.span.end] == comment.highlight
    for comment in critique.unanchored:
        assert comment.highlight not in answer or (comment.line and answer.count(comment.highlight[:1]) > 1)
    assert len(critique.anchored) + len(critique.unanchored) == len(critique.comments)


@given(_anchored_critiques())
def test_strip_closing_drops_the_last_paragraph_without_a_highlight(case):
    answer, critique = case
    stripped = strip_closing(format_critique(critique))
    if not critique.comments:
        assert stripped == ""
        return
    expected = critique.closing.split("\n\n")[:-1] if critique.closing else []
    assert parse_critique(stripped, answer) == Critique(comments=critique.comments, closing="\n\n".join(expected))


@given(_TEXT)
def test_strip_closing_never_adds(text):
    stripped = strip_closing(text)
    assert len(stripped) <= len(text)
    assert strip_closing(stripped + "\n") == strip_closing(stripped)


def test_the_documented_example():
    answer = "rows = read()\nfor i in range(n):\n    use(rows[i])\n"
    text = "```\nfor i in range(n):\n```\nThe first row is a header.\n\nEverything else looks right."
    critique = parse_critique(text, answer)
    assert critique == Critique(
        comments=(Comment(highlight="for i in range(n):", text="The first row is a header.", span=Span(14, 32)),),
        closing="Everything else looks right.",
    )
    assert format_critique(critique) == text
    assert lines_of(critique.comments[0].span, answer) == range(1, 2)


def test_a_quote_that_is_not_in_the_answer_is_kept_apart():
    critique = parse_critique("```\ny = 2\n```\nWrong.", "x = 1")
    assert critique.anchored == ()
    assert [c.highlight for c in critique.unanchored] == ["y = 2"]


def test_backticks_in_a_highlight_lengthen_its_fence():
    answer = 'text = """\n```\ncode\n````\n"""'
    critique = Critique(comments=(Comment(highlight="```\ncode\n````", text="Odd.", span=Span(11, 24)),))
    assert format_critique(critique).startswith("`````\n```\n")
    assert parse_critique(format_critique(critique), answer) == critique


def test_nothing_found_is_a_critique():
    assert format_critique(Critique()) == NO_PROBLEMS
    assert parse_critique(NO_PROBLEMS, "x") == parse_critique("", "x") == Critique()


def test_what_is_said_before_the_first_highlight_joins_the_closing():
    critique = parse_critique("Overall fine.\n```\nx\n```\nBut this.\n\nThe end.", "x")
    assert [c.text for c in critique.comments] == ["But this."]
    assert critique.closing == "Overall fine.\n\nThe end."


def test_a_fence_never_closed_is_a_highlight_to_the_end():
    critique = parse_critique("```\nx = 1\ny = 2\n", "x = 1\ny = 2")
    assert [(c.highlight, c.text) for c in critique.comments] == [("x = 1\ny = 2", "-")]


@pytest.mark.parametrize("highlight", ["", " \t", "\nx", "x\n"])
def test_illegal_highlights_are_refused(highlight):
    with pytest.raises(ValidationError):
        Comment(highlight=highlight, text="Fine.")


@pytest.mark.parametrize("text", ["", " x", "x ", "a\n\nb", "a\n \nb", "a\n```\nb", "a\n  ```py\nb"])
def test_illegal_texts_are_refused(text):
    with pytest.raises(ValidationError):
        Comment(highlight="x", text=text)


@pytest.mark.parametrize("closing", [" x", "a\n\n\nb", "a\n \nb", "```"])
def test_illegal_closings_are_refused(closing):
    with pytest.raises(ValidationError):
        Critique(closing=closing)


# Lines that repeat each other, stand inside each other and are indented alike.
_REPEATED = st.lists(
    st.sampled_from(["x = 1", "    x = 1", "    x = 10", "return x", "  y", ""]), min_size=1, max_size=9
)


@given(_REPEATED, st.data())
def test_a_line_quoted_with_its_number_is_anchored_to_that_line(lines, data):
    answer = "\n".join(lines)
    index = data.draw(st.sampled_from([i for i, line in enumerate(lines) if line.strip()] or [None]))
    if index is None:
        return
    (comment,) = parse_critique(f"```L{index + 1}\n{lines[index].strip()}\n```\nWrong.", answer).comments
    assert comment.line == index + 1
    assert lines_of(comment.span, answer) == range(index, index + 1)


@given(_REPEATED, st.data())
def test_a_line_quoted_as_gold_critiques_do_is_focused_on_that_line(lines, data):
    answer = "\n".join(lines)
    index = data.draw(st.sampled_from([i for i, line in enumerate(lines) if line.strip()] or [None]))
    if index is None:
        return
    start = sum(len(line) + 1 for line in lines[:index])
    quote = quotable(Span(start, start + len(lines[index])), answer)
    written = parse_critique(f"```\n{answer[quote.start : quote.end]}\n```\nWrong.", answer)
    focused = focus(written, answer)
    (comment,) = focused.comments
    assert comment.highlight == lines[index].strip()
    assert lines_of(comment.span, answer) == range(index, index + 1)
    assert comment.span == anchor(comment.highlight, answer, comment.line)
    assert focus(focused, answer) == focused
    assert parse_critique(format_critique(focused), answer) == focused


@given(_REPEATED)
def test_a_quote_without_a_number_is_whole_lines_where_it_can_be(lines):
    answer = "\n".join(lines)
    span = anchor("x = 1", answer)
    whole = [i for i, line in enumerate(lines) if line.strip() == "x = 1"]
    if whole:
        assert lines_of(span, answer) == range(whole[0], whole[0] + 1)
    else:
        assert (span is None) == ("x = 1" not in answer)


def test_a_number_that_is_wrong_counts_for_nothing_where_the_quote_stands_once():
    answer = "a = 1\nb = 2\na = 1"
    assert anchor("b = 2", answer, 1) == anchor("b = 2", answer, 9) == Span(6, 11)
    assert anchor("a = 1", answer, 3) == Span(12, 17)
    assert anchor("a = 1", answer, 2) is None


def test_a_comment_without_a_line_number_is_stored_as_it_ever_was():
    assert Comment(highlight="x", text="-").model_dump() == {"highlight": "x", "text": "-", "span": None}
    numbered = Comment(highlight="x", text="-", line=3)
    assert Comment.model_validate_json(numbered.model_dump_json()) == numbered


def test_a_highlight_typed_in_other_characters_is_anchored_where_it_stands():
    answer = "def f(name):\n    café = “x”\n    return\u00a0café + '한글'"
    for highlight, passage in (
        ('cafe\u0301 = "x"', "café = “x”"),
        ("return café", "return\u00a0café"),
        ("'\u1112\u1161\u11ab\u1100\u1173\u11af'", "'한글'"),
        ("ｎａｍｅ", "name"),
    ):
        span = anchor(highlight, answer)
        assert answer[span.start : span.end] == passage
        assert (
            parse_critique(f"```\n{highlight}\n```\nOdd.", answer).comments[0].highlight == highlight
        )  # as it was typed
    assert anchor("CAFÉ", answer) is None and anchor("café  =", answer) is None
    assert anchor("cafe\u0301", answer, 3) == Span(answer.rindex("café"), answer.rindex("café") + 4)
    assert anchor("cafe\u0301", answer, 1) is None  # two places, neither on that line
