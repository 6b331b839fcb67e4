"""The ecosystem's data formats, and how to tell which one a file is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from momus.data.formats.anthropic import ANTHROPIC
from momus.data.formats.arena import ARENA
from momus.data.formats.argilla import ARGILLA
from momus.data.formats.base import BadRecordError, Format
from momus.data.formats.chat import CHAT
from momus.data.formats.instructions import INSTRUCTIONS
from momus.data.formats.kwise import KWISE
from momus.data.formats.momus import MOMUS
from momus.data.formats.oasst import OASST
from momus.data.formats.openai import OPENAI
from momus.data.formats.trl import TRL
from momus.data.formats.ultrafeedback import ULTRAFEEDBACK
from momus.errors import UserError

__all__ = ["FORMATS", "BadRecordError", "Format", "detect", "format_named"]

FORMATS = (*MOMUS, *KWISE, *OASST, *OPENAI, *ULTRAFEEDBACK, *ARENA, *ANTHROPIC, *ARGILLA, *INSTRUCTIONS, *CHAT, *TRL)
"""All formats, those with more particular fields before those that would also take their rows."""


def format_named(name: str) -> Format:
    """Return the format of that name.

    Raises:
        UserError: There is none.
    """
    for known in FORMATS:
        if known.name == name:
            return known
    raise UserError(f"no format {name!r}: there are {', '.join(known.name for known in FORMATS)}")


def detect(rows: Sequence[Any], name: str) -> Format:
    """Return the first of `FORMATS` that at least half of `rows` are in, else the one that most of them are in.

    Raises:
        UserError: No row is in a known format; the message names the fields found in `name`.
    """
    counts = [sum(isinstance(row, known.row_type) and known.detect(row) for row in rows) for known in FORMATS]
    for known, count in zip(FORMATS, counts, strict=True):
        if count and 2 * count >= len(rows):
            return known
    if max(counts):
        return FORMATS[counts.index(max(counts))]
    fields = list(dict.fromkeys(str(key)[:60] for row in rows if isinstance(row, dict) for key in row))
    if not fields:
        raise UserError(f"{name}: its rows are neither objects with named fields nor strings")
    names = ", ".join(fields[:12]) + ", …" * (len(fields) > 12)
    raise UserError(
        f"{name}: no known format has the fields {names}: rename them, or say --format (docs/guides/data.md)"
    )
