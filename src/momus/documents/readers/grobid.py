"""GROBID (github.com/grobidOrg/grobid), a server that reads the structure of papers: a PDF there, TEI XML back.

It reads papers better than the rules of `structure.py`, and nothing else. The file is sent to the server. What it
answers is described in its documentation (Grobid-service, Coordinates-in-PDF): elements carry `coords`, boxes of lines
as `page,left,top,width,height` in points from the left upper corner, and `facsimile` has the measures of the pages.
Figures and tables stand at the end of the body, their label often repeated in their description.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from momus.documents.document import Document, Kind, Piece, Place, language_of
from momus.documents.limits import MB, Limits
from momus.documents.reading import check_file
from momus.errors import UserError
from momus.normalise import letters

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TEI = "{http://www.tei-c.org/ns/1.0}"
_PATH = "/api/processFulltextDocument"
_MOST = 50 * MB
_NOTHING, _BUSY = 204, 503
"""What it says where it found nothing to structure, and where it has no thread left."""
_ATTEMPTS, _PAUSE = 6, 5.0
"""How often a busy server is asked, and the seconds between: its documentation says five to ten."""

_DECIMAL, _PAGE = r"[0-9]{1,9}(?:\.[0-9]{1,30})?", r"[0-9]{1,9}"
_LINE = re.compile(rf"(?:^|;)\s*({_PAGE}),({_DECIMAL}(?:,{_DECIMAL}){{3}})(?=;|\s*$)")

Sheets = Mapping[int, tuple[float, float]]
"""Width and height of pages in points, by number."""


def read_with_grobid(path: Path, url: str, limits: Limits | None = None) -> Document:
    """Have a GROBID server read a PDF.

    Raises:
        UserError: The file or the server is refused, or the answer is no TEI.
    """
    limits = limits or Limits()
    check_file(path, limits)
    data = path.read_bytes()
    if b"%PDF-" not in data[:1024]:
        raise UserError(f"{path}: GROBID reads PDF only")
    root = _parsed(path, _ask(path, data, url.rstrip("/") + _PATH, 2 * limits.seconds), url)
    sheets = _measures(root)
    try:
        pieces = tuple(_pieces(root, sheets))
    except RecursionError as error:
        raise UserError(f"{path}: what GROBID at {url} answered is nested too deep to be a document") from error
    if not any(piece.kind != "title" for piece in pieces):
        raise UserError(f"{path}: GROBID at {url} found no text in it")
    return Document(
        name=path.name,
        format="pdf, read by GROBID",
        sha256=hashlib.sha256(data).hexdigest(),
        language=language_of([piece.text for piece in pieces]),
        pages=max((*sheets, *(piece.pages[1] for piece in pieces)), default=0),
        pieces=pieces,
    )


def _ask(path: Path, data: bytes, url: str, seconds: int) -> bytes:
    boundary = secrets.token_hex(16)
    fields = [("consolidateHeader", "0"), ("consolidateCitations", "0"), ("includeRawCitations", "1")]
    fields += [("teiCoordinates", name) for name in ("title", "head", "p", "formula", "figure", "note", "biblStruct")]
    form = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    )
    file = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="input"; filename="document.pdf"\r\n'
        "Content-Type: application/pdf\r\n\r\n"
    )
    body = (form + file).encode() + data + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": "application/xml"}
    try:
        request = urllib.request.Request(url, body, headers)
        answer, status = _answered(request, seconds)
    except urllib.error.HTTPError as error:
        if error.code == _BUSY:
            raise UserError(f"GROBID at {url}: still busy after {_ATTEMPTS} attempts: try again later") from error
        raise UserError(f"{path}: GROBID at {url} refused it: {error.code} {error.reason}") from error
    except (OSError, ValueError, HTTPException) as error:
        raise UserError(f"GROBID at {url}: no answer: {getattr(error, 'reason', error) or error!r}") from error
    if status == _NOTHING:
        raise UserError(f"{path}: GROBID at {url} found no text in it")
    if len(answer) > _MOST:
        raise UserError(f"{path}: GROBID at {url} answered with more than {_MOST // MB} MB")
    return answer


def _answered(request: urllib.request.Request, seconds: int) -> tuple[bytes, int]:
    """Return the answer and its status; a server all of whose threads are busy is asked again after a while."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.read(_MOST + 1), answer.status
        except urllib.error.HTTPError as error:
            if error.code != _BUSY or attempt == _ATTEMPTS:
                raise
        time.sleep(_PAUSE)
    raise AssertionError("the last attempt returns or raises")


def _parsed(path: Path, answer: bytes, url: str) -> Element:
    try:
        root: Element = fromstring(answer, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise UserError(f"{path}: what GROBID at {url} answered is not TEI") from error
    if root.tag != f"{_TEI}TEI":
        raise UserError(f"{path}: what GROBID at {url} answered is not TEI")
    return root


def _measures(root: Element) -> dict[int, tuple[float, float]]:
    sizes = {}
    for surface in root.iterfind(f"./{_TEI}facsimile/{_TEI}surface"):
        number, width, height = (surface.get(name, "") for name in ("n", "lrx", "lry"))
        if re.fullmatch(_PAGE, number) and re.fullmatch(_DECIMAL, width) and re.fullmatch(_DECIMAL, height):
            sizes[int(number)] = (float(width), float(height))
    return {number: sides for number, sides in sizes.items() if all(sides)}


def _pieces(root: Element, sheets: Sheets) -> Iterator[Piece]:
    yield from _made("title", root.find(f".//{_TEI}titleStmt/{_TEI}title"), sheets)
    label = ""
    for element in root.iterfind(f".//{_TEI}profileDesc/{_TEI}abstract//*"):
        if element.tag == f"{_TEI}head":  # "Methods" of an abstract in parts
            label = _text(element).rstrip(" .:")
        elif element.tag == f"{_TEI}p":
            yield from _made("abstract", element, sheets, f"{label}: " if label else "")
            label = ""
    for part in ("body", "back"):
        for element in root.iterfind(f"./{_TEI}text/{_TEI}{part}"):
            yield from _part(element, sheets)


def _part(parent: Element, sheets: Sheets) -> Iterator[Piece]:
    """Yield what stands in a part of the text, each piece once, however the parts are nested."""
    for child in parent:
        if child.tag == f"{_TEI}head":
            number = child.get("n", "").strip()
            level = 1 + number.strip(".").count(".") if number else 1
            yield from _made("heading", child, sheets, f"{number} " if number else "", level)
        elif child.tag == f"{_TEI}figure":
            yield from _caption(child, sheets)
        elif child.tag == f"{_TEI}listBibl":
            for entry in child:
                raw = next((note for note in entry.iter(f"{_TEI}note") if note.get("type") == "raw_reference"), None)
                yield from _made("reference", entry if raw is None else raw, sheets, place=entry)
        elif child.tag == f"{_TEI}note":
            yield from _made("footnote", child, sheets)
        elif child.tag in (f"{_TEI}p", f"{_TEI}list", f"{_TEI}formula"):
            yield from _made("paragraph", child, sheets)
        elif child.tag == f"{_TEI}div":
            yield from _part(child, sheets)


def _caption(figure: Element, sheets: Sheets) -> Iterator[Piece]:
    """Yield a figure's or table's description behind its label, unless it repeats it."""
    description = figure.find(f"{_TEI}figDesc")
    label, caption = _text(figure.find(f"{_TEI}head")).rstrip(" .:"), _text(description)
    if caption:
        repeated = not label or letters(caption).startswith(letters(label))
        yield from _made("caption", description, sheets, "" if repeated else f"{label}: ", place=figure)
    elif label:
        yield from _made("caption", figure.find(f"{_TEI}head"), sheets, place=figure)


def _made(
    kind: Kind, element: Element | None, sheets: Sheets, before: str = "", level: int = 0, place: Element | None = None
) -> Iterator[Piece]:
    text = _text(element)
    if element is not None and text:
        places = _places((element if place is None else place).get("coords", ""), sheets)
        yield Piece(kind=kind, text=before + text, places=places, level=level)


def _places(coords: str, sheets: Sheets) -> tuple[Place, ...]:
    """Join the boxes of lines into one for each column that they run through; without measures only pages are known."""
    columns: list[tuple[int, list[float]]] = []
    for match in _LINE.finditer(coords):
        page, (left, top, width, height) = int(match[1]), map(float, match[2].split(","))
        if columns and columns[-1][0] == page and top + height > columns[-1][1][3] - height:  # not up by a line
            box = columns[-1][1]
            box[:] = [min(box[0], left), min(box[1], top), max(box[2], left + width), max(box[3], top + height)]
        else:
            columns.append((page, [left, top, left + width, top + height]))
    if not all(page in sheets for page, _ in columns):
        return tuple(Place(page) for page in dict.fromkeys(page for page, _ in columns))
    return tuple(Place(page, _shares(box, sheets[page])) for page, box in columns)


def _shares(box: Sequence[float], sides: tuple[float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (
        round(min(1.0, max(0.0, value / side)), 4) for value, side in zip(box, sides * 2, strict=True)
    )
    return left, top, right, bottom


def _text(element: Element | None) -> str:
    """Return an element's text, its parts as words of their own where no sentence holds them together."""
    if element is None:
        return ""
    apart = element.tag in (f"{_TEI}biblStruct", f"{_TEI}list", f"{_TEI}formula")
    return " ".join((" " if apart else "").join(element.itertext()).split())
