"""From blocks to a document: which block is the title, the abstract, a heading, a caption, a reference.

What a file says itself (styles, Markdown) goes first. The rest is told by form: captions by how they begin, headings by
their names, numbers, size and weight against the body's, the title as the largest text before the abstract, references
as what follows their heading up to an appendix. English and Korean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

from momus.documents.document import Document, Kind, Piece, Place, language_of
from momus.documents.readers.blocks import Block, Blocks
from momus.documents.readers.layout import body_size
from momus.documents.readers.words import Words
from momus.normalise import letters

_CAPTION = re.compile(
    r"[<\[(〈]?\s*(?:figure|fig\.|table|tab\.|algorithm|listing|scheme|그림|표|사진)\s*(?:[A-Z]?\d+(?:[.-]\d+)?|[IVX]+)\s*[.:)\]>〉|]",
    re.IGNORECASE,
)
_ABSTRACT = re.compile(r"(?:abstract|summary|초\s*록|요\s*약|국문\s*초록)\s*(?:[.:—–-]+\s*|$)", re.IGNORECASE)
_AFTER_ABSTRACT = re.compile(
    r"(?:key\s?words|index terms|ccs concepts|categories and subject|general terms|acm reference format|"
    r"주제어|핵심어|키워드|중심어)\b",
    re.IGNORECASE,
)
_REFERENCES = re.compile(
    r"(?:(?:\d+|[IVX]+)\.?\s+)?(?:references(?: and notes| cited)?|bibliography|works cited|literature cited|"
    r"참\s*고\s*문\s*헌|인용\s*문헌|참고\s*자료)\s*:?",
    re.IGNORECASE,
)
_APPENDIX = re.compile(r"(?:appendi(?:x|ces)|supplement\w*|부\s*록|[A-Z](?:\.\d+)*\.?\s+[A-Z가-힣])", re.IGNORECASE)
_NAMED = re.compile(
    r"(?:introduction|background|related works?|previous work|preliminaries|methods?|methodology|materials and methods|"
    r"model|approach|data|experiments?|experimental (?:setup|results)|results?|results and discussion|evaluation|"
    r"discussion|limitations?|conclusions?|concluding remarks|future work|ethics statement|broader impacts?|"
    r"acknowledge?ments?|keywords|"
    r"서\s*론|머리말|들어가며|이론적 배경|연구 (?:문제|방법|결과|동기|목적)|"
    r"탐구 (?:문제|동기|방법|과정|결과)|실험 (?:방법|과정|결과)|"
    r"본\s*론|결과(?: 및 논의)?|논의|고찰|결\s*론|맺음말|느낀 ?점|제언|감사의 글)",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?P<arabic>\d{1,2}(?:\.\d{1,2}){0,3})\.?\s+(?=[^\W\d_]|[“\"(])|(?P<roman>[IVX]{1,5}|[Ⅰ-Ⅻ])\s*\.\s*|"
    r"(?P<letter>[A-Z])\.\s+(?=[A-Z])|제\s*\d+\s*(?P<chapter>[장절])\s*\.?\s*|(?P<hangul>[가나다라마바사아자차카타파하])\.\s+"
)
_FOOTNOTE = re.compile(
    r"(?:\d{1,2}|[*†‡§¶∗])\s*[^\W\d_]|https?://|©|permission to make|copyright|arxiv:", re.IGNORECASE
)
_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")  # soft hyphen, spaces of no width
_END = re.compile(r"[.!?。][\"”’')\]\d,]*$")
_STOP, _LEAST_SENTENCE = re.compile(r"[.!?。]"), 32

_LONGEST_HEADING = 120
_LONGEST_TITLE = 400
_LARGER, _SMALLER = 1.08, 0.93
"""Against the body's size: headings from the first on, footnotes and what stands in figures up to the second."""


def structure(blocks: Blocks, name: str, sha256: str) -> Document:
    """Tell a file's blocks apart.

    Args:
        blocks: What its reader found.
        name: The file's name.
        sha256: Of its bytes.
    """
    kept = [replace(block, text=text) for block in blocks.blocks if (text := _composed(block.text))]
    pieces = _joined(_Telling(kept, blocks.title).pieces(), Words(block.text for block in kept))
    texts = [piece.text for piece in pieces if piece.kind in ("title", "paragraph", "abstract")]
    return Document(
        name=name,
        format=blocks.format,
        sha256=sha256,
        language=language_of(texts),
        pages=blocks.pages,
        pieces=tuple(pieces),
        notes=blocks.notes,
    )


def _composed(text: str) -> str:
    """Return text with letters in one piece (Hangul from a Mac comes taken apart) and nothing that cannot be seen."""
    return unicodedata.normalize("NFC", _UNSEEN.sub("", text)).strip()


@dataclass(frozen=True)
class _Heading:
    text: str
    level: int


class _Telling:
    """Tells the blocks of one document apart, from first to last."""

    def __init__(self, blocks: Sequence[Block], title: str) -> None:
        self._body = body_size((block.size, len(block.text)) for block in blocks if not block.hint and block.size)
        self._title = self._find_title(blocks, title)
        self._blocks = blocks
        self._abstract = next((block for block in blocks[:60] if _ABSTRACT.match(block.text)), None)

    def pieces(self) -> list[Piece]:
        pieces: list[Piece] = []
        part = "front" if self._starts_with_front() else "body"
        for index, block in enumerate(self._blocks):
            made, part = self._tell(index, block, part)
            pieces += made
        return _without_table_heads(pieces)

    def _tell(self, index: int, block: Block, part: str) -> tuple[list[Piece], str]:
        """Return the pieces of one block, and the part of the document that the next one is in."""
        if block.hint == "head":
            return [_piece("head", block)], part
        if index in self._title:
            return [_piece("title", block)], part
        if block.hint == "caption" or (block.hint != "heading" and _CAPTION.match(block.text)):
            return [_piece("caption", block)], part
        if _REFERENCES.fullmatch(block.text):
            return [_piece("reference", block)], "references"
        if part != "body" and self._above_abstract(block):
            return [_piece("front", block)], part
        if part == "abstract" and _AFTER_ABSTRACT.match(block.text):
            return [_piece("front", block)], "front"
        named = _ABSTRACT.match(block.text)
        if part in ("front", "body") and named and not block.text[named.end() :].strip():
            return [], "abstract"
        if part in ("front", "body") and named and block.text[named.end() - 1] in ".:—–- " and _first_words(block.text):
            return [_piece("abstract", replace(block, text=block.text[named.end() :].strip()))], "abstract"
        heading = self._heading(block)
        if part == "references" and not (heading and _APPENDIX.match(block.text)):
            return [_piece("reference", block)], part
        if heading:
            return [_piece("heading", replace(block, text=heading.text), heading.level)], "body"
        if self._is_footnote(block):
            return [_piece("footnote", block)], part
        if self._is_float(block):
            return [_piece("float", block)], part
        if part == "front":
            return [_piece("front", block)], part
        return [_piece("abstract" if part == "abstract" else "paragraph", block)], part

    def _above_abstract(self, block: Block) -> bool:
        """Whether a block stands above the abstract on its page: authors may have columns of their own."""
        if self._abstract is None or not self._abstract.places or not block.places:
            return False
        one, other = block.places[0], self._abstract.places[0]
        return one.page == other.page and one.box is not None and other.box is not None and one.box[3] < other.box[1]

    def _starts_with_front(self) -> bool:
        """Whether authors and the like stand before an abstract or a first heading.

        Without a title or any heading everything is body: a letter, a pupil's page.
        """
        if not self._title:
            return False
        after = self._blocks[max(self._title) + 1 :][:60]
        for place, block in enumerate(after):
            if _ABSTRACT.match(block.text) or self._heading(block):
                between = [other for other in after[:place] if other.hint != "head"]
                bare = bool(self._body) and not any(_has_sentence(other.text) for other in between)
                return bare or bool(_ABSTRACT.match(block.text))
        return False

    def _find_title(self, blocks: Sequence[Block], stated: str) -> set[int]:
        """Return which blocks are the title: what the file calls so, else the largest on its first page."""
        hinted = [index for index, block in enumerate(blocks) if block.hint == "title"]
        if hinted:
            return set(hinted[:1])
        first = []
        for index, block in enumerate(blocks[:60]):
            if block.places and block.places[0].page > 1:
                break
            if _ABSTRACT.match(block.text):
                break
            if block.hint in ("", "paragraph") and not _CAPTION.match(block.text):
                first.append(index)
        for index in first:
            if stated and len(stated) > 5 and letters(blocks[index].text) == letters(stated):
                return {index}
        sized = [index for index in first if len(blocks[index].text) <= _LONGEST_TITLE and _words(blocks[index].text)]
        if not sized or not self._body:
            return _plain_title(blocks, first) if not self._body else set()
        largest = max(blocks[index].size for index in sized)
        if largest < 1.15 * self._body:
            return set()
        start = next(index for index in sized if blocks[index].size == largest)
        end = start
        while end + 1 in sized and blocks[end + 1].size >= 0.95 * largest:
            end += 1
        return set(range(start, end + 1))

    def _heading(self, block: Block) -> _Heading | None:
        """Return a block as a heading with its level, or None."""
        if block.hint == "heading":
            return _Heading(block.text, block.level or 1)
        text = block.text
        if block.hint or len(text) > _LONGEST_HEADING or not _words(text):
            return None
        number = _NUMBER.match(text)
        rest = text[number.end() :] if number else text
        named = bool(_NAMED.fullmatch(rest.strip(" .:")))
        larger = bool(self._body) and block.size >= _LARGER * self._body
        smaller = bool(self._body) and block.size < _SMALLER * self._body
        if block.tabular and not number:
            return None
        set_off = larger or block.bold or (rest.isupper() and len(rest) > 3)
        if smaller or (_END.search(text) and not named) or text.endswith((",", ";")):
            return None
        if named and (number or set_off or not self._body):
            return _Heading(text, _level(number))
        if number and (set_off or (not self._body and len(text) < 60)) and (rest[0].isupper() or not rest[0].isascii()):
            return _Heading(text, _level(number))
        if (
            set_off
            and (larger or block.bold)
            and len(text.split()) <= 12
            and (rest[0].isupper() or not rest[0].isascii())
        ):
            return _Heading(text, 2 if not larger else 1)
        return None

    def _is_footnote(self, block: Block) -> bool:
        small = bool(self._body) and block.size < _SMALLER * self._body
        box = block.places[0].box if block.places else None
        return small and bool(_FOOTNOTE.match(block.text)) and (box is None or box[3] > 0.5)

    def _is_float(self, block: Block) -> bool:
        """Whether a block looks like the inside of a figure or table: small, or hardly words, and no sentence."""
        if block.hint or not self._body or _has_sentence(block.text):
            return False
        solid_letters = sum(character.isalpha() for character in block.text)
        solid = sum(not character.isspace() for character in block.text)
        return block.tabular or block.size < _SMALLER * self._body or solid_letters < 0.5 * solid


def _without_table_heads(pieces: Sequence[Piece]) -> list[Piece]:
    """Turn headings without a number right above the inside of a table into a part of it."""
    checked = list(pieces)
    for place in range(len(checked) - 1, 0, -1):
        head, below = checked[place - 1], checked[place]
        if head.kind == "heading" and below.kind == "float" and not _NUMBER.match(head.text):
            checked[place - 1] = head.model_copy(update={"kind": "float", "level": 0})
    return checked


def _plain_title(blocks: Sequence[Block], first: Sequence[int]) -> set[int]:
    """Return the title of text without sizes: a short first line that does not end like a sentence."""
    if first and first[0] == 0 and len(blocks) > 1 and len(blocks[0].text) <= _LONGEST_HEADING:
        text = blocks[0].text
        if not _END.search(text) and not _NUMBER.match(text) and not text.endswith((",", ":")) and _words(text):
            return {0}
    return set()


def _joined(pieces: Sequence[Piece], words: Words) -> list[Piece]:
    """Join the lines of a title, and paragraphs, abstracts and references that a column or a page cuts in two."""
    joined: list[Piece] = []
    last: dict[str, int] = {}
    for piece in pieces:
        if piece.kind == "heading":
            last.clear()
        if piece.kind == "title" and joined and joined[-1].kind == "title":
            text, places = words.join(joined[-1].text, piece.text), joined[-1].places + piece.places
            joined[-1] = piece.model_copy(update={"text": text, "places": places})
            continue
        before = last.get(piece.kind)
        if before is not None and _goes_on(joined[before], piece):
            old = joined[before]
            text, places = words.join(old.text, piece.text), old.places + piece.places
            joined[before] = old.model_copy(update={"text": text, "places": places})
            continue
        if piece.kind in ("paragraph", "abstract", "reference"):
            last[piece.kind] = len(joined)
        joined.append(piece)
    return joined


def _goes_on(above: Piece, piece: Piece) -> bool:
    """Whether a piece in another column or on another page goes on with an unfinished sentence."""
    if not above.places or not piece.places or _END.search(above.text[-40:]) or above.text.endswith(":"):
        return False
    one, other = above.places[-1], piece.places[0]
    if one.box is None or other.box is None:
        return False
    moved = other.page > one.page or other.box[1] < one.box[1] or other.box[0] >= one.box[2]
    return moved and (piece.text[0].islower() or not piece.text[0].isascii() or above.text[-1] in "-,")


def _piece(kind: Kind, block: Block, level: int = 0) -> Piece:
    places: tuple[Place, ...] = block.places
    return Piece(kind=kind, text=block.text, places=places, level=level)


def _level(number: re.Match[str] | None) -> int:
    if number is None:
        return 1
    if number["arabic"]:
        return 1 + number["arabic"].count(".")
    return 2 if number["letter"] or number["hangul"] or number["chapter"] == "절" else 1


def _words(text: str) -> bool:
    return sum(character.isalpha() for character in text) >= 2


def _has_sentence(text: str) -> bool:
    """Whether something as long as a sentence ends like one."""
    *sentences, _ = _STOP.split(text)
    return any(len(sentence) >= _LEAST_SENTENCE and _words(sentence) for sentence in sentences)


def _first_words(text: str) -> bool:
    """Whether "Abstract" or the like is a label of what follows: "Summary of results" is none."""
    named = _ABSTRACT.match(text)
    return named is not None and bool(re.search(r"[.:—–-]\s*$", named.group()))
