"""As much of a document as a number of tokens allows, spread over its parts instead of cut at its head.

The published pipeline gives the model the first tokens of a paper, so that a long one is judged without its end. Here
every section gets the same number of tokens, and what short ones leave goes to the long ones; inside a section the
same is done for paragraphs, each cut at the end of a sentence. Titles and headings always stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from momus.documents.document import Document, Piece
from momus.errors import UserError

CUT = "[…]"
"""Stands where something was left out."""

_SENTENCE = re.compile(r"(?<=[.!?。])[\"”’)\]]*\s+")
_ROUNDS = 20

Count = Callable[[str], int]


class Excerpt(NamedTuple):
    """The text that is read, and the share of the document's words that is in it."""

    text: str
    share: float


class _Part(NamedTuple):
    """A heading, and the paragraphs below it."""

    heading: str
    texts: tuple[str, ...]


def fill(sizes: Sequence[int], total: int) -> list[int]:
    """Share out a total: to each its size if all fit, else to all the same except where less is enough.

    Args:
        sizes: What each could use, not negative.
        total: What there is.

    Returns:
        A share for each, at most its size; together as much of the total as can be used. What does not divide evenly
        goes to the first.
    """
    shares = [0] * len(sizes)
    left = max(0, total)
    open_ones = sorted(range(len(sizes)), key=lambda index: sizes[index])
    for place, index in enumerate(open_ones):
        even = left // (len(open_ones) - place)
        if sizes[index] > even:
            over = left - even * (len(open_ones) - place)
            for number, other in enumerate(sorted(open_ones[place:])):
                shares[other] = min(sizes[other], even + (number < over))
            return shares
        shares[index] = sizes[index]
        left -= sizes[index]
    return shares


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, without the spaces between them."""
    return [sentence for sentence in _SENTENCE.split(text.strip()) if sentence]


def excerpt(document: Document, count: Count, budget: int) -> Excerpt:
    """Return as much of a document as a budget allows.

    Args:
        document: The document.
        count: Returns how many tokens a text has.
        budget: Tokens of the whole.

    Raises:
        UserError: Not even title and headings fit.
    """
    parts = _parts(document)
    whole = _written(parts)
    if count(whole) <= budget:
        return Excerpt(whole, 1.0)
    sizes = [[count(text) for text in part.texts] for part in parts]
    goal = budget - count(_written([_Part(part.heading, ()) for part in parts])) - len(parts)
    for _ in range(_ROUNDS):
        if goal <= 0:
            break
        shares = fill([sum(counts) for counts in sizes], goal)
        cut = [
            _Part(part.heading, _cut(part.texts, counts, fill(counts, share), count))
            for part, counts, share in zip(parts, sizes, shares, strict=True)
        ]
        text = _written(cut)
        over = count(text) - budget
        if over <= 0:
            return Excerpt(text, _words(cut) / max(1, _words(parts)))
        goal -= max(over, goal // 20)
    raise UserError(f"{document.name}: {budget} tokens are too few to read it with: give it a larger --budget")


def _parts(document: Document) -> list[_Part]:
    parts = [_Part(f"Title: {document.title}", ())] if document.title else []
    if document.abstract:
        parts.append(_Part("Abstract:", tuple(document.abstract.split("\n\n"))))
    parts += [
        _Part(
            f"{'#' * min(6, max(1, section.level))} {section.heading}" if section.heading else "",
            _texts(section.paragraphs),
        )
        for section in document.sections
    ]
    if document.captions:
        parts.append(_Part("Captions of figures and tables:", _texts(document.captions)))
    return parts


def _texts(pieces: Sequence[Piece]) -> tuple[str, ...]:
    return tuple(piece.text for piece in pieces)


def _cut(texts: Sequence[str], sizes: Sequence[int], shares: Sequence[int], count: Count) -> tuple[str, ...]:
    """Cut paragraphs to their shares; those of which nothing is left become one mark."""
    cut: list[str] = []
    for text, size, share in zip(texts, sizes, shares, strict=True):
        short = text if size <= share else _begun(text, share - count(CUT), count)
        if short or not cut or not cut[-1].endswith(CUT):
            cut.append(short if short == text else f"{short} {CUT}".strip())
    return tuple(cut)


def _begun(text: str, share: int, count: Count) -> str:
    """Return the first sentences of a text that fit, or, where not even one does, its first words."""
    for cuts in (_SENTENCE.finditer(text), re.finditer(r"\s+", text)):
        ends = [match.end() for match in cuts]
        low, high = 0, len(ends)
        while low < high:  # the last end up to which the text fits
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count(text[: ends[middle - 1]].rstrip()) <= share else (low, middle - 1)
        if low:
            return text[: ends[low - 1]].rstrip()
    return ""


def _written(parts: Sequence[_Part]) -> str:
    return "\n\n".join(line for part in parts for line in (part.heading, *part.texts) if line)


def _words(parts: Sequence[_Part]) -> int:
    return sum(len(text.replace(CUT, "").split()) for part in parts for text in part.texts)
