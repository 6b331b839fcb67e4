"""What owners do: pause and resume, end links, have work done again. Nothing is lost, K holds, the log verifies."""

from datetime import date

import pytest

from momus.errors import UserError
from momus.label.owner import actions, overview
from momus.label.owner.figures import rows_as_csv
from momus.label.owner.hours import day_of, hours
from momus.label.rules import NewItem, RefusedError
from momus.label.store import Store
from momus.label.verify import verify

K = "demonstration"


def arrange(kind, payload, random):
    return {}


def keep(kind, payload, arrangement, content):
    return content


def add(store, count=1, want=1, batch="b", kind=K, **more):
    store.add_items([NewItem(kind, {"prompt": f"p{i}"}, want=want, **more) for i in range(count)], batch, "owner")


def submit(store, lease, content="x"):
    return store.submit(lease.token, lease.person, lease.token, content, 1.0, keep)


def state(store, item=1):
    return store.database.read(lambda t: t.row("SELECT accepted, state FROM item WHERE number = ?", item))


def actions_logged(database):
    return [(row["action"], row["subject"]) for row in database.read(lambda t: t.rows("SELECT * FROM audit"))]


def test_a_paused_project_hands_out_nothing_and_lets_what_was_begun_be_finished(store, labeler, database):
    add(store, 3)
    a, b = labeler("a"), labeler("b")
    begun = store.claim(a, K, arrange)
    actions.pause_project(database, "o")
    actions.pause_project(database, "o")
    assert store.paused() and store.claim(b, K, arrange) is None
    assert store.claim(a, K, arrange).token == begun.token
    assert [(q.open, q.waiting, q.held, q.paused) for q in store.queues(a)] == [(0, 0, True, 3)]
    add(store, 1, batch="later")
    assert store.claim(b, K, arrange) is None
    assert submit(store, begun)["status"] == "accepted" and store.claim(a, K, arrange) is None
    actions.resume_project(database, "o")
    assert not store.paused() and store.claim(b, K, arrange).item == 2
    assert actions_logged(database).count(("pause", "project")) == 2
    assert verify(database)[0] == []


def test_a_paused_batch_waits_while_others_go_on(store, labeler, database):
    add(store, 2, batch="first")
    add(store, 1, batch="second")
    a, b = labeler("a"), labeler("b")
    begun = store.claim(a, K, arrange)
    assert actions.set_batch_paused(database, "first", True, "o") == 2
    assert [(x.name, x.items, x.accepted, x.paused) for x in actions.batches(database)] == [
        ("first", 2, 0, 2), ("second", 1, 0, 0)
    ]  # fmt: skip
    assert store.claim(b, K, arrange).item == 3
    assert submit(store, begun)["status"] == "accepted"
    assert actions.set_batch_paused(database, "first", False, "o", K, "real") == 2
    assert [state(store, item)["state"] for item in (1, 2, 3)] == ["done", "open", "open"]
    with pytest.raises(UserError, match="no batch"):
        actions.set_batch_paused(database, "third", True, "o")
    with pytest.raises(UserError, match="no batch"):
        actions.set_batch_paused(database, "first", True, "o", "ranking")
    assert "first" not in repr(actions_logged(database)) and verify(database)[0] == []


def test_resuming_a_batch_that_is_not_paused_leaves_closed_items_closed(store, labeler, database):
    add(store, 2)
    database.write(lambda t: t.run("UPDATE item SET state = 'done' WHERE number = 2"))
    actions.set_batch_paused(database, "b", False, "o")
    assert [state(store, item)["state"] for item in (1, 2)] == ["open", "done"]


def test_a_revoked_account_is_signed_out_and_comes_back_by_a_new_link_to_its_draft(people, store, database):
    add(store)
    key = people.join(people.invite("labeler", "o"), "kim", "en")
    person = people.person(key).id
    lease = store.claim(person, K, arrange)
    store.save_draft(lease.token, person, 0, {"answer": "half"})
    unused = people.invite("labeler", "o", person)
    people.revoke(person, "o")
    assert people.person(key) is None and people.join(unused, "x", "en") is None and people.invitations() == []
    assert people.join(people.invite("labeler", "o", person), "x", "en")
    assert store.claim(person, K, arrange).draft == {"answer": "half"}
    assert ("revoke", person) in actions_logged(database)
    with pytest.raises(UserError, match="no labeler"):
        people.revoke("L000000", "o")


def test_a_link_that_nobody_has_used_can_be_revoked_once(people, clock):
    token, other = people.invite("labeler", "o"), people.invite("labeler", "o")
    name = people.invitations()[0]["digest"]
    kept = {row["digest"] for row in people.invitations()} - {name}
    people.revoke_invitation(name, "o")
    assert {row["digest"] for row in people.invitations()} == kept
    assert sorted(people.join(each, "x", "en") is None for each in (token, other)) == [False, True]
    with pytest.raises(UserError, match="already"):
        people.revoke_invitation(name, "o")


def test_work_that_is_done_again_by_others_stops_counting_and_its_items_are_assigned_anew(store, labeler, database):
    add(store, 2, want=2)
    add(store, 1, purpose="gold", gold={"answer": "x"})
    a, b, c = labeler("a"), labeler("b"), labeler("c")
    done = [submit(store, store.claim(who, K, arrange)) for who in (a, b) for _ in range(2)]
    assert actions.work_of(database, a) == [{"kind": K, "count": 2}]
    assert actions.redo(database, a, "", "others", "Copied from a website.", "o") == 2
    assert [state(store, item) for item in (1, 2)] == [{"accepted": 1, "state": "open"}] * 2
    assert actions.work_of(database, a) == [] and actions.work_of(database, b)[0]["count"] == 2
    again = [store.claim(a, K, arrange), store.claim(b, K, arrange), store.claim(c, K, arrange)]
    assert [lease and lease.item for lease in again] == [None, None, 1]
    with pytest.raises(RefusedError, match="rejected"):
        store.reopen(done[0]["id"], a)
    assert submit(store, again[2])["status"] == "accepted"
    assert state(store) == {"accepted": 2, "state": "done"}
    row = overview.submissions_by(database, a)[0]
    assert (row["state"], row["note"]) == ("rejected", "Copied from a website.")
    assert len(database.read(lambda t: t.rows("SELECT id FROM submission"))) == 5
    assert ("redo by others", a) in actions_logged(database) and verify(database)[0] == []


def test_work_that_its_labeler_does_again_is_returned(store, labeler, database):
    add(store, want=1)
    add(store, want=1, kind="edit")
    a = labeler("a")
    done = submit(store, store.claim(a, K, arrange))
    submit(store, store.claim(a, "edit", arrange))
    assert actions.redo(database, a, K, "same", "Too short.", "o") == 1
    assert [state(store, item)["accepted"] for item in (1, 2)] == [0, 1]
    assert submit(store, store.reopen(done["id"], a), "longer")["status"] == "accepted"
    assert state(store) == {"accepted": 1, "state": "done"} and verify(database)[0] == []


def test_work_done_again_needs_a_reason_a_labeler_and_work(store, labeler, database):
    a = labeler("a")
    for person, reason, problem in ((a, " ", "say why"), ("L0", "r", "no labeler"), (a, "r", "nothing to be done")):
        with pytest.raises(UserError, match=problem):
            actions.redo(database, person, "", "others", reason, "o")


def test_a_struck_judgement_comes_back_only_by_whoever_struck_it_and_into_a_free_place(store, labeler, database):
    add(store, want=1)
    a, b = labeler("a"), labeler("b")
    done = submit(store, store.claim(a, K, arrange))
    store.review(done["id"], "reviewer", "rejected", "wrong")
    with pytest.raises(RefusedError, match="somebody else"):
        store.review(done["id"], "other", "approved", "")
    store.review(done["id"], "reviewer", "approved", "my mistake")
    assert state(store)["accepted"] == 1
    store.review(done["id"], "reviewer", "returned", "after all")
    lease = store.claim(b, K, arrange)
    with pytest.raises(RefusedError, match="others have its place"):
        store.review(done["id"], "reviewer", "approved", "")
    submit(store, lease)
    with pytest.raises(RefusedError, match="others have its place"):
        store.review(done["id"], "reviewer", "approved", "")
    assert verify(database)[0] == []


def test_hours_are_those_of_all_work_by_labeler_and_day(store, labeler, database, clock):
    add(store, 4)
    day = 86400
    clock.now = 10 * day + 100.0
    a, b = labeler("a"), labeler("=b")
    done = store.submit(store.claim(a, K, arrange).token, a, "1", "x", 1800.0, keep)
    store.submit(store.claim(b, K, arrange).token, b, "2", "x", 360.0, keep)
    store.review(done["id"], "o", "rejected", "")
    clock.now += day
    store.submit(store.claim(a, K, arrange).token, a, "3", "x", 900.0, keep)
    rows = [(row["labeler"], row["day"], row["submissions"], row["hours"]) for row in hours(database)]
    assert rows == [*sorted([(a, "1970-01-11", 1, 0.5), (b, "1970-01-11", 1, 0.1)]), (a, "1970-01-12", 1, 0.25)]
    assert len(hours(database, date(1970, 1, 12))) == 1 == len(hours(database, None, date(1970, 1, 11))) - 1
    assert hours(database, date(1970, 1, 13)) == [] and rows_as_csv([]) == "\r\n"
    assert "'=b" in rows_as_csv(hours(database))
    for wrong in ("11/30", "2026-13-01", "0001-01-01"):
        with pytest.raises(UserError, match="a day like"):
            day_of(wrong)


def test_a_check_that_is_waiting_does_not_bring_back_what_is_done_again(database, labeler):
    store = Store(database, review_share=1.0)
    add(store, want=1)
    a, b, c = labeler("a"), labeler("b"), labeler("c")
    submit(store, store.claim(a, K, arrange))
    begun = store.claim(b, "review", arrange)
    assert begun
    actions.redo(database, a, K, "others", "r", "o")
    assert store.claim(c, "review", arrange) is None
    with pytest.raises(RefusedError, match="rejected"):
        store.submit(begun.token, b, "request", {"verdict": "approved", "note": ""}, 1.0, keep)
    assert state(store)["accepted"] == 0 and verify(database)[0] == []
