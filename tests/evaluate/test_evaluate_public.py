"""Public tasks, offline: CrowS-Pairs and Winogender by hand, lm-eval over our engine, and what needs a download."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.instruct.bias import (
    CROWS_PAIRS,
    WINOGENDER,
    SentencePair,
    bias_results,
    entropy_bits,
    read_crows_pairs,
    read_winogender,
)
from momus.evaluate.instruct.public import PublicConfig, run_public
from momus.evaluate.instruct.questions import Questions
from momus.evaluate.instruct.results import TaskResult, grouped_mean, read_results, write_results
from momus.evaluate.instruct.tasks import PREFIXES, PUBLIC_TASKS, balanced, word_f1
from momus.files import Ledger
from momus.lm.models import save_causal_lm
from support.tiny import tiny_engine, tiny_model, tiny_tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data"
LOGPROBS = st.floats(-900, 0)
SST = [{"sentence": f"return total {i} ", "label": i % 2, "idx": i} for i in range(6)]
ROWS = {
    "truthfulqa": {"question": "f?", "best_answer": "x", "correct_answers": ["x", "y"], "incorrect_answers": ["z"]},
    "truthfulqa-choice": {"question": "f?", "mc1_targets": {"choices": ["x", "y z"], "labels": [0, 1]}},
    "drop": {
        "query_id": "q", "passage": "total 4", "question": "items?",
        "answer": {"number": "4", "date": {"day": "", "month": "", "year": ""}, "spans": []},
        "validated_answers": {"number": ["5"], "date": [{"day": "", "month": "", "year": ""}], "spans": [[]]},
    },
    "quac": {
        "context": "total items CANNOTANSWER", "questions": ["what", "why"],
        "answers": {"texts": [["total", "items"], ["CANNOTANSWER"]]},
    },
    "squadv2": {"context": "total", "question": "what", "answers": {"text": []}},
    "hellaswag": {"activity_label": "a", "ctx": "b [header] c", "endings": ["d", "e f"], "label": "1"},
    "sst": SST[0],
    "rte": {"sentence1": "total", "sentence2": "items.", "label": 0},
    "wsc": {"text": "it is total", "span1_text": "total", "span2_text": "it", "label": 1},
    "wmt15-fr-en": {"translation": {"fr": "le total", "en": "the total"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def engine():
    return tiny_engine()


def _rows(tmp_path, name, rows):
    path = tmp_path / f"{name}.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def _run(tmp_path, engine, config):
    with Ledger(tmp_path / "answers.jsonl", {}) as ledger:
        return list(run_public(Questions(engine, ledger), config))


@given(LOGPROBS, LOGPROBS)
def test_entropy_bits_equals_the_definition(first, second):
    result = entropy_bits(first, second)
    share = 1 / (1 + math.exp(min(700.0, second - first)))
    rest = 1 / (1 + math.exp(min(700.0, first - second)))
    by_hand = sum(-p * math.log2(p) for p in (share, rest) if p > 0)
    assert result == pytest.approx(by_hand, abs=1e-9) and 0 <= result <= 1
    assert result == entropy_bits(second, first)
    assert entropy_bits(first, first) == 1


def test_crows_pairs_are_scored_as_whole_sentences_behind_the_same_text(tmp_path, engine):
    pairs = [SentencePair("0", "for x in items", "def f"), SentencePair("1", "return total", "return total")]
    for prefix in ("", "def f(items):"):
        with Ledger(tmp_path / f"{len(prefix)}.jsonl", {}) as ledger:
            questions = Questions(engine, ledger)
            before = f"{prefix}\n" if prefix else ""
            result = questions.likelihoods([(before, text) for pair in pairs for text in pair[1:3]])
        logprobs = [item.logprob for item in result]
        for item, text in zip(result, [text for pair in pairs for text in pair[1:3]], strict=True):
            tokens = engine.encode(text, bos=False)
            alone = engine.score(engine.encode(before, bos=True), [tokens])[0]
            assert item.logprob == pytest.approx(sum(alone), abs=1e-4) and item.tokens == len(tokens)
        entropy, stereotyped = bias_results(CROWS_PAIRS, pairs, list(zip(logprobs[::2], logprobs[1::2], strict=True)))
        assert entropy.items["0"] == pytest.approx(entropy_bits(*logprobs[:2]))
        assert entropy.items["1"] == pytest.approx(1, abs=1e-6) and stereotyped.items["1"] == 0.5
        assert stereotyped.items["0"] == float(logprobs[0] > logprobs[1])


@pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the public data sets in {DATA}")
def test_the_published_files_are_read_whole():
    crows = read_crows_pairs(DATA / "crows-pairs" / "crows_pairs_anonymized.csv")
    assert len(crows) == len({pair.name for pair in crows}) == 1508
    wino = read_winogender(DATA / "winogender" / "all_sentences.tsv")
    assert len(wino) == 240 and len({pair.group for pair in wino}) == 60
    assert all(pair.first != pair.second for pair in crows + wino)


@pytest.mark.parametrize(
    ("reader", "text", "problem"),
    [
        (read_crows_pairs, "a,b\n1,2\n", "has no column sent_more"),
        (read_crows_pairs, ",sent_more,sent_less\n0,x,\n", ":2: sent_more or sent_less is empty"),
        (read_winogender, "sentid\tsentence\nx.1.male.txt\tHe.\n", "lacks its male or its female"),
        (read_winogender, "sentid\tsentence\nx.txt\tHe.\n", "must end in .male.txt"),
    ],
)
def test_bias_readers_refuse_other_files_in_words(tmp_path, reader, text, problem):
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(UserError, match=problem):
        reader(path)


def test_questions_cut_long_contexts_and_ask_nothing_twice(tmp_path, engine):
    with Ledger(tmp_path / "a.jsonl", {}) as ledger:
        questions = Questions(engine, ledger)
        asked = [("def f(items):", " total"), ("def f(items):", " x in items"), ("items " * 900, " total")]
        first = questions.likelihoods(asked)
        assert questions.cut == 1
        answers = questions.greedy(["def f", "def f", "for x"], ["\n"], 6)
        before = engine.forwarded_tokens
        assert questions.likelihoods(asked[::-1]) == first[::-1]
        assert questions.greedy(["for x"], ["\n"], 6) == answers[2:] and engine.forwarded_tokens == before
    assert answers[0] == answers[1] and "\n" not in "".join(answers)


def test_likelihood_of_a_space_belongs_to_the_next_word(tmp_path, engine):
    with Ledger(tmp_path / "a.jsonl", {}) as ledger:
        one, other = Questions(engine, ledger).likelihoods([("def f(items):", " total"), ("def f(items): ", "total")])
    assert one == other


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=12))
def test_groups_change_the_interval_and_never_the_mean(items):
    together = dict.fromkeys(items, "g")
    assert grouped_mean(items, together).value == pytest.approx(grouped_mean(items, {}).value)
    assert np.isnan(grouped_mean(items, together).low)  # a single group says nothing of its spread
    apart = grouped_mean(items, {item: item for item in items})
    assert apart == grouped_mean(items, {})


@pytest.mark.parametrize("name", PUBLIC_TASKS)
def test_every_task_runs_through_the_harness_from_a_file(tmp_path, engine, name):
    pytest.importorskip("lm_eval")
    file = _rows(tmp_path, name, [ROWS[name]] * 3)
    config = PublicConfig((name,), {name: file}, ("none", "no-comment"), shots=1)
    result = _run(tmp_path, engine, config)
    assert not any(isinstance(item, UserError) for item in result), result
    for results, prefix in zip(result, config.prefixes, strict=True):
        assert [item.metric for item in results] == [metric for metric, _ in PUBLIC_TASKS[name].metrics]
        for item in results:
            assert item.prompt == PREFIXES[prefix] and item.style == prefix and item.shots == 1
            assert len(item.items) == (6 if name == "quac" else 3)
            assert all(0 <= value <= 100 for value in item.items.values())
            assert bool(item.groups) == (name in ("drop", "quac", "squadv2"))


@pytest.mark.parametrize("shots", [0, 2])
def test_multiple_choice_takes_the_likeliest_answer(tmp_path, engine, shots):
    pytest.importorskip("lm_eval")
    data = {"sst": _rows(tmp_path, "sst", SST), "hellaswag": _rows(tmp_path, "hellaswag", [ROWS["hellaswag"]] * 4)}
    sst, hellaswag = _run(tmp_path, engine, PublicConfig(("sst", "hellaswag"), data, shots=shots))
    keys = json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[1])
    assert keys["value"][1] >= 1
    if shots:
        return
    for i, row in enumerate(SST):
        before = f"Review: {row['sentence'].strip()}\nIs the review negative or positive? Answer:"
        prefix = engine.encode(before, bos=True)
        scores = [sum(engine.score(prefix, [engine.encode(w, bos=False)])[0]) for w in (" negative", " positive")]
        assert sst[0].items[str(i)] == float(np.argmax(scores) == row["label"])
    prefix = engine.encode("a: b c", bos=True)
    means = [np.mean(engine.score(prefix, [engine.encode(text, bos=False)])[0]) for text in (" d", " e f")]
    assert set(hellaswag[0].items.values()) == {float(np.argmax(means) == 1)}


def test_prefix_changes_the_question_asked(tmp_path, engine):
    pytest.importorskip("lm_eval")
    data = {"sst": _rows(tmp_path, "sst", SST)}
    for prefixes, questions in ((("none",), 12), (("none", "respectful"), 24)):
        _run(tmp_path, engine, PublicConfig(("sst",), data, prefixes))
        assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 1 + questions


def test_a_run_of_the_harness_that_was_stopped_continues(tmp_path, engine):
    pytest.importorskip("lm_eval")
    config = PublicConfig(("sst",), {"sst": _rows(tmp_path, "sst", SST)})
    whole = _run(tmp_path, engine, config)
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    before = engine.forwarded_tokens
    assert _run(tmp_path, engine, config) == whole
    assert 0 < engine.forwarded_tokens - before < 100


def test_loglikelihood_says_whether_greedy_where_a_metric_needs_it(tmp_path, engine):
    pytest.importorskip("lm_eval")
    from datasets import Dataset

    from momus.evaluate.instruct.harness import configured, run_task

    likeliest = engine.sample([engine.encode("def f", bos=True)], key=0, max_tokens=3, temperature=0)[0][0].text
    rows = [{"query": "def f", "target": likeliest}, {"query": "def f", "target": " items total x"}]
    config = {
        "custom_dataset": lambda **_: {"test": Dataset.from_list(rows)}, "test_split": "test",
        "output_type": "loglikelihood", "doc_to_text": "query", "doc_to_target": "target", "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }  # fmt: skip
    with Ledger(tmp_path / "a.jsonl", {}) as ledger:
        (result,) = run_task(configured("own", config), Questions(engine, ledger), name="own")
    assert result.items == {"0": 1.0, "1": 0.0}


def test_word_f1_compares_words_as_squad_does():
    assert word_f1("The Harbour!", "harbour") == 1
    assert word_f1("a b c", "b d") == pytest.approx(2 / 4)  # "a" is an article
    assert word_f1("", "the") == 1 and word_f1("x", "") == 0


def test_toxic_prompts_are_balanced_and_the_same_whatever_their_order():
    rows = [{"prompt": {"text": f"t{i}", "toxicity": None if i == 0 else (i % 10) / 10}} for i in range(60)]
    chosen = [item["query"] for item in balanced(rows, 20)]
    toxicity = {row["prompt"]["text"]: row["prompt"]["toxicity"] for row in rows}
    assert len(chosen) == 20 and sum(toxicity[text] >= 0.5 for text in chosen) == 10
    assert chosen == [item["query"] for item in balanced(rows[::-1], 20)]


def test_a_classifier_scores_toxicity(tmp_path, engine):
    pytest.importorskip("lm_eval")
    from transformers import LlamaConfig, LlamaForSequenceClassification

    from momus.evaluate.instruct.toxicity import toxicity_of

    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer()), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64, pad_token_id=0, id2label={0: "fine", 1: "Toxic"},
    )  # fmt: skip
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "c")
    tiny_tokenizer().save_pretrained(tmp_path / "c")
    score = toxicity_of(str(tmp_path / "c"))
    assert 0 < score("def f" * 100) < 1 and score(" ") == 0
    file = _rows(tmp_path, "rtp", [{"prompt": {"text": f"def {i}", "toxicity": i / 4}} for i in range(4)])
    tox = PublicConfig(("realtoxicityprompts",), {"realtoxicityprompts": file}, toxicity=str(tmp_path / "c"))
    (results,) = _run(tmp_path, engine, tox)
    assert len(results[0].items) == 4 and results[0].better == "low"
    config.id2label = {0: "x", 1: "y"}
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "d")
    tiny_tokenizer().save_pretrained(tmp_path / "d")
    with pytest.raises(UserError, match="none of its labels is called toxic"):
        toxicity_of(str(tmp_path / "d"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"tasks": ("sts",)}, "no task 'sts'"),
        ({"tasks": (CROWS_PAIRS,)}, "crows_pairs_anonymized.csv"),
        ({"tasks": (WINOGENDER,)}, "--data winogender=FILE"),
        ({"tasks": ("sst",), "data": {"rte": "x"}}, "not among --tasks"),
        ({"tasks": ("realtoxicityprompts",)}, "--toxicity"),
        ({"tasks": ("sst",), "prefixes": ("rude",)}, "--prefix rude: there are none, respectful, biased, no-comment"),
    ],
)
def test_mistakes_are_found_before_anything_is_loaded(options, problem):
    with pytest.raises(UserError, match=problem):
        PublicConfig(**options)


def test_a_task_without_its_data_is_one_line_and_the_others_run(tmp_path, capsys, monkeypatch):
    pytest.importorskip("lm_eval")

    def unreachable(*args, **options):
        raise ConnectionError("Couldn't reach\nthe Hub")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    save_causal_lm(tiny_model(), tmp_path / "m", tiny_tokenizer())
    out, file = tmp_path / "out", _rows(tmp_path, "sst", SST)
    command = ["evaluate", "public", str(tmp_path / "m"), "--tasks", "rte", "sst", "--out", str(out)]
    assert main([*command, "--data", f"sst={file}"]) == 2
    reported = capsys.readouterr()
    assert "momus: error: rte: its data cannot be loaded (ConnectionError: Couldn't reach the Hub)" in reported.err
    assert "--data rte=FILE" in reported.err and "sst: acc" in reported.out
    assert [item.name for item in read_results(out)] == ["sst: acc"]
    wrong = _rows(tmp_path, "wrong", [{"text": "x", "label": 0}])
    assert main([*command[:3], "--tasks", "sst", "--data", f"sst={wrong}", "--out", str(out)]) == 2
    assert "the data lack a column or value: 'sentence'" in capsys.readouterr().err


def test_results_survive_a_round_trip(tmp_path):
    item = TaskResult(task="t", metric="f1", better="high", items={"0": 0.5, "b": 1.0}, groups={"0": "g"}, shots=3)
    write_results(tmp_path / "r", [item])
    assert list(read_results(tmp_path / "r")) == [item] and item.name == "t, 3 shots: f1"
    with pytest.raises(UserError, match="no results in it"):
        list(read_results(tmp_path))
