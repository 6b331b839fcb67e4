"""`momus document`: what is read of a document."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from momus.documents.document import Document

_SHOWN = 100


def command(
    file: Positional[Path],
    json: bool = False,
    html: Path | None = None,
    pages: int = 40,
    grobid: str | None = None,
) -> int:
    """Show what is read of a document: title, abstract, sections, captions, and what is left out.

    Args:
        file: A PDF, DOCX, HWPX, Markdown or text file.
        json: Print all of it as JSON instead of an outline.
        html: Write a page with the text beside pictures of the pages.
        pages: Pictures on that page, at most.
        grobid: A GROBID server that reads the PDF instead, such as http://localhost:8070; the file is sent there.
    """
    from momus.cli.shared.output import say
    from momus.documents.readers.grobid import read_with_grobid
    from momus.documents.reading import read_document
    from momus.errors import UserError

    if html is not None and not html.absolute().parent.is_dir():
        raise UserError(f"--html {html}: there is no directory {html.parent}")
    if pages < 0:
        raise UserError(f"--pages {pages}: must not be negative")
    document = read_with_grobid(file, grobid) if grobid else read_document(file)
    if json:
        print(document.model_dump_json(indent=1))
    else:
        _print(document)
    if html is not None:
        from momus.report.feedback import pictures, write_document

        drawn = pictures(file, pages) if pages and document.format.startswith("pdf") else {}
        say(f"The page is {write_document(document, html, drawn)}")
    return 0


def _print(document: Document) -> None:
    from rich.markup import escape
    from rich.table import Table

    from momus.cli.shared.output import show

    parts = [document.format, "Korean" if document.language == "ko" else "English"]
    parts += [f"{document.pages} {'page' if document.pages == 1 else 'pages'}"] if document.pages else []
    table = Table("page", "words", "", title=escape(f"{document.name}: {', '.join(parts)}"), title_justify="left")
    table.columns[0].justify = table.columns[1].justify = "right"
    rows = [("title", _first_page(document, "title"), document.title or "(none found)", "")]
    rows += [("abstract", _first_page(document, "abstract"), document.abstract or "(none found)", document.abstract)]
    for name, page, text, counted in rows:
        table.add_row(page, _words(counted), escape(f"{name}: {_short(text)}"))
    for section in document.sections:
        text = " ".join(piece.text for piece in section.paragraphs)
        page = str(section.paragraphs[0].pages[0] or "") if section.paragraphs else ""
        indent = "  " * max(0, section.level - 1)
        table.add_row(page, _words(text), escape(f"{indent}{section.heading or '(before any heading)'}"))
    for piece in document.captions:
        table.add_row(str(piece.pages[0] or ""), _words(piece.text), escape(_short(piece.text)))
    left = {kind: sum(piece.kind == kind for piece in document.pieces) for kind in ("reference", "footnote", "float")}
    counts = ", ".join(f"{count} {kind}s" for kind, count in left.items() if count)
    show(table, *([f"Left out: {counts}"] if counts else []), *(f"Note: {note}" for note in document.notes))


def _first_page(document: Document, kind: str) -> str:
    page = next((piece.pages[0] for piece in document.pieces if piece.kind == kind), 0)
    return str(page or "")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN].rstrip() + " …"


def _words(text: str) -> str:
    return str(len(text.split())) if text else ""
