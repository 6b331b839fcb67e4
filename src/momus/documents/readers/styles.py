"""What the names of paragraph styles say: headings, titles and captions, in English, Korean and German."""

from __future__ import annotations

import re
from dataclasses import dataclass

from momus.documents.readers.blocks import Hint

_HEADING = re.compile(r"(?:heading|제목|개요|outline|überschrift)\s*(\d)", re.IGNORECASE)
_TITLE = re.compile(r"(?:title|제목)", re.IGNORECASE)
_CAPTION = re.compile(r"(?:caption|캡션)", re.IGNORECASE)


@dataclass(frozen=True)
class Style:
    """What paragraphs of a style are; `level` is a heading's."""

    hint: Hint
    level: int = 0


def whole_number(text: str) -> int:
    """Return the number that a text of at most nine digits is; 0 where it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0


def style_named(name: str) -> Style:
    """Return what a style's name says that its paragraphs are."""
    heading = _HEADING.match(name)
    if heading:
        return Style("heading", max(1, int(heading.group(1))))
    if _TITLE.fullmatch(name.strip()):
        return Style("title")
    if _CAPTION.match(name):
        return Style("caption")
    return Style("abstract" if name.casefold() in ("abstract", "초록") else "")
