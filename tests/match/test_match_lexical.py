"""The lexical matcher, the scale of scores and calibration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.match.calibrate import calibrate_matcher, read_scale
from momus.match.embedding import EmbeddingMatcher
from momus.match.lexical import LexicalMatcher
from momus.match.matcher import ScoreScale, find_matches
from momus.match.reviews import LabelledLists, read_labels, read_points, read_reviews
from momus.match.text import features, forms, words

DATA = Path(__file__).parents[3] / "shared" / "data"
VOCABULARY = ["ablation", "baselines", "unclear", "novelty", "datasets", "비교가", "비교를", "재현할", "the", "?"]
TEXTS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=6).map(" ".join)
LISTS = st.lists(TEXTS, max_size=4)


@given(LISTS, LISTS, LISTS)
@settings(max_examples=40)
def test_lexical_similarity_is_symmetric_and_ignores_order_and_other_lists(first, second, fitted):
    matcher = LexicalMatcher().fit(fitted)
    found, other = matcher.compare([(first, second), (fitted, second)])
    assert found.similarity.shape == (len(first), len(second))
    assert ((found.similarity >= 0) & (found.similarity <= 1)).all()
    swapped, alone, turned = matcher.compare([(second, first), (first, second), (first[::-1], second)])
    np.testing.assert_allclose(swapped.similarity.T, found.similarity, atol=1e-12)
    np.testing.assert_array_equal(alone.similarity, found.similarity)
    np.testing.assert_allclose(turned.similarity[::-1], found.similarity, atol=1e-12)
    assert other.similarity.shape == (len(fitted), len(second))


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=4), LISTS)
def test_a_text_is_identical_to_itself(texts, fitted):
    matcher = LexicalMatcher().fit(fitted)
    scores = matcher.scale.scores(matcher.compare([(texts, texts)])[0].similarity)
    assert (np.diag(scores) == 10).all()


@given(st.floats(0.01, 1), st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_the_scale_keeps_order_and_its_threshold_scores_seven(threshold, values):
    scores = ScoreScale(threshold).scores(np.array([*sorted(values), 1.0]))
    assert (np.diff(scores) >= 0).all() and scores[-1] == 10
    assert set(scores.tolist()) <= {0, 5, 6, 7, 8, 9, 10}
    assert ((scores >= 7) == (np.array([*sorted(values), 1.0]) >= threshold)).all()


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(UserError, match="at most 1"):
        ScoreScale(threshold)


def test_endings_do_not_matter():
    assert words("Comparing baselines") == words("compares a baseline")
    assert words("비교를 했다") == words("비교가 없다")
    assert words("실험에서는") == words("실험을")
    assert forms("Missing ablations") == {words("missing")[0]: "missing", words("ablation")[0]: "ablations"}
    shared = set(features("재현했습니다")) & set(features("재현하기"))
    assert shared - set(features("검증했습니다"))


def test_paraphrases_score_above_strangers():
    first = ["The paper lacks an ablation of the gating module.", "The writing is unclear in section 3."]
    second = ["Section 3 is hard to follow and unclear.", "No ablation study of the gate is given."]
    found = find_matches(LexicalMatcher(), first, second)
    assert {(pair.first, pair.second) for pair in found} == {(0, 1), (1, 0)}
    assert "ablation" in next(pair.reason for pair in found if pair.first == 0)
    korean = ["선행 연구와의 비교가 부족하다.", "데이터의 출처를 밝히지 않았다."]
    answers = ["데이터 출처가 없다.", "기존 선행연구를 비교하지 않음"]
    similarity = LexicalMatcher().compare([(korean, answers)])[0].similarity
    assert similarity[0, 1] > similarity[0, 0] and similarity[1, 0] > similarity[1, 1]


@given(LISTS, LISTS, st.integers(5, 9))
def test_raising_the_threshold_never_adds_a_pair(first, second, threshold):
    low, high = (find_matches(LexicalMatcher(), first, second, cut) for cut in (threshold, threshold + 1))
    assert {(m.first, m.second) for m in high} <= {(m.first, m.second) for m in low}
    assert all(m.score >= threshold for m in low)


def labelled(document, first, second, same):
    labels = tuple(tuple(float((i, j) in same) for j in range(len(second))) for i in range(len(first)))
    return LabelledLists(document=document, first=tuple(first), second=tuple(second), labels=labels)


PAIRS = [
    labelled("a", ["no ablation study", "unclear notation"], ["ablation is missing", "more datasets"], {(0, 0)}),
    labelled("b", ["few datasets", "the proof is wrong"], ["only small datasets", "typos"], {(0, 0)}),
    labelled("c", ["limited novelty"], ["novelty seems limited", "slow"], {(0, 0)}),
]


def test_calibration_finds_a_threshold_and_travels(tmp_path):
    matcher = LexicalMatcher()
    found = calibrate_matcher(matcher, PAIRS, 1, "made up")
    assert (found.pairs, found.same, found.documents) == (10, 3, 3)
    assert found.auc == 1 and found.f1.value == 1 and found.pearson is None
    (tmp_path / "c.json").write_text(found.model_dump_json())
    assert read_scale(tmp_path / "c.json", matcher.identity()).threshold == found.threshold
    with pytest.raises(UserError, match="another matcher"):
        read_scale(tmp_path / "c.json", {"kind": "voting", "model": "m"})
    with pytest.raises(UserError, match="calibrate first"):
        read_scale(tmp_path / "none.json", matcher.identity())


def test_what_cannot_be_calibrated_on():
    with pytest.raises(UserError, match="two documents"):
        calibrate_matcher(LexicalMatcher(), PAIRS[:1], 1, "one")
    with pytest.raises(UserError, match="two documents"):
        calibrate_matcher(LexicalMatcher(), PAIRS, 2, "none that high")
    strangers = [labelled(name, ["alpha beta"], ["gamma", "delta"], {(0, 0)}) for name in "ab"]
    with pytest.raises(UserError, match="no similarity in any pair"):
        calibrate_matcher(LexicalMatcher(), strangers, 1, "nothing in common")


def test_an_encoder_compares_by_cosine_and_sees_each_text_once():
    seen = []

    def encode(texts):
        seen.append(texts)
        return [[len(text), text.count("a")] for text in texts]

    matcher = EmbeddingMatcher(encode, "counting")
    first, empty = matcher.compare([(["aa", "b"], ["aa", "aaaa"]), ([], ["aa"])])
    assert seen == [["aa", "b", "aaaa"]]
    np.testing.assert_allclose(first.similarity, [[1, 1], [0.5**0.5, 0.5**0.5]])
    assert empty.similarity.shape == (0, 1)


def test_lists_of_points_are_read_from_three_kinds_of_file(tmp_path):
    (tmp_path / "a.txt").write_text("- One point.\n\n* Another\n", encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps(["One point.", "Another"]))
    review = {
        "document": "d",
        "reviewer": "r",
        "kind": "person",
        "points": [{"text": "One point."}, {"text": "Another"}],
    }
    (tmp_path / "c.jsonl").write_text(json.dumps(review) + "\n")
    assert [read_points(tmp_path / name) for name in ("a.txt", "b.json", "c.jsonl")] == [["One point.", "Another"]] * 3
    (tmp_path / "d.jsonl").write_text(json.dumps({**review, "points": None, "text": "All of it."}) + "\n")
    with pytest.raises(UserError, match="momus extract"):
        read_points(tmp_path / "d.jsonl")
    (tmp_path / "e.json").write_text('{"no": "list"}')
    with pytest.raises(UserError, match="array of strings"):
        read_points(tmp_path / "e.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.jsonl", '{"document": "d", "reviewer": "r", "kind": "person"}\n', "needs points"),
        ("r.jsonl", '{"document": "d", "reviewer": "r", "kind": "robot", "text": "x"}\n', "kind"),
        ("r.jsonl", '{"document": "d", "reviewer": "r", "kind": "person", "text": "x"}\n' * 2, "two reviews"),
        ("r.txt", " \n", "is empty"),
        ("r.jsonl", "", "no reviews"),
    ],
)
def test_reviews_that_cannot_be_read(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_reviews(tmp_path / name)


@pytest.mark.parametrize("results", ["{}", "[{}]", "[1]", '[{"doc_id": "d", "generated_comments": 3}]'])
def test_layouts_that_only_seem_to_be_known(tmp_path, results):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "all_results.json").write_text(results if results != "{}" else '{"a": 1}')
    (tmp_path / "output" / "all_aligns.json").write_text("[[]]")
    (tmp_path / "a.json").write_text('[{"sentence1": "a"}]')
    for read, place in ((read_reviews, tmp_path), (read_labels, tmp_path), (read_labels, tmp_path / "a.json")):
        with pytest.raises(UserError, match="not laid out as"):
            read(place)


def test_labels_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="a file of labelled pairs"):
        read_labels(tmp_path)
    (tmp_path / "k.json").write_text("[1]")
    with pytest.raises(UserError, match="not KLUE"):
        read_labels(tmp_path / "k.json")
    (tmp_path / "l.jsonl").write_text('{"document": "d", "first": ["a"], "second": ["b"], "labels": [[1, 2]]}\n')
    with pytest.raises(UserError, match="rows of 1"):
        read_labels(tmp_path / "l.jsonl")


def test_a_real_sentence_encoder_on_this_machine(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers import models

    from momus.match.embedding import sentence_encoder
    from support.tiny import tiny_model, tiny_tokenizer

    with pytest.raises(UserError, match="no sentence encoder on this machine"):
        sentence_encoder(str(tmp_path / "nothing"))
    tiny_model().model.save_pretrained(tmp_path / "lm")
    tiny_tokenizer().save_pretrained(tmp_path / "lm")
    pooling = models.Pooling(32)
    encoder = sentence_transformers.SentenceTransformer(modules=[models.Transformer(str(tmp_path / "lm")), pooling])
    encoder.save(str(tmp_path / "encoder"))
    matcher = EmbeddingMatcher(sentence_encoder(str(tmp_path / "encoder")), "tiny")
    found = find_matches(matcher, ["range(1, n)", "total += x"], ["return total", "range(1, n)"], 10)
    assert [(pair.first, pair.second) for pair in found] == [(0, 1)]


@pytest.mark.parametrize(
    ("place", "least"),
    [("klue/klue-sts-v1.1_dev.json", {"pearson": 0.5, "spearman": 0.5}), ("marg/lizca", {"f1": 0.29, "recall": 0.35})],
)
def test_agreement_on_real_labels(place, least):
    if not (DATA / place).exists():
        pytest.skip(f"{place} is not here")
    labels = read_labels(DATA / place)
    texts = dict.fromkeys(text for pair in labels.pairs for side in (pair.first, pair.second) for text in side)
    found = calibrate_matcher(LexicalMatcher().fit(texts), labels.pairs, labels.same_from, place, replicates=200)
    for name, value in least.items():
        assert getattr(found, name).value > value
    # Better than chance beyond doubt: the interval's lower end, not the estimate.
    assert (found.pearson or found.precision).low > found.same / found.pairs * (found.pearson is None)
