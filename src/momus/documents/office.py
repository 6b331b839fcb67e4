"""DOCX and HWPX files: XML packed in a ZIP, unpacked within limits and parsed with entities refused."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from momus.documents.blocks import Block, Blocks, Hint
from momus.documents.document import Place
from momus.documents.limits import MB, Limits
from momus.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_HEADING = re.compile(r"(?:heading|제목|개요|outline|überschrift)\s*(\d)", re.IGNORECASE)
_TITLE = re.compile(r"(?:title|제목)", re.IGNORECASE)
_CAPTION = re.compile(r"(?:caption|캡션)", re.IGNORECASE)
_SECTION = re.compile(r"Contents/section(\d+)\.xml")
_LEFT_OUT = frozenset((f"{_W}del", f"{_W}moveFrom"))
"""What tracked changes take away from where it stands."""


class Archive:
    """The files packed in a ZIP, read one by one within limits.

    Raises:
        UserError: It is broken, encrypted, or packs too much.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._left = path, limits.unpacked_bytes
        self._most = limits.unpacked_bytes
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError) as error:
            raise UserError(f"{path}: a broken file: it cannot be unpacked") from error
        infos = self._zip.infolist()
        if len(infos) > limits.members:
            raise UserError(f"{path}: {len(infos):,} files packed in it: the limit is {limits.members:,}")
        if sum(info.file_size for info in infos) > self._most:
            raise self._too_much()
        if any(info.flag_bits & 1 for info in infos):
            raise UserError(f"{path}: needs a password: save a copy without one")
        self.names = {info.filename for info in infos}

    def xml(self, name: str) -> Element | None:
        """Return a packed XML file's root, or None where there is none of that name."""
        if name not in self.names:
            return None
        try:
            with self._zip.open(name) as file:
                data = file.read(self._left + 1)  # what comes out may be more than what the file declares
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise UserError(f"{self._path}: a broken file: {name} in it cannot be unpacked") from error
        self._left -= len(data)
        if self._left < 0:
            raise self._too_much()
        try:
            root: Element = fromstring(data, forbid_dtd=True)
        except DefusedXmlException as error:
            raise UserError(
                f"{self._path}: {name} in it defines entities, as no real document does: refused"
            ) from error
        except (ParseError, ValueError, LookupError) as error:
            raise UserError(f"{self._path}: a broken file: {name} in it is not XML") from error
        return root

    def _too_much(self) -> UserError:
        return UserError(f"{self._path}: unpacks to more than {self._most // MB} MB: refused")


def read_docx(path: Path, limits: Limits) -> Blocks:
    """Read a DOCX file: paragraphs with their styles, tables row by row, pages where Word noted them.

    Text that is marked as deleted is left out; text boxes, comments, headers and footnotes are not read.
    """
    archive = Archive(path, limits)
    root = archive.xml("word/document.xml")
    if root is None:
        raise UserError(f"{path}: no Word document in it")
    styles = _docx_styles(archive.xml("word/styles.xml"))
    body = root.find(f"{_W}body")
    reader = _Docx(styles)
    blocks = tuple(reader.blocks(body)) if body is not None else ()
    return Blocks("docx", blocks, reader.page if reader.page > 1 else 0, notes=_tracked(root))


def read_hwpx(path: Path, limits: Limits) -> Blocks:
    """Read an HWPX file (Hancom's open format): paragraphs with styles and letter sizes, tables row by row."""
    archive = Archive(path, limits)
    manifest = archive.xml("META-INF/manifest.xml")
    if manifest is not None and any(_local(own) == "encryption-data" for own in manifest.iter()):
        raise UserError(f"{path}: needs a password: save a copy without one")
    sections = sorted((int(found.group(1)), name) for name in archive.names if (found := _SECTION.fullmatch(name)))
    if not sections:
        raise UserError(f"{path}: no Hangul document in it")
    looks = _hwpx_looks(archive.xml("Contents/header.xml"))
    blocks: list[Block] = []
    for _, name in sections:
        root = archive.xml(name)
        if root is not None:
            blocks += _hwpx_blocks(root, looks)
    return Blocks("hwpx", tuple(blocks))


@dataclass(frozen=True)
class _Style:
    hint: Hint
    level: int = 0


class _Docx:
    """Reads the paragraphs of a Word document, counting the pages that Word noted."""

    def __init__(self, styles: Mapping[str, _Style]) -> None:
        self._styles, self.page = styles, 1
        self._by_hand = False  # whether a page was begun by the author and has no text yet

    def blocks(self, parent: Element) -> Iterator[Block]:
        """Yield the blocks of the body, in order."""
        for child in parent:
            if child.tag == f"{_W}p":
                block = self._paragraph(child)
                if block.text:
                    yield block
            elif child.tag == f"{_W}tbl":
                for row in _outermost(child, f"{_W}tr"):
                    cells = [
                        " ".join(self._paragraph(p).text for p in _outermost(cell, f"{_W}p"))
                        for cell in _outermost(row, f"{_W}tc")
                    ]
                    text = " | ".join(" ".join(cell.split()) for cell in cells)
                    if text.strip(" |"):
                        yield Block(text, self._places(), hint="paragraph")
            elif child.tag in (f"{_W}sdt", f"{_W}sdtContent"):
                yield from self.blocks(child)

    def _paragraph(self, paragraph: Element) -> Block:
        style = _Style("")
        properties = paragraph.find(f"{_W}pPr")
        if properties is not None:
            named = properties.find(f"{_W}pStyle")
            style = self._styles.get(named.get(f"{_W}val", ""), style) if named is not None else style
            outline = properties.find(f"{_W}outlineLvl")
            if outline is not None and (level := outline.get(f"{_W}val", "")).isdigit() and int(level) < 9:
                style = _Style("heading", int(level) + 1)
        pages, text, sizes, bold = [], [], [], []
        for run in _outermost(paragraph, f"{_W}r"):
            piece = self._run(run)
            text.append(piece)
            if piece.strip():
                pages.append(Place(self.page))
                sizes.append(_half_points(run.find(f"{_W}rPr/{_W}sz")))
                bold.append(_is_on(run.find(f"{_W}rPr/{_W}b")))
        words = " ".join("".join(text).split())
        size = max(sizes) if sizes and all(sizes) else 0.0
        return Block(words, tuple(dict.fromkeys(pages)), size, bool(bold) and all(bold), style.hint, style.level)

    def _run(self, run: Element) -> str:
        parts = []
        for own in run:
            if own.tag == f"{_W}t":
                parts.append(own.text or "")
                self._by_hand &= not parts[-1].strip()
            elif own.tag in (f"{_W}tab", f"{_W}cr", f"{_W}noBreakHyphen", f"{_W}br"):
                if own.get(f"{_W}type") == "page":
                    self.page, self._by_hand = self.page + 1, True
                parts.append("-" if own.tag == f"{_W}noBreakHyphen" else " ")
            elif own.tag == f"{_W}lastRenderedPageBreak":
                self.page += not self._by_hand  # Word notes where every page began, those of the author's too
                self._by_hand = False
        return "".join(parts)

    def _places(self) -> tuple[Place, ...]:
        return (Place(self.page),)


def _outermost(parent: Element, tag: str) -> Iterator[Element]:
    """Yield what has a tag and is in nothing else that has it, so that nothing is read twice; no text boxes in runs."""
    for child in parent:
        if child.tag == tag:
            yield child
        elif child.tag not in _LEFT_OUT:
            yield from _outermost(child, tag)


def _docx_styles(root: Element | None) -> dict[str, _Style]:
    found: dict[str, _Style] = {}
    for style in root.iter(f"{_W}style") if root is not None else ():
        named = style.find(f"{_W}name")
        name = named.get(f"{_W}val", "") if named is not None else ""
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        told = _told(name)
        if (
            not told.hint
            and outline is not None
            and (level := outline.get(f"{_W}val", "")).isdigit()
            and int(level) < 9
        ):
            told = _Style("heading", int(level) + 1)
        found[style.get(f"{_W}styleId", "")] = told
    return found


def _told(name: str) -> _Style:
    """Return what a style's name says that its paragraphs are."""
    heading = _HEADING.match(name)
    if heading:
        return _Style("heading", max(1, int(heading.group(1))))
    if _TITLE.fullmatch(name.strip()):
        return _Style("title")
    if _CAPTION.match(name):
        return _Style("caption")
    return _Style("abstract" if name.casefold() in ("abstract", "초록") else "")


def _tracked(root: Element) -> tuple[str, ...]:
    changed = any(next(root.iter(tag), None) is not None for tag in _LEFT_OUT)
    return ("it has tracked changes: what they take away was left out",) if changed else ()


@dataclass(frozen=True)
class _Looks:
    styles: Mapping[str, _Style]
    letters: Mapping[str, tuple[float, bool]]


def _hwpx_looks(root: Element | None) -> _Looks:
    styles, letters = {}, {}
    for own in root.iter() if root is not None else ():
        if _local(own) == "style":
            told = _told(own.get("name", ""))
            styles[own.get("id", "")] = told if told.hint else _told(own.get("engName", ""))
        elif _local(own) == "charPr":
            height = own.get("height", "0")
            bold = any(_local(child) == "bold" for child in own)
            letters[own.get("id", "")] = (int(height) / 100 if height.isdigit() else 0.0, bold)
    return _Looks(styles, letters)


def _hwpx_blocks(parent: Element, looks: _Looks) -> Iterator[Block]:
    for paragraph in parent:
        if _local(paragraph) != "p":
            continue
        text, sizes, bold, tables = [], [], [], []
        for run in paragraph:
            if _local(run) != "run":
                continue
            words = "".join(_hwpx_text(own) for own in run if _local(own) == "t")
            tables += [own for own in run if _local(own) == "tbl"]
            if words.strip():
                text.append(words)
                size, heavy = looks.letters.get(run.get("charPrIDRef", ""), (0.0, False))
                sizes.append(size)
                bold.append(heavy)
        style = looks.styles.get(paragraph.get("styleIDRef", ""), _Style(""))
        if joined := " ".join("".join(text).split()):
            yield Block(joined, (), max(sizes), all(bold), style.hint, style.level)
        for table in tables:
            yield from _hwpx_rows(table)


def _hwpx_text(own: Element) -> str:
    """Return the text of an element of text: characters, with tabs and line breaks between them as spaces."""
    parts = [own.text or ""]
    for child in own:
        if _local(child) in ("tab", "lineBreak", "nbSpace", "fwSpace"):
            parts.append(" ")
        parts.append(child.tail or "")
    return "".join(parts)


def _hwpx_rows(table: Element) -> Iterator[Block]:
    for row in (own for own in table if _local(own) == "tr"):
        cells = [
            " ".join(" ".join(_hwpx_text(own).split()) for own in cell.iter() if _local(own) == "t")
            for cell in row
            if _local(cell) == "tc"
        ]
        if any(cell.strip() for cell in cells):
            yield Block(" | ".join(cells), hint="paragraph")


def _local(own: Element) -> str:
    return str(own.tag).rpartition("}")[2]


def _half_points(own: Element | None) -> float:
    value = own.get(f"{_W}val", "") if own is not None else ""
    return int(value) / 2 if value.isdigit() else 0.0


def _is_on(own: Element | None) -> bool:
    return own is not None and own.get(f"{_W}val", "1") not in ("0", "false", "off")
