"""What may be written to a terminal: nothing that a file or a model says may move its cursor or forge a line."""

from __future__ import annotations


def visible(text: str) -> str:
    """Spell out control, format and other invisible characters; newlines and tabs stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else _spell(c) for c in text)


def visible_line(text: str) -> str:
    """Spell out newlines and tabs too: for a name or a message within a line."""
    return "".join(c if c.isprintable() else _spell(c) for c in text)


def _spell(character: str) -> str:
    r"""Return a character as Python writes it; a byte of a file name that is no text as that byte, such as `\xe9`."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(character)[1:-1]
