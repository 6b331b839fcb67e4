"""Calibration: which likeness is "the same" to people, and how well a matcher tells.

Every matcher has its own idea of 0.5. On pairs that people labelled, the threshold with the best F1 is what scores 7;
how good it is on documents it was not chosen on is measured by leaving each document out in turn
(`momus.stats.detection`). Where labels are graded, the correlation with them is told too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, ValidationError

from momus.errors import UserError
from momus.match.matcher import Matcher, Scale
from momus.match.reviews import Labelled
from momus.records import Record
from momus.stats import detection
from momus.stats.bootstrap import REPLICATES, Interval

BATCH = 64
Progress = Callable[[int, int], None]


class MatchCalibration(Record):
    """What was measured of a matcher on labelled pairs.

    Attributes:
        matcher: Who was measured.
        data: On what, in words.
        same_from: The label from which a pair is the same.
        pairs: Pairs of points, and `same`, those that are the same.
        documents: What intervals resample and folds leave out.
        failed: Lists the matcher gave no usable answer to; their pairs are not counted.
        threshold: The likeness that scores 7; over the folds it was `lowest` to `highest`.
        precision: Cross-validated; so are `recall` and `f1`.
        auc: How often a pair that is the same is more alike than one that is not.
        average_precision: The mean precision over the pairs that are the same.
        pearson: Correlation with graded labels; None where labels are 0 and 1.
        spearman: The same of ranks.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    matcher: dict[str, Any]
    data: str
    same_from: float
    documents: int
    pairs: int
    same: int
    failed: int
    threshold: float
    lowest: float
    highest: float
    precision: Interval
    recall: Interval
    f1: Interval
    auc: float
    average_precision: float
    pearson: Interval | None = None
    spearman: Interval | None = None


def calibrate(
    matcher: Matcher,
    labelled: Sequence[Labelled],
    same_from: float,
    data: str,
    *,
    replicates: int = REPLICATES,
    progress: Progress = lambda done, total: None,
) -> MatchCalibration:
    """Measure a matcher against labels.

    Args:
        matcher: Who is measured.
        labelled: Lists of points with a label for each pair.
        same_from: The label from which a pair is the same.
        data: Where the labels are from, in words.
        replicates: Bootstrap resamples of the documents.
        progress: Told the lists done and their total.

    Raises:
        UserError: Fewer than two documents have pairs that are the same, or pairs that the matcher finds alike.
    """
    likeness: list[float] = []
    labels: list[float] = []
    documents: list[str] = []
    failed = 0
    for start in range(0, len(labelled), BATCH):
        batch = labelled[start : start + BATCH]
        for own, compared in zip(batch, matcher.compare([(own.first, own.second) for own in batch]), strict=True):
            if compared.failed:
                failed += 1
                continue
            likeness += compared.likeness.ravel().tolist()
            labels += [label for row in own.labels for label in row]
            documents += [own.document] * compared.likeness.size
        progress(start + len(batch), len(labelled))
    same = np.array(labels) >= same_from
    if len({document for document, is_same in zip(documents, same, strict=True) if is_same}) < 2:
        raise UserError(f"{data}: pairs labelled {same_from:g} or more are needed from two documents at least")
    if same.all():
        raise UserError(f"{data}: every pair is labelled {same_from:g} or more: nothing to tell apart")
    if len({document for document, value in zip(documents, likeness, strict=True) if value > 0}) < 2:
        raise UserError(f"{data}: the matcher finds no likeness in any pair of two documents: nothing to choose from")
    found = detection.cross_validate_threshold(likeness, same, documents, replicates=replicates)
    graded = len(set(labels)) > 2
    pearson, spearman = (
        detection.correlations(likeness, labels, documents, replicates=replicates) if graded else (None, None)
    )
    return MatchCalibration(
        matcher=dict(matcher.identity()),
        data=data,
        same_from=same_from,
        documents=len(set(documents)),
        pairs=len(labels),
        same=int(same.sum()),
        failed=failed,
        threshold=found.threshold,
        lowest=found.lowest,
        highest=found.highest,
        precision=found.precision,
        recall=found.recall,
        f1=found.f1,
        auc=detection.auc(likeness, same),
        average_precision=detection.average_precision(likeness, same),
        pearson=pearson,
        spearman=spearman,
    )


def read_calibration(path: Path) -> MatchCalibration:
    """Read what `momus match calibrate` wrote.

    Raises:
        UserError: It is missing or something else.
    """
    try:
        return MatchCalibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: run momus match calibrate first") from error
    except ValidationError as error:
        raise UserError(f"{path}: not what momus match calibrate writes") from error


def read_scale(path: Path, identity: Mapping[str, Any]) -> Scale:
    """Read the scale that `momus match calibrate` found for a matcher of this kind.

    Raises:
        UserError: It is missing, something else, or about another matcher.
    """
    found = read_calibration(path)
    mine = {key: identity[key] for key in ("kind", "model") if key in identity}
    theirs = {key: found.matcher[key] for key in ("kind", "model") if key in found.matcher}
    if mine != theirs:
        raise UserError(f"{path} was measured with another matcher ({theirs}): calibrate this one")
    return Scale(found.threshold)
