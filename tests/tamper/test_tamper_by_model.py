"""Bugs that a model puts in: what is kept of its answers, and why the rest is not."""

import json

import pytest

from momus.cli import main
from momus.files import Ledger
from momus.lm.chats.protocol import Answer
from momus.records import Tamper, read_jsonl
from momus.sandbox import NoCageError, require_cage
from momus.tamper.by_model import Rejected, names_place, read, tamper_by_model
from momus.tamper.natural.problems import Problem
from momus.tamper.truth import judge

CODE = "def total(n):\n    result = 0\n    for i in range(n + 1):\n        result += i\n    return result\n"
PROBLEM = Problem("mbpp/601", "Sum the numbers up to n.", CODE, ("assert total(3) == 6", "assert total(1) == 1"))
BUG = "Bug: `range(n)` stops before n; it should be `range(n + 1)`."


def answer(old, new, comment=BUG):
    return f"Here it is:\n```python\n{CODE.replace(old, new)}```\n{comment}"


GOOD = answer("n + 1", "n")


@pytest.fixture(scope="module")
def cage():
    try:
        require_cage()
    except NoCageError as error:
        pytest.skip(str(error))


class Chat:
    """Gives the same answer to every question."""

    name = "scripted"

    def __init__(self, text):
        self.text, self.asked = text, 0

    def identity(self):
        return {"model": "scripted"}

    def count(self, messages):
        return 0

    def answer(self, questions):
        self.asked += len(questions)
        return [Answer(self.text)] * len(questions)


def test_a_fair_bug_is_a_record_with_the_models_words():
    tamper = read(PROBLEM, GOOD)
    assert isinstance(tamper, Tamper)
    (bug,) = tamper.bugs
    assert tamper.answer[bug.spans[0].start : bug.spans[0].end] == "for i in range(n):"
    assert bug.description == BUG.removeprefix("Bug: ")
    assert judge(tamper.gold_critique(), tamper).named == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (answer("n + 1", "n", ""), "no description"),
        (answer("n + 1", "n", "Bug: something is wrong with `result`."), "the description does not name the place"),
        (answer("    result = 0", "    result  =  0"), "nothing changed"),
        (answer("return result", "return (result"), "no Python"),
        (f"```python\ndef total(n):\n    return n\n```\n{BUG}", "too many lines changed"),
        ("I cannot do that.", "no Python"),
        ("", "no description"),
    ],
)
def test_an_unfair_one_is_not(text, why):
    assert read(PROBLEM, text) == Rejected(why)


@pytest.mark.parametrize(
    ("description", "names"),
    [
        ("`range(n)` is short", True),
        ("On line 3 the range is short", True),
        ("`for  i in range( n )` is short", True),
        ("Line 2 is wrong", False),
        ("`n` is wrong", False),
        ("`result += i` is wrong", False),
    ],
)
def test_a_description_names_the_place_by_code_or_number(description, names):
    assert names_place(description, ["    for i in range(n):"], [2]) == names


@pytest.mark.parametrize(
    ("text", "missed", "counts"),
    [
        (GOOD, None, {"problems": 1, "kept": 1}),
        (GOOD, True, {"problems": 1, "found by the critic in every sample": 0, "kept": 1}),
        (GOOD, False, {"problems": 1, "found by the critic in every sample": 1, "kept": 0}),
        (answer("result += i", "result = result + i", "Bug: `result = result + i`"), None,
         {"problems": 1, "passes the tests": 1, "kept": 0}),
    ],
)  # fmt: skip
def test_tests_and_critic_decide(cage, tmp_path, text, missed, counts):
    chat = Chat(text)
    for _ in range(2):
        with Ledger(tmp_path / "answers.jsonl", {}) as ledger:
            misses = None if missed is None else lambda tampers: [missed] * len(tampers)
            kept, got = tamper_by_model([PROBLEM], chat, ledger, misses, lambda done, total: None)
    assert got == counts and len(kept) == counts["kept"]
    assert chat.asked == 1


def test_the_original_has_to_pass(cage, tmp_path):
    wrong = Problem("mbpp/1", "Sum.", CODE, ("assert total(3) == 7",))
    with Ledger(tmp_path / "answers.jsonl", {}) as ledger:
        _, counts = tamper_by_model([wrong], Chat(GOOD), ledger, None, lambda done, total: None)
    assert counts == {"problems": 1, "the original fails its tests": 1, "kept": 0}


def test_the_command_writes_records_and_counts(cage, tmp_path, monkeypatch, capsys):
    row = {"task_id": 601, "text": "t", "code": CODE, "test_list": list(PROBLEM.tests), "test_setup_code": ""}
    (tmp_path / "p.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.setattr("momus.lm.chats.open.open_chat", lambda model, url=None: Chat(GOOD))
    out = tmp_path / "out"
    assert main(["tamper", "--by", "scripted", "--tests", str(tmp_path / "p.jsonl"), "--out", str(out)]) == 0
    (record,) = read_jsonl(out / "tampers.jsonl", Tamper)
    assert record.bugs[0].kind == "model.tamper"
    assert json.loads((out / "counts.json").read_text()) == {"problems": 1, "kept": 1}
    assert "1 kept" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "words"), [(["--limit", "0"], "--limit 0"), (["--temperature", "-1"], "--temp")])
def test_bad_options_are_one_line(tmp_path, capsys, options, words):
    command = ["tamper", "--by", "x", "--tests", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "out"), *options]
    assert main(command) == 2
    shown = capsys.readouterr().err
    assert words in shown and shown.count("\n") == 1
