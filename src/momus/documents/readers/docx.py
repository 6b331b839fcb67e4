"""Word documents (DOCX, also Strict Open XML): paragraphs, tables, text boxes, equations, notes.

Text that tracked changes take away is left out, and so are comments, headers and footers: notes say how many there are.
Footnotes and endnotes come after the text, their marks in it as [1].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from momus.documents.document import Place
from momus.documents.limits import Limits
from momus.documents.readers.archive import Archive, local_name
from momus.documents.readers.blocks import Block, Blocks
from momus.documents.readers.math import linear
from momus.documents.readers.styles import Style, style_named, whole_number
from momus.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_COMPATIBLE = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_STRICT = {
    "{http://purl.oclc.org/ooxml/wordprocessingml/main}": _W,
    "{http://purl.oclc.org/ooxml/officeDocument/math}": _M,
}
"""Namespaces of Strict Open XML, whose elements have the same names."""

_TAKEN_AWAY = frozenset((f"{_W}del", f"{_W}moveFrom"))
"""What tracked changes take away from where it stands."""

_SPACES = frozenset((f"{_W}tab", f"{_W}cr", f"{_W}br", f"{_W}ptab"))
_NOTES = {f"{_W}footnoteReference": "footnotes", f"{_W}endnoteReference": "endnotes"}
_UNSEEN = frozenset((f"{_W}instrText", f"{_W}delText", f"{_W}rPr", f"{_W}pPr", f"{_W}rt"))
"""What has text that no reader sees there: instructions of fields, properties; `rt` is the gloss over a word."""


def read_docx(path: Path, limits: Limits) -> Blocks:
    """Read a DOCX file, its pages where Word noted them."""
    archive = Archive(path, limits)
    root = _part(archive, "word/document.xml")
    if root is None:
        raise UserError(f"{path}: no Word document in it")
    reader = _Reader(_styles(_part(archive, "word/styles.xml")))
    body = root.find(f"{_W}body")
    blocks = list(reader.blocks(body)) if body is not None else []
    for part in ("footnotes", "endnotes"):
        blocks += reader.notes_of(_part(archive, f"word/{part}.xml"), part)
    notes = (*_left_out(archive), *_tracked(root), *_unread(root))
    return Blocks("docx", tuple(blocks), reader.page if reader.page > 1 else 0, notes=notes)


class _Reader:
    """Reads the paragraphs of a Word document, counting the pages that Word noted and the notes it refers to."""

    def __init__(self, styles: Mapping[str, Style]) -> None:
        self._styles, self.page = styles, 1
        self._by_hand = False  # whether a page was begun by the author and has no text yet
        self._numbers: dict[tuple[str, str], int] = {}  # of footnotes and endnotes, by their part and id
        self._boxes: list[Element] = []  # text boxes of the paragraph at hand

    def blocks(self, parent: Element) -> Iterator[Block]:
        """Yield the blocks of the body, of a text box or of a note, in order."""
        for child in _seen(parent):
            if child.tag == f"{_W}p":
                block = self._paragraph(child)
                boxes, self._boxes = self._boxes, []
                if block.text:
                    yield block
                for box in boxes:
                    yield from self.blocks(box)
            elif child.tag == f"{_W}tbl":
                yield from self._rows(child)
            elif child.tag not in _UNSEEN:
                yield from self.blocks(child)

    def notes_of(self, root: Element | None, part: str) -> Iterator[Block]:
        """Yield the footnotes or endnotes that the text refers to, in its order."""
        by_id = {note.get(f"{_W}id", ""): note for note in root} if root is not None else {}
        for (where, identity), number in self._numbers.items():
            if where == part and identity in by_id:
                text = " ".join(block.text for block in self.blocks(by_id[identity]))
                if text:
                    yield Block(f"[{number}] {text}", hint="footnote")

    def _rows(self, table: Element) -> Iterator[Block]:
        for row in _outermost(table, f"{_W}tr"):
            cells = [" ".join(block.text for block in self.blocks(cell)) for cell in _outermost(row, f"{_W}tc")]
            text = " | ".join(" ".join(cell.split()) for cell in cells)
            if text.strip(" |"):
                yield Block(text, (Place(self.page),), hint="paragraph")

    def _paragraph(self, paragraph: Element) -> Block:
        style = self._style(paragraph.find(f"{_W}pPr"))
        pages: list[Place] = []
        sizes: list[float] = []
        bold: list[bool] = []
        text: list[str] = []
        for run in self._runs(paragraph):
            piece = linear(run) if run.tag == f"{_M}oMath" else self._run(run)
            text.append(piece)
            if piece.strip():
                pages.append(Place(self.page))
                sizes.append(_half_points(run.find(f"{_W}rPr/{_W}sz")))
                bold.append(_is_on(run.find(f"{_W}rPr/{_W}b")))
        words = " ".join("".join(text).split())
        size = max(sizes) if sizes and all(sizes) else 0.0
        return Block(words, tuple(dict.fromkeys(pages)), size, bool(bold) and all(bold), style.hint, style.level)

    def _style(self, properties: Element | None) -> Style:
        style = Style("")
        if properties is not None:
            named = properties.find(f"{_W}pStyle")
            style = self._styles.get(named.get(f"{_W}val", ""), style) if named is not None else style
            style = _outlined(properties) or style
        return style

    def _runs(self, parent: Element) -> Iterator[Element]:
        """Yield a paragraph's runs and equations, whatever they are wrapped in, and remember its text boxes."""
        for child in _seen(parent):
            if child.tag in (f"{_W}r", f"{_M}oMath"):
                yield child
            elif child.tag not in _UNSEEN:
                yield from self._runs(child)

    def _run(self, run: Element) -> str:
        parts = []
        for child in _seen(run):
            if child.tag == f"{_W}t":
                parts.append(child.text or "")
                self._by_hand &= not parts[-1].strip()
            elif child.tag in _SPACES:
                if child.get(f"{_W}type") == "page":
                    self.page, self._by_hand = self.page + 1, True
                parts.append(" ")
            elif child.tag == f"{_W}noBreakHyphen":
                parts.append("-")
            elif child.tag == f"{_W}sym":
                parts.append(_symbol(child))
            elif child.tag == f"{_W}lastRenderedPageBreak":
                self.page += not self._by_hand  # Word notes where every page began, those of the author's too
                self._by_hand = False
            elif child.tag in _NOTES:
                key = (_NOTES[child.tag], child.get(f"{_W}id", ""))
                parts.append(f" [{self._numbers.setdefault(key, len(self._numbers) + 1)}]")
            elif child.tag == f"{_W}txbxContent":
                self._boxes.append(child)
            elif child.tag == f"{_M}oMath":
                parts.append(linear(child))
            elif child.tag not in _UNSEEN:
                parts.append(self._run(child))
        return "".join(parts)


def _part(archive: Archive, name: str) -> Element | None:
    """Return a part's root, Strict Open XML under the names that other files have."""
    root = archive.xml(name)
    for element in root.iter() if root is not None else ():
        namespace, _, tag = element.tag.rpartition("}")
        if (known := _STRICT.get(namespace + "}")) is not None:
            element.tag = known + tag
            element.attrib = {
                (known + key.rpartition("}")[2] if key.startswith(namespace + "}") else key): value
                for key, value in element.attrib.items()
            }
    return root


def _seen(parent: Element) -> Iterator[Element]:
    """Yield an element's children but for what is taken away, and of alternatives the first."""
    for child in parent:
        if child.tag == f"{_COMPATIBLE}AlternateContent":
            yield from next(iter(child), ())
        elif child.tag not in _TAKEN_AWAY:
            yield child


def _outermost(parent: Element, tag: str) -> Iterator[Element]:
    """Yield what has a tag and is in nothing else that has it, so that nothing is read twice."""
    for child in _seen(parent):
        if child.tag == tag:
            yield child
        else:
            yield from _outermost(child, tag)


def _styles(root: Element | None) -> dict[str, Style]:
    styles: dict[str, Style] = {}
    for style in root.iter(f"{_W}style") if root is not None else ():
        named = style.find(f"{_W}name")
        known = style_named(named.get(f"{_W}val", "") if named is not None else "")
        properties = style.find(f"{_W}pPr")
        outlined = _outlined(properties) if properties is not None else None
        styles[style.get(f"{_W}styleId", "")] = known if known.hint or outlined is None else outlined
    return styles


def _outlined(properties: Element) -> Style | None:
    """Return the heading that an outline level makes of a paragraph."""
    outline = properties.find(f"{_W}outlineLvl")
    level = outline.get(f"{_W}val", "") if outline is not None else ""
    return Style("heading", int(level) + 1) if level in _OUTLINE_LEVELS else None


_OUTLINE_LEVELS = tuple("012345678")


def _symbol(element: Element) -> str:
    """Return a character of a symbol font, which Word keeps in the private use area."""
    try:
        return chr(int(element.get(f"{_W}char", ""), 16))
    except (ValueError, OverflowError):
        return ""


def _left_out(archive: Archive) -> Iterator[str]:
    """Say what has text and is not read."""
    comments = _part(archive, "word/comments.xml")
    count = sum(local_name(child) == "comment" for child in comments) if comments is not None else 0
    if count:
        yield f"it has {count} comment{'s' * (count > 1)}, left out"
    edges = [
        name for name in archive.names if name.startswith(("word/header", "word/footer")) and name.endswith(".xml")
    ]
    roots = [_part(archive, name) for name in sorted(edges)]
    if any((text.text or "").strip() for root in roots if root is not None for text in root.iter(f"{_W}t")):
        yield "its headers and footers were left out"
    embedded = [name for name in archive.names if name.startswith(("word/embeddings/", "word/afchunk", "word/charts/"))]
    if embedded:
        yield f"what is embedded in it ({len(embedded)} files) was left out"


def _tracked(root: Element) -> Iterator[str]:
    if any(next(root.iter(tag), None) is not None for tag in _TAKEN_AWAY):
        yield "it has tracked changes: what they take away was left out"


_NOT_READ = {
    "rt": ("", "glosses over words were left out"),
    "altChunk": ("", "a document in another format that is embedded in it was left out"),
    "subDoc": ("", "a part of it that is in another file was left out"),
    "textpath": ("string", "decorative text (WordArt) was left out"),
    "docPr": ("descr", "descriptions of pictures were left out"),
    "listEntry": ("val", "choices of a form were left out"),
}
"""Elements with text, or with text in an attribute, that are not read, and what is said of them."""


def _unread(root: Element) -> Iterator[str]:
    notes = set[str]()
    for element in root.iter():
        attribute, words = _NOT_READ.get(local_name(element), ("", ""))
        texts = (value for key, value in element.attrib.items() if key.rpartition("}")[2] == attribute)
        if words and (not attribute or any(map(str.strip, texts))):
            notes.add(words)
    yield from sorted(notes)


def _half_points(element: Element | None) -> float:
    value = element.get(f"{_W}val", "") if element is not None else ""
    return whole_number(value) / 2


def _is_on(element: Element | None) -> bool:
    return element is not None and element.get(f"{_W}val", "1") not in ("0", "false", "off")
