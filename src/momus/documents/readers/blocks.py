"""What readers hand to `structure.py`: blocks of text as they are set, before anything is known of what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from momus.documents.document import Place

Hint = Literal["", "title", "abstract", "heading", "paragraph", "caption", "footnote", "head"]


@dataclass(frozen=True)
class Block:
    """A paragraph or a line that stands by itself.

    `size` is that of its letters in points (0: not known), `bold` whether all of it is; `hint` and `level` are what the
    file itself says that it is; `tabular` is whether most of its lines have wide gaps in them.
    """

    text: str
    places: tuple[Place, ...] = ()
    size: float = 0.0
    bold: bool = False
    hint: Hint = ""
    level: int = 0
    tabular: bool = False


@dataclass(frozen=True)
class Blocks:
    """A whole file: its format, blocks in reading order, pages (0: it has none), title by its metadata, and notes."""

    format: str
    blocks: tuple[Block, ...]
    pages: int = 0
    title: str = ""
    notes: tuple[str, ...] = ()
