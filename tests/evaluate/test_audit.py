"""An audit: what is read, what is flagged, a sheet that tells nobody which, and what people's judgements come to."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.critics.critic import AgreementDial
from momus.critique import Comment, Critique, anchor
from momus.errors import UserError
from momus.evaluate.critics.audit import TOO_LONG, Audited, draw, drawn, flag, flawless, read_answers, readable, unread
from momus.evaluate.critics.sheet import SheetItem, SheetJudgement, count, sheet_of
from momus.files import Ledger
from momus.lm.chats.costs import OVER_BUDGET
from momus.records import Demonstration, Origin, Prompt, Ranking, Task, read_jsonl, write_jsonl
from momus.search.result import SearchResult
from support.candidates import written
from support.chat_server import chat_server
from support.reviewing import MarkingCritic
from support.terminal import Terminal


def _task(number, bad=False):
    return Task(
        id=f"t{number}", question=f"Question {number}?", answer=f"def f{number}():\n    {'BAD' if bad else 'ok'}"
    )


def _audited(number, comments=0, problem=""):
    task = _task(number)
    quote = f"def f{number}"
    said = tuple(
        Comment(highlight=quote, text=f"Remark {i}.", span=anchor(quote, task.answer)) for i in range(comments)
    )
    return Audited(task=task, critique=Critique(comments=said), problem=problem)


def test_what_is_held_to_be_flawless_are_answers_in_first_place():
    tied = Ranking(prompt="q", candidates=("a", "b", "c"), ranks=(1, 2, 1), origin=Origin(id="r"))
    shown = Demonstration(prompt="p", answer="d", origin=Origin(place="file:3"))
    task = Task(id="t", question="o", answer="e")
    assert [one.answer for one in flawless([tied, shown, task])] == ["a", "c"]
    assert [(one.id, one.answer) for one in flawless([shown, Prompt(prompt="x"), task])] == [
        ("file:3", "d"),
        ("t", "e"),
    ]


def test_code_is_read_without_the_words_around_it_and_each_answer_once():
    code = "def f(x):\n    return x"
    tasks = [
        Task(id=str(i), question="q", answer=a) for i, a in enumerate((code, f"So:\n```python\n{code}\n```", "Yes."))
    ]
    chosen, kind = readable(tasks, None)
    assert kind == "code" and [task.answer for task in chosen] == [code]
    assert readable(tasks[1:] + tasks[2:], None) == (tasks[1:], "answer")
    assert readable(tasks, "answer") == (tasks, "answer")
    with pytest.raises(UserError, match="no answers to audit"):
        readable(tasks[2:], "code")


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 20), st.integers(0, 5))
def test_as_many_unflagged_answers_as_flagged_ones_are_on_the_sheet_and_nothing_tells_them_apart(flags, most, seed):
    audited = [_audited(i, comments=2 * on) for i, on in enumerate(flags)] + [_audited(99, problem=TOO_LONG)]
    made = draw(audited, most, seed)
    there = [one for one in made if one.number is not None]
    flagged = sum(one.is_flagged for one in there)
    assert flagged == min(most, sum(flags))
    assert len(there) - flagged == min(flagged, len(flags) - sum(flags))
    assert sorted(one.number for one in there) == list(range(1, len(there) + 1))
    assert [one.model_copy(update={"number": None}) for one in made] == audited
    silent = [one.model_copy(update={"critique": Critique(), "strength": None}) for one in made]
    assert sheet_of(silent, code=True) == sheet_of(made, code=True)
    assert all("Remark" not in item.text for item in sheet_of(made, code=True))


def test_an_interrupted_audit_goes_on_and_comes_to_the_same(tmp_path):
    tasks = [_task(i, bad=i % 3 == 0) for i in range(40)]
    with Ledger(tmp_path / "one", {}) as ledger:
        with pytest.raises(UserError, match="the server is gone"):
            read_answers(MarkingCritic("BAD", fails_after=20), tasks, ledger)
        assert 0 < len(unread(tasks, ledger)) < 40
    again = MarkingCritic("BAD")
    with Ledger(tmp_path / "one", {}) as ledger:
        read_answers(again, tasks, ledger)
        resumed = flag(tasks, ledger, again.dial, 0.5)
    whole = MarkingCritic("BAD")
    with Ledger(tmp_path / "two", {}) as ledger:
        read_answers(whole, tasks, ledger)
        assert flag(tasks, ledger, whole.dial, 0.5) == resumed
    assert len(again.read) < len(whole.read) == 40
    assert [one.task for one in resumed if one.is_flagged] == [task for task in tasks if "BAD" in task.answer]


def test_the_strongest_flag_comes_first_and_what_was_not_read_last(tmp_path):
    class Reviews:
        dial = AgreementDial()

        def fits(self, task):
            return task.id != "t3"

        def write(self, tasks):
            return [self._written(task) for task in tasks]

        def _written(self, task):
            if task.id == "t4":
                return SearchResult((), OVER_BUDGET)
            remark, nothing = f"```\ndef f{task.id[1:]}():\n```\nLook at this.", "No problems found."
            makers = {"t0": 2, "t1": 4, "t2": 0}[task.id]
            return written(task.answer, *[remark] * makers, *[nothing] * (4 - makers))

    tasks = [_task(i) for i in range(5)]
    with Ledger(tmp_path / "l", {}) as ledger:
        read_answers(Reviews(), tasks, ledger)
        audited = flag(tasks, ledger, Reviews.dial, 0.5)
        assert unread(tasks, ledger) == [tasks[4]]
    assert [one.task.id for one in audited] == ["t1", "t0", "t2", "t3", "t4"]
    assert [one.strength for one in audited] == [1.0, 0.5, None, None, None]
    assert [one.problem for one in audited] == ["", "", "", TOO_LONG, OVER_BUDGET]


@given(st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(("yes", "no", "unsure", 3)), max_size=3))))
def test_counting_is_counting(rows):
    audited = [_audited(i, comments=on).model_copy(update={"number": i + 1}) for i, (on, _) in enumerate(rows)]
    sheet = sheet_of(audited, code=False)
    said = [
        SheetJudgement(title=item.title, labeler=str(name), values={"problem": verdict})
        for item, (_, verdicts) in zip(sheet, rows, strict=True)
        for name, verdict in enumerate(verdicts)
    ]
    elsewhere = SheetJudgement(title="Another item", values={"useful": 5})
    if not said:
        with pytest.raises(UserError, match="none of these judgements"):
            count(audited, sheet, [elsewhere])
        return
    counted = count(audited, sheet, [*said, elsewhere])
    assert counted.other == 1
    for side, flagged in enumerate((True, False)):
        verdicts = [v for on, v in rows if on is flagged and v]
        true = sum(v.count("yes") > v.count("no") for v in verdicts)
        unsure = sum(v.count("yes") == v.count("no") for v in verdicts)
        assert (counted.judged[side], counted.true[side], counted.unsure[side]) == (len(verdicts), true, unsure)
        share = (counted.flagged, counted.unflagged)[side].value
        assert share == true / (len(verdicts) - unsure) if len(verdicts) > unsure else share != share


@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 3))
def test_a_sample_is_in_order_and_the_same_for_the_same_seed(size, limit, seed):
    tasks = [_task(i) for i in range(size)]
    some = drawn(tasks, limit, seed)
    assert len(some) == min(size, limit) and some == drawn(tasks, limit, seed)
    assert [task for task in tasks if task in some] == some


def _say(question, asked):
    line = {"line": 2, "quote": "BAD", "severity": "error", "problem": "This is not a name."}
    return json.dumps({"comments": [line] if "BAD" in question else []})


@pytest.fixture
def answers(tmp_path):
    write_jsonl(tmp_path / "answers.jsonl", [_task(i, bad=i < 3) for i in range(8)])
    return tmp_path / "answers.jsonl"


def test_from_answers_to_a_count_by_commands(answers, tmp_path, capsys):
    out = tmp_path / "audit"
    with chat_server(_say, "def ") as server:
        command = ["audit", str(answers), "--out", str(out), "--url", server.url, "--model", "m"]
        assert main(command) == 0
        told = capsys.readouterr()
        assert "tokens to read and at most" in told.err and "tokens read and" in told.err
        assert "3 of 8 answers are flagged" in told.err and told.out.count("This is not a name.") == 3
        assert len(server.asked) == 8
        files = {name: (out / name).read_bytes() for name in ("audit.jsonl", "sheet.jsonl")}
        assert main([*command, "--no-cache"]) == 0 and len(server.asked) == 8
        assert files == {name: (out / name).read_bytes() for name in files}
        assert main([*command, "--rules", str(answers)]) == 2
        assert "was started with other settings" in capsys.readouterr().err
    audited = {one.number: one for one in read_jsonl(out / "audit.jsonl", Audited)}
    sheet = list(read_jsonl(out / "sheet.jsonl", SheetItem))
    assert len(sheet) == 6
    assert main(["audit", "count", str(out)]) == 2
    assert "nobody has judged its sheet: run momus audit judge" in capsys.readouterr().err

    terminal = Terminal(tmp_path, "audit", "judge", "audit", "--by", "kim")
    terminal.wait_for("[q]uit")
    for number, _ in enumerate(sheet[:-1], 1):
        if audited[number].is_flagged:
            terminal.press("y", "What is wrong? ")
            terminal.press("no such name\n", "[q]uit")
        else:
            terminal.press("n", "[q]uit")
    terminal.press("q", "5 of 6 answers are judged")
    assert terminal.end() == 0
    terminal = Terminal(tmp_path, "audit", "judge", "audit", "--by", "kim")
    terminal.wait_for("1 of 1")
    terminal.press("p", "1 of 1")
    terminal.press("u", "6 of 6 answers are judged")
    assert terminal.end() == 0

    capsys.readouterr()
    assert main(["audit", "count", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "flagged: 100 %" in printed and "false flags: 0" in printed and "of 1 more nobody is sure" in printed
    assert main(["audit", "count", str(out), "--json"]) == 0
    assert sum(json.loads(capsys.readouterr().out)["judged"]) == 6


def test_what_cannot_be_audited_is_one_line(answers, tmp_path, capsys):
    write_jsonl(tmp_path / "prose.jsonl", [Task(id="1", question="Who?", answer="Nobody did it.")])
    for words, problem in (
        ([str(answers), "--out", str(answers)], "is a file"),
        ([str(answers), "--limit", "0"], "--limit 0"),
        ([str(answers), "--confidence", "2"], "--confidence 2.0"),
        ([str(tmp_path / "prose.jsonl")], "this critic reads only code"),
        ([str(tmp_path / "prose.jsonl"), "--prompt", "code"], "no answers to audit"),
        (["judge", str(tmp_path)], "momus audit judge needs a terminal"),
        (["count", str(tmp_path)], "there is no sheet in it"),
    ):  # fmt: skip
        out = ["--out", str(tmp_path / "out")] if words[0] not in ("judge", "count") and "--out" not in words else []
        assert main(["audit", *words, *out]) == 2
        told = capsys.readouterr().err
        assert problem in told.splitlines()[-1]


def test_answers_in_general_are_asked_about_as_such(tmp_path, capsys):
    write_jsonl(tmp_path / "prose.jsonl", [Demonstration(prompt="Who did it?", answer="Nobody did it.")])
    with chat_server(lambda *_: '{"comments": []}', "Nobody did it.") as server:
        command = ["audit", str(tmp_path / "prose.jsonl"), "--out", str(tmp_path / "out")]
        assert main([*command, "--url", server.url, "--model", "m"]) == 0
        assert "You review an answer to a question." in server.asked[0]
    assert "there is nothing to judge" in capsys.readouterr().err
