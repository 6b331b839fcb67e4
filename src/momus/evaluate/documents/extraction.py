"""Extraction for a whole collection of reviews, kept in a ledger so that it can be stopped at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from momus.files import Ledger, digest
from momus.match.extract import ExtractedPoints, Extractor
from momus.match.reviews import Point, Review

BATCH = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Extraction:
    """Reviews with their points; those left out, for no answer could be read; and quotes that are in no review.

    `problem` says why the first one was left out, "" where the model gave no reason.
    """

    reviews: tuple[Review, ...]
    failed: tuple[Review, ...]
    rejected: tuple[tuple[Review, str], ...]
    points: int
    problem: str = ""


def key_of(review: Review) -> str:
    """Return the key of a review in the ledger: what it says."""
    return digest(review.document, review.reviewer, review.text)


def extract_reviews(
    reviews: Sequence[Review],
    extractor: Extractor,
    ledger: Ledger,
    progress: Progress = lambda done, total: None,
) -> Extraction:
    """Extract the points of the reviews that have none yet; the others stay as they are.

    Args:
        reviews: The collection.
        extractor: Who finds the points.
        ledger: Where they are kept; what is in it is not extracted again.
        progress: Told the reviews done and their total.
    """
    waiting = [review for review in reviews if review.points is None]
    left = [review for review in waiting if key_of(review) not in ledger]
    progress(len(waiting) - len(left), len(waiting))
    for start in range(0, len(left), BATCH):
        batch = left[start : start + BATCH]
        results = extractor.extract([review.text for review in batch])
        ledger.add({key_of(review): _kept(extracted) for review, extracted in zip(batch, results, strict=True)})
        progress(len(waiting) - len(left) + start + len(batch), len(waiting))
    done, failed, rejected, points, problems = [], [], [], 0, []
    for review in reviews:
        if review.points is not None:
            done.append(review)
            continue
        kept = ledger[key_of(review)]
        rejected += [(review, quote) for quote in kept["rejected"]]
        if kept["points"] is None:
            failed.append(review)
            problems.append(kept.get("problem", ""))
        else:
            points += len(kept["points"])
            done.append(review.model_copy(update={"points": tuple(Point(**point) for point in kept["points"])}))
    return Extraction(tuple(done), tuple(failed), tuple(rejected), points, problems[0] if problems else "")


def _kept(extracted: ExtractedPoints) -> dict[str, Any]:
    """Return what the ledger keeps: points, None where there was no usable answer, why, and the quotes rejected."""
    points = None if extracted.failed else [point.model_dump() for point in extracted.points]
    kept = {"points": points, "rejected": [point.quote for point in extracted.rejected]}
    return {**kept, "problem": extracted.problem} if extracted.problem else kept
