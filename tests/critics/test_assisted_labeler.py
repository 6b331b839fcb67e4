"""benchmarks/assisted_labeler.py: what a labeler is shown in each condition, and what its verdicts come to."""

import sys
from pathlib import Path
from random import Random

import pytest

from momus.critique import Comment, Critique, Span
from momus.files import Ledger
from momus.records import Bug, Tamper, Task, write_jsonl
from support.reviewing import MarkingCritic

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import assisted_labeler as bench


@pytest.fixture
def pairs(tmp_path):
    rows = []
    for number in range(6):
        right = f"def f{number}(a):\n\n    return a + {number}"
        wrong = right.replace("+", "-")
        start = wrong.index("-")
        bug = Bug(
            kind="natural.edit", spans=(Span(start, start + 1),), description="So.", original="+", replacement="-"
        )
        task = Task(id=f"p{number}#0", question=f"Add {number}.", answer=right, module=f"p{number}")
        rows += [
            Tamper(task=task.model_copy(update={"id": f"p{number}#{i}"}), answer=wrong, bugs=(bug,)) for i in (0, 1)
        ]
    write_jsonl(tmp_path / "bugs.jsonl", rows)
    return bench.pairs_of([], tmp_path / "bugs.jsonl", 4, 0)


def test_every_problem_has_a_right_and_a_wrong_answer_once(pairs):
    assert len(pairs) == len({right.task.module for right, _ in pairs}) == 4
    for right, wrong in pairs:
        assert right.right and not wrong.right and right.task.id == wrong.task.id
        assert right.task.answer.replace("+", "-") == wrong.task.answer


def test_problems_that_are_passed_over_are_those_that_came_before(pairs, tmp_path):
    assert bench.pairs_of([], tmp_path / "bugs.jsonl", 3, 0, skip=1) == pairs[1:]


def test_a_misleading_critique_is_another_answers_at_a_line_of_this_one(pairs):
    answers = [one for pair in pairs for one in pair]
    said = {
        one.name: Critique(comments=(Comment(highlight="return", text=f"Remark on {one.name}.", span=Span(12, 18)),))
        for one in answers
    }
    for at, one in enumerate(answers):
        shown = {condition: bench.shown(condition, at, answers, said, 0) for condition in bench.CONDITIONS}
        assert shown["alone"] == ""
        assert shown["critique"].endswith(f"Remark on {one.name}.")
        place, _, words = shown["misleading"].partition(": ")
        assert one.task.id not in words and words.startswith("Remark on ")
        assert shown["empty"] == f"{place}: {bench.EMPTY}"
        assert one.task.answer.split("\n")[int(place.removeprefix("line ")) - 1].strip()
        prompt = bench.prompt_of(one.task, shown["critique"])
        assert one.task.question in prompt and prompt.count("{labels}") == 1 and f"Remark on {one.name}." in prompt
        assert "reviewer" not in bench.prompt_of(one.task, "")
    silent = dict.fromkeys(said, Critique())
    assert bench.shown("critique", 0, answers, silent, 0) == bench.shown("misleading", 0, answers, silent, 0)


class Labeler:
    """Believes whatever it is shown, and otherwise cannot tell."""

    def __init__(self):
        self.asked = 0

    def ask(self, prompts):
        self.asked += len(prompts)
        return [(0.8 if "Look at this" not in prompt else 0.2, "") for prompt in prompts]


def test_what_helps_is_measured_and_nothing_is_asked_twice(pairs, tmp_path, capsys):
    answers = [one for pair in pairs for one in pair]
    labeler = Labeler()
    with Ledger(tmp_path / "critiques", {}) as ledger:
        critiques = bench.write_critiques(answers, MarkingCritic(" - "), ledger)
        assert bench.write_critiques(answers, None, ledger) == critiques
    with Ledger(tmp_path / "verdicts", {}) as ledger:
        said = bench.judge(answers, critiques, labeler, ledger, 0)
        assert bench.judge(answers, critiques, labeler, ledger, 0) == said
    assert labeler.asked == len(answers) * len(bench.CONDITIONS)
    for one in answers:
        where = "critique" if critiques[one.name].comments else "alone"
        assert said[bench.COMMENTS][one.name] == said[where][one.name]
        assert said[bench.CRITIC][one.name] == (where == "alone")
    rows = bench.measure(pairs, said)
    assert (rows["alone"]["accuracy"].value, rows["alone"]["in pairs"].value) == (0.5, 0.5)
    assert (rows["critique"]["accuracy"].value, rows["critique"]["accuracy, change"].value) == (1.0, 0.5)
    assert rows["empty"]["accuracy, change"].value == 0
    assert rows["misleading"]["accuracy"].value == 0.5 and rows["misleading"]["says right"] == 0
    assert "4 problems" in bench.table(rows, len(pairs))


def test_an_inserted_bug_fails_the_tests(monkeypatch):
    class Result:
        def __init__(self, passed):
            self.passed = passed

    monkeypatch.setattr(bench, "run_tests", lambda code, tests, setup: Result(_passes(code, tests)))
    code = "def f(a, b):\n    if a > b:\n        return a - b\n    return b - a\n"
    problem = bench.Problem("mbpp/1", "The distance.", code, ("assert f(1, 3) == 2", "assert f(5, 1) == 4"))
    made = [bench.inserted(problem, seed) for seed in range(5)]
    assert any(made) and all(one is None or not _passes(one.answer, problem.tests) for one in made)
    assert bench.inserted(bench.Problem("mbpp/2", "", code, ("assert f(1, 1) == 1",)), 0) is None


def _passes(code, tests):
    try:
        exec("\n".join((code, *tests)), {"__name__": "x", "random": Random})
    except Exception:
        return False
    return True
