"""HWPX files, Hancom's open format: paragraphs with styles and letter sizes, tables, boxes, equations and notes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from momus.documents.limits import Limits
from momus.documents.readers.archive import Archive, local_name
from momus.documents.readers.blocks import Block, Blocks
from momus.documents.readers.styles import Style, style_named, whole_number
from momus.errors import UserError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SECTION = re.compile(r"Contents/section([0-9]{1,9})\.xml")
_SPACES = ("tab", "lineBreak", "nbSpace", "fwSpace")
_EDGES = ("header", "footer")
_NOTES = ("footNote", "endNote")


def read_hwpx(path: Path, limits: Limits) -> Blocks:
    """Read an HWPX file; headers, footers and memos are left out, which a note says."""
    archive = Archive(path, limits)
    manifest = archive.xml("META-INF/manifest.xml")
    if manifest is not None and any(local_name(element) == "encryption-data" for element in manifest.iter()):
        raise UserError(f"{path}: needs a password: save a copy without one")
    sections = sorted((int(found.group(1)), name) for name in archive.names if (found := _SECTION.fullmatch(name)))
    if not sections:
        raise UserError(f"{path}: no Hangul document in it")
    reader = _Reader(archive.xml("Contents/header.xml"))
    for _, name in sections:
        root = archive.xml(name)
        if root is not None:
            reader.blocks += reader.read(root)
    notes = [f"its {what} were left out" for what in sorted(reader.left_out)]
    return Blocks("hwpx", (*reader.blocks, *reader.footnotes), notes=tuple(notes))


class _Reader:
    """Reads the paragraphs of a Hangul document; `footnotes` come after the text, their marks in it as [1]."""

    def __init__(self, header: Element | None) -> None:
        self.blocks: list[Block] = []
        self.footnotes: list[Block] = []
        self.left_out: set[str] = set()
        self._styles, self._letters = _looks(header)

    def read(self, parent: Element) -> Iterator[Block]:
        """Yield the blocks of a section, of a cell or of a box, in order."""
        for paragraph in parent:
            if local_name(paragraph) != "p":
                continue
            text: list[str] = []
            sizes: list[float] = []
            bold: list[bool] = []
            others: list[Element] = []
            for run in (child for child in paragraph if local_name(child) == "run"):
                words = "".join(self._words(child, others) for child in run)
                if words.strip():
                    size, heavy = self._letters.get(run.get("charPrIDRef", ""), (0.0, False))
                    sizes.append(size)
                    bold.append(heavy)
                text.append(words)
            style = self._styles.get(paragraph.get("styleIDRef", ""), Style(""))
            if joined := " ".join("".join(text).split()):
                yield Block(joined, (), max(sizes), all(bold), style.hint, style.level)
            for other in others:
                yield from self._rows(other) if local_name(other) == "tbl" else self._inside(other)

    def _words(self, element: Element, others: list[Element]) -> str:
        """Return what an element of a run says in its line; what stands by itself is added to `others`."""
        name = local_name(element)
        if name == "t":
            return _text(element)
        if name == "equation":
            script = next((child.text or "" for child in element if local_name(child) == "script"), "")
            return f" {script} " if script.strip() else ""
        if name == "ctrl":
            return "".join(self._words(child, others) for child in element)
        if name in _NOTES:
            note = " ".join(block.text for block in self._inside(element))
            self.footnotes.append(Block(f"[{len(self.footnotes) + 1}] {note}", hint="footnote"))
            return f" [{len(self.footnotes)}]"
        if name in _EDGES or name == "hiddenComment":
            if any(local_name(child) == "t" and _text(child).strip() for child in element.iter()):
                self.left_out.add("headers and footers" if name in _EDGES else "memos")
            return ""
        others.append(element)
        return ""

    def _inside(self, element: Element) -> Iterator[Block]:
        """Yield the blocks of all lists of paragraphs in a drawing, a note or another object."""
        for child in element:
            if local_name(child) == "subList":
                yield from self.read(child)
            elif local_name(child) == "tbl":
                yield from self._rows(child)
            else:
                yield from self._inside(child)

    def _rows(self, table: Element) -> Iterator[Block]:
        for row in (child for child in table if local_name(child) == "tr"):
            cells = [" ".join(block.text for block in self._inside(cell)) for cell in row if local_name(cell) == "tc"]
            if any(cell.strip() for cell in cells):
                yield Block(" | ".join(cells), hint="paragraph")
        for child in table:
            if local_name(child) == "caption":
                yield from self._inside(child)


def _looks(header: Element | None) -> tuple[Mapping[str, Style], Mapping[str, tuple[float, bool]]]:
    """Return the styles of paragraphs by their ids, and of letters the size in points and whether they are bold."""
    styles: dict[str, Style] = {}
    letters: dict[str, tuple[float, bool]] = {}
    for element in header.iter() if header is not None else ():
        if local_name(element) == "style":
            named = style_named(element.get("name", ""))
            styles[element.get("id", "")] = named if named.hint else style_named(element.get("engName", ""))
        elif local_name(element) == "charPr":
            height = element.get("height", "0")
            bold = any(local_name(child) == "bold" for child in element)
            letters[element.get("id", "")] = (whole_number(height) / 100, bold)
    return styles, letters


def _text(element: Element) -> str:
    """Return the text of an element of text: characters, with tabs and line breaks between them as spaces."""
    parts = [element.text or ""]
    for child in element:
        if local_name(child) in _SPACES:
            parts.append(" ")
        elif child.text:
            parts.append(child.text)
        parts.append(child.tail or "")
    return "".join(parts)
