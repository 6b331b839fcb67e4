"""How far a model's points agree with people's, beside how far people agree with each other and with chance.

The analysis of LLM scientific feedback (arXiv 2310.01783), with intervals. A *hit* is a point with a match
(`momus.stats.overlap`); *pairwise* is against one reviewer, the mean over the document's reviewers, *global* against
all of them together. Every document counts once, and documents are what is resampled.

Three things make numbers comparable. People often make more points than a model, so a person's list is cut to its
first N, as many as the model has on that document (as in the paper). All reviewers are one more than all others, so a
model is also measured against all but one, each left out in turn (the paper does not). And some points fit any paper:
the null is another document's generated points, of the same stratum.

What is undefined, a list without points, is left out and counted. What one document alone has has no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from momus.errors import UserError
from momus.evaluate.documents.matched import Matched, ReviewedDocument
from momus.match.matcher import MAX_SCORE, MIN_SCORE, SAME_SCORE, Scores
from momus.stats.bootstrap import REPLICATES, SHARE, Bounds, Interval, mean_interval, ratio_interval
from momus.stats.overlap import Kept, overlap

Floats = NDArray[np.float64]
MEASURES = ("hit_rate", "overlap", "jaccard", "dice")


@dataclass(frozen=True)
class OverlapRow:
    """One comparison: its four measures, the documents they are means over, and the pairs of lists left out."""

    key: str
    name: str
    hit_rate: Interval
    overlap: Interval
    jaccard: Interval
    dice: Interval
    documents: int
    undefined: int


@dataclass(frozen=True)
class Difference:
    """One hit rate minus another, over the documents that have both."""

    name: str
    value: Interval
    documents: int


@dataclass(frozen=True)
class Stratum:
    """Pairwise hit rates among the documents with one value of a stratum."""

    name: str
    value: str
    model: Interval
    person: Interval
    documents: int


@dataclass(frozen=True)
class HitShare:
    """The share of some of the people's points that the model hits, and how many points they are."""

    name: str
    share: Interval
    points: int


@dataclass(frozen=True)
class AtThreshold:
    """Pairwise hit rates if pairs counted from another score on."""

    threshold: int
    model: Interval
    person: Interval
    shuffled: Interval


@dataclass(frozen=True)
class SystemOverlap:
    """Everything measured of one model; `correlations` holds, for each stratum, r of model and person over its values.

    `points` is the number of points of a document's model and, of each of its people, the mean over documents.
    """

    system: str
    threshold: int
    documents: int
    reviews: int
    points: tuple[float, float]
    failed: int
    shuffles: int
    undealt: int
    rows: tuple[OverlapRow, ...]
    differences: tuple[Difference, ...]
    strata: tuple[Stratum, ...]
    correlations: dict[str, float]
    by_reviewers: tuple[HitShare, ...]
    by_position: tuple[HitShare, ...]
    thresholds: tuple[AtThreshold, ...]


def systems_in(documents: Sequence[ReviewedDocument]) -> list[str]:
    """Return the names of the models that have reviewed something, in order of first appearance.

    Raises:
        UserError: There are none.
    """
    models = list(dict.fromkeys(name for document in documents for name in document.models))
    if not models:
        raise UserError('no review is by a model: mark those with "kind": "model"')
    return models


def analyse(
    matched: Sequence[Matched], system: str, *, threshold: int = SAME_SCORE, replicates: int = REPLICATES
) -> SystemOverlap:
    """Measure one model.

    Args:
        matched: The documents' scores; those this model did not review are left out.
        system: The model's name.
        threshold: The score from which a pair is the same point.
        replicates: Bootstrap resamples of the documents.

    Raises:
        UserError: It and a person have reviewed no document both.
    """
    reviewed = [one for one in matched if system in one.document.models and one.document.people]
    if not reviewed:
        raise UserError(f"{system!r} has reviewed no document that a person has reviewed too")
    kinds = _comparisons(system)
    means = {key: [_mean(compare(one, threshold)) for one in reviewed] for key, (_, compare) in kinds.items()}
    hits = {key: np.array([mean[0] for mean, _ in values]) for key, values in means.items()}
    strata = _strata(reviewed, hits, replicates)
    people = [len(points) for one in reviewed for points in one.document.people.values()]
    return SystemOverlap(
        system=system,
        threshold=threshold,
        documents=len(reviewed),
        reviews=len(people),
        points=(
            float(np.mean([len(one.document.models[system]) for one in reviewed])),
            float(np.mean([np.mean([len(p) for p in one.document.people.values()]) for one in reviewed])),
        ),
        failed=sum(one.failed for one in reviewed),
        shuffles=max(len(one.shuffled) for one in reviewed),
        undealt=sum(not any(name == system for dealt in one.shuffled for name, _ in dealt) for one in reviewed),
        rows=tuple(_row(key, kinds[key][0], values, replicates) for key, values in means.items()),
        differences=tuple(
            _difference(f"{kinds[a][0]} minus {kinds[b][0]}", hits[a], hits[b], replicates)
            for a, b in (("model", "person"), ("model_but_one", "person_global"), ("model", "shuffled"))
        ),
        strata=strata,
        correlations=_correlations(strata),
        by_reviewers=_by_reviewers(reviewed, system, threshold, replicates),
        by_position=_by_position(reviewed, system, threshold, replicates),
        thresholds=tuple(_at(reviewed, system, number, replicates) for number in range(MIN_SCORE, MAX_SCORE + 1)),
    )


_Compare = Callable[[Matched, int], Iterator[Kept]]


def _comparisons(system: str) -> dict[str, tuple[str, _Compare]]:
    """Return the comparisons of the table: names, and what a document has of each, `[points, points]` kept."""

    def model(one: Matched, cut: int) -> Iterator[Kept]:
        for person in one.document.people:
            yield from _kept([one.between(system, person)], cut)

    def person(one: Matched, cut: int) -> Iterator[Kept]:
        for a, b in _ordered(one):
            yield from _kept([_first(one.between(a, b), one, system)], cut)

    def person_whole(one: Matched, cut: int) -> Iterator[Kept]:
        for a, b in _ordered(one):
            yield from _kept([one.between(a, b)], cut)

    def shuffled(one: Matched, cut: int) -> Iterator[Kept]:
        for dealt in one.shuffled:
            for name in one.document.people:
                yield from _kept([dealt[system, name]] if (system, name) in dealt else [], cut)

    def model_global(one: Matched, cut: int) -> Iterator[Kept]:
        yield from _kept([one.between(system, name) for name in one.document.people], cut)

    def model_but_one(one: Matched, cut: int) -> Iterator[Kept]:
        names = list(one.document.people)
        for left_out in names if len(names) > 1 else ():
            yield from _kept([one.between(system, name) for name in names if name != left_out], cut)

    def person_global(one: Matched, cut: int) -> Iterator[Kept]:
        names = list(one.document.people)
        for a in names if len(names) > 1 else ():
            yield from _kept([_first(one.between(a, b), one, system) for b in names if b != a], cut)

    def shuffled_global(one: Matched, cut: int) -> Iterator[Kept]:
        for dealt in one.shuffled:
            yield from _kept([dealt[system, b] for b in one.document.people if (system, b) in dealt], cut)

    return {
        "model": ("model, one reviewer", model),
        "person": ("person, one other", person),
        "person_whole": ("person, all points, one other", person_whole),
        "shuffled": ("shuffled, one reviewer", shuffled),
        "model_global": ("model, all reviewers", model_global),
        "model_but_one": ("model, all reviewers but one", model_but_one),
        "person_global": ("person, all others", person_global),
        "shuffled_global": ("shuffled, all reviewers", shuffled_global),
    }


def _kept(scores: Sequence[Scores | None], cut: int) -> Iterator[Kept]:
    """Set one list against one or several together; nothing where a comparison failed or was not made."""
    known = [table for table in scores if table is not None]
    if known and len(known) == len(scores):
        yield np.concatenate(known, axis=1) >= cut


def _ordered(one: Matched) -> list[tuple[str, str]]:
    return [(a, b) for a in one.document.people for b in one.document.people if a != b]


def _first(scores: Scores | None, one: Matched, system: str) -> Scores | None:
    """Keep as many of a person's points as the model has on this document."""
    return None if scores is None else scores[: len(one.document.models[system])]


def _mean(tables: Iterator[Kept]) -> tuple[Floats, int]:
    """Return the mean measures `[4]` of a document, NaN without any, and how many of them are undefined."""
    values = np.array([astuple(overlap(table)) for table in tables]).reshape(-1, len(MEASURES))
    defined = values[~np.isnan(values[:, 0])]
    mean = defined.mean(0) if len(defined) else np.full(len(MEASURES), np.nan)
    return mean, len(values) - len(defined)


def _hit_rate(tables: Iterator[Kept]) -> float:
    """Return the mean hit rate of a document, NaN without any."""
    rates = [float(table.any(1).mean()) for table in tables if table.size]
    return float(np.mean(rates)) if rates else np.nan


def _row(key: str, name: str, values: Sequence[tuple[Floats, int]], replicates: int) -> OverlapRow:
    means = np.array([mean for mean, _ in values])
    hit_rate, coefficient, jaccard, dice = (_interval(means[:, i], replicates) for i in range(len(MEASURES)))
    defined = int((~np.isnan(means[:, 0])).sum())
    return OverlapRow(key, name, hit_rate, coefficient, jaccard, dice, defined, sum(count for _, count in values))


def _interval(values: Floats, replicates: int, bounds: Bounds = SHARE) -> Interval:
    """Return the mean over the documents that have a value, with its interval."""
    known = values[~np.isnan(values)]
    return _of_several(mean_interval(known, bounds=bounds, replicates=replicates), len(known))


def _of_several(interval: Interval, documents: int) -> Interval:
    """Return an interval without bounds where it is of one document: resampling that says nothing."""
    return interval if documents > 1 else Interval(interval.value, np.nan, np.nan)


def _difference(name: str, first: Floats, second: Floats, replicates: int) -> Difference:
    both = first - second
    return Difference(name, _interval(both, replicates, (-1.0, 1.0)), int((~np.isnan(both)).sum()))


def _strata(reviewed: Sequence[Matched], hits: dict[str, Floats], replicates: int) -> tuple[Stratum, ...]:
    strata = []
    for name in dict.fromkeys(name for one in reviewed for name in one.document.strata):
        values = np.array([one.document.strata.get(name, "") for one in reviewed])
        for value in sorted(set(values) - {""}):
            here = values == value
            model, person = (_interval(hits[key][here], replicates) for key in ("model", "person"))
            strata.append(Stratum(name, str(value), model, person, int(here.sum())))
    return tuple(strata)


def _correlations(strata: Sequence[Stratum]) -> dict[str, float]:
    """Return, for every stratum with three values or more, Pearson's r of the model's and the people's hit rates."""
    correlations = {}
    for name in dict.fromkeys(stratum.name for stratum in strata):
        rates = np.array([(stratum.model.value, stratum.person.value) for stratum in strata if stratum.name == name])
        rates = rates[~np.isnan(rates).any(1)]
        if len(rates) > 2 and rates.std(0).all():
            correlations[name] = float(np.corrcoef(rates.T)[0, 1])
    return correlations


def _by_reviewers(reviewed: Sequence[Matched], system: str, threshold: int, replicates: int) -> tuple[HitShare, ...]:
    """Return the model's hits among people's points by how many reviewers raise them, where there are two or more."""
    names = ("one reviewer", "two", "three or more")
    counts = np.zeros((2, len(names), len(reviewed)))
    for place, one in enumerate(reviewed):
        for person in one.document.people if len(one.document.people) > 1 else ():
            hit = _hit(one, system, person, threshold)
            others = [one.between(person, name) for name in one.document.people if name != person]
            if hit is None or any(scores is None for scores in others):
                continue
            raised = sum(_any(scores, threshold) for scores in others if scores is not None)
            _add(counts[:, :, place], np.minimum(raised, len(names) - 1), hit)
    return _shares(names, counts, replicates)


def _by_position(reviewed: Sequence[Matched], system: str, threshold: int, replicates: int) -> tuple[HitShare, ...]:
    """Return the model's hits among people's points by the quarter of the review, in reviews of four or more."""
    names = ("first quarter", "second", "third", "last quarter")
    counts = np.zeros((2, len(names), len(reviewed)))
    for place, one in enumerate(reviewed):
        for person, points in one.document.people.items():
            hit = _hit(one, system, person, threshold)
            if hit is not None and len(points) >= len(names):
                quarter = ((np.arange(len(points)) + 0.5) / len(points) * len(names)).astype(int)
                _add(counts[:, :, place], quarter, hit)
    return _shares(names, counts, replicates)


def _hit(one: Matched, system: str, person: str, threshold: int) -> NDArray[np.int64] | None:
    """Return which of a person's points the model hits; None where the model says nothing or the matcher failed."""
    scores = one.between(person, system)
    return None if scores is None or not scores.shape[1] else _any(scores, threshold)


def _any(scores: Scores, threshold: int) -> NDArray[np.int64]:
    return np.asarray((scores >= threshold).any(1), dtype=np.int64)


def _add(counts: Floats, where: NDArray[np.int64], hit: NDArray[np.int64]) -> None:
    """Add a person's points to the hits, `counts[0]`, and all points, `counts[1]`, of each bin."""
    np.add.at(counts[0], where, hit)
    np.add.at(counts[1], where, 1)


def _shares(names: Sequence[str], counts: Floats, replicates: int) -> tuple[HitShare, ...]:
    return tuple(
        HitShare(
            name,
            _of_several(
                ratio_interval(hits, points, bounds=SHARE, replicates=replicates), int(np.count_nonzero(points))
            ),
            int(points.sum()),
        )
        for name, hits, points in zip(names, counts[0], counts[1], strict=True)
    )


def _at(reviewed: Sequence[Matched], system: str, threshold: int, replicates: int) -> AtThreshold:
    kinds = _comparisons(system)
    rates = [
        _interval(np.array([_hit_rate(kinds[key][1](one, threshold)) for one in reviewed]), replicates)
        for key in ("model", "person", "shuffled")
    ]
    return AtThreshold(threshold, *rates)
