"""Content warnings: read before the item is shown, which may then be declined without a reason."""

import json

import pytest
from starlette.testclient import TestClient

from momus.cli import main
from momus.errors import UserError
from momus.label.app import make_app
from momus.label.importing import read_items
from momus.label.rules import NewItem
from momus.label.security import Site
from momus.label.verify import verify
from momus.label.views import arrange

ORIGIN = "http://127.0.0.1:8765"
SECRET = "A long description of something cruel."
WARNING = "Describes <b>cruelty</b>."


@pytest.fixture
def sign_in(database, store, people):
    app = make_app(database, store, Site((ORIGIN,)))

    def make():
        client = TestClient(app, base_url=ORIGIN, follow_redirects=False, headers={"origin": ORIGIN})
        client.post(f"/join/{people.invite('labeler', 'o')}", data={"name": "kim", "language": "en"})
        client.person = people.person(client.cookies["momus"])
        client.headers["x-csrf-token"] = client.person.csrf
        return client

    return make


def start(client):
    answer = client.post("/next", data={"kind": "demonstration", "csrf": client.person.csrf})
    return answer.headers["location"]


def test_a_warning_stands_before_the_item_and_nothing_of_it_is_shown(sign_in, store):
    store.add_items([NewItem("demonstration", {"prompt": SECRET}, warning=WARNING)], "b", "o")
    client = sign_in()
    path = start(client)
    before = client.get(path).text
    assert "Describes &lt;b&gt;cruelty&lt;/b&gt;." in before and SECRET not in before
    assert SECRET in client.get(f"{path}?shown=1").text
    body = {"revision": 0, "content": {"answer": "half"}}
    assert client.put(f"/api{path}/draft", json=body).status_code == 200
    assert SECRET in client.get(path).text


def test_a_warned_item_is_declined_without_a_reason_and_goes_to_somebody_else(sign_in, store, database):
    store.add_items([NewItem("demonstration", {"prompt": SECRET}, warning=WARNING)], "b", "o")
    first, second = sign_in(), sign_in()
    path = start(first)
    forged = second.post(f"{path}/pass", data={"csrf": second.person.csrf})
    assert forged.status_code == 404
    assert first.post(f"{path}/pass").status_code == 403
    assert first.post(f"{path}/pass", data={"csrf": first.person.csrf}).headers["location"] == "/"
    assert store.claim(first.person.id, "demonstration", arrange) is None
    assert start(second) != path
    reason = database.read(lambda t: t.value("SELECT reason FROM lease WHERE state = 'declined'"))
    assert reason == f"warning: {WARNING}" and verify(database)[0] == []


def test_without_a_warning_the_item_is_shown_at_once(sign_in, store):
    store.add_items([NewItem("demonstration", {"prompt": SECRET})], "b", "o")
    client = sign_in()
    assert SECRET in client.get(start(client)).text


def test_who_checks_or_decides_is_warned_too(database, labeler):
    from momus.label.store import Store

    store = Store(database, review_share=1.0)
    store.add_items([NewItem("demonstration", {"prompt": SECRET}, warning=WARNING)], "b", "o")
    a, b = labeler("a"), labeler("b")
    lease = store.claim(a, "demonstration", arrange)
    store.submit(lease.token, a, "request", {"answer": "x"}, 1.0, lambda *given: given[-1])
    assert store.claim(b, "review", arrange).warning == WARNING


def test_warnings_are_imported_for_all_items_or_for_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": "mild"}, {"prompt": SECRET, "warning": "Cruel."}]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [item.warning for item in read_items("x.jsonl", "demonstration", 1, "real")] == ["", "Cruel."]
    command = ["label", "import", "x.jsonl", "--kind", "demonstration"]
    assert main([*command, "--warning", "Take care."]) == 0
    assert main([*command, "--warning", "x" * 1001]) == 2
    (tmp_path / "x.jsonl").write_text('{"prompt": "p", "warning": 3}\n')
    with pytest.raises(UserError, match="warning: a text"):
        read_items("x.jsonl", "demonstration", 1, "real")
