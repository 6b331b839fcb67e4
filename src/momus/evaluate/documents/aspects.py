"""What a model speaks about more often than people do: log-frequency ratios of aspects (arXiv 2310.01783).

For every aspect, the share of a model's points that are about it over the share of people's, as a natural logarithm,
with an interval from resampling documents. An aspect that one side never mentions has no ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from momus.evaluate.documents.matched import ReviewedDocument
from momus.files import Ledger, digest
from momus.match.aspects import ASPECTS, Aspects, Tagger
from momus.stats.bootstrap import REPLICATES, SHARE, Interval, ratio_interval
from momus.stats.overlap import log_ratio_interval

Floats = NDArray[np.float64]
BATCH = 16


@dataclass(frozen=True)
class AspectRow:
    """One aspect: the share of a model's and of people's points about it, and the logarithm of their ratio."""

    aspect: str
    model: Interval
    person: Interval
    log_ratio: Interval


@dataclass(frozen=True)
class AspectTable:
    """All aspects of one model's points; `untagged` points are about none of them, `failed` got no usable answer."""

    system: str
    tagger: str
    rows: tuple[AspectRow, ...]
    points: tuple[int, int]
    untagged: tuple[int, int]
    failed: int


class KeptTagger:
    """A tagger asked about each distinct point once, its answers kept so that it can be stopped at any time.

    Args:
        tagger: Who is asked.
        ledger: Where answers are kept; what is in it is not asked again.
        progress: Told the points done and their total.
    """

    def __init__(
        self, tagger: Tagger, ledger: Ledger, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        self._tagger, self._ledger, self._progress = tagger, ledger, progress

    def tag(self, points: Sequence[str]) -> list[Aspects | None]:
        """Return each point's aspects, maybe none; None where there is no usable answer."""
        left = [point for point in dict.fromkeys(points) if digest(point) not in self._ledger]
        for start in range(0, len(left), BATCH):
            batch = left[start : start + BATCH]
            tagged = zip(batch, self._tagger.tag(batch), strict=True)
            self._ledger.add({digest(point): None if aspects is None else sorted(aspects) for point, aspects in tagged})
            self._progress(start + len(batch), len(left))
        kept = (self._ledger[digest(point)] for point in points)
        return [None if aspects is None else frozenset(aspects) for aspects in kept]

    def identity(self) -> Mapping[str, Any]:
        """Return that of who is asked."""
        return self._tagger.identity()


def aspect_table(
    documents: Sequence[ReviewedDocument], system: str, tagger: Tagger, *, replicates: int = REPLICATES
) -> AspectTable:
    """Tag the points of a model and of people on the same documents, and compare how often each aspect occurs.

    Args:
        documents: What was reviewed; those the model did not review are left out.
        system: The model's name.
        tagger: Who says what a point is about.
        replicates: Bootstrap resamples of the documents.
    """
    reviewed = [document for document in documents if system in document.models and document.people]
    models, failed_models = _counts([document.models[system] for document in reviewed], tagger)
    of_people = [[point for points in document.people.values() for point in points] for document in reviewed]
    people, failed_people = _counts(of_people, tagger)
    rows = []
    for number, aspect in enumerate(ASPECTS):
        pairs = [(side[:, number], side[:, -2]) for side in (models, people)]
        model, person = (ratio_interval(*pair, bounds=SHARE, replicates=replicates) for pair in pairs)
        rows.append(AspectRow(aspect, model, person, log_ratio_interval(*pairs, replicates=replicates)))
    return AspectTable(
        system=system,
        tagger=str(tagger.identity()["kind"]),
        rows=tuple(rows),
        points=(int(models[:, -2].sum()), int(people[:, -2].sum())),
        untagged=(int(models[:, -1].sum()), int(people[:, -1].sum())),
        failed=failed_models + failed_people,
    )


def _counts(lists: Sequence[Sequence[str]], tagger: Tagger) -> tuple[Floats, int]:
    """Return `[documents, aspects + 2]`: points about each aspect, all points, those about none; and failures."""
    tags = iter(tagger.tag([point for points in lists for point in points]))
    counts = np.zeros((len(lists), len(ASPECTS) + 2))
    failed = 0
    for number, points in enumerate(lists):
        for _ in points:
            if (aspects := next(tags)) is None:
                failed += 1
                continue
            counts[number, -2] += 1
            counts[number, -1] += not aspects
            counts[number, : len(ASPECTS)] += [aspect in aspects for aspect in ASPECTS]
    return counts, failed
