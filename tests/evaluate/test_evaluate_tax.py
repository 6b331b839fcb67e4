"""The alignment tax: changes paired by item, and the page that shows them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.cli import main
from momus.errors import UserError
from momus.evaluate.instruct.results import TaskResult, write_results
from momus.evaluate.instruct.tax import TaxReport, compare_systems
from momus.report.tax import render_tax, write_tax

VALUES = st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=25)


def _result(values, task="drop", better="high", **changes):
    items = {str(i): float(value) for i, value in enumerate(values)}
    return TaskResult(task=task, metric="f1", better=better, items=items, **changes)


def _ends(interval):
    return np.array([interval.value, interval.low, interval.high])


@given(VALUES, st.sampled_from(["high", "low", ""]))
@settings(max_examples=40)
def test_tax_changes_are_antisymmetric_and_add_up(values, better):
    one, two, three = ([_result(column, better=better)] for column in zip(*values, strict=True))
    row = compare_systems(("a", one), [("b", two), ("c", three)]).rows[0]
    back = compare_systems(("b", two), [("a", one)]).rows[0]
    np.testing.assert_allclose(
        _ends(row.changes[0].difference), -_ends(back.changes[0].difference)[[0, 2, 1]], atol=1e-12
    )
    opposite = {"better": "worse", "worse": "better"}
    assert back.changes[0].verdict == opposite.get(row.changes[0].verdict, row.changes[0].verdict)
    ab, ac, cb = (change.difference.value for change in row.changes)
    assert ac == pytest.approx(ab + cb, abs=1e-12)
    assert [(change.system, change.against) for change in row.changes] == [("b", "a"), ("c", "a"), ("c", "b")]


@given(VALUES, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_tax_ignores_the_order_of_items(values, random):
    one, two, _ = (_result(column) for column in zip(*values, strict=True))
    mixed = two.model_copy(update={"items": dict(random.sample(list(two.items.items()), len(two.items)))})
    assert (
        compare_systems(("a", [one]), [("b", [two])]).rows[0].changes
        == compare_systems(("a", [one]), [("b", [mixed])]).rows[0].changes
    )


def test_paired_changes_are_narrower_than_separate_intervals():
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    before, after = _result(hard), _result(np.clip(hard - 0.05 + rng.normal(0, 0.02, 200), 0, 1))
    (row,) = compare_systems(("SFT", [before]), [("PPO", [after])]).rows
    assert row.changes[0].verdict == "worse" and row.scale == 100
    assert row.means["SFT"].low < row.means["PPO"].high  # the intervals of the two overlap


def test_tax_intervals_cover_the_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        before = (rng.random(80) < 0.6).astype(float)
        after = np.where(rng.random(80) < 0.3, (rng.random(80) < 0.4), before)  # 30 % answered anew: 0.6 -> 0.54
        change = compare_systems(("a", [_result(before)]), [("b", [_result(after)])]).rows[0].changes[0]
        covered += change.difference.low <= -0.06 <= change.difference.high
    assert 0.9 <= covered / 200 <= 0.99


@pytest.mark.parametrize(("differ", "verdict"), [(0, "unclear"), (5, "unclear"), (6, "better"), (40, "better")])
def test_tax_gives_no_verdict_on_fewer_than_six_changed_items(differ, verdict):
    before = _result([0.0] * differ)
    after = _result([1.0] * differ)
    if differ == 0:
        before = after = _result([0.5] * 9)
    assert compare_systems(("a", [before]), [("b", [after])]).rows[0].changes[0].verdict == verdict


def test_tax_verdict_follows_which_direction_is_better():
    low, high = [0.1] * 10, [0.9] * 10
    for better, verdict in (("high", "better"), ("low", "worse"), ("", "changed")):
        report = compare_systems(("a", [_result(low, better=better)]), [("b", [_result(high, better=better)])])
        assert report.rows[0].changes[0].verdict == verdict
        assert report.count(("b", "a"), verdict) == 1


def test_tax_refuses_results_of_other_questions():
    item = _result([0.1, 0.2])
    others = {
        "not the same ones": _result([0.1]),
        "another text before it": item.model_copy(update={"prompt": "Be kind:"}),
        "with other data": item.model_copy(update={"source": "elsewhere"}),
        "no task in common": item.model_copy(update={"task": "squadv2"}),
    }
    for problem, other in others.items():
        with pytest.raises(UserError, match=problem):
            compare_systems(("a", [item]), [("b", [other])])
    with pytest.raises(UserError, match="different names"):
        compare_systems(("a", [item]), [("a", [item])])
    with pytest.raises(UserError, match="two results"):
        compare_systems(("a", [item, item]), [("b", [item])])


def test_tax_names_tasks_that_not_all_systems_did():
    item, more = _result([0.1] * 3), _result([0.5] * 3, task="rte")
    report = compare_systems(("a", [item, more]), [("b", [item])])
    assert [row.name for row in report.rows] == ["drop: f1"] and report.left_out == ("rte: f1",)
    assert "rte: f1" in render_tax(report, "")


def _report():
    rng = np.random.default_rng(5)
    tasks = [("drop", "high"), ("<b>hella</b>swag", "high"), ("toxicity", "low"), ("crows-pairs", "")]
    systems = []
    for name, shift in (("SFT", 0.0), ("PPO", -0.1), ("PPO-ptx", -0.02)):
        values = np.clip(rng.random((4, 60)) * 0.3 + 0.5 + shift, 0, 1)
        results = [_result(row, task, better) for row, (task, better) in zip(values, tasks, strict=True)]
        systems.append((name, results))
    return compare_systems(systems[0], systems[1:])


def test_tax_page_says_everything_without_scripts(tmp_path):
    report = _report()
    page = write_tax(report, tmp_path, "momus evaluate tax <script>").read_text()
    assert (
        "<script" not in page
        and "<b>hella" not in page
        and "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    )
    assert "PPO-ptx − PPO" in page and "worse" in page and page.count("<svg") == 1
    stored = TaxReport.from_json((tmp_path / "tax.json").read_text())
    assert stored == report
    worse = report.count(("PPO", "SFT"), "worse")
    assert f"PPO against SFT: worse on {worse}," in page and worse >= 2


def test_tax_of_a_single_item_has_no_interval_and_still_a_page():
    report = compare_systems(("a", [_result([0.2])]), [("b", [_result([0.7])])])
    assert "nan" not in render_tax(report, "").lower().split("</style>")[1].split("<svg")[0]
    assert np.isnan(report.rows[0].changes[0].difference.low)
    assert np.isnan(TaxReport.from_json(report.to_json()).rows[0].means["a"].high)


def test_tax_command_writes_table_and_page(tmp_path, capsys):
    for name, shift in (("before", 0), ("ppo", -0.2)):
        write_results(tmp_path / name, [_result(np.linspace(0.3, 0.9, 30) + shift)])
    out = tmp_path / "tax"
    assert main(["evaluate", "tax", str(tmp_path / "before"), f"PPO={tmp_path / 'ppo'}", "--out", str(out)]) == 0
    assert "-20.0 (-29.3 to -6.1) worse" in capsys.readouterr().out
    assert json.loads((out / "tax.json").read_text())["systems"] == ["before", "PPO"]
    assert main(["evaluate", "tax", str(tmp_path), f"PPO={tmp_path / 'ppo'}", "--out", str(out)]) == 2
    assert "no results in it" in capsys.readouterr().err
