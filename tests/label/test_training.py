"""Training tasks come first and say how they were done; gold tasks are compared in the same way."""

import json

import pytest
from starlette.testclient import TestClient

from momus.errors import UserError
from momus.label.app import make_app
from momus.label.importing import read_items
from momus.label.kinds import check
from momus.label.owner.overview import matches_gold
from momus.label.owner.side_by_side import training_feedback
from momus.label.rules import NewItem
from momus.label.security import Site
from momus.label.texts import LANGUAGES, Words
from support.label_items import GOOD, ITEMS

ORDER = {"order": [2, 0, 3, 1]}
RANKS = {"ranks": [3, 1, 4, 2]}  # of the item's answers: 2, 4, Seven …, I will not say.
LINE = {"first": 4, "last": 4}
BUG = {"description": "Subtracts.", "severity": "major"}


def feedback(kind, given, gold, language="en", arrangement=ORDER):
    content = check(kind, ITEMS[kind], arrangement, given)
    return training_feedback(kind, ITEMS[kind], arrangement, content, gold, Words(language))


def ranked(ranks):
    return {"cards": [{"overall": 4}] * 4, "ranks": ranks}


def test_a_ranking_is_shown_beside_the_expected_one_under_the_letters_that_were_shown():
    shown = [RANKS["ranks"][i] for i in ORDER["order"]]
    right = feedback("ranking", ranked(shown), {**RANKS, "note": "Primes first."})
    assert right["right"] and right["note"] == "Primes first."
    assert right["rows"][0]["cells"] == ["D > C > B > A", "D > C > B > A"]
    assert not any(row["differs"] for row in right["rows"])
    wrong = feedback("ranking", ranked([1, 2, 3, 4]), RANKS)
    assert not wrong["right"] and wrong["rows"][0]["cells"] == ["A > B > C > D", "D > C > B > A"]
    assert [row["differs"] for row in wrong["rows"]] == [True]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("kind", "gold", "right"),
    [
        ("comparison", {"ratings": [{"overall": 6}, {"overall": 6}, {"overall": 7}, {"overall": 5}]}, True),
        ("comparison", {"ratings": [{"overall": 1}, {}, {}, {}]}, False),
        ("found", {"bugs": [LINE]}, True),
        ("found", {"bugs": [{"first": 1, "last": 1}]}, False),
        ("found", {"bugs": [], "nothing": True}, False),
        ("survey", {"values": {"who": "author"}}, True),
        ("survey", {"values": {"who": "reader"}}, False),
        ("found", {"nothing": True}, False),
        ("critique", {"nothing": True}, False),
        ("demonstration", {"answer": "Because of the air."}, False),
        ("edit", {"answer": "c-a-t", "note": "Spelling."}, True),
    ],
)
def test_every_kind_says_how_it_was_done(kind, gold, right, language):
    shown = feedback(kind, GOOD[kind], gold, language, {**ORDER, "prefilled": False})
    assert shown["right"] == right and len(shown["columns"]) == 2
    assert shown["rows"] and all(len(row["cells"]) == 2 for row in shown["rows"])
    assert json.dumps(shown)


def test_bugs_match_where_they_share_a_line_and_none_is_expected_where_none_is():
    given = {"bugs": [{**BUG, "first": 2, "last": 4}]}
    assert matches_gold("found", given, {}, {"bugs": [LINE]})
    assert not matches_gold("found", given, {}, {"bugs": []})
    assert matches_gold("found", {"bugs": []}, {}, {"bugs": [], "note": "It is right."})
    assert not matches_gold("found", {"bugs": []}, {}, {"bugs": [LINE]})
    assert matches_gold("survey", {"values": {"a": 1, "b": "x"}}, {}, {"values": {"a": 1}})


@pytest.fixture
def client(database, store, people):
    client = TestClient(make_app(database, store, Site(("http://127.0.0.1:8765",))), base_url="http://127.0.0.1:8765",
                        follow_redirects=False)  # fmt: skip
    client.headers["origin"] = "http://127.0.0.1:8765"
    client.post(f"/join/{people.invite('labeler', 'o')}", data={"name": "kim", "language": "en"})
    client.person = people.person(client.cookies["momus"])
    client.headers["x-csrf-token"] = client.person.csrf
    return client


@pytest.mark.parametrize(("gold", "told"), [({"values": {"who": "reader"}}, True), ({"values": 3}, False)])
def test_a_training_task_answers_with_its_feedback_again_and_again(client, store, gold, told):
    store.add_items([NewItem("survey", ITEMS["survey"], 1, "training", gold)], "t", "o")
    answer = client.post("/next", data={"kind": "survey", "csrf": client.person.csrf})
    token = answer.headers["location"].rpartition("/")[2]
    body = {"request": "r" * 10, "content": GOOD["survey"], "active": 1}
    first, second = (client.post(f"/api/work/{token}/submission", json=body) for _ in range(2))
    assert first.status_code == 200 and first.json() == second.json()
    assert ("feedback" in first.json()) == told


def test_real_and_gold_tasks_say_nothing(client, store):
    store.add_items([NewItem("survey", ITEMS["survey"], 1)], "t", "o")
    token = (
        client.post("/next", data={"kind": "survey", "csrf": client.person.csrf}).headers["location"].rpartition("/")[2]
    )
    body = {"request": "r" * 10, "content": GOOD["survey"], "active": 1}
    assert set(client.post(f"/api/work/{token}/submission", json=body).json()) == {"id", "status", "revision"}


@pytest.mark.parametrize(
    ("kind", "gold", "message"),
    [
        ("ranking", {"ranks": "first"}, "4 places"),
        ("comparison", {"ratings": [{}]}, "4 critiques"),
        ("found", {"bugs": [{"first": 1}]}, "first and last line"),
        ("survey", {"values": {}}, "expected answers"),
    ],
)
def test_what_could_not_be_compared_is_refused_at_import(tmp_path, kind, gold, message):
    (tmp_path / "x.jsonl").write_text(json.dumps({**ITEMS[kind], "gold": gold}) + "\n")
    for purpose in ("gold", "training"):
        with pytest.raises(UserError, match=message):
            read_items(str(tmp_path / "x.jsonl"), kind, 1, purpose)
