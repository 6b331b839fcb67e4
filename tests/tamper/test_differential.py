"""Bugs that no call shows: functions and their tampered versions, called in the cage."""

import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.records import Tamper, Task, read_jsonl
from momus.sandbox import NoCageError, require_cage
from momus.sandbox.inside.compare import SECONDS_A_CALL, TOO_LONG, called, too_long
from momus.tamper import differential
from momus.tamper.differential import Case, Counts, changed_lines, make_a_difference, without_equivalent

TOTAL = "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n"


@pytest.fixture(scope="module")
def cage():
    try:
        require_cage()
    except NoCageError as error:
        pytest.skip(str(error))


def replaced(text, old, new):
    assert old in text
    return text.replace(old, new)


@given(st.lists(st.sampled_from("abc"), min_size=1), st.data())
def test_changed_lines_hold_every_difference(lines, data):
    before = list(lines)
    start = data.draw(st.integers(0, len(before)))
    stop = data.draw(st.integers(start, len(before)))
    after = before[:start] + data.draw(st.lists(st.sampled_from("abcd"))) + before[stop:]
    changed = changed_lines("\n".join(before), "\n".join(after))
    first, last = min(changed), max(changed)
    if before != after:
        assert start <= last and first <= stop + 1
        assert before[: first - 1] == after[: first - 1]
        tail = len(before) - last
        assert tail <= 0 or before[-tail:] == after[-tail:]


def test_calls_tell_what_makes_a_difference_from_what_does_not(cage):
    same = replaced(TOTAL, "result += value", "result = result + value")
    other = replaced(TOTAL, "result = 0", "result = 1")
    uses_file = "def scaled(value):\n    return value * FACTOR\n"
    uses_module = "def push(heap, item):\n    heapify(heap)\n    return heappop(heap)\n"
    cases = [
        Case(TOTAL, (same, other)),
        Case(uses_file, (replaced(uses_file, "*", "+"),), file="FACTOR = 3"),
        Case(uses_module, (replaced(uses_module, "heappop(heap)", "heap[-1]"),), module="heapq"),
    ]
    assert make_a_difference(cases) == [[False, True], [True], [True]]


@pytest.mark.parametrize(
    "body",
    [
        "import random\ndef f(x):\n    return random.random() + 0\n",
        "def f(self, x):\n    return x + 0\n",
        "async def f(x):\n    return x + 0\n",
        "def f(x):\n    import os\n    os._exit(0 + 0)\n",
        "def f(x):\n    import time\n    time.sleep(1000 + 0)\n",
        "def f(x):\n    while 0 == 0:\n        pass\n",
        "def f(x):\n    raise SystemExit(0)\n",
        "def f(x):\n    return unknown(x) + 0\n",
        "def f(x):\n    print(end='')\n    y = 0\n",
        "def f(x):\n    if x == 'nobody draws this':\n        return 0\n    return x\n",
        "class C:\n    x = 0\n",
        "1/0\n",
    ],
)
def test_nothing_is_said_of_functions_that_cannot_be_driven(cage, body, monkeypatch):
    monkeypatch.setattr(differential, "SECONDS", 3)
    number = body.rindex("0")
    tampered = f"{body[:number]}00{body[number + 1 :]}"
    cases = [Case(body, (tampered,)), Case(TOTAL, (replaced(TOTAL, "= 0", "= 1"),))]
    assert make_a_difference(cases, calls=20) == [[None], [True]]


def test_bugs_that_no_call_shows_are_replaced_or_left_out(cage):
    same, other = replaced(TOTAL, "values:", "list(values):"), replaced(TOTAL, "= 0", "= 1")

    def tamper(name, answer):
        bug = {"spans": [{"start": 0, "end": 3}], "description": "d", "kind": "k", "original": "", "replacement": ""}
        return Tamper.model_validate(
            {"task": {"id": name, "question": "", "answer": TOTAL}, "answer": answer, "bugs": [bug]}
        )

    clean = Tamper(task=Task(id="clean", question="", answer=TOTAL), answer=TOTAL, bugs=())
    again = {"mended": tamper("mended", other), "never": tamper("never", same), "gone": None}
    counts = Counts()
    made = [tamper("shown", other), clean, tamper("mended", same), tamper("never", same), tamper("gone", same)]
    kept = list(without_equivalent(made, lambda done: again[done.task.id], counts, together=3))
    assert [(each.task.id, each.answer) for each in kept] == [("shown", other), ("clean", TOTAL), ("mended", other)]
    assert (counts.differ, counts.unknown, counts.left_out) == (2, 0, 2)
    assert "2 shown by a call" in str(counts)


def test_the_commands_check_on_request(cage, tmp_path, capsys):
    source = tmp_path / "code.py"
    source.write_text("STEP = 2\n\n\n" + replaced(TOTAL, "result += value", "result += value * STEP"))
    out = tmp_path / "out.jsonl"
    assert main(["data", "tampers", str(source), "--differential", "--clean", "0", "--out", str(out)]) == 0
    (record,) = read_jsonl(out, Tamper)
    assert record.bugs and "1 shown by a call" in capsys.readouterr().err
    assert main(["tamper", str(source), "--differential", "--out", str(tmp_path / "copies")]) == 0
    assert "shown by a call" in capsys.readouterr().err
    assert main(["tamper", str(source), "--differential", "--bugs", "2"]) == 2
    assert "--differential: checks one bug in a file" in capsys.readouterr().err


def test_the_plain_commands_call_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("momus.tamper.differential.run_python", lambda *_: pytest.fail("a cage was opened"))
    source = Path(tmp_path, "code.py")
    source.write_text(TOTAL)
    assert main(["data", "tampers", str(source), "--out", str(tmp_path / "out.jsonl")]) == 0
    assert main(["tamper", str(source), "--out", str(tmp_path / "copies")]) == 0


def test_a_call_may_be_kept_waiting_but_not_compute_for_long():
    def wait():
        time.sleep(1.5 * SECONDS_A_CALL)  # as long as a busy machine may keep it from a core

    def compute():
        while True:
            pass

    before = {alarm: signal.signal(alarm, too_long) for alarm in (signal.SIGPROF, signal.SIGALRM)}
    try:
        assert called(wait, []) == (True, "NoneType None  ''")
        assert called(compute, []) == called(lambda: time.sleep(60), []) == (False, TOO_LONG)
    finally:
        for alarm, handler in before.items():
            signal.signal(alarm, handler)
