"""A critic trained against the truth: what a critique is worth, and that training on it raises that."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.critics.reading import write_comments
from momus.critique import Span
from momus.lm.models import save_causal_lm
from momus.raters.truth import CAUGHT, FALSE, UNREADABLE, TruthReward, score
from momus.records import Bug, Demonstration, Tamper, Task, write_jsonl
from momus.tamper.truth import Verdict
from momus.train.settings import PPOConfig
from support.stages import EOS, PROMPTS, ppo
from support.tiny import llama, tiny_tokenizer

LINES = ["x = 0", "y = a - b", "z = c * d", "return y"]
ANSWER = "\n".join(LINES)


def tamper(*faulty):
    """Return an answer whose lines with these texts are wrong."""
    bugs = []
    for text in faulty:
        start = ANSWER.index(text)
        bug = {"kind": "k", "description": "Should be `fixed(1)`.", "original": "fixed(1)", "replacement": text}
        bugs.append(Bug(spans=(Span(start, start + len(text)),), **bug))
    return Tamper(task=Task(id="t", question="", answer="right"), answer=ANSWER, bugs=tuple(bugs))


def said(*comments):
    rows = [{"line": n, "quote": LINES[n - 1], "severity": "error", "problem": words} for n, words in comments]
    return json.dumps({"comments": rows})


def test_what_the_author_of_the_bugs_says_is_worth_all_of_them():
    for faulty in ((), ("a - b",), ("a - b", "c * d")):
        one = tamper(*faulty)
        assert score(write_comments(one.gold_critique(), one.answer), one) == len(faulty)


def test_the_right_line_with_other_words_is_worth_half_and_with_empty_words_less_than_silence():
    one = tamper("a - b")
    assert score(said((2, "This loses the sign of b.")), one) == CAUGHT[Verdict.LOCATED] == 0.5
    for empty in ("No problem here.", "Should be `y = a - b`.", "..."):
        assert score(said((2, empty)), one) < score(said(), one) == 0
    assert score("I would rather not say.", one) == UNREADABLE < score(said((1, "Odd.")), one) == -FALSE


@given(st.sets(st.sampled_from(("a - b", "c * d"))), st.sets(st.sampled_from((1, 4)), min_size=1))
def test_every_comment_elsewhere_costs_the_same(faulty, elsewhere):
    one, words = tamper(*faulty), "Should be `fixed(1)`."
    good = [(number, words) for number, line in enumerate(LINES, 1) if any(text in line for text in faulty)]
    assert score(said(*good), one) == len(faulty)
    assert score(said(*good, *((n, words) for n in elsewhere)), one) == len(faulty) - FALSE * len(elsewhere)


def test_the_truth_of_other_bugs_is_another_reward():
    assert TruthReward({(1,): tamper()}).identity == TruthReward({(1,): tamper()}).identity
    assert TruthReward({(1,): tamper()}).identity != TruthReward({(1,): tamper("a - b")}).identity


def test_ppo_learns_to_name_a_bug_where_there_is_one_and_to_be_silent_where_there_is_none(tmp_path):
    known = [tamper("a - b") if i % 2 else tamper() for i in range(len(PROMPTS))]
    reward = TruthReward({tuple(prompt): one for prompt, one in zip(PROMPTS, known, strict=True)})
    words = {7: said((2, "Should be `fixed(1)`.")), 8: said(), 9: said((1, "Odd.")), 10: said((2, "Odd."))}

    def truth(prompts, responses):
        rows = zip(prompts, responses, strict=True)
        return np.array([[reward(tuple(p), words.get(one[0], "hm")) for one in row] for p, row in rows])

    config = PPOConfig.tiny(
        iterations=30, prompts_per_batch=4, rollouts_per_prompt=16, minibatches=2, policy_learning_rate=1e-2,
        value_learning_rate=1e-2, kl_coefficient=0.0, warmup_iterations=1, save_every=100, ema_decay=None,
    )  # fmt: skip
    history = ppo(tmp_path, config, scorer=truth, reward=None, eos_id=EOS).history
    first, last = (np.mean([line["score"] for line in part]) for part in (history[:3], history[-3:]))
    assert first < -0.5 < 0.2 < last


def train(step, folder, out, data, *more):
    options = ["--preset", "tiny", "--model", folder / "base", "--out", out, "--data", folder / data]
    options += ["--reward", "truth", "--max-prompt", "1500", "--max-answer", "8", "--held-out", "0.4", *more]
    return main([str(word) for word in ("train", step, *options)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("truth")
    model = llama(vocab=len(tiny_tokenizer()))
    model.config.max_position_embeddings = 2048
    save_causal_lm(model, made / "base", tiny_tokenizer())
    rows = [tamper("a - b") if i % 2 else tamper() for i in range(10)]
    rows = [
        row.model_copy(update={"task": Task(id=str(i), question=f"Number {i}.", answer="", module=f"m{i}")})
        for i, row in enumerate(rows)
    ]
    write_jsonl(made / "tampers.jsonl", rows)
    write_jsonl(made / "demos.jsonl", [Demonstration(prompt="q", answer="a")])
    return made


def test_the_steps_take_answers_with_known_bugs_and_say_what_the_truth_chose(folder, tmp_path, capsys):
    ppo = ["--iterations", "1", "--prompts-per-batch", "2", "--rollouts-per-prompt", "2", "--minibatches", "1"]
    assert train("ppo", folder, tmp_path / "ppo", "tampers.jsonl", *ppo, "--keep", "best") == 0
    summary = json.loads((tmp_path / "ppo" / "summary.json").read_text())
    assert summary["result"]["first"]["score"] == UNREADABLE  # a random model writes no critique
    assert summary["result"]["held_out_score"]["model"]["value"] == UNREADABLE
    assert summary["result"]["iteration_kept"] == 1
    assert train("sft", folder, tmp_path / "sft", "tampers.jsonl", "--max-answer", "200", "--epochs", "1") == 0
    summary = json.loads((tmp_path / "sft" / "summary.json").read_text())
    assert summary["result"]["epoch_chosen_by"] == "reward score" and "score" in summary["result"]["saved"]
    capsys.readouterr()
    assert train("ppo", folder, tmp_path / "none", "tampers.jsonl", *ppo, "--keep", "best", "--held-out", "0") == 2
    assert "--keep best chooses by answers to held-out prompts, and there are none" in capsys.readouterr().err
    assert train("ppo", folder, tmp_path / "other", "demos.jsonl", *ppo) == 2
    assert "demos.jsonl:1: " in capsys.readouterr().err
