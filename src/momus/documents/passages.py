"""Feedback beside its document, in which its quotes are marked: what a page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from momus.documents.document import READ, Document
from momus.documents.drafts import STATES
from momus.documents.feedback import Feedback
from momus.documents.rubrics import Rubric


@dataclass(frozen=True)
class Passage:
    """A piece of a document cut where quotes begin and end: stretches of text, each with the quotes that it is in.

    Attributes:
        kind: The kind of the piece.
        stretches: The text of each, the numbers (from 1) of the quotes that it is in, and of those that begin with it.
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


@dataclass(frozen=True)
class FeedbackPage:
    """Feedback, its rubric, and its document where that is at hand."""

    feedback: Feedback
    rubric: Rubric
    document: Document | None

    @property
    def banner(self) -> str:
        """What stands above feedback that may not be passed on."""
        return "" if self.feedback.released else STATES[self.feedback.state][self.feedback.language]

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each quote."""
        quotes = [point.quote for section in self.feedback.sections for point in section.points if point.quote]
        return {quote: number for number, quote in enumerate(dict.fromkeys(quotes), 1)}

    @property
    def passages(self) -> tuple[Passage, ...]:
        """The document with its quotes marked; nothing without it."""
        return mark_quotes(self.document, list(self.numbers)) if self.document else ()

    @property
    def scores(self) -> list[tuple[str, int, int]]:
        """Title, value and highest value of each score."""
        feedback = self.feedback
        return [
            (score.title.in_language(feedback.language), feedback.scores[score.key], score.high)
            for score in self.rubric.scores
            if score.key in feedback.scores
        ]
