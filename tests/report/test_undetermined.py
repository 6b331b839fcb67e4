"""What the data do not determine is never printed as a number: in texts, tables, pages and figures."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from momus.evaluate.instruct.preferences import Game, elo_of, labeler_agreement, preference_rows
from momus.files import write_json
from momus.records import Ranking
from momus.report import data
from momus.report.figures import changes_figure, elo_figure
from momus.report.html import render
from momus.report.overlap_figures import dots_figure
from momus.report.terminal import estimate_text, preference_table
from momus.stats.bootstrap import Interval
from momus.stats.text import interval_text, range_text, value_text
from report.test_report import made_up

NUMBERS = st.floats(-1e4, 1e4) | st.sampled_from([math.nan, math.inf, -math.inf])


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS), st.sampled_from([".0f", ".2f", "+.1f"]))
def test_what_is_not_determined_is_never_printed_as_a_number(numbers, spec):
    interval = Interval(*numbers)
    for text in (
        interval_text(interval, spec),
        estimate_text(interval, 1, 2),
        str(interval),
        value_text(numbers[0], spec),
    ):
        assert "nan" not in text
    assert ("not determined" in interval_text(interval, spec)) == (not math.isfinite(numbers[0]))
    if math.isfinite(numbers[0]):
        assert ("no interval" in interval_text(interval, spec)) == (not interval.has_ends)
        assert "inf" not in interval_text(interval, spec)
    elif math.isnan(numbers[0]):
        assert range_text(interval, spec) == ""


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.5, 0.25, 0.75), "50.0 (25.0 to 75.0)"),
        (Interval(0.5, math.nan, math.nan), "50.0 (no interval)"),
        (Interval(math.nan, math.nan, math.nan), "not determined"),
        (Interval(math.inf, 3.1, math.inf), "not determined (310.0 or more)"),
        (Interval(-math.inf, -math.inf, -3.1), "not determined (-310.0 or less)"),
        (Interval(math.inf, math.nan, math.inf), "not determined"),
        (Interval(1.0, -0.2, math.inf), "100.0 (-20.0 to ∞)"),
    ],
)
def test_intervals_in_words(interval, text):
    assert interval_text(interval, ".1f", scale=100) == text


RATINGS = (
    data.EloRating("undefeated", Interval(math.inf, 310.0, math.inf), 20),
    data.EloRating("rated", Interval(20.0, -12.0, 50.0), 40),
    data.EloRating("open", Interval(10.0, -12.0, math.inf), 40),
    data.EloRating("never met", Interval(math.nan, math.nan, math.nan), 2),
    data.EloRating("loser", Interval(-math.inf, -math.inf, -290.0), 20),
)


def test_a_report_says_what_is_not_determined():
    report = replace(made_up(), elo=RATINGS, headline=(data.Figure("of none", Interval(math.nan, math.nan, math.nan)),))
    page = render(report)
    text = page.split("</style>", 1)[1]
    assert "nan" not in text.replace("nance", "") and ">inf" not in text
    assert text.count("not determined") >= 4 and "310 or more" in text and "−290 or less" in text and "−12 to ∞" in text
    table = text[text.index("</figure>", text.index('id="elo"')) :]
    order = sorted(RATINGS, key=lambda item: table.index(f'<th scope="row">{item.name}'))
    assert [item.name for item in order] == ["undefeated", "rated", "open", "loser", "never met"]


def test_figures_draw_only_what_is_determined():
    for figure in (
        elo_figure(RATINGS),
        elo_figure([item for item in RATINGS if not math.isfinite(item.elo.value)]),
        changes_figure(["a", "b"], {"change": [Interval(1, math.nan, math.nan), Interval(2, 1, 3)]}),
        dots_figure("k", ["a", "b"], {"": [RATINGS[1].elo, RATINGS[3].elo]}, "Axis"),
    ):
        assert "nan" not in figure and "inf" not in figure.replace("info", "")
    assert elo_figure(RATINGS).count("not determined") == 2 * 3


def test_preferences_say_what_is_not_determined(tmp_path):
    games = [Game(f"p{i}", "best", "base", 1.0, 30 + i, "ann") for i in range(3)]
    games += [Game(f"p{i}", "base", "other", float(i % 2), 1, "ann") for i in range(8)]
    games += [Game("q", "apart", "alone", 0.5, 1, "bo")]
    elo = elo_of(games, baseline="base", replicates=50)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(preference_table(preference_rows(games, equal_length=True, replicates=50), elo, None))
    lines = {line.split()[0]: line for line in console.export_text().splitlines() if line.strip()}
    assert "not determined (-154 or more)" in lines["best"]
    assert "not determined" in lines["apart"] and "not determined" in lines["alone"]
    assert "0 (0 to 0)" in lines["base"] and "nan" not in "".join(lines.values())
    write_json(tmp_path / "numbers.json", {"rating": elo.rating, "value": np.float64("nan")})
    assert None in json.loads((tmp_path / "numbers.json").read_text(), parse_constant=pytest.fail)["rating"]


def test_labelers_who_always_tie_have_no_agreement():
    tied = [
        Ranking(prompt="p", candidates=("x", "y"), ranks=(1, 1), labeler=name, authors=("a", "b"))
        for name in ("ann", "bo")
    ]
    agreement, pairs, labelers = labeler_agreement(tied)
    assert math.isnan(agreement.value) and (pairs, labelers) == (1, 2)
