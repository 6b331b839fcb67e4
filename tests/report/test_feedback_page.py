"""The page of feedback: beside the document, every quote marked in it."""

import re

from hypothesis import given
from hypothesis import strategies as st

from momus.documents.feedback import Feedback, FeedbackPoint, FeedbackSection
from momus.documents.passages import mark_quotes
from momus.documents.rubrics import read_rubric
from momus.report.feedback import render_feedback
from support.feedback import document


def test_the_page_shows_the_document_beside_the_feedback_with_its_quotes_marked(tmp_path):
    item = document([["One <b>thing</b> is said here.", "Another is said there."], ["A last one is said."]])
    quotes = ["thing</b> is said", "is said here.\n\nAnother is said", "A last one is said.", "thing</b> is said"]
    points = tuple(FeedbackPoint(text=f"Point {number}.", quote=quote) for number, quote in enumerate(quotes))
    made = Feedback(
        document="a.md", sha256="0", title="T", rubric="paper", language="en", author="m", kind="model",
        needs_approval=False, sections=(FeedbackSection(key="rejection", title="Against", points=points),),
    )  # fmt: skip
    page = render_feedback(made, read_rubric("paper"), item)
    assert "<b>" not in page and page.count("&lt;b&gt;") == 1
    ids = re.findall(r'id="([pq]\d)"', page)
    assert sorted(ids) == ["p1", "p2", "p3", "q1", "q2", "q3"]  # each once, the quote given twice too
    assert {link[1:] for link in re.findall(r'href="(#[pq]\d)"', page)} == set(ids)
    text = re.sub(r"<[^>]+>", "", re.sub(r"<mark[^>]*>(?:<a [^>]*>\d</a> )*", "", page[page.index("<article") :]))
    assert "One &lt;b&gt;thing&lt;/b&gt; is said here." in text and "Another is said there." in text
    alone = render_feedback(made, read_rubric("paper"), None)
    assert "<article" not in alone and "<mark" not in alone and 'href="#' not in alone


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 25)), max_size=6))
def test_marks_leave_the_text_as_it_is(places):
    item = document([["Some words stand here.", "And more of them."], ["At the end."]])
    quotes = [quote for at, size in places if (quote := item.text[at : at + size].strip())]
    passages = mark_quotes(item, quotes)
    assert "\n\n".join("".join(text for text, _, _ in one.stretches) for one in passages) == item.text
    begun = [number for one in passages for _, _, first in one.stretches for number in first]
    assert sorted(begun) == list(range(1, len(set(quotes)) + 1))
