"""How much a document may take: of the disk, of memory, of time."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What reading one document may take; whatever needs more is refused in one line."""

    file_bytes: int = 100 * MB
    """Of the file."""
    unpacked_bytes: int = 200 * MB
    """Of everything packed in a DOCX or HWPX file, by what it declares and by what comes out."""
    members: int = 10_000
    """Files packed in it."""
    pages: int = 1_000
    """Of a PDF."""
    characters: int = 5_000_000
    """Of text."""
    memory_bytes: int = 2_000 * MB
    """Of address space, for the process that reads it."""
    seconds: int = 120
    """Of processor time, for that process; four times as much by the clock."""
