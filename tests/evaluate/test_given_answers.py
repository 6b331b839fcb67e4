"""Public tasks scored on answers that somebody else generated, and what is said of their differences."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.instruct.answers import folder_of, score_answers
from momus.evaluate.instruct.bleu import corpus_bleu, sentence_counts
from momus.evaluate.instruct.results import CORPUS_BLEU, TaskResult, read_results, recovered
from momus.evaluate.instruct.tax import compare_systems

SAMPLES = Path(__file__).parents[3] / "shared/data/instructgpt-samples"
WORDS = ["the", "cat", "dog", "sat", "on", "red", ",", "."]
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


@settings(max_examples=60)
@given(st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6))
def test_corpus_bleu_of_counts_is_sacrebleus(pairs):
    import sacrebleu

    sums = np.sum([sentence_counts(answer, [reference]) for answer, reference in pairs], axis=0)
    score = sacrebleu.corpus_bleu([answer for answer, _ in pairs], [[reference for _, reference in pairs]]).score
    assert float(corpus_bleu(sums)) == pytest.approx(score, abs=1e-9)


def _rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


ROWS = [
    {
        "system": system,
        "question": f"Passage: p{i // 2}\nQuestion: q{i}",
        "references": ["ten cats", "10"],
        "answer": answer,
    }
    for system, answers in {"before": ["10", "ten cats", "ten"], "after/1": ["a dog", "ten", ""]}.items()
    for i, answer in enumerate(answers)
]  # fmt: skip


def test_answers_are_scored_by_their_best_reference(tmp_path):
    found = score_answers([f"drop={_rows(tmp_path / 'a.jsonl', ROWS)}"])
    assert list(found) == ["before", "after/1"]
    f1, exact = found["before"]
    assert (f1.name, exact.name) == ("drop: word f1", "drop: exact")
    assert list(f1.items.values()) == pytest.approx([1, 1, 2 / 3]) and list(exact.items.values()) == [1, 1, 0]
    assert len(set(f1.groups.values())) == 2  # two passages
    assert list(found["after/1"][0].items.values()) == pytest.approx([0, 2 / 3, 0])
    assert found["after/1"][0].items.keys() == f1.items.keys()


def test_a_zipped_csv_with_the_papers_columns_is_read(tmp_path):
    path = tmp_path / "fr_to_en_samples.csv.gz"
    header, row = (
        "model_type,prompt_type,context,ref_text,sample",
        'gpt-xl,fewshot,"French: Oui.\nEnglish:",Yes.|Yeah.,Yes.',
    )
    table = f"{header}\n{row}\n"
    path.write_bytes(gzip.compress(table.encode()))
    (result,) = score_answers([str(path)])["gpt-xl"]
    assert result.name == "wmt15-fr-en, few-shot: corpus bleu" and result.source == path.name
    assert not result.mean().has_ends  # one sentence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": None}, "has no column system or model_type"),
        ({"system": ""}, "system: is empty"),
        ({"answer": 7}, "answer: must be text"),
        ({"references": [7]}, "references: must be texts"),
        ({"references": None}, "has no column references or ref_text"),
        ({"question": ROWS[1]["question"]}, "answers a question twice"),
    ],
)
def test_bad_rows_are_one_line_with_their_place(tmp_path, change, message):
    path = _rows(tmp_path / "squadv2.jsonl", [ROWS[0] | change, ROWS[1]])
    with pytest.raises(UserError, match=message) as error:
        score_answers([path])
    assert "squadv2.jsonl" in str(error.value)


def test_files_of_unknown_tasks_are_refused(tmp_path):
    for given_file in (_rows(tmp_path / "answers.jsonl", ROWS), f"chess={tmp_path / 'x'}"):
        with pytest.raises(UserError, match=r"TASK=FILE|no task 'chess'"):
            score_answers([given_file])
    with pytest.raises(UserError, match="toxicity: is '2': must be a number from 0 to 1"):
        score_answers([_rows(tmp_path / "toxicity.jsonl", [ROWS[0] | {"toxicity": "2"}])])


def test_commands_score_given_answers_and_compare_the_systems(tmp_path, capsys):
    out = tmp_path / "out"
    file = _rows(tmp_path / "drop.jsonl", ROWS)
    assert main(["evaluate", "public", "--answers", file, "--out", str(out)]) == 0
    assert "drop: word f1" in capsys.readouterr().out
    assert folder_of("after/1") == "after_1" and folder_of("..") == "_"
    assert {result.name for result in read_results(out / "after_1")} == {"drop: word f1", "drop: exact"}
    assert main(["evaluate", "tax", str(out / "before"), str(out / "after_1"), "--out", str(out / "tax")]) == 0
    capsys.readouterr()
    for arguments in (["public", "model", "--answers", file], ["public"]):
        assert main(["evaluate", *arguments, "--out", str(out)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def _result(values, better="high", metric="f1"):
    items = {f"i{i}": float(value) for i, value in enumerate(values)}
    return TaskResult(task="t", metric=metric, better=better, items=items)


def test_recovered_is_the_share_of_the_loss_won_back():
    rng = np.random.default_rng(0)
    before = rng.random(400)
    lost, after = before - 0.4 + rng.normal(0, 0.05, 400), before - 0.1 + rng.normal(0, 0.05, 400)
    share = recovered(_result(before), _result(lost), _result(after))
    assert (
        share.value == pytest.approx(np.mean(after - lost) / np.mean(before - lost)) and share.low < 0.75 < share.high
    )
    mirrored = recovered(*(_result(-values, "low") for values in (before, lost, after)))
    assert mirrored.value == pytest.approx(share.value)
    (row,) = compare_systems(("SFT", [_result(before)]), [("PPO", [_result(lost)]), ("ptx", [_result(after)])]).rows
    assert [change.recovered for change in row.changes] == [None, None, share]


@pytest.mark.parametrize("shift", [0.05, 0.1])
def test_enough_items_show_a_change_four_times_in_five(shift):
    rng = np.random.default_rng(1)

    def change(items):
        before = rng.random(items)
        return (
            compare_systems(
                ("a", [_result(before, metric="m")]),
                [("b", [_result(before + rng.normal(shift, 0.3, items), metric="m")])],
            )
            .rows[0]
            .changes[0]
        )

    enough = round(((1.96 + 0.84) * 0.3 / shift) ** 2)
    estimates = [each.enough for each in (change(4000) for _ in range(5))]
    assert np.median(estimates) == pytest.approx(enough, rel=0.3)
    assert 0.65 < np.mean([change(enough).verdict == "better" for _ in range(60)]) < 0.93


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"{SAMPLES} is absent")
def test_the_papers_own_answers_score_as_recorded():
    by_system = score_answers(sorted(map(str, SAMPLES.glob("*.csv.gz"))))
    assert len(by_system) == 12
    recorded = {
        "squadv2, few-shot: word f1": (0.679, 0.641, 0.480, 0.658),
        "drop, few-shot: word f1": (0.515, 0.543, 0.459, 0.494),
        f"wmt15-fr-en, few-shot: {CORPUS_BLEU}": (34.9, 29.9, 25.7, 33.3),
        "truthfulqa, QA prompt: true and informative": (0.22, 0.28, 0.73, 0.61),
    }
    for name, values in recorded.items():
        for system, value in zip(("gpt", "sft", "ppo-noptx", "ppo-ptx"), values, strict=True):
            result = next(each for each in by_system[f"{system}-175b"] if each.name == name)
            assert result.mean().value == pytest.approx(value, abs=0.05 if value > 1 else 0.0005), (name, system)
            assert len(result.items) == 100
