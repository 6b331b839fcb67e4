"""What people say of comments that were shown takes settings of a dial away, and never makes a promise looser."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.critics.calibration import Calibration, read_calibration, without_disliked
from momus.critics.critic import SHIPPED
from momus.errors import UserError
from momus.review.decisions import Decision, write_decisions

SHARES = st.floats(0, 1)
SHOWN = st.lists(st.tuples(SHARES, st.booleans()), max_size=60)


def interval(value, high):
    return {"value": value, "low": 0.0, "high": high}


@st.composite
def dials(draw):
    """Draw a dial, from its quietest setting on; its false alarms need not grow from one setting to the next."""
    settings = sorted(draw(st.lists(SHARES, min_size=1, max_size=8, unique=True)), reverse=True)
    points = [
        {
            "setting": setting,
            "false_alarms": interval(0.0, draw(st.floats(0, 2))),
            "caught": interval(draw(SHARES), 1.0),
            "comments": interval(0.0, 1.0),
        }
        for setting in settings
    ]
    rest = {"critic": {"kind": "voting"}, "data": "d", "inserted": True, "answers": 2, "clean": 1, "bugs": 1}
    return Calibration.model_validate({**rest, "points": points})


@given(dials(), SHOWN, st.floats(0, 2))
def test_no_feedback_sets_a_dial_looser(dial, shown, asked):
    raised = without_disliked(dial, shown)
    assert raised.points == dial.points[: len(raised.points)]
    assert raised.model_copy(update={"points": dial.points}) == dial
    try:
        before = dial.promise(asked)
    except UserError:
        with pytest.raises(UserError):
            raised.promise(asked)
        return
    after = raised.promise(asked)
    assert after.setting >= before.setting
    assert after.false_alarms.high <= asked


@given(dials(), SHOWN, SHARES)
def test_an_acceptance_takes_no_setting_away(dial, shown, setting):
    fewer = without_disliked(dial, shown)
    assert len(without_disliked(dial, [*shown, (setting, True)]).points) >= len(fewer.points)


@given(dials(), st.integers(0, 5))
def test_a_few_dismissals_are_chance(dial, count):
    assert without_disliked(dial, [(1.0, False)] * count) == dial


def test_settings_at_which_most_was_dismissed_go():
    dial = read_calibration(SHIPPED)
    good, bad = [(0.9, True)] * 4, [(0.5, False)] * 20
    raised = without_disliked(dial, [*good, *bad])
    assert {point.setting > 0.5 for point in raised.points} == {True}
    assert {point.setting for point in dial.points if point.setting > 0.5} == {p.setting for p in raised.points}


def decision(number, kind, confidence, accepted):
    return Decision(
        path="a.py",
        function="f",
        code="x = 1",
        number=number,
        decision="accepted" if accepted else "dismissed",
        because="b",
        quote="x = 1",
        text="Wrong.",
        answer="x = 1",
        critic=kind,
        confidence=confidence,
    )


def test_the_command_counts_what_this_kind_of_critic_showed(tmp_path, capsys):
    baseline, out = tmp_path / "momus-baseline.jsonl", tmp_path / "raised.json"
    kind = read_calibration(SHIPPED).critic["kind"]
    others = [decision(n, "prompted", 0.9, False) for n in range(20)]
    unknown = [decision(20 + n, kind, None, False) for n in range(20)]
    write_decisions(baseline, [*others, *unknown])
    arguments = ["calibrate", "--measured", str(SHIPPED), "--feedback", str(baseline), "--out", str(out)]
    assert main(arguments) == 0
    assert "0 decisions" in capsys.readouterr().err
    assert read_calibration(out) == read_calibration(SHIPPED)
    write_decisions(baseline, [decision(n, kind, 0.5, False) for n in range(20)])
    assert main(arguments) == 0
    assert "20 decisions about this kind of critic's comments, 20 dismissed" in capsys.readouterr().err
    assert min(point["setting"] for point in json.loads(out.read_text())["points"]) > 0.5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--measured", str(SHIPPED)], "name the decisions with --feedback"),
        (["--measured", str(SHIPPED), "--feedback", "nowhere.jsonl"], "there is no such file"),
    ],
)
def test_what_is_missing_is_one_line(tmp_path, arguments, words, capsys):
    assert main(["calibrate", *arguments, "--out", str(tmp_path / "out.json")]) == 2
    assert words in capsys.readouterr().err
