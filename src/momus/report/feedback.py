"""Documents as pages: what was read of one beside pictures of it, and feedback on it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from momus import __version__
from momus.documents.commented import to_docx
from momus.documents.document import Document, Piece, Place
from momus.documents.drafts import to_markdown
from momus.documents.feedback import Feedback, words_to_see
from momus.documents.passages import FeedbackPage
from momus.documents.reading import draw
from momus.documents.rubrics import Rubric
from momus.files import scratch_directory, write_bytes
from momus.report.html import template, write_pages

KINDS = {
    "title": "title", "abstract": "abstract", "heading": "heading", "paragraph": "paragraph", "caption": "caption",
    "front": "authors and the like", "footnote": "footnote", "float": "inside of a figure or table",
    "reference": "reference", "head": "running head or page number",
}  # fmt: skip
"""What kinds of pieces are called on pages, in the order they are counted."""


@dataclass(frozen=True)
class Sheet:
    """A page: its picture as a data URL ("": none), the places of pieces on it, and the pieces that begin there.

    Pieces are numbered; a place comes with the number and kind of its piece.
    """

    number: int
    picture: str
    places: tuple[tuple[int, str, Place], ...]
    pieces: tuple[tuple[int, Piece], ...]


def pictures(path: Path, most: int) -> dict[int, str]:
    """Return the first pages of a PDF as data URLs, by number.

    Raises:
        UserError: As `momus.documents.reading.draw`.
    """
    with scratch_directory() as folder:
        count = draw(path, folder, most)
        return {number: _data_url(folder / f"{number}.jpg") for number in range(1, count + 1)}


def write_document(document: Document, path: Path, drawn: Mapping[int, str]) -> Path:
    """Write what was read of a document as one page, beside its pictures; returns the page's path."""
    return write_pages(path.parent, {path.name: render_document(document, drawn)})


def render_document(document: Document, drawn: Mapping[int, str]) -> str:
    """Return what was read of a document as one page that opens offline.

    Args:
        document: The document.
        drawn: Pictures of its pages as data URLs, by number.
    """
    return template("document.html").render(
        document=document, sheets=_sheets(document, drawn), kinds=KINDS, counts=counts(document), version=__version__
    )


def counts(document: Document) -> dict[str, int]:
    """Return how many pieces there are of each kind that there is."""
    kinds = {kind: sum(piece.kind == kind for piece in document.pieces) for kind in KINDS}
    return {kind: count for kind, count in kinds.items() if count}


def _sheets(document: Document, drawn: Mapping[int, str]) -> list[Sheet]:
    numbered = list(enumerate(document.pieces, 1))
    pages = sorted({piece.pages[0] for _, piece in numbered} | set(drawn))
    sheets = []
    for page in pages:
        places = [
            (number, piece.kind, place)
            for number, piece in numbered
            for place in piece.places
            if place.page == page and place.box is not None
        ]
        pieces = tuple((number, piece) for number, piece in numbered if piece.pages[0] == page)
        sheets.append(Sheet(page, drawn.get(page, ""), tuple(places), pieces))
    return sheets


def _data_url(path: Path) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()


def write_feedback(
    feedback: Feedback, rubric: Rubric, path: Path, document: Document | None, docx: bool = False
) -> list[Path]:
    """Write feedback beside its document as JSON, Markdown and a page; what must be approved first is named a draft.

    Args:
        feedback: The feedback.
        rubric: Its rubric.
        path: Of the JSON: `NAME.feedback.json`.
        document: The document, which the page shows beside the feedback; None where it is not at hand.
        docx: Write feedback that may be passed on as a Word document with comments, too.

    Returns:
        The files, JSON first. Those of the other state are removed.
    """
    base = path.name.removesuffix(".json")
    stem, other = (base, f"{base}.draft") if feedback.released else (f"{base}.draft", base)
    files = {
        path.name: feedback.model_dump_json(indent=1) + "\n",
        f"{stem}.md": to_markdown(feedback, rubric),
        f"{stem}.html": render_feedback(feedback, rubric, document),
    }
    write_pages(path.parent, files)
    for ending in (".md", ".html", ".docx"):
        path.with_name(other + ending).unlink(missing_ok=True)
    written = [path.with_name(name) for name in files]
    if docx and feedback.released and document:
        written.append(path.with_name(f"{stem}.docx"))
        write_bytes(written[-1], to_docx(feedback, rubric, document))
    return written


def render_feedback(feedback: Feedback, rubric: Rubric, document: Document | None) -> str:
    """Return feedback as a page that opens offline, beside the document, if there is one, with its quotes marked."""
    page = FeedbackPage(feedback, rubric, document)
    return template("feedback.html").render(
        feedback=feedback,
        rubric=rubric,
        passages=page.passages,
        number=page.numbers,
        banner=page.banner,
        see=[] if feedback.released else words_to_see(feedback, rubric),
        scores=page.scores,
        version=__version__,
    )
