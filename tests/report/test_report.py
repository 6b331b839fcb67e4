"""The report: everything shown, nothing fetched, nothing data can break. The numbers are made up."""

import dataclasses
import math
import re
from html.parser import HTMLParser

import pytest

from momus.errors import UserError
from momus.report.data import (
    Agreement,
    Column,
    Contractors,
    CriticSummary,
    Curve,
    EloRating,
    Example,
    Expectation,
    Figure,
    KnownBug,
    ParetoPoint,
    Remark,
    ReportData,
    RewardAccuracy,
    Step,
)
from momus.report.html import render, write_report
from momus.stats.bootstrap import Interval

NAN = Interval(math.nan, math.nan, math.nan)
CODE = """\
def moving_average(values, window):
    if window <= 0:
        raise ValueError("<script>alert('window')</script>")
    total = sum(values[:window])
    result = [total / window]
    for i in range(window, len(values) - 1):
        total += values[i] + values[i - window]
        result.append(total / window)
    return result  # one value per full window"""


def _span(quote):
    start = CODE.index(quote)
    return (start, start + len(quote))


def _remark(quote, text, verdict):
    return Remark(text, quote, _span(quote) if quote in CODE else None, verdict)


BUGS = (
    KnownBug((6,), "range bound", "Should be `len(values)`: the last value is never used."),
    KnownBug((7,), "operator", "Should be `- values[i - window]`: the value that leaves is added again."),
)
EXAMPLES = (
    Example(
        "statistics.moving_average",
        "RL + FSBS, median length",
        "win",
        "caught both",
        "Write moving_average(values, window).",
        CODE,
        BUGS,
        (
            _remark(
                "    for i in range(window, len(values) - 1):\n        total += values[i] + values[i - window]",
                "Should be `len(values)`: the last value is left out.",
                "real",
            ),
            _remark("values[i] + values[i - window]", "Should be `-` before `values[i - window]`.", "real"),
            _remark("# one value per full window", "This comment could say `len(values) - window + 1`.", "nitpick"),
            _remark("window = max(window, 1)", "This hides a bad <b>argument</b>.", "fake"),
        ),
        "The rest looks right.",
    ),
    Example(
        "statistics.moving_average",
        "SFT, greedy",
        "partial",
        "caught one of two",
        "",
        CODE,
        BUGS,
        (
            _remark("len(values) - 1", "Should be `len(values)`.", "real"),
            _remark("window <= 0", "Should be `window < 0`.", "fake"),
        ),
    ),
    Example("statistics.moving_average", "RL", "failure", "missed both", "", CODE, BUGS, (), "No problems found."),
    Example("statistics.moving_average", "RL", "win", "left clean code alone", "", CODE, (), (), "No problems found."),
)

_NAMES = [
    "random line",
    "ruff",
    "SFT, greedy",
    "RL",
    "RL + FSBS 10%",
    "RL + FSBS 25%",
    "RL + FSBS 50%",
    "RL + FSBS 75%",
    "RL, best of 28",
]
_CATCH = [0.16, 0.05, 0.35, 0.47, 0.44, 0.52, 0.58, 0.61, 0.5]
_FALSE = [1.0, 0.31, 0.62, 0.5, 0.3, 0.52, 0.81, 1.12, 0.55]


def _around(value, half):
    return Interval(value, value - half, value + half)


def made_up():
    """A report's data with every section filled, from numbers that nobody measured."""
    columns = (
        Column("catch", "Bugs caught", "percent", "high", "Share of inserted bugs whose line a comment quotes."),
        Column("named", "Repair named", "percent", "high", "Share of inserted bugs whose repair a comment says."),
        Column("fake", "Fake problems", "number", "low", "Comments per critique that hit no known bug."),
        Column("clean", "False on clean code", "number", "low", "Comments per answer without bugs."),
        Column("length", "Characters", "points", "", "Mean length of a critique."),
        Column("verbatim", "Quotes verbatim", "percent", "high"),
    )
    critics = tuple(
        CriticSummary(
            name,
            {
                "catch": _around(catch, 0.04),
                "named": _around(catch * 0.6, 0.03) if catch > 0.2 else NAN,
                "fake": _around(false * 0.8, 0.06),
                "clean": _around(false, 0.07),
                "length": _around(100 + 90 * false, 9),
                "verbatim": Interval(1, 1, 1),
            },
            note="chance" if name == "random line" else "",
            ours=name != "random line",
        )
        for name, catch, false in zip(_NAMES, _CATCH, _FALSE, strict=True)
    )
    steps = tuple(float(n) for n in range(40))
    return ReportData(
        title="A critic trained on inserted bugs",
        summary="Functions of the standard library, bugs put into them, a small critic trained on simulated "
        "judgements of its critiques, searched with Force Sampling Beam Search, measured on modules it never saw.",
        created="2026-01-31 12:00",
        version="0.0 (made up)",
        command="momus demo --preset standard --seed 0",
        seconds=571,
        simulated=(
            "All numbers in this file are made up to test the report.",
            "Ratings are by simulated contractors: ground truth from the known bugs plus a stated noise model.",
        ),
        headline=(
            Figure("Bugs caught by RL + FSBS", _around(0.58, 0.04), note="a random line catches 16.0%"),
            Figure("RL preferred to SFT", _around(0.66, 0.05), note="of decided comparisons, simulated contractors"),
            Figure("False comments on clean code", _around(0.81, 0.07), "number", "per answer, at the median length"),
        ),
        steps=(
            Step("Tasks", "4,812 functions from 213 modules: 3,850 to train on, 385 to tune on, 577 held out.", 14.2),
            Step("Tampering", "6,204 answers with 1.5 bugs each, 3,102 clean.", 65),
            Step("PPO", "60 iterations of 64 critiques.", 240),
        ),
        columns=columns,
        critics=critics,
        critics_note="577 held-out answers, 412 of them with inserted bugs.",
        expectations=(
            Expectation("The shipped critic finds at least 37% of bugs", "41.6%", True),
            Expectation(
                "RL is preferred to SFT in at least 60%", "58%", False, "The reward model saw few long critiques."
            ),
        ),
        elo=tuple(
            EloRating(n, _around(c * 500 - f * 100 - 150, 30), 300)
            for n, c, f in zip(_NAMES, _CATCH, _FALSE, strict=True)
        ),
        elo_note="Bradley-Terry ratings of blind four-way comparisons.",
        pareto=tuple(
            ParetoPoint(n, _around(f, 0.07), _around(c, 0.04), "fsbs" if "FSBS" in n else "", "FSBS" in n)
            for n, c, f in zip(_NAMES, _CATCH, _FALSE, strict=True)
        ),
        pareto_note="One search, four length modifiers.",
        curves=tuple(
            Curve(title, steps, tuple(0.1 * s**0.5 + 0.1 * math.sin(7.3 * s + i) for s in steps), caption)
            for i, (title, caption) in enumerate(
                [
                    ("Reward", "Mean score of the reward model."),
                    ("KL to the reference", "Nats per critique."),
                    ("Entropy", "Nats per token."),
                    ("Length", "Tokens per critique."),
                ]
            )
        ),
        reward=RewardAccuracy(_around(0.71, 0.03), 812, "Chance is 50%."),
        contractors=Contractors(
            8,
            1.1,
            0.73,
            (Agreement("overall", _around(0.731, 0.01)), Agreement("includes the bug", _around(0.88, 0.01))),
        ),
        examples=EXAMPLES,
        config={"seed": 0, "ppo": {"clip": 0.2, "note": "</code><script>"}, "nothing": None},
        environment={"Python": "3.11.7", "torch": "2.13.0", "cores": "2"},
    )


VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Collects ids, links and attributes, and checks that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.attributes, self.open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name == "href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html():
    return render(made_up())


def test_report_data_survives_json():
    data = made_up()
    again = ReportData.from_json(data.to_json())
    assert math.isnan(again.critics[0].metrics["named"].value)
    assert again.to_json() == data.to_json()
    assert again.examples == data.examples and again.config == data.config


@pytest.mark.parametrize("text", ["{", "{}", '{"title": 1}'])
def test_what_is_not_a_reports_data_is_refused_in_one_line(text):
    with pytest.raises(UserError, match="not a report's data") as caught:
        ReportData.from_json(text)
    assert "\n" not in str(caught.value)


def test_report_page_makes_no_requests(html):
    page = Page(html)
    assert "script" not in page.tags
    assert not {"img", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert not re.search(r"(https?:)?//[\w.]+", html)
    assert "@import" not in html and "url(" not in re.sub(r"url\(#[\w-]+\)", "", html)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html


def test_ids_are_unique_and_every_link_has_its_target(html):
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert set(re.findall(r"url\(#([\w-]+)\)", html)) <= set(page.ids)


def test_code_and_comments_are_escaped(html):
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "This hides a bad &lt;b&gt;argument&lt;/b&gt;." in html


def test_the_code_shown_is_the_code(html):
    rows = re.findall(r'<td class="line">(.*?)</td>', html)
    shown = "\n".join(re.sub(r'<a class="ref".*?</a>|<[^>]+>', "", row) for row in rows[: CODE.count("\n") + 1])
    unescaped = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'").replace("&#34;", '"')
    assert unescaped.replace("&amp;", "&") == CODE


def test_highlights_are_marked_where_they_stand_and_bugs_in_the_margin(html):
    article = html[html.index('aria-labelledby="e1"') : html.index('aria-labelledby="e2"')]
    lines = re.findall(r"<tr.*?</tr>", article, re.DOTALL)
    marked = [number for number, line in enumerate(lines, 1) if "<mark" in line]
    assert marked == [6, 7, 9]
    assert [n for n, line in enumerate(lines, 1) if 'class="bug"' in line] == [6, 7]
    for comment, line in [(1, 6), (2, 7), (3, 9)]:
        assert f'id="e1-q{comment}"' in lines[line - 1]
        assert f'href="#e1-q{comment}"' in article
    assert 'id="e1-q4"' not in article and "Quotes what is not in the code" in article


def test_report_shows_everything_given(html):
    data = made_up()
    texts = [
        *data.simulated,
        data.summary,
        data.critics_note,
        data.elo_note,
        data.pareto_note,
        data.command,
        *(row.name for row in data.critics),
        *(step.detail for step in data.steps),
        *(item.why for item in data.expectations),
        *(c.caption for c in data.curves),
        *data.environment,
    ]
    assert [text for text in texts if text not in html] == []
    assert "58.0%" in html and "54.0 to 62.0" in html  # a rate and its interval
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL).lower().replace("tenant", "")


def test_figures_have_words_and_take_the_pages_colours(html):
    figures = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(figures) == 3
    for figure in figures:
        assert re.search(r'role="img" aria-label="[^"]{30,}"', figure)
        assert "var(--accent)" in figure
        assert not re.search(r"#0[1-5]0[1-5]0[1-5]", figure)


def test_tables_have_captions_and_scopes(html):
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        if 'class="line"' not in table:
            assert "<caption" in table and 'scope="' in table


def test_the_best_is_among_the_critics_not_the_references(html):
    row = next(r for r in re.findall(r"<tr.*?</tr>", html, re.DOTALL) if "RL + FSBS 75%" in r)
    assert 'class="best"' in row
    reference = next(r for r in re.findall(r"<tr.*?</tr>", html, re.DOTALL) if "random line" in r)
    assert "best" not in reference


def test_a_report_with_little_to_show_still_renders():
    few = dataclasses.replace(
        made_up(),
        simulated=(),
        headline=(),
        critics=(),
        elo=(),
        pareto=(),
        curves=(),
        reward=None,
        contractors=None,
        examples=(),
        expectations=(),
        steps=(),
        environment={},
    )
    Page(render(few))
    unmeasured = dataclasses.replace(
        few, elo=(EloRating("a", NAN),), pareto=(ParetoPoint("a", NAN, NAN),), curves=(Curve("a", (), ()),)
    )
    Page(render(unmeasured))


def test_report_is_written_whole_or_not_at_all(tmp_path):
    path = write_report(made_up(), tmp_path / "run")
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "report.json"]
    assert render(ReportData.from_json((path.parent / "report.json").read_text())) == path.read_text()
