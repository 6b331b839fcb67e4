"""Pointers: small networks that choose the line of an answer that a critique should quote."""

from pathlib import Path

LINE_POINTER_FILE = "line_pointer.safetensors"
"""The file of a pointer over any base, in a folder of its own or beside the model."""
SHIPPED_POINTERS = Path(__file__).with_name("shipped")
"""Pointers for models of others, each with a card."""
