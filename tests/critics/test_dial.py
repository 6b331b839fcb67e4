"""The dial: what every setting promises, measured on known answers, and the critics that have one."""

import difflib
import heapq
import itertools
import json
import math
import queue
import random
import shelve
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.critics.calibration import Calibration, describe_promise, read_calibration
from momus.critics.critic import AgreementDial, LengthDial
from momus.critics.open import open_at_setting
from momus.critique import Comment, Critique, anchor
from momus.data.functions import Size
from momus.data.stdlib import functions_of_file
from momus.errors import UserError
from momus.evaluate.critics.calibration import SETTINGS, _bound_false_alarms, _choose_settings, calibrate
from momus.evaluate.critics.changes import changed_lines, changes_of
from momus.evaluate.critics.measure import measure
from momus.records import Task
from momus.search.fsbs import choose_best
from momus.search.result import Candidate, RewardSource, SearchResult
from momus.stats.bootstrap import COUNT, mean_interval
from momus.tamper.insert import tamper_tasks
from momus.tamper.truth import judge
from support.candidates import candidate

ANSWER = "def f(a, b):\n    c = a - b\n    d = a * b\n    return c + d"
LINES = [line.strip() for line in ANSWER.split("\n")]

comments = st.builds(
    lambda line: Comment(highlight=line, text="odd", span=anchor(line, ANSWER)), st.sampled_from([*LINES, "not there"])
)
critiques = st.lists(st.builds(lambda c: Critique(comments=tuple(c)), st.lists(comments, max_size=3)), min_size=1)
results = st.lists(st.builds(candidate, st.floats(-3, 3, width=16), st.integers(0, 5)), min_size=1, max_size=12).map(
    lambda candidates: SearchResult(tuple(candidates))
)


@given(critiques)
def test_agreement_settings_make_every_critique_that_any_share_makes(critiques):
    dial, result = AgreementDial(), SearchResult(tuple(Candidate("", (), 0.0, critique) for critique in critiques))
    chosen = [dial.choose(result, ANSWER, setting) for setting in dial.settings(result)]
    assert all(dial.choose(result, ANSWER, share) in chosen for share in [0.01, 0.2, 1 / 3, 0.5, 0.51, 0.9, 1.0])


@given(results)
def test_length_settings_find_every_choice_that_a_fine_grid_finds(result):
    chosen = {choose_best(result, setting).highlights for setting in LengthDial().settings(result)}
    assert {choose_best(result, i / 16 + 1 / 97).highlights for i in range(-160, 160)} <= chosen


class _SuspicionDial:
    """Comments on each line that is at least as suspicious as the setting; suspicion is seeded by the line's text."""

    def choose(self, written, answer, setting):
        lines = [line for line, suspicion in self._suspicions(answer).items() if suspicion >= setting]
        return Critique(comments=tuple(Comment(highlight=q, text="?", span=anchor(q, answer)) for q in lines))

    def settings(self, written):
        return self._suspicions(written.candidates[0].text).values()

    def _suspicions(self, answer):
        return {line.strip(): random.Random(line).random() for line in answer.split("\n") if line.strip()}


class _SuspiciousCritic:
    dial = _SuspicionDial()

    def fits(self, task):
        return True

    def write(self, tasks):
        return [SearchResult((Candidate(task.answer, (), 0.0, Critique()),)) for task in tasks]

    def identity(self):
        return {"kind": "suspicious"}


@pytest.fixture(scope="module")
def known():
    functions = [f for m in (queue, heapq, shelve) for f in functions_of_file(Path(m.__file__), Size(max_lines=12))]
    tasks = [Task(id=f.name, question=f.question, answer=f.answer) for f in functions]
    return list(tamper_tasks(tasks, (0.5, 0.5), random.Random(0)))


@pytest.fixture(scope="module")
def measured(known):
    return calibrate(_SuspiciousCritic(), known, "a test", inserted=True, replicates=200)


def test_every_point_is_what_measuring_that_setting_gives(known, measured):
    for point in measured.points[::8]:
        written = [_SuspicionDial().choose(None, tamper.answer, point.setting) for tamper in known]
        (row,) = measure({"x": written}, known, replicates=200)
        assert point.caught.value == row.catch.value
        assert point.false_alarms.low == row.clean_false.low and point.false_alarms.high >= row.clean_false.high
        clean = [judge(w, t).fakes for w, t in zip(written, known, strict=True) if not t.bugs]
        assert point.false_alarms.value == pytest.approx(sum(clean) / len(clean))


def test_more_false_alarms_buy_more_bugs_and_the_points_are_in_that_order(measured):
    assert len(measured.points) == 33
    assert all(a.comments.value <= b.comments.value for a, b in itertools.pairwise(measured.points))
    assert measured.points[-1].caught.value == 1.0  # every line


@given(st.floats(0, 12))
@settings(max_examples=50)
def test_a_promised_point_keeps_to_the_limit_and_none_that_does_catches_more(measured, asked):
    try:
        point = measured.promise(asked)
    except UserError:
        assert measured.points[0].false_alarms.high > asked
        return
    kept = list(itertools.takewhile(lambda p: p.false_alarms.high <= asked, measured.points))
    assert point in kept
    assert point.caught.value == max(p.caught.value for p in kept)


def test_without_a_false_alarm_the_bound_is_still_above_zero(known, measured):
    silent = measured.points[0]
    assert silent.false_alarms.value == 0.0
    clean = sum(not t.bugs for t in known)
    assert silent.false_alarms.high == pytest.approx(-math.log(0.025) / clean)


def test_a_calibration_comes_back_from_its_file(measured, tmp_path):
    (tmp_path / "c.json").write_text(measured.model_dump_json())
    assert read_calibration(tmp_path / "c.json") == measured
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(UserError, match="not what momus calibrate writes"):
        read_calibration(tmp_path / "c.json")


def test_a_dial_needs_clean_answers_and_bugs(known):
    with pytest.raises(UserError, match="0 of"):
        calibrate(_SuspiciousCritic(), [t for t in known if t.bugs], "x", inserted=True)


NOWHERE = RewardSource()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, NOWHERE, 0.5, 0.2, None), "leave one of them out"),
        ((None, NOWHERE, None, None, Path("x")), "give --false-alarms"),
        ((None, NOWHERE, 1.5, None, None), "between 0 and 1"),
        ((Path("m"), NOWHERE, None, 0.2, None), "needs --calibration"),
        ((None, RewardSource(Path("r")), None, None, None), "set by --calibration"),
        ((None, NOWHERE, None, 0.2, Path("missing.json")), "run momus calibrate first"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        open_at_setting(*options)


def test_calibrate_then_review_by_promise(tmp_path, capsys):
    """As a user would, on their code."""
    code, out = tmp_path / "code.py", tmp_path / "c.json"
    bodies = ("total += x", "total -= x * 2", "total = max(total, x)", "total ^= x")
    code.write_text(
        "\n\n".join(
            f"def f{i}(xs):\n    total = {i}\n    for x in xs:\n        {body}\n    return total\n"
            for i, body in enumerate(bodies * 2)
        )
    )
    assert main(["calibrate", str(code), "--out", str(out), "--answers", "8"]) == 0
    assert "false comments" in capsys.readouterr().out
    stored = Calibration.model_validate_json(out.read_bytes())
    least = min(point.false_alarms.high for point in stored.points)
    assert main(["review", str(code), "--calibration", str(out), "--false-alarms", str(least)]) == 0
    shown = capsys.readouterr()
    assert f"at most {least:g} false comments" in " ".join(shown.err.split())
    changed = json.loads(out.read_text())
    changed["critic"]["model"] = "0"
    out.write_text(json.dumps(changed))
    assert main(["review", str(code), "--calibration", str(out), "--false-alarms", "9"]) == 2
    assert "measured on another critic" in capsys.readouterr().err


@given(st.integers(1, 400), st.integers(0, 30))
def test_the_fewer_were_seen_the_lower_what_is_promised_and_never_below_the_exact_bound(clean, seen):
    """Resampling alone promised less after one false comment than after none, and missed twice as often as promised."""

    def promised(count):
        measured = mean_interval(
            [count // clean + (i < count % clean) for i in range(clean)], bounds=COUNT, replicates=200
        )
        return _bound_false_alarms(measured, clean).high

    exact = promised(seen)
    # So few or fewer come about in one case of 40, where the rate is the one promised: the sum of Poisson's terms.
    assert sum(math.exp(k * math.log(exact * clean) - exact * clean - math.lgamma(k + 1)) for k in range(seen + 1)) <= (
        0.025 + 1e-9
    )
    assert exact < promised(seen + 1)


def test_on_changes_comments_on_changed_lines_alone_count(known):
    changes = changes_of(known)
    clean = [change for change in changes if not change.after.bugs]
    assert clean and len(changes) - len(clean) in (len(clean), len(clean) + 1)
    measured = calibrate(
        _SuspiciousCritic(),
        [change.after for change in changes],
        "a test",
        inserted=True,
        changed=[change.changed for change in changes],
        replicates=200,
    )
    last = measured.points[-1]  # every changed line is commented on
    changed = sum(len([n for n in c.changed if c.after.answer.split("\n")[n].strip()]) for c in clean) / len(clean)
    assert measured.changes and last.caught.value == 1 and 0 < last.false_alarms.value <= changed
    assert "per clean change" in describe_promise(measured, last, 9)


def test_changed_lines_are_those_that_are_new_and_those_beside_what_was_taken_out():
    assert changed_lines("a\nb\nc", "a\nB\nc") == {1}
    assert changed_lines("a\nb\nc", "a\nc") == {0, 1}
    assert changed_lines("a\nb", "x\na\nb\ny") == {0, 3}
    assert changed_lines("a\nb", "a\nb") == set()
    assert changed_lines("a\nb", "b") == {0}


def test_a_calibration_on_changes_is_for_changes_and_refused_for_whole_code(tmp_path, capsys, monkeypatch):
    code, out = tmp_path / "code.py", tmp_path / "dial.json"
    code.write_text(
        "".join(f"def f{i}(a, b):\n    if a < {i}:\n        return a + b\n    return a - b\n\n\n" for i in (3, 5))
    )
    assert main(["calibrate", str(code), "--changes", "--out", str(out), "--answers", "2"]) == 0
    assert "false comments per" in capsys.readouterr().out and json.loads(out.read_text())["changes"]
    assert main(["review", str(code), "--calibration", str(out), "--false-alarms", "9"]) == 2
    assert "was measured on changes" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    before = code.read_text().splitlines(keepends=True)
    after = [line.replace("a < 5", "a < 6") for line in before]
    (tmp_path / "p.patch").write_text("".join(difflib.unified_diff(before, after, "a/code.py", "b/code.py")))
    assert main(["review", "--patch", "p.patch", "--calibration", str(out), "--false-alarms", "9"]) == 0
    assert "at most 9 false comments per clean change" in capsys.readouterr().err


@given(st.integers(1, 20_000))
def test_settings_are_few_and_finest_at_both_ends(count):
    """The quiet end, at which promises are made, may be either: from it the dial opens by a few comments at a time."""
    chosen = _choose_settings(float(i) for i in range(count))
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, SETTINGS)
    from_one_end, from_the_other = chosen, [count - 1 - place for place in reversed(chosen)]
    for places in (from_one_end, from_the_other):
        assert places[0] == 0 and places[-1] == count - 1
        steps = itertools.pairwise(places)
        assert all(step <= 2 * place + 1 or step - place <= count / 12 + 1 for place, step in steps)
