"""A comment stays on the lines that a labeler marked, also where the same lines stand elsewhere in the answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.critique import format_critique, lines_of, parse_critique
from momus.errors import UserError
from momus.label.exporting import critique_of
from momus.label.kinds import Critique, check

LINES = st.lists(
    st.sampled_from(["", "x = 1", "    x = 1", "return x", "return x  # x = 1", "  "]), min_size=1, max_size=9
)


def quote_of(lines, first, last):
    """Return what the page sends for lines `first` to `last` (static/marks.js, `quoteOf`)."""
    while first < last and not lines[first - 1].strip():
        first += 1
    return {"highlight": "\n".join(lines[first - 1 : last]).strip(), "line": first}


@given(LINES, st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=4))
def test_a_comment_is_exported_on_the_lines_that_were_marked(lines, marks):
    answer = "\n".join(lines)
    chosen = [sorted((a % len(lines) + 1, b % len(lines) + 1)) for a, b in marks]
    chosen = [(first, last) for first, last in chosen if "".join(lines[first - 1 : last]).strip()]
    if not chosen:
        return
    comments = [{**quote_of(lines, first, last), "text": f"{first}-{last}"} for first, last in chosen]
    payload = {"task": {"id": "t", "question": "q", "answer": answer}}
    kept = check("critique", payload, {}, {"comments": comments})
    written = format_critique(critique_of(Critique.model_validate(kept), answer))
    for comment in parse_critique(written, answer).comments:
        first, last = map(int, comment.text.split("-"))
        marked = [number for number in range(first, last + 1) if lines[number - 1].strip()]
        on = lines_of(comment.span, answer)
        assert (on[0] + 1, on[-1] + 1) == (marked[0], marked[-1])


def test_a_line_on_which_the_quote_does_not_begin_is_refused():
    payload = {"task": {"id": "t", "question": "q", "answer": "a = 1\nb\na = 1\n"}}
    comment = {"highlight": "a = 1", "text": "why"}
    with pytest.raises(UserError, match=r"comments\.0\.line"):
        check("critique", payload, {}, {"comments": [{**comment, "line": 2}]})
    kept = check("critique", payload, {}, {"comments": [{**comment, "line": 3}]})
    critique = critique_of(Critique.model_validate(kept), "a = 1\nb\na = 1\n")
    assert critique.comments[0].span.start == 8 and "```L3" in format_critique(critique)
    assert check("critique", payload, {}, {"comments": [comment]})
