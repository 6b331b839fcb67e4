"""Every pair of lists of every document scored once: what the statistics of overlap are made from.

For each document: each model's points against each person's, the people's against each other, and, for the null,
another document's generated points against this one's people. Scores are kept, not decisions, so any threshold can be
looked at afterwards. With a ledger the work can be stopped at any time and continued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from momus.errors import UserError
from momus.files import Ledger
from momus.match.matcher import ListComparison, Matcher, Scores
from momus.match.reviews import Review
from momus.stats.overlap import derangement

BATCH = 8
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReviewedDocument:
    """One document under review: its strata, and for each reviewer's name the points, in order."""

    id: str
    strata: Mapping[str, str]
    models: Mapping[str, tuple[str, ...]]
    people: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Matched:
    """A document's scores.

    Attributes:
        document: The document.
        scores: `[points, points]` for (model, person), and for (person, another) in the order of `document.people`.
        shuffled: One for each shuffle: the scores for (model, person), the model's points those of another document;
            empty where there is no other in the stratum.
        failed: Lists the matcher gave no usable answer to; their scores are missing.
    """

    document: ReviewedDocument
    scores: dict[tuple[str, str], Scores]
    shuffled: list[dict[tuple[str, str], Scores]] = field(default_factory=list)
    failed: int = 0

    def between(self, first: str, second: str) -> Scores | None:
        """Return the scores of one reviewer's points by another's, either way round; None where they failed."""
        if (first, second) in self.scores:
            return self.scores[first, second]
        scores = self.scores.get((second, first))
        return None if scores is None else scores.T


def documents_of(reviews: Sequence[Review]) -> list[ReviewedDocument]:
    """Gather reviews by document, in order of first appearance.

    Raises:
        UserError: Points are yet to be extracted, or strata contradict each other.
    """
    gathered: dict[str, list[Review]] = {}
    for review in reviews:
        if review.points is None:
            raise UserError(
                f"the review of {review.document!r} by {review.reviewer!r} has no points yet: run momus extract first"
            )
        gathered.setdefault(review.document, []).append(review)
    return [_document(name, reviews) for name, reviews in gathered.items()]


def _document(name: str, reviews: Sequence[Review]) -> ReviewedDocument:
    strata: dict[str, str] = {}
    for review in reviews:
        for key, value in review.strata.items():
            if strata.setdefault(key, value) != value:
                raise UserError(f"{name!r}: strata: {key} is {strata[key]!r} in one review and {value!r} in another")
    by_kind: dict[str, dict[str, tuple[str, ...]]] = {"model": {}, "person": {}}
    for review in reviews:
        by_kind[review.kind][review.reviewer] = tuple(point.text for point in review.points or ())
    return ReviewedDocument(name, strata, by_kind["model"], by_kind["person"])


def stratum(document: ReviewedDocument, names: Sequence[str]) -> str:
    """Return what a document has for strata of these names, as one text.

    Raises:
        UserError: It has none of a name.
    """
    for name in names:
        if name not in document.strata:
            known = ", ".join(document.strata) or "none"
            raise UserError(f"{document.id!r} has no stratum {name!r}: it has {known}")
    return " · ".join(document.strata[name] for name in names)


def match_documents(
    documents: Sequence[ReviewedDocument],
    matcher: Matcher,
    *,
    shuffles: int = 1,
    within: Sequence[str] = (),
    seed: int = 0,
    ledger: Ledger | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Matched]:
    """Score all pairs of every document, in order.

    Args:
        documents: What to match.
        matcher: Who says how alike points are.
        shuffles: How often generated points are handed to another document, for the null.
        within: The strata within which they are handed on.
        seed: Decides who gets whose.
        ledger: Where scores are kept; those in it are not computed again.
        progress: Told the documents done and their total.
    """
    strata = [stratum(document, within) for document in documents]
    given = [_dealt(documents, strata, seed + number) for number in range(shuffles)]
    for start in range(0, len(documents), BATCH):
        numbers = range(start, min(start + BATCH, len(documents)))
        waiting = [i for i in numbers if ledger is None or documents[i].id not in ledger]
        fresh = dict(zip(waiting, _scored(documents, waiting, given, matcher), strict=True))
        if ledger is not None and fresh:
            ledger.add({documents[i].id: values for i, values in fresh.items()})
        for i in numbers:
            values = ledger[documents[i].id] if ledger is not None and i not in fresh else fresh[i]
            yield _matched(documents, i, given, values)
        progress(numbers.stop, len(documents))


_Dealt = Mapping[str, Sequence[int | None]]
"""For each model's name, whose points by it every document gets; None where there is no other in its stratum."""

_Task = tuple[int, str, str, tuple[str, ...], tuple[str, ...]]
"""Which shuffle (-1: none), who, whom, and their points."""


def _dealt(documents: Sequence[ReviewedDocument], strata: Sequence[str], seed: int) -> dict[str, list[int | None]]:
    """Hand each model's points on among the documents that it has reviewed, whatever others there are."""
    dealt: dict[str, list[int | None]] = {}
    for system in dict.fromkeys(name for document in documents for name in document.models):
        reviewed = [i for i, document in enumerate(documents) if system in document.models]
        dealt[system] = [None] * len(documents)
        for i, giver in zip(reviewed, derangement([strata[i] for i in reviewed], seed), strict=True):
            dealt[system][i] = None if giver is None else reviewed[giver]
    return dealt


def _tasks(documents: Sequence[ReviewedDocument], i: int, given: Sequence[_Dealt]) -> list[_Task]:
    """List the comparisons of a document, always in the same order."""
    document = documents[i]
    tasks = [(-1, a, b, document.models[a], document.people[b]) for a in document.models for b in document.people]
    tasks += [(-1, a, b, document.people[a], document.people[b]) for a, b in combinations(document.people, 2)]
    for number, dealt in enumerate(given):
        for a, givers in dealt.items():
            other = givers[i]
            if other is not None:
                tasks += [(number, a, b, documents[other].models[a], document.people[b]) for b in document.people]
    return tasks


def _scored(
    documents: Sequence[ReviewedDocument],
    numbers: Sequence[int],
    given: Sequence[_Dealt],
    matcher: Matcher,
) -> list[list[Any]]:
    """Score the comparisons of some documents in one call; what JSON can hold, None where the matcher failed."""
    tasks = [_tasks(documents, i, given) for i in numbers]
    compared = iter(matcher.compare([(task[3], task[4]) for group in tasks for task in group]))
    scale = matcher.scale

    def values(compared: ListComparison) -> Any:
        return None if compared.failed else scale.scores(compared.similarity).tolist()

    return [[values(next(compared)) for _ in group] for group in tasks]


def _matched(documents: Sequence[ReviewedDocument], i: int, given: Sequence[_Dealt], values: Sequence[Any]) -> Matched:
    matched = Matched(documents[i], {}, [{} for _ in given], sum(value is None for value in values))
    for (number, a, b, first, second), value in zip(_tasks(documents, i, given), values, strict=True):
        if value is not None:
            scores = np.array(value, np.int8).reshape(len(first), len(second))
            (matched.scores if number < 0 else matched.shuffled[number])[a, b] = scores
    return matched
