"""GROBID (github.com/grobidOrg/grobid), a server that reads the structure of papers: a PDF there, TEI XML back.

It reads papers better than the rules of `structure.py`, and nothing else. The file is sent to the server.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from momus.documents.document import Document, Kind, Piece, Place, language_of
from momus.documents.limits import MB, Limits
from momus.documents.reading import check_file
from momus.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_TEI = "{http://www.tei-c.org/ns/1.0}"
_PATH = "/api/processFulltextDocument"
_MOST = 50 * MB


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
    pieces = tuple(_pieces(root))
    if not any(piece.kind != "title" for piece in pieces):
        raise UserError(f"{path}: GROBID at {url} found no text in it")
    return Document(
        name=path.name,
        format="pdf, read by GROBID",
        sha256=hashlib.sha256(data).hexdigest(),
        language=language_of([piece.text for piece in pieces]),
        pages=max((piece.pages[1] for piece in pieces), default=0),
        pieces=pieces,
    )


def _ask(path: Path, data: bytes, url: str, seconds: int) -> bytes:
    boundary = secrets.token_hex(16)
    fields = [("consolidateHeader", "0"), ("consolidateCitations", "0")]
    fields += [("teiCoordinates", name) for name in ("head", "p", "figure", "note")]
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
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            found: bytes = answer.read(_MOST + 1)
    except urllib.error.HTTPError as error:
        raise UserError(f"{path}: GROBID at {url} refused it: {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"GROBID at {url}: no answer: {getattr(error, 'reason', error)}") from error
    if len(found) > _MOST:
        raise UserError(f"{path}: GROBID at {url} answered with more than {_MOST // MB} MB")
    return found


def _parsed(path: Path, answer: bytes, url: str) -> Element:
    try:
        root: Element = fromstring(answer, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise UserError(f"{path}: what GROBID at {url} answered is not TEI") from error
    if root.tag != f"{_TEI}TEI":
        raise UserError(f"{path}: what GROBID at {url} answered is not TEI")
    return root


def _pieces(root: Element) -> Iterator[Piece]:
    yield from _made("title", root.find(f".//{_TEI}titleStmt/{_TEI}title"))
    for own in root.iterfind(f".//{_TEI}profileDesc/{_TEI}abstract//{_TEI}p"):
        yield from _made("abstract", own)
    for part in ("body", "back"):
        for own in root.iterfind(f"./{_TEI}text/{_TEI}{part}"):
            yield from _part(own)


def _part(parent: Element) -> Iterator[Piece]:
    """Yield what stands in a part of the text, each piece once, however the parts are nested."""
    for own in parent:
        if own.tag == f"{_TEI}head":
            number = own.get("n", "")
            level = 1 + number.strip(".").count(".") if number else 1
            yield from _made("heading", own, f"{number} " if number else "", level)
        elif own.tag == f"{_TEI}figure":
            label = " ".join(_words(own.find(f"{_TEI}head")).split())
            description = own.find(f"{_TEI}figDesc")
            if description is not None:
                yield from _made("caption", description, f"{label}: " if label else "", place=own)
        elif own.tag == f"{_TEI}listBibl":
            for entry in own:
                yield from _made("reference", entry)
        elif own.tag == f"{_TEI}note":
            yield from _made("footnote", own)
        elif own.tag in (f"{_TEI}p", f"{_TEI}list", f"{_TEI}formula"):
            yield from _made("paragraph", own)
        elif own.tag == f"{_TEI}div":
            yield from _part(own)


def _made(
    kind: Kind, own: Element | None, before: str = "", level: int = 0, place: Element | None = None
) -> Iterator[Piece]:
    text = " ".join(_words(own).split())
    if own is not None and text:
        stands = own if place is None else place
        pages = sorted({int(found) for found in re.findall(r"(?:^|;)(\d+),", stands.get("coords", ""))})
        places = tuple(Place(page) for page in pages)
        yield Piece(kind=kind, text=before + text, places=places, level=level)


def _words(own: Element | None) -> str:
    return "" if own is None else "".join(own.itertext())
