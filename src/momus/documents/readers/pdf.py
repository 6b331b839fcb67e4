"""PDF files, with PDFium: the runs of text of every page with their places, and pictures of pages.

PDFium is asked for every character's code, box, baseline and font. Characters become runs where they stand side by side
on one baseline; `layout.py` puts runs in order. Text turned against the rest of its page (the stamp of arXiv in the
margin, a watermark) is left out.
"""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from momus.documents.limits import Limits
from momus.documents.readers.blocks import Blocks
from momus.documents.readers.layout import Page, Run, lay_out
from momus.errors import UserError

_PASSWORD, _SECURITY = 4, 5
"""PDFium's codes for what keeps a file from being opened."""

_LONGEST_SIDE = 1400
"""Of a picture of a page, in pixels."""

_HYPHENS = {0x02, 0xAD, 0xFFFE}
"""What PDFium calls a hyphen at the end of a line, and the soft hyphen."""

_BOLD = re.compile(r"bold|black|heavy|demi|semibd|[-,]bd|TB\b|CMBX|BX\d", re.IGNORECASE)
_BOLD_WEIGHT = 600
_UNREADABLE = 0.3
"""Share of characters without a meaning from which on a text cannot be read."""

_TURNED = math.pi / 8


def read_pdf(path: Path, limits: Limits) -> Blocks:
    """Read a PDF.

    Raises:
        UserError: It needs a password, is broken, too long, or has no text that can be read.
    """
    with _Opened(path) as document:
        count = len(document)
        if count > limits.pages:
            raise UserError(f"{path}: {count} pages: the limit is {limits.pages}")
        pages, unread, seen, strange = [], [], 0, 0
        for number in range(1, count + 1):
            try:
                page = _page(document, number)
            except pypdfium2.PdfiumError:
                unread.append(number)
                continue
            pages.append(page)
            seen += sum(len(run.text) for run in page.runs)
            strange += sum(_strange(run.text) for run in page.runs)
            if seen > limits.characters:
                raise UserError(f"{path}: more than {limits.characters:,} characters of text: too long")
        title = str(document.get_metadata_dict().get("Title", "")).strip()
    if len(unread) == count:
        raise UserError(f"{path}: a broken PDF: none of its {count} pages can be read")
    if not seen:
        raise UserError(
            f"{path}: no text in it, only pictures of {count} {_pages(count)}: put it through text recognition (OCR)"
        )
    if strange > _UNREADABLE * seen:
        raise UserError(f"{path}: its fonts do not say which letters they show: put it through text recognition (OCR)")
    notes = [f"page {number} is broken and was left out" for number in unread]
    bare = [page.number for page in pages if not page.runs]
    if bare:
        notes.append(f"no text on {_pages(len(bare))} {', '.join(map(str, bare))}: empty, or pictures (OCR reads them)")
    return Blocks("pdf", lay_out(pages), count, title, tuple(notes))


def draw_pages(path: Path, folder: Path, most: int) -> int:
    """Write pictures of the first pages of a PDF into a folder, as `1.jpg` and so on; returns how many."""
    with _Opened(path) as document:
        count = min(most, len(document))
        for number in range(1, count + 1):
            page = document[number - 1]
            scale = min(2.0, _LONGEST_SIDE / max(1.0, *page.get_size()))
            page.render(scale=scale).to_pil().convert("RGB").save(folder / f"{number}.jpg", quality=70)
    return count


class _Opened:
    """A PDF while it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> pypdfium2.PdfDocument:
        try:
            self._document = pypdfium2.PdfDocument(self._path)
        except pypdfium2.PdfiumError as error:
            code = getattr(error, "err_code", None)
            if code == _PASSWORD:
                raise UserError(f"{self._path}: needs a password: save a copy without one") from error
            if code == _SECURITY:
                raise UserError(f"{self._path}: encrypted in a way that cannot be read: save a copy without") from error
            raise UserError(f"{self._path}: a broken PDF, or no PDF at all") from error
        if not len(self._document):
            raise UserError(f"{self._path}: a broken PDF: it has no pages")
        return self._document

    def __exit__(self, *_: object) -> None:
        self._document.close()


_RAISED = str.maketrans("0123456789+-\u2212=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ")
_LOWERED = str.maketrans("0123456789+-\u2212=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎")
_LIGATURES = str.maketrans({"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl"})
"""One drawn shape of several letters: the only characters that are written otherwise than the file has them."""


@dataclass
class _Growing:
    """A run while characters are added to it; `last` is where the last one begins, `spaced` as in `Run`."""

    left: float
    right: float
    top: float
    bottom: float
    angle: float
    last: float
    text: list[str] = field(default_factory=list)
    sizes: Counter[float] = field(default_factory=Counter)
    bold: int = 0
    spaced: bool = False
    level: tuple[float, float] = (0.0, 0.0)

    def written(self, character: _Char) -> str:
        """Return a character as it is kept: a small raised or lowered digit as one, so that 10 and 2 are not 102.

        `level` is the size and the lower edge of the last character of the line's own.
        """
        size, bottom = self.level
        if not size or character.size > 0.85 * size:
            self.level = (character.size, character.bottom)
            return character.text
        shift = character.bottom - bottom
        if abs(shift) < 0.08 * size:
            return character.text
        return character.text.translate(_RAISED if shift < 0 else _LOWERED)

    def finished(self) -> Run:
        text = unicodedata.normalize("NFC", "".join(self.text).translate(_LIGATURES))
        text = " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split())
        size = self.sizes.most_common(1)[0][0]
        solid = max(1, sum(not letter.isspace() for letter in self.text))
        return Run(
            text, self.left, self.right, self.top, self.bottom, size, self.bold > 0.6 * solid, spaced=self.spaced
        )


@dataclass(frozen=True)
class _Char:
    text: str
    left: float
    right: float
    top: float
    bottom: float
    size: float
    bold: bool
    angle: float


def _page(document: pypdfium2.PdfDocument, number: int) -> Page:
    page = document[number - 1]
    try:
        width, height = page.get_size()
        textpage = page.get_textpage()
        try:
            growing = list(_runs(_characters(textpage.raw, page, width, height)))
        finally:
            textpage.close()
    finally:
        page.close()
    turns = Counter[int]()
    for run in growing:
        turns[round(run.angle / (math.pi / 2)) % 4] += len(run.text)
    upright = turns.most_common(1)[0][0] * math.pi / 2 if turns else 0.0
    kept = [run.finished() for run in growing if _between(run.angle, upright) < _TURNED]
    return Page(number, width, height, tuple(run for run in kept if run.text))


def _characters(text: Any, page: pypdfium2.PdfPage, width: float, height: float) -> Iterator[_Char]:
    """Yield a page's characters in the order they are drawn, their boxes measured from its left upper corner."""
    box, bold = pdfium.FS_RECTF(), _Fonts(text)
    crop = page.get_cropbox()
    turn = page.get_rotation()
    for index in range(pdfium.FPDFText_CountChars(text)):
        code = pdfium.FPDFText_GetUnicode(text, index)
        if code in (0, 10, 13) or not pdfium.FPDFText_GetLooseCharBox(text, index, box):
            continue
        if pdfium.FPDFText_IsGenerated(text, index) == 1:
            yield _Char(" ", 0, 0, 0, 0, 0, False, 0)
            continue
        left, right, top, bottom = _as_seen((box.left, box.bottom, box.right, box.top), crop, turn)
        if right < 0 or left > width or bottom < 0 or top > height:
            continue  # beside the page
        letter = "-" if code in _HYPHENS else chr(code) if code < 0x110000 else "\ufffd"
        angle = pdfium.FPDFText_GetCharAngle(text, index) + math.radians(turn)
        yield _Char(letter, left, right, top, bottom, bold.size(index), bold(index), angle)


class _Fonts:
    """Sizes and weights of a page's characters."""

    def __init__(self, text: Any) -> None:
        self._text = text
        self._name, self._flags, self._matrix = ctypes.create_string_buffer(256), ctypes.c_int(), pdfium.FS_MATRIX()

    def size(self, index: int) -> float:
        """Return the size of a character's font as it is seen, in points to a tenth."""
        size: float = pdfium.FPDFText_GetFontSize(self._text, index)
        if pdfium.FPDFText_GetMatrix(self._text, index, self._matrix):
            size *= math.hypot(self._matrix.c, self._matrix.d)
        return round(size, 1)

    def __call__(self, index: int) -> bool:
        """Return whether a character is bold: by its font's name, or the weight that the font gives itself."""
        length = pdfium.FPDFText_GetFontInfo(self._text, index, self._name, 256, self._flags)
        if length and _is_bold(self._name.value):
            return True
        return bool(pdfium.FPDFText_GetFontWeight(self._text, index) > 1.15 * _BOLD_WEIGHT)


@lru_cache
def _is_bold(name: bytes) -> bool:
    return bool(_BOLD.search(name.decode("utf-8", "replace")))


def _runs(characters: Iterator[_Char]) -> Iterator[_Growing]:
    """Group characters that stand side by side on one baseline, in the order they are drawn."""
    run: _Growing | None = None
    space = False
    for character in characters:
        if character.text.isspace():
            space = True
            if run is not None and character.size:  # one that the file draws, not one that PDFium puts in
                run.spaced = True
            continue
        if run is None or not _goes_on(run, character):
            if run is not None:
                yield run
            run, space = (
                _Growing(
                    character.left, character.right, character.top, character.bottom, character.angle, character.left
                ),
                False,
            )
        if space:
            run.text.append(" ")
        space = False
        run.last, run.spaced = character.left, False
        run.text.append(run.written(character))
        run.left, run.right = min(run.left, character.left), max(run.right, character.right)
        run.top, run.bottom = min(run.top, character.top), max(run.bottom, character.bottom)
        run.sizes[character.size] += 1
        run.bold += character.bold
    if run is not None:
        yield run


def _goes_on(run: _Growing, character: _Char) -> bool:
    """Whether a character stands just right of a run's last; raised and lowered ones still share some height."""
    shared = min(run.bottom, character.bottom) - max(run.top, character.top)
    lower = min(run.bottom - run.top, character.bottom - character.top)
    size = max(character.size, max(run.sizes))
    if character.angle and _between(character.angle, 0) > _TURNED:
        return _between(character.angle, run.angle) < _TURNED
    # The letters of a ligature have one box.
    return shared > 0.3 * lower and character.left >= run.last - 0.3 * size and character.left - run.right < 1.2 * size


def _as_seen(
    box: tuple[float, float, float, float], crop: tuple[float, float, float, float], turn: int
) -> tuple[float, float, float, float]:
    """Return left, right, top and bottom of a box on the page as it is shown, cut and turned clockwise."""
    left, bottom, right, top = box
    west, south, east, north = crop
    if turn == 90:
        return bottom - south, top - south, left - west, right - west
    if turn == 180:
        return east - right, east - left, bottom - south, top - south
    if turn == 270:
        return north - top, north - bottom, east - right, east - left
    return left - west, right - west, north - top, north - bottom


def _between(one: float, other: float) -> float:
    """Return the angle between two directions."""
    return abs((one - other + math.pi) % (2 * math.pi) - math.pi)


def _strange(text: str) -> int:
    return sum(unicodedata.category(character) in ("Co", "Cn", "Cc") or character == "\ufffd" for character in text)


def _pages(count: int) -> str:
    return "page" if count == 1 else "pages"
