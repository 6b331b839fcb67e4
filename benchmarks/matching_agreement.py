"""How far does the lexical matcher agree with published alignments, and with people on Korean sentences?

    python benchmarks/matching_agreement.py [--marg FOLDER] [--klue FILE] [--json FILE]

Of MARG's folder (30 ICLR papers, the comments of every reviewer and of the published pipeline, GPT-4's alignments):
the published recall, precision and pseudo-Jaccard of every review are computed anew from the raw alignments and must
come out the same to the last digit; then the lexical matcher takes GPT-4's place, its threshold for each paper chosen
on the others. Of KLUE-STS (519 Korean sentence pairs, similarity by people from 0 to 5): correlation.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from common import Goal, Report, parser

from momus.match.calibrate import MatchCalibration, calibrate_matcher
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import SAME_SCORE, ScoreScale
from momus.match.reviews import MARG, LabelledData, LabelledLists, read_labels
from momus.stats.bootstrap import mean_interval
from momus.stats.overlap import overlap

DATA = Path(__file__).parents[2] / "shared" / "data"
NAMES = ("recall", "precision", "pseudo_jaccard")


def pseudo_jaccard(kept: np.ndarray) -> float:
    """Return MARG's measure (arXiv 2401.04259): Jaccard with k the mean of both sides' matched points, else NaN."""
    if not kept.size:
        return float("nan")
    k = (int(kept.any(1).sum()) + int(kept.any(0).sum())) / 2
    return float(k / (sum(kept.shape) - k))


def measures(own: LabelledLists, kept: np.ndarray) -> list[float]:
    """Return recall (of the reviewer's points), precision (of the generated ones) and pseudo-Jaccard."""
    table = kept.reshape(len(own.first), len(own.second))
    return [overlap(table).hit_rate, overlap(table.T).hit_rate, pseudo_jaccard(table)]


def recomputed(folder: Path, labels: LabelledData) -> tuple[list[list[float]], list[list[float]]]:
    """Return the measures of every review from the raw alignments, and those published."""
    papers = json.loads((folder / MARG).read_text(encoding="utf-8"))
    published = [[own[name] for name in NAMES] for paper in papers for own in paper["metrics_for_reviews"]["all"]]
    # An empty list is undefined to us and 0 to them.
    ours = [np.nan_to_num(measures(own, np.array(own.labels) > 0)).tolist() for own in labels.pairs]
    return ours, published


def lexical(labels: LabelledData) -> tuple[LexicalMatcher, MatchCalibration]:
    """Fit and calibrate the lexical matcher."""
    texts = dict.fromkeys(text for own in labels.pairs for side in (own.first, own.second) for text in side)
    matcher = LexicalMatcher().fit(texts)
    return matcher, calibrate_matcher(matcher, labels.pairs, labels.same_from, "")


def by_paper(labels: LabelledData, values: list[list[float]]) -> np.ndarray:
    """Return the mean measures of every paper, `[papers, 3]`, undefined ones left out."""
    papers = list(dict.fromkeys(own.document for own in labels.pairs))
    rows = [
        [value for own, value in zip(labels.pairs, values, strict=True) if own.document == paper] for paper in papers
    ]
    return np.array([np.nanmean(np.array(own, dtype=float), axis=0) for own in rows])


def main() -> None:
    """Print the tables."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--marg", type=Path, default=DATA / "marg" / "lizca", help="MARG's folder")
    options.add_argument("--klue", type=Path, default=DATA / "klue" / "klue-sts-v1.1_dev.json", help="KLUE-STS")
    arguments = options.parse_args()
    report = Report(arguments)
    labels = read_labels(arguments.marg)
    ours, published = recomputed(arguments.marg, labels)
    differing = sum(one != other for one, other in zip(ours, published, strict=True))
    matcher, found = lexical(labels)
    matcher = matcher.scaled(ScoreScale(found.threshold))
    compared = matcher.compare([(own.first, own.second) for own in labels.pairs])
    kept = [matcher.scale.scores(own.similarity) >= SAME_SCORE for own in compared]
    sources = {
        "GPT-4's alignments": by_paper(labels, [measures(own, np.array(own.labels) > 0) for own in labels.pairs]),
        "lexical matcher": by_paper(labels, [measures(*pair) for pair in zip(labels.pairs, kept, strict=True)]),
    }
    report.table(
        f"{found.documents} papers, {len(ours)} reviews: mean over papers, 95% intervals",
        ("", *NAMES),
        [(name, *(str(mean_interval(values[:, i])) for i in range(3))) for name, values in sources.items()],
    )
    klue = lexical(read_labels(arguments.klue))[1]
    shown = {
        "pairs": lambda own: f"{own.pairs}, {own.same} the same",
        "precision": lambda own: str(own.precision),
        "recall": lambda own: str(own.recall),
        "F1": lambda own: str(own.f1),
        "threshold": lambda own: f"{own.threshold:.3f} ({own.lowest:.3f} to {own.highest:.3f})",
        "AUC": lambda own: f"{own.auc:.3f}",
        "average precision": lambda own: f"{own.average_precision:.3f}",
        "Pearson": lambda own: str(own.pearson or "–"),
        "Spearman": lambda own: str(own.spearman or "–"),
    }
    report.table(
        "Agreement of the lexical matcher, each document left out in turn",
        ("", "MARG", "KLUE-STS"),
        [(name, show(found), show(klue)) for name, show in shown.items()],
    )
    report.case("agreement", {}, marg=found.model_dump(), klue=klue.model_dump())
    report.finish([Goal("reviews whose published metrics differ", differing, 0, at_least=False)])


if __name__ == "__main__":
    main()
