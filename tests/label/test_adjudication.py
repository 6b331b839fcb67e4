"""Items whose judgements disagree: how far, who may decide, what is shown side by side, what is exported."""

import json
from random import Random

import pytest

from momus.label.exporting import export
from momus.label.importing import authors_by_task
from momus.label.kinds import ADJUDICATION, check
from momus.label.owner import actions
from momus.label.owner.adjudication import content_in_item_order, decision_of, disputes, measure, take
from momus.label.owner.side_by_side import adjudication_view
from momus.label.rules import NewItem, RefusedError
from momus.label.texts import LANGUAGES, Words
from momus.label.verify import verify
from momus.label.views import LETTERS, arrange
from momus.records import Comparison, Ranking, read_jsonl
from support.label_items import GOOD, ITEMS

BEST = {"2": 1, "4": 4, "Seven is a prime.": 1, "I will not say.": 3}
WORST = {"2": 4, "4": 1, "Seven is a prime.": 3, "I will not say.": 2}


def ranked(lease, places):
    """Rank the answers by what they say, in the order in which this labeler sees them."""
    payload = lease.payload.get("payload", lease.payload)
    texts = [payload["candidates"][i] for i in lease.arrangement["order"]]
    cards = [{"overall": 8 - 2 * places[text] + 1 if places[text] < 4 else 1, "flags": {}} for text in texts]
    return {"cards": cards, "ranks": [places[text] for text in texts], "rationale": "because"}


def judge(store, person, kind, content):
    lease = store.claim(person, kind, arrange)
    given = content(lease) if callable(content) else content
    return store.submit(lease.token, person, lease.token, given, 5.0, check)


@pytest.fixture
def disputed(store, labeler):
    """Two labelers rank the same answers the other way round."""
    store.add_items([NewItem("ranking", ITEMS["ranking"], want=2)], "b", "o")
    people = labeler("a"), labeler("b")
    for person, places in zip(people, (BEST, WORST), strict=True):
        judge(store, person, "ranking", lambda lease, places=places: ranked(lease, places))
    return people


def test_a_dispute_is_decided_by_somebody_who_judged_none_of_it(store, database, labeler, disputed, clock):
    referee, other = labeler("r", "adjudicator"), labeler("s", "adjudicator")
    [dispute] = disputes(database, referee)
    assert (dispute.item, dispute.kind, dispute.about, dispute.state) == (1, "ranking", "Name a prime.", "open")
    assert dispute.judgements == 2 and dispute.disagreement > 0.8
    assert disputes(database, disputed[0])[0].state == "own"
    with pytest.raises(RefusedError, match="somebody else has to decide"):
        take(store, 1, disputed[0])
    lease = take(store, 1, referee)
    assert lease.kind == ADJUDICATION and take(store, 1, referee).token == lease.token
    assert disputes(database, other)[0].state == "held"
    with pytest.raises(RefusedError, match="somebody else is deciding"):
        take(store, 1, other)
    clock.now += store.lease_seconds + 1
    taken = take(store, 1, other)
    store.decline(taken.token, other, "not sure")
    lease = take(store, 1, referee)
    answer = store.submit(lease.token, referee, "request", ranked(lease, BEST), 9.0, check)
    assert answer["status"] == "accepted"
    [dispute] = disputes(database, other)
    assert (dispute.state, dispute.by) == ("decided", referee)
    with pytest.raises(RefusedError, match="somebody else"):
        take(store, 1, other)
    row = database.read(lambda t: decision_of(t, 1))
    ranks = content_in_item_order("ranking", row)["ranks"]
    assert ranks == [BEST[text] for text in ITEMS["ranking"]["candidates"]]
    assert verify(database)[0] == []


def test_a_decision_can_be_corrected_and_is_asked_for_again_after_other_judgements(store, database, labeler, disputed):
    referee, third = labeler("r", "adjudicator"), labeler("c")
    lease = take(store, 1, referee)
    done = store.submit(lease.token, referee, "request", ranked(lease, BEST), 9.0, check)
    again = store.reopen(done["id"], referee)
    store.submit(again.token, referee, "request 2", ranked(again, WORST), 9.0, check)
    row = database.read(lambda t: decision_of(t, 1))
    assert row["revision"] == 1 and content_in_item_order("ranking", row)["ranks"][0] == WORST["2"]
    actions.redo(database, disputed[1], "", "others", "r", "o")
    assert disputes(database, referee) == []
    judge(store, third, "ranking", lambda lease: ranked(lease, WORST))
    assert disputes(database, referee)[0].state == "open"
    lease = take(store, 1, referee)
    store.submit(lease.token, referee, "request 3", ranked(lease, BEST), 9.0, check)
    assert database.read(lambda t: decision_of(t, 1))["revision"] == 0
    assert verify(database)[0] == []


def test_only_complete_real_items_that_disagree_are_listed(store, database, labeler, disputed):
    store.add_items([NewItem("ranking", {**ITEMS["ranking"], "prompt": "Another."}, want=3)], "c", "o")
    for person, places in zip(disputed, (BEST, WORST), strict=True):
        judge(store, person, "ranking", lambda lease, places=places: ranked(lease, places))
    assert [one.item for one in disputes(database, "x", 0.01)] == [1]
    assert disputes(database, "x", 1.0) == []
    with pytest.raises(RefusedError, match="no such item"):
        take(store, 99, labeler("r", "adjudicator"))


def test_decisions_are_handed_out_to_nobody_and_are_no_batch(store, database, labeler, disputed):
    take(store, 1, labeler("r", "adjudicator"))
    assert ADJUDICATION not in {queue.kind for queue in store.queues(labeler("c"))}
    assert [batch.kind for batch in actions.batches(database)] == ["ranking"]


def rating(overall, cbi=1):
    return {"cbi": [cbi], "comprehensive": 4, "nitpick": 1, "fake_problem": 1, "concise": 4, "overall": overall}


BUG = {"first": 2, "last": 3, "description": "d", "severity": "major"}
SURVEY = ITEMS["survey"]


@pytest.mark.parametrize(
    ("kind", "first", "second", "expected"),
    [
        ("ranking", {"ranks": [1, 2, 3]}, {"ranks": [1, 2, 3]}, 0),
        ("ranking", {"ranks": [1, 1, 3]}, {"ranks": [1, 1, 3]}, 0),
        ("ranking", {"ranks": [1, 2, 3]}, {"ranks": [3, 2, 1]}, 1),
        ("ranking", {"ranks": [1, 2]}, {"ranks": [1, 1]}, 0.5),
        ("comparison", {"ratings": [rating(6), rating(2)]}, {"ratings": [rating(7), rating(1)]}, 0),
        ("comparison", {"ratings": [rating(6), rating(2)]}, {"ratings": [rating(1), rating(2)]}, 1),
        ("comparison", {"ratings": [rating(6, 7), rating(2)]}, {"ratings": [rating(6, 2), rating(2)]}, 0.5),
        ("comparison", {"ratings": [rating(6, 5), rating(2)]}, {"ratings": [rating(6, 4), rating(2)]}, 0),
        ("found", {"bugs": [BUG]}, {"bugs": [{**BUG, "description": "other"}]}, 0),
        ("found", {"bugs": [BUG]}, {"bugs": [{**BUG, "first": 3}]}, 0.5),
        ("found", {"bugs": [BUG]}, {"bugs": []}, 1),
        ("critique", {"comments": [{"highlight": "return a - b", "text": "x"}]}, {"comments": []}, 1),
        ("critique", {"comments": []}, {"comments": []}, 0),
        ("survey", {"values": {"useful": 1, "who": "author"}}, {"values": {"useful": 7, "who": "author"}}, 1 / 3),
        ("survey", {"values": {"useful": 4, "who": "author"}}, {"values": {"useful": 4, "who": "reader"}}, 1 / 3),
    ],
)
def test_how_far_two_judgements_disagree(kind, first, second, expected):
    assert measure(kind, ITEMS[kind], [first, second]) == pytest.approx(expected)
    assert measure(kind, ITEMS[kind], [second, first]) == pytest.approx(expected)
    assert measure(kind, ITEMS[kind], [first]) == 0


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["ranking", "comparison", "found", "critique", "survey"])
def test_judgements_are_shown_side_by_side_under_the_letters_of_the_form(kind, language):
    judgements = []
    for seed in range(2):
        arrangement = arrange(kind, ITEMS[kind], Random(seed))
        content = check(kind, ITEMS[kind], arrangement, GOOD[kind])
        row = {"content": json.dumps(content), "arrangement": json.dumps(arrangement)}
        judgements.append({"submission": str(seed), "content": content_in_item_order(kind, row)})
    payload = {"item": 1, "group": "g", "kind": kind, "payload": ITEMS[kind], "judgements": judgements}
    arrangement = arrange(kind, ITEMS[kind], Random(7))
    page = adjudication_view(payload, arrangement, Words(language))
    table = page["panels"][-1]
    assert len(table["columns"]) == len(table["contents"]) == 2 and all(len(row["cells"]) == 2 for row in table["rows"])
    assert "PLANTED" not in json.dumps(page)
    for content in table["contents"]:
        assert check(ADJUDICATION, payload, arrangement, content)
    if kind == "ranking":
        texts = [ITEMS[kind]["candidates"][i] for i in arrangement["order"]]
        shown = dict(pair.split(" ") for pair in table["rows"][1]["cells"][0].split("  "))
        given = dict(zip(ITEMS[kind]["candidates"], judgements[0]["content"]["cards"], strict=True))
        assert shown == {LETTERS[i]: str(given[text]["overall"]) for i, text in enumerate(texts)}


def test_decisions_are_exported_apart_and_marked(store, database, labeler, disputed, tmp_path):
    kinds = ("comparison", "found", "critique", "survey")
    store.add_items([NewItem(kind, ITEMS[kind], want=2) for kind in kinds], "c", "o")
    other = {
        "comparison": {"ratings": [rating(overall) for overall in (1, 3, 5, 7)]},
        "found": {"bugs": [{**BUG, "first": 1, "last": 1}]},
        "critique": {"nothing": True},
        "survey": {"values": {**GOOD["survey"]["values"], "who": "reader", "useful": 1}},
    }
    for person, contents in zip(disputed, (GOOD, other), strict=True):
        for kind in kinds:
            judge(store, person, kind, contents[kind])
    referee = labeler("r", "adjudicator")
    assert {one.kind for one in disputes(database, referee)} == {"ranking", *kinds}
    for dispute in disputes(database, referee):
        lease = take(store, dispute.item, referee)
        content = ranked(lease, BEST) if dispute.kind == "ranking" else GOOD[dispute.kind]
        store.submit(lease.token, referee, lease.token, content, 5.0, check)
    assert authors_by_task(database)[ITEMS["found"]["task"]["id"]] == {*disputed, referee}
    out = tmp_path / "out"
    counts = export(database, out)
    assert {name: count for name, count in counts.items() if name.startswith("final/")} == {
        "final/comparisons.jsonl": 1, "final/critique_edits.jsonl": 1, "final/critiques.human.jsonl": 1,
        "final/judgements.jsonl": 4, "final/rankings.jsonl": 1, "final/surveys.jsonl": 1, "final/tampers.jsonl": 1,
    }  # fmt: skip
    assert counts["rankings.jsonl"] == 2 and '"final"' not in (out / "rankings.jsonl").read_text()
    [ranking] = read_jsonl(out / "final" / "rankings.jsonl", Ranking)
    assert ranking.labeling.final and dict(zip(ranking.candidates, ranking.ranks, strict=True)) == BEST
    assert ranking.origin.group == next(read_jsonl(out / "rankings.jsonl", Ranking)).origin.group
    [comparison] = read_jsonl(out / "final" / "comparisons.jsonl", Comparison)
    assert comparison.labeling.final and comparison.labeler == referee
    assert json.loads((out / "final" / "surveys.jsonl").read_text())["final"] is True
    assert "final/" in (out / "README.md").read_text()
