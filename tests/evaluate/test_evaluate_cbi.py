"""The matcher as a judge of whether a critique includes a bug."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.critics.run import TaskCritiques, Written
from momus.critique import Comment, Critique, Span, anchor, format_critique
from momus.evaluate.critics.cbi import calibrated_judge, cross_fitted_agreement, judge_agreement, labelled_bugs
from momus.records import Bug, Tamper, Task, write_jsonl
from momus.stats.detection import kappa_interval
from support.chat_server import chat_server

LINES = ["total = 0", "for item in items:", "if item is None:", "count += item.weight", "return total / count"]
ANSWER = "\n".join(LINES)


def tamper(number: int, *lines: str) -> Tamper:
    bugs = []
    for line in lines:
        start = ANSWER.index(line)
        span = Span(start, start + len(line))
        bugs.append(Bug(kind="k", spans=(span,), description=f"Should be `{line}_`.", original="", replacement=line))
    return Tamper(task=Task(id=f"t{number}", question="", answer=""), answer=ANSWER, bugs=tuple(bugs))


def critique(*lines: str) -> Critique:
    return Critique(
        comments=tuple(Comment(highlight=q, text=f"Should be `{q}_`.", span=anchor(q, ANSWER)) for q in lines)
    )


def test_the_judge_agrees_with_the_truth_where_it_can_be_seen():
    tampers = [tamper(i, LINES[i % 5], LINES[(i + 2) % 5]) for i in range(6)] + [tamper(6)]
    good = [critique(LINES[i % 5], LINES[(i + 1) % 5]) for i in range(6)] + [critique(LINES[0])]
    bad = [critique(LINES[(i + 3) % 5]) for i in range(6)] + [Critique()]
    known = [labelled_bugs(c, t) for c, t in zip(good, tampers, strict=True) if t.bugs]
    judge = calibrated_judge(known)
    result = judge_agreement({"good": good, "bad": bad}, tampers, judge)
    assert result.bugs == 24 and result.truth.value == 6 / 24 and result.failed == 0
    assert result.agreement.value == 1 and result.kappa.value == 1
    assert calibrated_judge(known[:1]) is None


def test_an_uninformed_judge_has_no_kappa_to_speak_of():
    tampers = [tamper(i, LINES[0]) for i in range(4)]
    judge = calibrated_judge([labelled_bugs(critique(*LINES), item) for item in tampers])
    silent = judge_agreement({"quiet": [Critique()] * 4}, tampers, judge)
    assert silent.agreement.value == 1 and np.isnan(silent.kappa.value)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=20))
def test_kappa_is_cohens(items):
    first, second, groups = zip(*items, strict=True)
    result = kappa_interval(first, second, groups, replicates=30)
    alike = sum(one == other for one, other, _ in items) / len(items)
    chance = sum(first.count(item) * second.count(item) for item in (True, False)) / len(items) ** 2
    assert result.value == pytest.approx(float("nan") if chance == 1 else (alike - chance) / (1 - chance), nan_ok=True)
    if chance == 1 or len(set(groups)) == 1:  # always the same label, or nothing to resample
        assert not result.has_ends
    assert not result.has_ends or result.low < result.high


def test_kappa_by_hand():
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: observed 0.7, chance 0.5.
    first, second = [True] * 25 + [False] * 25, [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert kappa_interval(first, second, range(50), replicates=30).value == pytest.approx(0.4)


def test_a_threshold_chosen_on_the_other_half_is_no_better_informed_than_one_from_elsewhere():
    tampers = [tamper(i, LINES[i % 5], LINES[(i + 2) % 5]) for i in range(8)]
    good = [critique(LINES[i % 5], LINES[(i + 1) % 5]) for i in range(8)]
    result = cross_fitted_agreement({"good": good}, tampers)
    assert result.bugs == 16 and result.truth.value == 0.5
    # Half by half with the judge of the other half: the same verdicts, counted together.
    halves = [(good[i::2], tampers[i::2]) for i in (0, 1)]
    judges = [calibrated_judge([labelled_bugs(c, t) for c, t in zip(*half, strict=True)]) for half in halves]
    apart = [judge_agreement({"good": half[0]}, half[1], judges[1 - i]) for i, half in enumerate(halves)]
    assert result.judged.value == np.mean([item.judged.value for item in apart])
    assert cross_fitted_agreement({"good": good[:1]}, tampers[:1]) is None


def test_critics_are_compared_from_the_command_line(tmp_path, capsys):
    tampers = [tamper(i, LINES[i % 5], LINES[(i + 2) % 5]) for i in range(8)] + [tamper(8)]
    write_jsonl(tmp_path / "tampers.jsonl", tampers)
    good = [critique(LINES[i % 5], LINES[(i + 1) % 5]) for i in range(8)] + [Critique()]

    def written(name, critiques, ids):
        rows = [
            TaskCritiques(
                index=i, id=item,
                critiques=() if c is None else (Written(text=format_critique(c), critique=c, score=None, tokens=1),),
                skipped="" if c else "too long",
            )
            for i, (item, c) in enumerate(zip(ids, critiques, strict=True))
        ]  # fmt: skip
        write_jsonl(tmp_path / name, rows)
        return f"{name.removesuffix('.jsonl')}={tmp_path / name}"

    ids = [item.task.id for item in tampers]
    files = [written("good.jsonl", good, ids), written("none.jsonl", [None] * 9, ids)]
    command = ["evaluate", "critics", str(tmp_path / "tampers.jsonl"), "--out", str(tmp_path / "o.json"), "--critiques"]
    assert main([*command, *files]) == 0
    out, err = capsys.readouterr()
    assert "50.0 (" in out and "kappa" in out and "9 answers have no critique" in err
    numbers = json.loads((tmp_path / "o.json").read_text())
    assert [row["catch"]["value"] for row in numbers["critics"]] == [0.5, 0] and numbers["judge"]["bugs"] == 32
    for wrong, texts in (
        ([written("other.jsonl", good, ids[::-1])], "number 1 differs"),
        ([written("few.jsonl", good[:2], ids[:2])], "number 3 differs"),
        ([files[0], files[0]], "named twice"),
        ([str(tmp_path / "good.jsonl")], "NAME=FILE"),
        ([f"a={tmp_path / 'nowhere'}"], "nowhere"),
        ([files[0], "--model", "m"], "nothing here asks a model"),
        ([], "name at least one critic"),
    ):
        assert main([*command, *wrong]) == 2
        assert texts in capsys.readouterr().err


def test_a_model_on_a_server_is_a_row_beside_the_baselines(tmp_path, capsys):
    tampers = [tamper(i, LINES[i % 5]) for i in range(5)] + [tamper(5)]
    write_jsonl(tmp_path / "tampers.jsonl", tampers)
    comment = {"line": 1, "quote": LINES[0], "severity": "error", "problem": "Should be `total = 1`."}
    with chat_server(lambda question, count: json.dumps({"comments": [comment]}), "for item in items") as server:
        command = ["evaluate", "critics", str(tmp_path / "tampers.jsonl"), "--baselines", "--out"]
        command += [str(tmp_path / "o.json"), "--critiques", f"served=m@{server.url}"]
        assert main([*command, "--budget-tokens", "100"]) == 2
        assert "the budget of tokens is spent" in capsys.readouterr().err
        assert main(command) == 0 and len(server.asked) == 1, "equal answers are asked about once"
    out, err = capsys.readouterr()
    assert "random line" in out and "ruff" in out and "served" in out
    assert "tokens to read and at most" in err and "1 call" in err
    rows = {row["source"]: row for row in json.loads((tmp_path / "o.json").read_text())["critics"]}
    assert rows["served"]["catch"]["value"] == 0.2 and rows["served"]["clean_false"]["value"] == 1
    assert rows["served"]["verbatim"]["value"] == 1
