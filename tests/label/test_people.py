"""Invitations are used once, sessions end, names can be erased, and the audit log stands against all changes."""

import json
from pathlib import Path

import pytest

from momus.errors import UserError
from momus.label import schema
from momus.label.audit import digest, log, seal
from momus.label.people import IDLE_SECONDS, INVITATION_SECONDS, SESSION_SECONDS
from momus.label.rules import NewItem, RefusedError
from momus.label.schema import SCHEMA_VERSION, back_up, migrate, open_database
from momus.label.store import Store
from momus.label.verify import verify


def test_an_invitation_is_looked_at_often_and_used_once(people):
    token = people.invite("labeler", "owner")
    assert people.invitation(token) == people.invitation(token) == {"role": "labeler", "person": None}
    key = people.join(token, "kim", "ko")
    person = people.person(key)
    assert (person.name, person.role, person.language) == ("kim", "labeler", "ko")
    assert people.join(token, "lee", "en") is None and people.invitation(token) is None
    assert people.invitation(token[:-1] + "A") is None and people.person("x") is None


def test_links_and_sessions_end_in_time(people, clock):
    token = people.invite("labeler", "owner")
    clock.now += INVITATION_SECONDS
    assert people.join(token, "kim", "en") is None
    key = people.join(people.invite("labeler", "owner"), "kim", "en")
    for _ in range(int(SESSION_SECONDS / IDLE_SECONDS)):
        assert people.person(key)
        clock.now += IDLE_SECONDS * 0.99
    clock.now += IDLE_SECONDS
    assert people.person(key) is None


def test_a_new_link_for_an_account_signs_in_to_it(people):
    first = people.person(people.join(people.invite("labeler", "o"), "kim", "en"))
    again = people.person(people.join(people.invite("labeler", "o", first.id), "ignored", "en"))
    assert (again.id, again.name) == (first.id, "kim") and again.csrf != first.csrf
    with pytest.raises(UserError, match="no labeler"):
        people.invite("labeler", "o", "L000000")


def test_pausing_ends_sessions_and_work(people, store):
    store.add_items([NewItem("demonstration", {"prompt": "p"})], "b", "o")
    key = people.join(people.invite("labeler", "o"), "kim", "en")
    person = people.person(key).id
    lease = store.claim(person, "demonstration", lambda *_: {})
    people.set_state(person, "paused", "o")
    assert people.person(key) is None
    for attempt in (
        lambda: store.claim(person, "demonstration", lambda *_: {}),
        lambda: store.submit(lease.token, person, "r", {}, 0, lambda *given: given[-1]),
        lambda: store.heartbeat(lease.token, person),
    ):
        with pytest.raises(RefusedError, match="paused"):
            attempt()
    assert people.join(people.invite("labeler", "o", person), "kim", "en") is None
    people.set_state(person, "active", "o")
    assert store.claim(person, "demonstration", lambda *_: {})


def test_an_erased_name_is_nowhere_and_the_log_still_verifies(people, store, database, address):
    store.add_items([NewItem("demonstration", {"prompt": "p"})], "b", "o")
    person = people.person(people.join(people.invite("labeler", "o"), "Kim Minji", "en")).id
    lease = store.claim(person, "demonstration", lambda *_: {})
    store.submit(lease.token, person, "r", {"answer": "a"}, 0, lambda *given: given[-1])
    people.erase(person, "o")
    tables = ("person", "submission", "lease", "draft", "reply", "audit", "invitation", "session")
    everything = database.read(lambda t: [t.rows(f"SELECT * FROM {table}") for table in tables])
    assert "Minji" not in repr(everything)
    assert verify(database)[0] == [] and people.everybody() == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit SET actor = 'x' WHERE position = 2",
        "UPDATE audit SET at = at + 1 WHERE position = 2",
        "DELETE FROM audit WHERE position = 2",
        "DELETE FROM audit WHERE position = 1",
        "UPDATE audit SET seal = 'x' WHERE position = 3",
    ],
)
def test_a_changed_log_is_noticed(database, change):
    for number in range(4):
        database.write(lambda t, number=number: log(t, "a", "import", f"item {number}", number))
    assert seal(database) == 4
    problems, count, last = verify(database)
    assert problems == [] and count == 4 and len(last) == 64
    database.write(lambda t: t.run(change))
    assert verify(database)[0]


def test_a_log_cut_short_has_another_last_seal(database):
    for number in range(3):
        database.write(lambda t, number=number: log(t, "a", "import", "item", number))
    last = verify(database)[2]
    database.write(lambda t: t.run("DELETE FROM audit WHERE position = 3"))
    assert verify(database)[2] != last


def test_a_judgement_that_was_slipped_in_is_noticed(database, store, labeler):
    store.add_items([NewItem("demonstration", {"prompt": "p"}, want=2)], "b", "o")
    lease = store.claim(labeler(), "demonstration", lambda *_: {})
    database.write(
        lambda t: t.run(
            "INSERT INTO submission VALUES ('s', 1, ?, ?, 0, NULL, 'accepted', '{}', '{}', 0, 0, 0)",
            lease.person, lease.token,
        )
    )  # fmt: skip
    problems = verify(database)[0]
    assert any("not in the audit log" in problem for problem in problems)
    assert any("accepted judgements noted" in problem for problem in problems)


def test_only_digests_of_secrets_are_stored(database, people):
    token = people.invite("labeler", "o")
    key = people.join(token, "kim", "en")
    stored = database.read(lambda t: [t.rows("SELECT * FROM invitation"), t.rows("SELECT * FROM session")])
    assert token not in repr(stored) and key not in repr(stored) and digest(key) in repr(stored)


def test_a_newer_database_is_refused(database):
    database.write(lambda t: t.run("UPDATE setting SET value = ? WHERE name = 'schema'", str(SCHEMA_VERSION + 1)))
    with pytest.raises(UserError, match="newer Momus"):
        migrate(database)


def test_migrating_twice_does_nothing(database):
    migrate(database)


def fill_version_1(database):
    """Fill an empty database of the first schema with what Momus wrote then."""
    tables = json.loads((Path(__file__).parent / "schema_v1.json").read_text(encoding="utf-8"))

    def work(transaction):
        for table, rows in tables.items():
            for row in rows:
                row.pop("number", None)  # the database numbers them, in the same order
                marks = ", ".join("?" * len(row))
                transaction.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())

    database.write(work)


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_database_of_every_released_schema_is_migrated_after_a_copy_and_goes_on(address, clock, monkeypatch, version):
    database = open_database(address, clock)
    for step in {1, version}:
        with monkeypatch.context() as patch:
            patch.setattr(schema, "_STEPS", schema._STEPS[:step])
            patch.setattr(schema, "SCHEMA_VERSION", step)
            migrate(database)
        if step == 1:
            fill_version_1(database)
            problems, count, last = verify(database)
            assert (problems, count) == ([], 10)
    for _ in range(2):
        migrate(database)
        assert verify(database) == ([], count, last)
    rows = database.read(lambda t: t.rows("SELECT content FROM submission ORDER BY item, person, revision"))
    assert len(rows) == 3
    with pytest.raises(Exception, match="never changed"):
        database.write(lambda t: t.run("DELETE FROM submission"))
    store = Store(database)
    kim = database.read(lambda t: t.value("SELECT id FROM person WHERE name = 'Kim'"))
    lease = store.claim(kim, "demonstration", lambda *_: {})
    assert (lease.item, lease.draft, lease.warning) == (2, {"answer": "half"}, "")
    assert store.submit(lease.token, kim, "request 9", {"answer": "a"}, 1.0, lambda *g: g[-1])["status"] == "accepted"
    assert verify(database)[:2] == ([], count + 1)
    database.close()
    if "://" not in address:
        copy = open_database(f"{address}.v{version}.bak", clock)
        assert copy.read(lambda t: t.value("SELECT value FROM setting WHERE name = 'schema'")) == str(version)
        assert copy.read(lambda t: t.value("SELECT count(*) AS n FROM submission")) == 3
        copy.close()


def test_a_copy_made_while_others_write_is_whole(tmp_path):
    database = open_database(str(tmp_path / "label.db"))
    migrate(database)
    Store(database).add_items([NewItem("demonstration", {"prompt": "p"})], "b", "o")
    back_up(database, tmp_path / "copy.db")
    copy = open_database(str(tmp_path / "copy.db"))
    assert verify(copy)[0] == [] and copy.read(lambda t: t.value("SELECT count(*) AS n FROM item")) == 1
    with pytest.raises(UserError, match="already"):
        back_up(database, tmp_path / "copy.db")
    database.close()
    copy.close()
