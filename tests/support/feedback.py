"""A small paper, documents of given sections, and answers as a model would write them for a rubric."""

import json
from datetime import UTC, datetime

from momus.documents.document import Document, Piece, Place
from momus.documents.rubrics import read_rubric

PAPER = """# A small study of quotes

## Introduction

We ask whether feedback that quotes is trusted more. Earlier work did not ask this.

## Method

Forty documents were read by two people. Nobody was told which feedback quoted.

## Results

Quoting halved the number of unsupported remarks. The effect was largest for short documents.
"""
QUOTE = "Forty documents were read by two people."
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def tokens(text):
    return len(text.split())


def document(sections, **rest):
    pieces = [Piece(kind="title", text="A title")]
    for number, paragraphs in enumerate(sections):
        pieces.append(Piece(kind="heading", text=f"Part {number}", level=1))
        pieces += [Piece(kind="paragraph", text=text, places=(Place(number + 1),)) for text in paragraphs]
    facts = {"name": "a.md", "format": "markdown", "sha256": "0", "language": "en", "pages": 9} | rest
    return Document(pieces=tuple(pieces), **facts)


def answer(rubric, quote=QUOTE, word="This point says something about the paper."):
    form = read_rubric(rubric)
    said = {
        own.key: [{"point": f"{word} {own.key}", "details": ["One.", "Two."], "quote": quote}] for own in form.sections
    }
    return json.dumps({"sections": said, "scores": {own.key: own.high for own in form.scores}}, ensure_ascii=False)
