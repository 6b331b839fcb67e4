"""What may be written to a terminal."""

from __future__ import annotations


def visible(text: str) -> str:
    """Spell out control characters: neither a file nor a model may write escape sequences to a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
