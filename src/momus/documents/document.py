"""What a document is once it is read: pieces in reading order, each with its kind and where it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from momus.records import Record

Kind = Literal[
    "title", "abstract", "heading", "paragraph", "caption", "front", "footnote", "float", "reference", "head"
]

READ: tuple[Kind, ...] = ("title", "abstract", "heading", "paragraph", "caption")
"""What feedback is about. The rest is kept but left out: authors and the like (`front`), footnotes, what stands inside
figures and tables (`float`), references, and running heads and page numbers (`head`)."""

Language = Literal["en", "ko"]

_HANGUL, _LETTER = re.compile(r"[가-힣]"), re.compile(r"[^\W\d_]")
_KOREAN_SHARE = 0.2


class Place(NamedTuple):
    """A part of a page: its number from 1, and left, top, right and bottom as shares of its width and height.

    `box` is None where the format has no pages of its own, and `page` is then 0 unless the file says where pages end.
    """

    page: int
    box: tuple[float, float, float, float] | None = None


class Piece(BaseModel):
    """One title, heading, paragraph, caption or the like; `level` is a heading's, 1 the highest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    text: str
    places: tuple[Place, ...] = ()
    level: int = 0

    @property
    def pages(self) -> tuple[int, int]:
        """The first and the last page it stands on, (0, 0) where that is not known."""
        numbers = [place.page for place in self.places]
        return (min(numbers), max(numbers)) if numbers else (0, 0)


class Section(NamedTuple):
    """A heading and what stands below it, up to the next heading of whatever level."""

    heading: str
    level: int
    paragraphs: tuple[Piece, ...]


class Document(Record):
    """A document: its name, the SHA-256 of its file, its pieces in reading order, and what is to be known about it."""

    name: str
    format: str
    sha256: str
    language: Language
    pages: int
    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The title, "" where none was found."""
        return self._of("title")

    @property
    def abstract(self) -> str:
        """The abstract, "" where none was found."""
        return self._of("abstract")

    @property
    def captions(self) -> tuple[Piece, ...]:
        """The captions of figures and tables."""
        return tuple(piece for piece in self.pieces if piece.kind == "caption")

    @property
    def sections(self) -> tuple[Section, ...]:
        """The body by headings; what comes before the first has an empty one."""
        sections: list[tuple[str, int, list[Piece]]] = []
        for piece in self.pieces:
            if piece.kind == "heading":
                sections.append((piece.text, piece.level, []))
            elif piece.kind == "paragraph":
                if not sections:
                    sections.append(("", 0, []))
                sections[-1][2].append(piece)
        return tuple(Section(heading, level, tuple(pieces)) for heading, level, pieces in sections)

    @cached_property
    def text(self) -> str:
        """Everything that feedback is about, in reading order, a blank line between pieces."""
        return "\n\n".join(piece.text for piece in self.pieces if piece.kind in READ)

    def page_of(self, passage: str) -> int:
        """Return the page on which a passage of the text begins, as far as known; 0 if it is not."""
        at = self.text.find(passage)
        for piece in (part for part in self.pieces if part.kind in READ):
            if 0 <= at < len(piece.text):
                return _page_at(piece, at / len(piece.text))
            at -= len(piece.text) + len("\n\n")
        return 0

    def _of(self, kind: Kind) -> str:
        return "\n\n".join(piece.text for piece in self.pieces if piece.kind == kind)


def language_of(texts: Sequence[str]) -> Language:
    """Return "ko" where a fifth of the letters are Hangul or more (a syllable stands for two or three), else "en"."""
    joined = " ".join(texts)
    letters = len(_LETTER.findall(joined))
    return "ko" if letters and len(_HANGUL.findall(joined)) >= _KOREAN_SHARE * letters else "en"


def _page_at(piece: Piece, share: float) -> int:
    """Return the page of a share of a piece: over several places it is taken to be spread evenly by area."""
    areas = [_area(place) for place in piece.places]
    reached = 0.0
    for place, area in zip(piece.places, areas, strict=True):
        reached += area
        if reached > share * sum(areas):
            return place.page
    return piece.places[0].page if piece.places else 0


def _area(place: Place) -> float:
    if place.box is None:
        return 0.0
    left, top, right, bottom = place.box
    return (right - left) * (bottom - top)
