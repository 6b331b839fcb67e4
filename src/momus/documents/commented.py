"""Feedback as a Word document: the text as it was read, every point a comment on the words that it quotes."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from momus.documents.document import Document
from momus.documents.feedback import Feedback
from momus.documents.passages import mark_quotes
from momus.documents.rubrics import Rubric

if TYPE_CHECKING:
    from docx.document import Document as WordDocument

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_STYLES = {"title": "Title", "heading": "Heading 1", "caption": "Caption"}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_docx(feedback: Feedback, rubric: Rubric, document: Document) -> bytes:
    """Return a DOCX file with a comment for every point, by whoever approved the feedback, or wrote it.

    The text is the document's as it was read, without its layout. Points without a quote, and scores, are comments on
    its first words.
    """
    import docx

    word = docx.Document()
    word.core_properties.title = _clean(feedback.title or feedback.document)[:255]
    author = _clean(feedback.decisions[-1].by if feedback.decisions else feedback.author)
    word.core_properties.author = author[:255]
    quotes = [point.quote for section in feedback.sections for point in section.points if point.quote]
    runs = _write_text(word, document, quotes)
    for quote, comment in _comments(feedback, rubric):
        word.add_comment(runs[quote] or runs[""], text=comment, author=author, initials=author[:1])
    file = io.BytesIO()
    word.save(file)
    return file.getvalue()


def _write_text(word: WordDocument, document: Document, quotes: list[str]) -> dict[str, list[Any]]:
    """Write the document's text; return the runs of each quote, and of "" the first run of all."""
    runs: dict[str, list[Any]] = defaultdict(list)
    names = list(dict.fromkeys(quotes))
    for passage in mark_quotes(document, quotes):
        paragraph = word.add_paragraph(style=_STYLES.get(passage.kind))
        for text, inside, _ in passage.stretches:
            run = paragraph.add_run(_clean(text))
            runs[""] = runs[""] or [run]
            for number in inside:
                runs[names[number - 1]].append(run)
    runs[""] = runs[""] or [word.add_paragraph().add_run(_clean(document.name))]
    return runs


def _comments(feedback: Feedback, rubric: Rubric) -> list[tuple[str, str]]:
    """Return the quote ("": none) and the text of every comment."""
    comments = []
    scores = [
        f"{score.title.in_language(feedback.language)}: {feedback.scores[score.key]} / {score.high}"
        for score in rubric.scores
        if score.key in feedback.scores
    ]
    if scores:
        comments.append(("", "\n".join(scores)))
    for section in feedback.sections:
        for point in section.points:
            lines = [f"{section.title}: {point.text}", *(f"- {detail}" for detail in point.details)]
            comments.append((point.quote, _clean("\n".join(lines))))
    return comments


def _clean(text: str) -> str:
    """Leave out the characters that XML cannot hold."""
    return _NOT_XML.sub("", text)
