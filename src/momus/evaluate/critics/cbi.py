"""The matcher as an automatic judge of "includes the described bug" (CBI, CriticGPT, arXiv 2407.00215, section 2.2).

Where bugs are natural there is no ground truth, only a description; a matcher can then say whether a comment makes the
same point as the description. On inserted bugs the truth is known (`momus.tamper.truth`), so how far such a judge can
be trusted is measured there: its agreement with the truth, bug by bug, beyond chance (Cohen's kappa).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from momus.critique import Critique, quotable
from momus.errors import UserError
from momus.evaluate.critics.measure import Critiques
from momus.match.calibrate import calibrate_matcher
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import SAME_SCORE, Matcher, ScoreScale
from momus.match.reviews import LabelledLists
from momus.records import Tamper
from momus.stats.bootstrap import SHARE, Interval, ratio_interval
from momus.stats.detection import kappa_interval
from momus.tamper.truth import Verdict, verdict_on


@dataclass(frozen=True)
class JudgeAgreement:
    """How far a matcher's verdicts on bugs are the truth.

    Attributes:
        kappa: Cohen's kappa over bugs, each critic's critique of it one item.
        agreement: Share of verdicts that are right.
        judged: Share of bugs the matcher calls included.
        truth: Share that is.
        bugs: Verdicts compared.
        failed: Answers the matcher gave no usable verdict on.
    """

    kappa: Interval
    agreement: Interval
    judged: Interval
    truth: Interval
    bugs: int
    failed: int


def labelled_bugs(critique: Critique, tamper: Tamper) -> LabelledLists:
    """Return the descriptions of a tamper's bugs and a critique's comments, labelled 1 where one hits the other."""
    labels = [
        [float(verdict_on(comment, bug, tamper.answer) >= Verdict.LOCATED) for comment in critique.comments]
        for bug in tamper.bugs
    ]
    return LabelledLists(
        document=tamper.task.id,
        first=tuple(_describe_bugs(tamper)),
        second=tuple(f"{comment.highlight}\n{comment.text}" for comment in critique.comments),
        labels=tuple(map(tuple, labels)),
    )


def calibrated_judge(labelled: Sequence[LabelledLists]) -> LexicalMatcher | None:
    """Fit the lexical matcher to labelled bugs and choose its threshold on them; None where they do not suffice."""
    matcher = LexicalMatcher().fit({text for each in labelled for side in (each.first, each.second) for text in side})
    try:
        calibration = calibrate_matcher(matcher, labelled, 1, "bugs", replicates=1)
    except UserError:
        return None
    return matcher.scaled(ScoreScale(calibration.threshold))


def judge_agreement(
    critiques: Critiques, tampers: Sequence[Tamper], matcher: Matcher, *, seed: int = 0
) -> JudgeAgreement:
    """Have a matcher judge every critic's critiques, and compare its verdicts with the truth.

    Args:
        critiques: For each critic one critique per tamper, aligned with `tampers`.
        tampers: Answers with their known bugs.
        matcher: The judge.
        seed: Resamples the tasks.
    """
    return _agreement([(_items(critiques, tampers), matcher)], seed)


def cross_fitted_agreement(critiques: Critiques, tampers: Sequence[Tamper], *, seed: int = 0) -> JudgeAgreement | None:
    """Do the same with the lexical matcher, its threshold for one half of the tasks chosen on the other half.

    None where the labels of a half do not suffice to choose one.
    """
    places = {task: place for place, task in enumerate(dict.fromkeys(tamper.task.id for tamper in tampers))}
    halves: list[list[LabelledLists]] = [[], []]
    for item in _items(critiques, tampers):
        halves[places[item.document] % 2].append(item)
    first, second = (calibrated_judge(half) for half in halves)
    if first is None or second is None:
        return None
    return _agreement([(halves[0], second), (halves[1], first)], seed)


def compared_texts(critiques: Critiques, tampers: Sequence[Tamper]) -> set[str]:
    """Return every text a judge compares: the bugs as comments, and the critiques' comments."""
    return {text for item in _items(critiques, tampers) for side in (item.first, item.second) for text in side}


def _items(critiques: Critiques, tampers: Sequence[Tamper]) -> list[LabelledLists]:
    return [
        labelled_bugs(critique, tamper)
        for written in critiques.values()
        for critique, tamper in zip(written, tampers, strict=True)
        if tamper.bugs
    ]


def _agreement(parts: Sequence[tuple[Sequence[LabelledLists], Matcher]], seed: int) -> JudgeAgreement:
    """Compare verdicts with the truth; each part has its matcher."""
    judged: list[bool] = []
    truth: list[bool] = []
    tasks: list[str] = []
    failed = 0
    for items, matcher in parts:
        compared_items = matcher.compare([(item.first, item.second) for item in items])
        for item, compared in zip(items, compared_items, strict=True):
            if compared.failed:
                failed += 1
                continue
            scores = matcher.scale.scores(compared.similarity)
            judged += [bool((row >= SAME_SCORE).any()) for row in scores]
            truth += [any(row) for row in item.labels]
            tasks += [item.document] * len(item.first)
    return JudgeAgreement(
        kappa=kappa_interval(judged, truth, tasks, seed=seed),
        agreement=_share([a == b for a, b in zip(judged, truth, strict=True)], tasks, seed),
        judged=_share(judged, tasks, seed),
        truth=_share(truth, tasks, seed),
        bugs=len(truth),
        failed=failed,
    )


def _describe_bugs(tamper: Tamper) -> list[str]:
    """Return each bug as the comment its author would write: its first line and its description."""
    quotes = [quotable(bug.spans[0], tamper.answer) for bug in tamper.bugs]
    return [
        f"{tamper.answer[quote.start : quote.end]}\n{bug.description}"
        for quote, bug in zip(quotes, tamper.bugs, strict=True)
    ]


def _share(which: Sequence[bool], tasks: Sequence[str], seed: int) -> Interval:
    """Return a share with its interval over tasks."""
    if not tasks:
        return Interval(np.nan, np.nan, np.nan)
    _, task = np.unique(tasks, return_inverse=True)
    return ratio_interval(np.bincount(task, weights=which), np.bincount(task), bounds=SHARE, seed=seed)
