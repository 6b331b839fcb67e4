"""Calibration: the similarity from which people call two points the same, and how well a matcher detects such pairs.

Similarities of different matchers are not comparable. On pairs that people labelled, the threshold with the best F1
scores 7; its precision and recall are cross-validated, each document left out in turn (`momus.stats.detection`). With
graded labels the correlation with them is reported too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict

from momus.errors import UserError
from momus.match.matcher import Matcher, ScoreScale
from momus.match.reviews import LabelledLists
from momus.records import Record, read_model
from momus.stats import detection
from momus.stats.bootstrap import REPLICATES, Interval

_BATCH = 64


class MatchCalibration(Record):
    """How well a matcher detects labelled pairs.

    Attributes:
        matcher: The identity of the matcher.
        data: The labelled data, in words.
        same_from: The label from which a pair is the same.
        pairs: Pairs of points, and `same`, those that are the same.
        documents: Documents, the unit that intervals resample and folds leave out.
        failed: Lists without a usable answer of the matcher; their pairs are not counted.
        threshold: The similarity that scores 7; in the folds it ranged from `lowest` to `highest`.
        precision: Cross-validated; so are `recall` and `f1`.
        auc: How often a pair that is the same is more similar than one that is not.
        average_precision: The mean precision over the pairs that are the same.
        pearson: Correlation with graded labels; None if labels are 0 and 1.
        spearman: Rank correlation with them.
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


def calibrate_matcher(
    matcher: Matcher,
    labelled: Sequence[LabelledLists],
    same_from: float,
    data: str,
    *,
    replicates: int = REPLICATES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MatchCalibration:
    """Measure a matcher against labels.

    Args:
        matcher: The matcher to measure.
        labelled: Lists of points with a label for each pair.
        same_from: The label from which a pair is the same.
        data: The source of the labels, in words.
        replicates: Bootstrap resamples of the documents.
        progress: Called with the lists done and their total.

    Raises:
        UserError: Fewer than two documents have pairs that are the same, or pairs with a similarity above 0.
    """
    similarity: list[float] = []
    labels: list[float] = []
    documents: list[str] = []
    failed = 0
    for start in range(0, len(labelled), _BATCH):
        batch = labelled[start : start + _BATCH]
        for lists, compared in zip(batch, matcher.compare([(pair.first, pair.second) for pair in batch]), strict=True):
            if compared.failed:
                failed += 1
                continue
            similarity += compared.similarity.ravel().tolist()
            labels += [label for row in lists.labels for label in row]
            documents += [lists.document] * compared.similarity.size
        progress(start + len(batch), len(labelled))
    same = np.array(labels) >= same_from
    if len({document for document, is_same in zip(documents, same, strict=True) if is_same}) < 2:
        raise UserError(f"{data}: pairs labelled {same_from:g} or more are needed from two documents at least")
    if same.all():
        raise UserError(f"{data}: every pair is labelled {same_from:g} or more: nothing to tell apart")
    if len({document for document, value in zip(documents, similarity, strict=True) if value > 0}) < 2:
        raise UserError(f"{data}: the matcher finds no similarity in any pair of two documents: nothing to choose from")
    measured = detection.cross_validate_threshold(similarity, same, documents, replicates=replicates)
    graded = len(set(labels)) > 2
    pearson, spearman = (
        detection.correlations(similarity, labels, documents, replicates=replicates) if graded else (None, None)
    )
    return MatchCalibration(
        matcher=dict(matcher.identity()),
        data=data,
        same_from=same_from,
        documents=len(set(documents)),
        pairs=len(labels),
        same=int(same.sum()),
        failed=failed,
        threshold=measured.threshold,
        lowest=measured.lowest,
        highest=measured.highest,
        precision=measured.precision,
        recall=measured.recall,
        f1=measured.f1,
        auc=detection.auc(similarity, same),
        average_precision=detection.average_precision(similarity, same),
        pearson=pearson,
        spearman=spearman,
    )


def read_match_calibration(path: Path) -> MatchCalibration:
    """Read what `momus match calibrate` wrote.

    Raises:
        UserError: The file is missing or is no calibration.
    """
    try:
        return read_model(path, MatchCalibration, "not what momus match calibrate writes")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: run momus match calibrate first") from error


def read_scale(path: Path, identity: Mapping[str, Any]) -> ScoreScale:
    """Read the scale of a matcher of this kind from a calibration.

    Raises:
        UserError: The file is missing, is no calibration, or belongs to another matcher.
    """
    calibration = read_match_calibration(path)
    expected = {key: identity[key] for key in ("kind", "model") if key in identity}
    measured = {key: calibration.matcher[key] for key in ("kind", "model") if key in calibration.matcher}
    if expected != measured:
        raise UserError(f"{path} was measured with another matcher ({measured}): calibrate this one")
    return ScoreScale(calibration.threshold)
