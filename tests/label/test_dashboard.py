"""Agreement by attribute and by labeler, and the figures of the dashboard with their numbers."""

import csv
import io
import math
from itertools import combinations
from xml.etree import ElementTree

import pytest
from scipy.stats import kendalltau

from momus.label.owner.agreement import agreement_by_labeler, agreement_by_measure, scores_by_measure
from momus.label.owner.figures import KEPT_SECONDS, Figures, rows_as_csv
from momus.label.owner.overview import as_csv, overview
from momus.label.owner.series import series
from momus.label.rules import NewItem
from momus.label.texts import LANGUAGES, Words
from momus.report.labeling import draw_labeling
from momus.stats.agreement import preference_agreement
from support.label_work import GOODNESS, fill

NAMES = ["progress", "minutes", "prefill", "win-rates", "drift"]


@pytest.fixture
def worked(store, labeler, clock):
    """Return a store in which four labelers have done everything there was."""
    fill(store, labeler, clock=clock)
    return store


def test_agreement_is_what_its_definitions_say(worked):
    values = worked.database.read(scores_by_measure)
    rows = {row["measure"]: row for row in agreement_by_measure(values)}
    assert set(rows) == {f"comparison: {name}" for name in
                         ("cbi", "comprehensive", "nitpick", "fake_problem", "concise", "overall")}  # fmt: skip
    items = values["comparison: overall"]
    pairs = [pair for by_person in items for pair in combinations(list(by_person.values()), 2)]
    taus = [kendalltau(*pair).statistic for pair in pairs]
    overall = rows["comparison: overall"]
    assert overall["n"] == 12 and overall["pairwise"] == pytest.approx(preference_agreement(pairs))
    assert overall["tau_b"] == pytest.approx(sum(t for t in taus if t == t) / sum(t == t for t in taus))
    assert overall["tau_b"] > 0.5 > rows["comparison: concise"]["tau_b"] and 0.5 < overall["w"] <= 1


def test_each_labeler_is_compared_with_the_others(worked):
    values = worked.database.read(scores_by_measure)
    rows = [row for row in agreement_by_labeler(values) if row["measure"] == "comparison: overall"]
    assert len(rows) == 4 and all(row["n"] == 12 and row["pairwise"] > 0.6 for row in rows)
    odd = rows[0]["person"]
    turned = {"m": [{p: [-x for x in s] if p == odd else s for p, s in by.items()} for by in
                    values["comparison: overall"]]}  # fmt: skip
    turned_rows = {row["person"]: row for row in agreement_by_labeler(turned)}
    assert turned_rows[odd]["tau_b"] == pytest.approx(-rows[0]["tau_b"])
    assert turned_rows[odd]["pairwise"] < min(row["pairwise"] for name, row in turned_rows.items() if name != odd)


def test_series_are_of_work_that_counts(worked):
    rows = series(worked.database)
    assert list(rows) == NAMES
    last = {row["kind"]: row["judgements"] for row in rows["progress"]}
    assert last == {"comparison": 48, "critique": 24}
    assert [row["kind"] for row in rows["minutes"]] == ["comparison", "critique"]
    assert all(1 <= row["low"] <= row["median"] <= row["high"] <= 5 for row in rows["minutes"])
    shares = {row["what"]: row["share"] for row in rows["prefill"]}
    assert shares["kept"] + shares["edited"] + shares["deleted"] == pytest.approx(1)
    rates = {row["source"]: row["rate"] for row in rows["win-rates"]}
    assert sorted(rates, key=rates.get) == sorted(GOODNESS, key=GOODNESS.get) and sum(rates.values()) == pytest.approx(
        2
    )
    assert all(row["low"] <= row["rate"] <= row["high"] for row in rows["win-rates"])
    assert {row["part"] for row in rows["drift"]} == {1, 2, 3, 4, 5} and len(rows["drift"]) == 20
    submission = worked.database.read(lambda t: t.value("SELECT min(id) AS id FROM submission"))
    worked.review(submission, "o", "rejected", "no")
    assert sum(row["judgements"] for row in series(worked.database)["drift"]) in (47, 48)


@pytest.mark.parametrize("language", LANGUAGES)
def test_figures_are_files_that_say_what_they_show(worked, language):
    rows = series(worked.database)
    drawn = draw_labeling(rows, Words(language))
    assert list(drawn) == NAMES
    for name, figure in drawn.items():
        root = ElementTree.fromstring(figure.svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("aria-label") == figure.words
        assert figure.words.startswith(Words(language)[f"figure.{name}"]) and "var(--" in figure.svg
        table = list(csv.reader(io.StringIO(rows_as_csv(rows[name]))))
        assert table[0] == list(rows[name][0]) and len(table) == len(rows[name]) + 1
    assert "Human+Critic" in drawn["win-rates"].svg


def test_nothing_is_drawn_where_there_is_nothing_and_drawings_are_kept_for_a_while(store, labeler):
    now, calls = [0.0], []

    def draw(rows, words):
        calls.append(words.language)
        return draw_labeling(rows, words)

    figures = Figures(store.database, draw, lambda: now[0])
    assert figures.drawn("en") == {} and figures.rows("progress", "en") == [] and figures.rows("none", "en") == []
    fill(store, labeler, items=1, labelers=2)
    assert figures.drawn("en") == {} and calls == ["en"]
    now[0] += KEPT_SECONDS + 1
    assert "progress" in figures.drawn("en") and figures.rows("progress", "en") and calls == ["en", "en"]


def test_formulas_in_names_of_authors_are_quoted(store, labeler, database):
    from support.label_items import ITEMS

    payload = {**ITEMS["ranking"], "authors": ["=1+1", "@x", "a", "b"]}
    store.add_items([NewItem("ranking", payload)], "b", "o")
    from momus.label.kinds import check
    from momus.label.views import arrange
    from support.label_items import GOOD

    person = labeler()
    lease = store.claim(person, "ranking", arrange)
    store.submit(lease.token, person, lease.token, GOOD["ranking"], 1.0, check)
    text = rows_as_csv(series(database)["win-rates"])
    assert "\n'=1+1," in text and "\n'@x," in text


def test_the_page_and_the_files_are_the_owners(tmp_path, clock):
    from label.test_app import Bench
    from momus.label.app import make_app

    bench = Bench(tmp_path / "label.db", clock, kinds=[])

    def labeler(name):
        return bench.people.person(bench.people.join(bench.people.invite("labeler", "o"), name, "en")).id

    fill(bench.store, labeler, clock=clock)
    bench.app = make_app(bench.database, bench.store, bench.site, draw=draw_labeling)
    owner, other = bench.browser("owner"), bench.browser()
    page = owner.get("/status").text
    for name in NAMES:
        assert f'src="/status/figures/{name}.svg"' in page
        assert owner.get(f"/status/figures/{name}.svg").headers["content-type"] == "image/svg+xml"
        assert owner.get(f"/status/figures/{name}.csv").text.count("\n") > 1
        assert other.get(f"/status/figures/{name}.svg").status_code == 403
    assert owner.get("/status/figures/none.svg").status_code == 404 == owner.get("/status/figures/x").status_code
    shown = overview(bench.database)
    assert "labelers,person,measure" in as_csv(shown) and math.isfinite(shown["agreement"][0]["tau_b"])
    bench.database.close()
