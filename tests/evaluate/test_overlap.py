"""Overlap of collections: the analysis, its null, stopping and continuing, the commands, and published numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.documents.aspects import KeptTagger, aspect_table
from momus.evaluate.documents.matched import ReviewedDocument, documents_of, match_documents
from momus.evaluate.documents.overlap import SystemOverlap, analyse, systems_in
from momus.files import Ledger
from momus.match.aspects import ASPECTS, LexicalTagger
from momus.match.matcher import ListComparison, Lists, ScoreScale, no_reason
from momus.match.reviews import Point, Review, read_labels, read_reviews
from momus.report.overlap import _percent
from momus.stats.overlap import overlap

MARG = Path(__file__).parents[3] / "shared" / "data" / "marg" / "lizca"


def pseudo_jaccard(kept):
    """MARG's measure (arXiv 2401.04259): Jaccard with k the mean of both sides' matched points."""
    if not kept.size:
        return float("nan")
    k = (int(kept.any(1).sum()) + int(kept.any(0).sum())) / 2
    return k / (sum(kept.shape) - k)


class SameWord:
    """Points are the same when they are equal; counts the lists it compared."""

    scale = ScoreScale(0.5)

    def __init__(self) -> None:
        self.compared = 0

    def compare(self, lists: Sequence[Lists]) -> list[ListComparison]:
        self.compared += len(lists)
        return [
            ListComparison(
                np.array([[float(a == b) for b in second] for a in first]).reshape(len(first), len(second)), no_reason
            )
            for first, second in lists
        ]

    def identity(self) -> Mapping[str, Any]:
        return {"kind": "equal"}


def document(name: str, model: Sequence[str], *people: Sequence[str], **strata: str) -> ReviewedDocument:
    return ReviewedDocument(name, strata, {"m": tuple(model)}, {f"r{i}": tuple(item) for i, item in enumerate(people)})


def analysed(documents: Sequence[ReviewedDocument], **arguments: Any) -> tuple[SystemOverlap, dict[str, Any]]:
    matched = list(match_documents(documents, SameWord(), **arguments))
    result = analyse(matched, "m", replicates=50)
    return result, {row.key: row for row in result.rows}


POINTS = st.lists(st.sampled_from("abcdef"), max_size=4)
DOCUMENTS = st.lists(st.tuples(POINTS, st.lists(POINTS, min_size=1, max_size=3)), min_size=2, max_size=5)


@given(DOCUMENTS)
@settings(max_examples=40)
def test_overlap_table_equals_the_definitions(drawn):
    documents = [document(f"d{i}", model, *people) for i, (model, people) in enumerate(drawn)]
    _, rows = analysed(documents)

    def hit(a: Sequence[str], *b: Sequence[str]) -> float:
        return np.mean([any(x in item for item in b) for x in a]) if a and any(b) else np.nan

    def mean(values: list[list[float]]) -> float:
        kept = [np.mean([v for v in item if not np.isnan(v)]) for item in values if not np.isnan(item).all()]
        return np.mean(kept) if kept else np.nan

    def others(people, i):
        return [item for j, item in enumerate(people) if j != i]

    expected = {
        "model": [[hit(m, r) for r in people] for m, people in drawn],
        "person": [[hit(a[: len(m)], b) for i, a in enumerate(p) for b in others(p, i)] or [np.nan] for m, p in drawn],
        "model_global": [[hit(m, *people)] for m, people in drawn],
        "model_but_one": [[hit(m, *others(p, i)) for i in range(len(p)) if len(p) > 1] or [np.nan] for m, p in drawn],
        "person_global": [
            [hit(a[: len(m)], *others(p, i)) for i, a in enumerate(p) if len(p) > 1] or [np.nan] for m, p in drawn
        ],
    }
    for key, values in expected.items():
        assert rows[key].hit_rate.value == pytest.approx(mean(values), nan_ok=True), key
    assert rows["model"].undefined == sum(not m or not r for m, people in drawn for r in people)
    assert rows["model"].documents == sum(bool(m) and any(people) for m, people in drawn)


def test_model_with_a_persons_points_overlaps_wholly():
    _, rows = analysed([document("d", "abc", "abc"), document("e", "xy", "xy")])
    item = rows["model"]
    assert [item.hit_rate.value, item.overlap.value, item.jaccard.value, item.dice.value] == [1, 1, 1, 1]
    assert rows["shuffled"].hit_rate.value == 0
    assert np.isnan(rows["person"].hit_rate.value) and rows["person"].documents == 0


def test_shuffled_documents_stay_within_their_stratum():
    documents = [
        document("d", "a", "b", venue="x"), document("e", "b", "a", venue="x"), document("f", "a", "a", venue="y")
    ]  # fmt: skip
    result, rows = analysed(documents, within=("venue",), shuffles=3)
    assert rows["shuffled"].hit_rate.value == 1 and rows["shuffled"].documents == 2 and result.undealt == 1
    with pytest.raises(UserError, match="no stratum 'year': it has venue"):
        analysed(documents, within=("year",))


def test_shuffling_uses_only_documents_the_model_reviewed():
    """Documents without the model, or with another one, take nothing away from its null."""
    documents = [document(f"d{i}", "a", "b") for i in range(3)]
    bare = [ReviewedDocument(f"x{i}", {}, {}, {"r": ("b",)}) for i in range(40)]
    other = [ReviewedDocument(f"y{i}", {}, {"other": ("c",)}, {"r": ("b",)}) for i in range(3)]
    mixed = [*bare[:20], documents[0], *other, *documents[1:], *bare[20:]]
    result, rows = analysed(mixed, shuffles=5)
    assert rows["shuffled"].documents == 3 and result.undealt == 0
    for one in match_documents(mixed, SameWord(), shuffles=2):
        assert all({name for name, _ in dealt} == set(one.document.models) for dealt in one.shuffled)


def test_when_points_match_by_chance_the_model_does_no_better_than_shuffled():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(20)]
    documents = [document(f"d{i}", *(rng.choice(words, 5).tolist() for _ in range(4))) for i in range(150)]
    result, rows = analysed(documents, shuffles=5)
    chance = 1 - 0.95**5
    assert rows["shuffled"].hit_rate.value == pytest.approx(chance, abs=0.02)
    assert rows["shuffled_global"].hit_rate.value == pytest.approx(1 - 0.95**15, abs=0.03)
    difference = next(item for item in result.differences if item.name.endswith("shuffled, one reviewer"))
    assert difference.value.low < 0 < difference.value.high


def test_hits_by_reviewers_position_stratum_and_threshold():
    documents = [
        document("d", "ab", "axyz", "abuv", "at", decision="accept"), document("e", "q", "pq", decision="reject")
    ]  # fmt: skip
    result, _ = analysed(documents)
    assert [(item.share.value, item.points) for item in result.by_reviewers] == [
        (pytest.approx(1 / 7), 7), (pytest.approx(np.nan, nan_ok=True), 0), (1, 3)
    ]  # fmt: skip
    assert [(item.points, round(item.share.value * item.points)) for item in result.by_position] == [
        (2, 2), (2, 1), (2, 0), (2, 0)
    ]  # fmt: skip
    assert [(item.value, item.documents, item.model.value) for item in result.strata] == [
        ("accept", 1, pytest.approx((0.5 + 1 + 0.5) / 3)), ("reject", 1, 1)
    ]  # fmt: skip
    assert np.isnan(result.strata[1].person.value) and result.correlations == {}
    rates = [item.model.value for item in result.thresholds]
    assert [item.threshold for item in result.thresholds] == [5, 6, 7, 8, 9, 10]
    assert sorted(rates, reverse=True) == rates


def test_stopped_matching_run_continues_to_the_same_scores(tmp_path):
    documents = [document(f"d{i}", "ab", "bc", "ca") for i in range(20)]
    whole = list(match_documents(documents, SameWord(), shuffles=2))

    class Stopping(SameWord):
        def compare(self, lists):
            if self.compared:
                raise KeyboardInterrupt
            return super().compare(lists)

    with pytest.raises(KeyboardInterrupt), Ledger(tmp_path / "scores.jsonl", {}) as ledger:
        list(match_documents(documents, Stopping(), shuffles=2, ledger=ledger))
    matcher = SameWord()
    with Ledger(tmp_path / "scores.jsonl", {}) as ledger:
        assert len(ledger) == 8
        result = list(match_documents(documents, matcher, shuffles=2, ledger=ledger))
    assert matcher.compared == (20 - 8) * (2 + 1 + 2 * 2)
    for one, other in zip(whole, result, strict=True):
        assert one.scores.keys() == other.scores.keys() and len(other.shuffled) == 2
        assert all((one.scores[key] == other.scores[key]).all() for key in one.scores)


def test_pairs_the_matcher_failed_on_are_left_out_and_counted():
    class Failing(SameWord):
        def compare(self, lists):
            return [ListComparison(item.similarity, no_reason, failed=a == ("z",)) for item, (a, _) in
                    zip(super().compare(lists), lists, strict=True)]  # fmt: skip

    matched = list(match_documents([document("d", "z", "z"), document("e", "a", "a")], Failing(), shuffles=0))
    result = analyse(matched, "m", replicates=50)
    assert result.failed == 1 and result.rows[0].documents == 1 and result.rows[0].hit_rate.value == 1


def test_analyse_refuses_collections_without_a_model_or_people():
    review = Review(document="d", reviewer="r", kind="person", points=(Point(text="a"),), strata={"venue": "x"})
    with pytest.raises(UserError, match="momus extract first"):
        documents_of([review.model_copy(update={"points": None, "text": "t"})])
    with pytest.raises(UserError, match="venue is 'x' in one review and 'y'"):
        documents_of([review, review.model_copy(update={"reviewer": "s", "strata": {"venue": "y"}})])
    with pytest.raises(UserError, match='"kind": "model"'):
        systems_in(documents_of([review]))
    with pytest.raises(UserError, match="a person has reviewed too"):
        analyse(list(match_documents([document("d", "a")], SameWord())), "m")


def test_aspects_are_counted_by_document():
    novel, ablate = "Limited novelty.", "Add an ablation study."
    documents = [document("d", [novel, ablate], [novel], [novel, "Nice."]), document("e", [ablate], [ablate])]
    table = aspect_table(documents, "m", LexicalTagger(), replicates=50)
    rows = {row.aspect: row for row in table.rows}
    assert len(rows) == len(ASPECTS) == 11
    assert (rows["Novelty"].model.value, rows["Novelty"].person.value) == pytest.approx((1 / 3, 2 / 4))
    assert rows["Novelty"].log_ratio.value == pytest.approx(np.log(2 / 3))
    assert np.isnan(rows["Ethical Aspects"].log_ratio.value)
    assert (table.points, table.untagged) == ((3, 4), (0, 1))


class Forgetful(LexicalTagger):
    """Knows nothing of novelty, and stops at a given call; keeps what it was asked."""

    def __init__(self, stop: int = 99) -> None:
        self.asked: list[str] = []
        self.stop = stop

    def tag(self, points: Sequence[str]) -> list[Any]:
        self.stop -= 1
        if not self.stop:
            raise KeyboardInterrupt
        self.asked += points
        return [None if "novel" in point else item for point, item in zip(points, super().tag(points), strict=True)]


def test_aspects_are_asked_once_and_kept_over_a_stop(tmp_path):
    points = [f"Please add ablation {i}." for i in range(40)] + ["Not novel.", "Nice."]
    documents = [document("d", points[::-1], points), document("e", points[:3], points[:9])]
    whole = aspect_table(documents, "m", Forgetful(), replicates=9)
    with Ledger(tmp_path / "a.jsonl", {}) as ledger, pytest.raises(KeyboardInterrupt):
        aspect_table(documents, "m", KeptTagger(Forgetful(stop=2), ledger), replicates=9)
    rest = Forgetful()
    with Ledger(tmp_path / "a.jsonl", {}) as ledger:
        result = aspect_table(documents, "m", KeptTagger(rest, ledger), replicates=9)
    assert str(result) == str(whole) and result.failed == 2  # NaN is not equal to itself
    assert len(rest.asked) == len(set(rest.asked)) == len(points) - 16


def test_means_over_one_document_have_no_interval():
    result, rows = analysed([document("d", "ab", "bc", "cd", venue="x")])
    assert (
        rows["model"].hit_rate.value == 0.25
        and np.isnan([rows["model"].hit_rate.low, result.strata[0].model.high]).all()
    )
    assert np.isnan(result.by_reviewers[0].share.low) and "no interval" in _percent(rows["model"].hit_rate, True)
    two, _ = analysed([document(name, "ab", "bc", "cd", venue="x") for name in "de"])
    assert 0 < two.strata[0].model.low < two.strata[0].model.value < two.strata[0].model.high < 1


REVIEWS = [
    ("p1", "gpt", "model", "The paper lacks an ablation study of the gate. Only two small datasets should not do."),
    ("p1", "R1", "person", "- No ablation of the gate is given.\n- The writing is unclear in places."),
    ("p1", "R2", "person", "However, only small datasets are used in the experiments."),
    ("p2", "gpt", "model", "The proof of the main theorem is not rigorous."),
    ("p2", "R1", "person", "There are problems with the proof of theorem one."),
]


def test_overlap_command_goes_from_review_texts_to_a_page(tmp_path, capsys):
    raw = tmp_path / "raw.jsonl"
    lines = [{"document": d, "reviewer": r, "kind": k, "text": t, "strata": {"venue": "x"}} for d, r, k, t in REVIEWS]
    raw.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["extract", str(raw), "--out", str(tmp_path / "points.jsonl")]) == 0
    assert not (tmp_path / "points.jsonl.ledger").exists()
    result = read_reviews(tmp_path / "points.jsonl")
    assert [len(item.points) for item in result] == [2, 2, 1, 1, 1]
    command = ["overlap", str(tmp_path / "points.jsonl"), "--out", str(tmp_path / "run"), "--within", "venue"]
    capsys.readouterr()
    assert main(command) == 0
    shown = capsys.readouterr().out
    page = (tmp_path / "run" / "overlap.html").read_text()
    numbers = json.loads((tmp_path / "run" / "overlap.json").read_text())
    rows = {row["key"]: row for row in numbers["systems"][0]["rows"]}
    assert rows["model"]["hit_rate"]["value"] == pytest.approx(0.75)
    assert "75.0" in shown and "75.0%" in page and "undefined" in shown
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    assert main(command) == 0
    assert main([*command, "--seed", "1"]) == 2
    assert "other settings (seed 0 -> 1)" in capsys.readouterr().err


def test_match_command_compares_two_lists(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("No ablation of the gate.\nUnclear writing.\n")
    (tmp_path / "b.txt").write_text("- The gate lacks an ablation.\n")
    assert main(["match", str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "--json"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)
    assert (pair["a"], pair["b"]) == (0, 0) and pair["score"] >= 7 and "ablation" in pair["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["match", "{a}", "{a}", "--threshold", "4"], "--threshold 4: must be from 5 to 10"),
        (["match", "{a}", "{a}", "--by", "model"], "--by model needs a language model that follows instructions"),
        (["match", "{a}", "{a}", "--by", "embedding"], "--by embedding needs --model"),
        (["match", "{a}", "{a}", "--model", "m"], "--model and --url are of no use"),
        (["match", "calibrate", "{a}", "--out", "no/where.json"], "there is no directory no"),
        (["extract", "{a}", "--out", "no/where.jsonl"], "there is no directory no"),
        (["extract", "{a}", "--out", "{d}/o.jsonl", "--by", "model"], "ships with Momus only writes critiques of code"),
        (["overlap", "{a}", "--out", "{d}/o", "--shuffles", "-1"], "--shuffles -1"),
        (["overlap", "{a}", "--out", "{d}/o"], "momus extract first"),
        (["overlap", "{d}/none.jsonl", "--out", "{d}/o"], "No such file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
    (tmp_path / "a.txt").write_text("A point.\n")
    places = {"a": tmp_path / "a.txt", "d": tmp_path}
    assert main([item.format(**places) for item in arguments]) == 2
    answers = capsys.readouterr().err
    assert message in answers and answers.count("\n") == 1
    assert not list(tmp_path.glob("o*"))


def test_lexical_overlap_needs_no_torch(tmp_path):
    (tmp_path / "a.txt").write_text("No ablation.\n")
    code = (
        "import sys; from momus.cli import main; "
        f"main(['match', r'{tmp_path / 'a.txt'}', r'{tmp_path / 'a.txt'}']); "
        "print(sorted({'torch', 'transformers', 'openai', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


@pytest.mark.skipif(not MARG.is_dir(), reason="the published alignments are not here")
def test_overlap_measures_equal_the_published_metrics():
    published = json.loads((MARG / "output" / "all_results.json").read_text())
    labelled = iter(read_labels(MARG).pairs)
    reviews = 0
    for paper in published:
        result = []
        for theirs in paper["metrics_for_reviews"]["all"]:
            item = next(labelled)
            kept = np.array(item.labels).reshape(len(item.first), len(item.second)) > 0
            ours = [overlap(kept).hit_rate, overlap(kept.T).hit_rate, pseudo_jaccard(kept)]
            assert np.isnan(ours).all() == (theirs["n_real"] == 0)
            result.append(np.nan_to_num(ours))  # what is undefined they call 0
            assert result[-1].tolist() == [theirs["recall"], theirs["precision"], theirs["pseudo_jaccard"]]
            reviews += 1
        means = [paper["metrics"]["all"][name] for name in ("recall", "precision", "pseudo_jaccard")]
        assert np.mean(result, axis=0) == pytest.approx(means, abs=1e-15)
    assert (len(published), reviews) == (30, 105)
