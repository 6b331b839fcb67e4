"""The process that parses: a request on stdin, an answer on stdout, both JSON; `reading.py` starts it.

A mistake of the user's is an answer too. Everything else ends the process with another code than 0.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from momus.documents.limits import Limits
from momus.documents.readers.blocks import Blocks
from momus.documents.structure import structure
from momus.errors import UserError

_GRACE = 5
"""Seconds between the signal that processor time is up and the one that cannot be caught."""

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".heic")


def read(path: Path, limits: Limits) -> Blocks:
    """Read a file by what it holds, and where that does not say by its name.

    Raises:
        UserError: It cannot be read, or is of a format that is not known.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    if b"%PDF-" in head:
        from momus.documents.readers.pdf import read_pdf

        return read_pdf(path, limits)
    if head.startswith(_OLE):
        raise UserError(f"{path}: {_ole(path)}")
    if head.startswith(b"PK"):
        from momus.documents.readers.archive import Archive
        from momus.documents.readers.docx import read_docx
        from momus.documents.readers.hwpx import read_hwpx

        names = Archive(path, limits).names
        if "word/document.xml" in names:
            return read_docx(path, limits)
        if any(name.startswith("Contents/section") for name in names):
            return read_hwpx(path, limits)
        raise UserError(f"{path}: packed, but neither a Word (DOCX) nor a Hangul (HWPX) document")
    suffix = path.suffix.casefold()
    if suffix in (".md", ".markdown"):
        from momus.documents.readers.plain import read_markdown

        return read_markdown(path, limits)
    if suffix in (".txt", ".text", ""):
        from momus.documents.readers.plain import read_text

        return read_text(path, limits)
    if suffix == ".pdf":
        raise UserError(f"{path}: a broken PDF, or no PDF at all")
    if suffix in (".docx", ".hwpx"):
        raise UserError(f"{path}: a broken file: not the {suffix[1:].upper()} document its name says")
    if suffix == ".hwp":
        raise UserError(f"{path}: a Hangul file of the old format (HWP): save it as HWPX or PDF")
    if suffix in _PICTURES:
        raise UserError(f"{path}: a picture: put it through text recognition (OCR), and give the PDF or text")
    raise UserError(f"{path}: PDF, DOCX, HWPX, Markdown (.md) and text (.txt) can be read, not {suffix or 'this'}")


def _ole(path: Path) -> str:
    """Say what a file in Microsoft's old container is: an encrypted DOCX, or a format from before."""
    data = path.read_bytes()
    if "EncryptedPackage".encode("utf-16-le") in data:
        return "needs a password: save a copy without one"
    if b"HWP Document File" in data or "HwpSummaryInformation".encode("utf-16-le") in data:
        return "a Hangul file of the old format (HWP): save it as HWPX or PDF"
    return "an Office file of the old format: save it as DOCX or PDF"


def _bounded(limits: Limits) -> tuple[str, ...]:
    """Bound this process; returns notes on what the system does not bound."""
    notes = []
    for kind, most, name in (
        (resource.RLIMIT_CORE, 0, ""),
        (resource.RLIMIT_CPU, limits.seconds, "processor time"),
        (resource.RLIMIT_AS, limits.memory_bytes, "memory"),
    ):
        # What is bounded tighter already stays so; at the first of the two the system warns, at the second it kills.
        hard = resource.getrlimit(kind)[1]
        soft, last = (limit if hard == resource.RLIM_INFINITY else min(limit, hard) for limit in (most, most + _GRACE))
        try:
            resource.setrlimit(kind, (soft, last))
        except (ValueError, OSError):  # macOS does not bound address space
            notes += [f"this system does not bound the reader's {name}"] if name else []
    return tuple(notes)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    path, limits = Path(request["path"]), Limits(**request["limits"])
    notes = _bounded(limits)
    try:
        if request["do"] == "draw":
            from momus.documents.readers.pdf import draw_pages

            return {"drawn": draw_pages(path, Path(request["folder"]), request["most"])}
        blocks = read(path, limits)
        if sum(len(block.text) for block in blocks.blocks) > limits.characters:
            raise UserError(f"{path}: more than {limits.characters:,} characters of text: too long")
        blocks = replace(blocks, notes=(*blocks.notes, *notes))
        document = structure(blocks, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
        if not document.text:
            return {"error": f"{path}: no text in it"}
        return {"document": document.model_dump(mode="json")}
    except UserError as error:
        return {"error": str(error)}
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    except OSError as error:
        return {"error": f"{error.filename or path}: {error.strerror or error}"}
    except RecursionError:
        return {"error": f"{path}: nested too deep to be a document: refused"}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(json.load(sys.stdin))))
