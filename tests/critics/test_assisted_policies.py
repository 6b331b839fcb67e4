"""benchmarks/assisted_policies.py: which answers are judged, how verdicts become rankings, and which answer is best."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from momus.critique import Comment, Critique, Span
from momus.files import Ledger
from momus.tamper.natural.problems import Problem

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import assisted_policies as bench

PROBLEM = Problem("mbpp/601", "Add one.", "def f(a):\n    return a + 1\n", ("assert f(1) == 2", "assert f(2) == 3"))
TEXTS = [
    "```python\ndef f(a):\n    return a + 1\n```",
    "Here:\n```python\ndef f(a):\n    return a + 1\n```",
    "```python\ndef f(a):\n    return 2 * a\n```",
    "```python\ndef f(a):\n    return 3\n```",
    "",
]


@pytest.fixture
def found(tmp_path):
    with Ledger(tmp_path / "answers.jsonl", {}) as ledger:
        passed = {PROBLEM: [True, True, False, False, False]}
        ledger.add({f"passes {PROBLEM.id}#{i}": right for i, right in enumerate(passed[PROBLEM])})
        assert bench.test({PROBLEM: TEXTS}, ledger) == passed
    return bench.distinct({PROBLEM: TEXTS}, passed)


def test_answers_with_the_same_code_count_once_and_those_without_code_not_at_all(found):
    assert list(found[PROBLEM]) == [TEXTS[0], TEXTS[2], TEXTS[3]]
    assert [one.right for one in found[PROBLEM].values()] == [True, False, False]


def test_a_bug_that_fails_a_test_is_put_into_a_right_answer_or_into_the_reference(found, tmp_path):
    unsolved = Problem("mbpp/602", "Add one.", PROBLEM.code.rstrip(), PROBLEM.tests)
    found[unsolved] = {}
    for _ in range(2):  # and what was inserted stays
        again = {problem: dict(answers) for problem, answers in found.items()}
        with Ledger(tmp_path / "answers.jsonl", {}) as ledger:
            bench.add_inserted(again, ledger)
        assert [one.right for one in again[PROBLEM].values()] == [True, False, False, False]
        assert [one.right for one in again[unsolved].values()] == [True, False]
        for problem, answers in again.items():
            *_, (text, wrong) = answers.items()
            assert wrong.task.id.endswith("inserted") and bench.code_of(text) == wrong.task.answer
            assert not bench.run_tests(wrong.task.answer, problem.tests).passed
    kinds = bench.kinds_of(again)
    assert kinds["all answers"] == again
    assert kinds["the policy's own"] == {PROBLEM: found[PROBLEM], unsolved: {}}


def test_the_labeler_is_asked_again_only_where_the_critic_has_a_comment(found, tmp_path, monkeypatch):
    answers = list(found[PROBLEM].values())
    asked = []

    class Asked:
        def __init__(self, chat):
            pass

        def ask(self, prompts):
            asked.extend(prompts)
            return [(0.25 if "Two is not one." in prompt else 0.75, "") for prompt in prompts]

    monkeypatch.setattr(bench, "Verdicts", Asked)
    monkeypatch.setattr(bench, "open_chat", lambda name: name)
    comment = Comment(highlight="    return 2 * a", text="Two is not one.", span=Span(10, 26))
    critiques = {one.name: Critique(comments=(comment,) * (i == 1)) for i, one in enumerate(answers)}
    for _ in range(2):
        with Ledger(tmp_path / "verdicts.jsonl", {}) as ledger:
            said = bench.judge(answers, critiques, "labeler", ledger)
        assert len(asked) == 4  # and nobody is asked twice
    assert list(said["alone"].values()) == [0.75, 0.75, 0.75]
    assert list(said["assisted"].values()) == [0.75, 0.25, 0.75]
    assert "line 2: Two is not one." in asked[3]
    assert bench.accuracy(found, said["alone"]) == {"verdicts": [pytest.approx(1 / 3)], "pairs": [0.5]}
    assert bench.accuracy(found, said["assisted"]) == {"verdicts": [pytest.approx(2 / 3)], "pairs": [0.75]}
    assert bench.rankings(found, said["alone"], "alone") == []
    (ranking,) = bench.rankings(found, said["assisted"], "assisted")
    assert ranking.ranks == (1, 2, 1) and ranking.candidates == tuple(found[PROBLEM])


def test_the_best_answer_is_the_one_with_the_highest_score_and_of_equals_the_first(monkeypatch, tmp_path):
    asked = []

    class Scored:
        def __init__(self, name, model, chat):
            pass

        def rank(self, prompt, answers):
            asked.append(prompt)
            return [SimpleNamespace(scores=tuple(float(len(text)) for text in answers.values()))]

    monkeypatch.setattr(bench, "RewardLabeler", Scored)
    monkeypatch.setattr(bench, "reward_model", lambda folder, local: (None, None))
    answers = {PROBLEM: ["a", "ccc", "bbb", "d"], replace(PROBLEM, id="mbpp/602"): ["a", "b"]}
    few = dict(list(answers.items())[:1])
    for problems, picked in ((few, [1]), (answers, [1, 0]), (few, [1])):  # and no problem is asked about twice
        with Ledger(tmp_path / "best.jsonl", {}) as ledger:
            assert bench.best_of(problems, "folder", ledger) == picked
    assert len(asked) == 2
