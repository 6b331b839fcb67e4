"""A document with the quotes of feedback marked in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from momus.documents.document import READ, Document


@dataclass(frozen=True)
class Passage:
    """A piece of a document cut where quotes begin and end: stretches of text, each with the quotes that it is in.

    Quotes are numbered from 1; `first` are those that begin with a stretch.
    """

    kind: str
    stretches: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


def mark_quotes(document: Document, quotes: Sequence[str]) -> tuple[Passage, ...]:
    """Mark each quote where it first stands; one that runs over several pieces of the document in each of them."""
    passages = []
    marks = [(document.text.find(quote), quote) for quote in dict.fromkeys(quotes)]
    start = 0  # of the piece in the document's text
    for piece in document.pieces:
        if piece.kind not in READ:
            continue
        end = start + len(piece.text)
        spans = [
            (max(at, start) - start, min(at + len(quote), end) - start, number, at >= start)
            for number, (at, quote) in enumerate(marks, 1)
            if at >= 0 and at < end and at + len(quote) > start
        ]
        cuts = sorted({0, len(piece.text), *(cut for span in spans for cut in span[:2])})
        stretches = tuple(
            (
                piece.text[left:right],
                tuple(number for low, high, number, _ in spans if low <= left < high),
                tuple(number for low, _, number, begins in spans if low == left and begins),
            )
            for left, right in pairwise(cuts)
        )
        passages.append(Passage(piece.kind, stretches))
        start = end + len("\n\n")
    return tuple(passages)
