"""The rules of assignment: K judgements per item, leases that lapse, nothing lost, nothing twice, nothing changed."""

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from momus.errors import UserError
from momus.label.people import People
from momus.label.rules import NewItem, RefusedError, standing
from momus.label.schema import migrate, open_database
from momus.label.store import LEASE_SECONDS, Store
from momus.label.verify import verify

K = "demonstration"


def arrange(kind, payload, random):
    return {"order": random.sample(range(3), 3)}


def keep(kind, payload, arrangement, content):
    return content


def add(store, count=1, want=2, **more):
    store.add_items([NewItem(K, {"prompt": f"p{i}"}, want=want, **more) for i in range(count)], "b", "owner")


def submit(store, lease, content="x", request=None):
    return store.submit(lease.token, lease.person, request or lease.token, content, 1.0, keep)


def state(store, item=1):
    return store.database.read(lambda t: t.row("SELECT accepted, state FROM item WHERE number = ?", item))


def test_an_item_goes_to_k_labelers_and_then_to_nobody(store, labeler):
    add(store)
    a, b, c = labeler("a"), labeler("b"), labeler("c")
    first, second = store.claim(a, K, arrange), store.claim(b, K, arrange)
    assert first.token != second.token and first.payload == {"prompt": "p0"}
    assert store.claim(c, K, arrange) is None
    assert [(q.open, q.waiting) for q in store.queues(c)] == [(0, 1)]
    assert submit(store, first)["status"] == submit(store, second)["status"] == "accepted"
    assert state(store) == {"accepted": 2, "state": "done"}
    assert [(q.open, q.waiting) for q in store.queues(c)] == [(0, 0)]
    assert store.claim(a, K, arrange) is None


def test_a_labeler_gets_the_held_item_again_and_each_item_once(store, labeler):
    add(store, 2)
    a = labeler()
    first = store.claim(a, K, arrange)
    assert store.claim(a, K, arrange).token == first.token
    submit(store, first)
    assert store.claim(a, K, arrange).item != first.item


def test_a_lapsed_lease_frees_its_place_and_late_work_is_surplus(store, labeler, clock):
    add(store, want=1)
    a, b = labeler("a"), labeler("b")
    late = store.claim(a, K, arrange)
    clock.now += LEASE_SECONDS + 1
    second = store.claim(b, K, arrange)
    with pytest.raises(RefusedError, match="passed") as refused:
        store.heartbeat(late.token, a)
    assert refused.value.status == 410
    assert submit(store, late)["status"] == "surplus"
    assert submit(store, second)["status"] == "accepted"
    assert state(store)["accepted"] == 1


def test_late_work_counts_while_its_place_is_free(store, labeler, clock):
    add(store, want=1)
    late = store.claim(labeler(), K, arrange)
    clock.now += LEASE_SECONDS * 100
    assert submit(store, late)["status"] == "accepted"


def test_a_heartbeat_keeps_a_lease(store, labeler, clock):
    add(store, want=1)
    a, b = labeler("a"), labeler("b")
    lease = store.claim(a, K, arrange)
    for _ in range(5):
        clock.now += LEASE_SECONDS * 0.9
        store.heartbeat(lease.token, a)
    assert store.claim(b, K, arrange) is None


def test_a_returning_labeler_finds_the_draft_and_the_order_under_a_new_token(store, labeler, clock):
    add(store, want=1)
    a = labeler()
    lease = store.claim(a, K, arrange)
    store.save_draft(lease.token, a, 0, {"answer": "half"})
    clock.now += LEASE_SECONDS + 1
    again = store.claim(a, K, arrange)
    assert again.token != lease.token
    assert (again.item, again.draft, again.arrangement) == (lease.item, {"answer": "half"}, lease.arrangement)


def test_two_windows_do_not_overwrite_each_other(store, labeler):
    add(store)
    a = labeler()
    lease = store.claim(a, K, arrange)
    assert store.save_draft(lease.token, a, 0, "one") == 1
    with pytest.raises(RefusedError, match="another window"):
        store.save_draft(lease.token, a, 0, "other")
    assert store.lease(lease.token, a).draft == "one"


def test_the_same_request_gets_the_same_reply_and_counts_once(store, labeler):
    add(store)
    lease = store.claim(labeler(), K, arrange)
    assert submit(store, lease, request="r") == submit(store, lease, request="r")
    with pytest.raises(RefusedError) as refused:
        submit(store, lease, "other", request="r")
    assert refused.value.status == 422
    with pytest.raises(RefusedError) as refused:
        submit(store, lease, request="r2")
    assert refused.value.status == 409
    assert state(store)["accepted"] == 1


def test_nobody_touches_the_lease_of_another(store, labeler):
    add(store)
    lease, b = store.claim(labeler("a"), K, arrange), labeler("b")
    attempts = (
        lambda: store.lease(lease.token, b),
        lambda: store.heartbeat(lease.token, b),
        lambda: store.save_draft(lease.token, b, 0, "x"),
        lambda: store.decline(lease.token, b, "x"),
        lambda: store.submit(lease.token, b, "r", "x", 1.0, keep),
        lambda: store.reopen(submit(store, lease)["id"], b),
    )
    for attempt in attempts:
        with pytest.raises(RefusedError) as refused:
            attempt()
        assert refused.value.status == 404


def test_a_declined_item_goes_to_others_and_never_back(store, labeler):
    add(store, want=1)
    a, b = labeler("a"), labeler("b")
    lease = store.claim(a, K, arrange)
    store.decline(lease.token, a, "not my language")
    assert store.claim(a, K, arrange) is None
    assert store.claim(b, K, arrange).item == lease.item


def test_an_author_never_judges_the_own_work(store, labeler):
    a, b = labeler("a"), labeler("b")
    add(store, authors=(a,))
    assert store.claim(a, K, arrange) is None
    assert store.claim(b, K, arrange)


def test_a_correction_supersedes_and_counts_once(store, labeler, database):
    add(store, want=1)
    a = labeler()
    done = submit(store, store.claim(a, K, arrange), "first")
    lease = store.reopen(done["id"], a)
    assert lease.draft == "first"
    assert store.claim(a, K, arrange) is None, "a correction is asked for, never handed out"
    again = submit(store, lease, "second")
    assert (again["revision"], again["status"]) == (1, "accepted")
    assert database.read(lambda t: [row["content"] for row in standing(t, 1)]) == ['"second"']
    assert state(store) == {"accepted": 1, "state": "done"}
    with pytest.raises(RefusedError, match="correct the correction"):
        store.reopen(done["id"], a)


def test_a_returned_judgement_opens_its_item_and_its_correction_takes_a_free_place(store, labeler):
    add(store, want=1)
    a, b = labeler("a"), labeler("b")
    done = submit(store, store.claim(a, K, arrange))
    store.review(done["id"], "owner", "returned", "too short")
    assert state(store) == {"accepted": 0, "state": "open"}
    correction = store.reopen(done["id"], a)
    other = store.claim(b, K, arrange)
    assert submit(store, correction, "longer")["status"] == "surplus"
    assert submit(store, other)["status"] == "accepted"
    store.review(done["id"], "owner", "rejected", "")
    with pytest.raises(RefusedError):
        store.reopen(done["id"], a)


def test_the_database_refuses_to_change_a_judgement(store, labeler, database):
    add(store)
    submit(store, store.claim(labeler(), K, arrange))
    for statement in ("UPDATE submission SET content = 'y'", "DELETE FROM submission"):
        with pytest.raises(Exception, match="never changed"):
            database.write(lambda t, statement=statement: t.run(statement))


def test_training_first_then_gold_now_and_then_and_a_training_item_shows_its_gold(database, labeler):
    store = Store(database, gold_every=4)
    store.add_items([NewItem(K, {"prompt": f"{p}{i}"}, purpose=p, gold="g") for p in ("gold", "training")
                     for i in range(3)], "b", "owner")  # fmt: skip
    add(store, 12, want=1)
    a, purposes = labeler(), []
    while lease := store.claim(a, K, arrange):
        purposes.append(lease.purpose)
        assert ("gold" in submit(store, lease)) == (lease.purpose == "training")
    assert purposes[:3] == ["training"] * 3
    assert [i for i, p in enumerate(purposes[3:]) if p == "gold"] == [1, 6, 11]


def test_importing_again_adds_nothing(store):
    add(store, 3)
    assert store.add_items([NewItem(K, {"prompt": "p1"}, want=2)], "b", "owner") == 0
    assert store.add_items([NewItem(K, {"prompt": "p1"}, want=2)], "c", "owner") == 1


def test_a_check_that_fails_changes_nothing(store, labeler):
    add(store)
    lease = store.claim(labeler(), K, arrange)

    def refuse(*_):
        raise UserError("no answer")

    with pytest.raises(UserError, match="no answer"):
        store.submit(lease.token, lease.person, "r", "", 1.0, refuse)
    assert submit(store, lease, request="r")["status"] == "accepted"


class Room(RuleBasedStateMachine):
    """Labelers that claim, save, submit, decline and vanish in any order, with the clock moving."""

    WANT, ITEMS, PEOPLE = 2, 3, 4

    def __init__(self):
        super().__init__()
        # In memory where there is such a folder: thousands of commits, and none of them is to survive.
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.now = 0.0
        self.database = open_database(f"{self.folder.name}/label.db", lambda: self.now)
        migrate(self.database)
        self.store = Store(self.database)
        people = People(self.database)
        self.people = [people.person(people.join(people.invite("labeler", "o"), "n", "en")).id for _ in
                       range(self.PEOPLE)]  # fmt: skip
        add(self.store, self.ITEMS, self.WANT)
        self.leases, self.acknowledged, self.pairs = [], {}, set()

    @rule(person=st.integers(0, 3))
    def claim(self, person):
        lease = self.store.claim(self.people[person], K, arrange)
        if lease:
            assert (lease.item, lease.person) not in self.pairs
            self.leases.append(lease)

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS / 2, LEASE_SECONDS + 1]))
    def wait(self, seconds):
        self.now += seconds

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), content=st.integers(0, 3))
    def submit(self, data, content):
        lease = data.draw(st.sampled_from(self.leases))
        try:
            answer = submit(self.store, lease, content, request=f"{lease.token} {content}")
        except RefusedError:
            return
        self.acknowledged[answer["id"]] = content
        self.pairs.add((lease.item, lease.person))

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def beat_save_or_decline(self, data):
        lease = data.draw(st.sampled_from(self.leases))
        act = data.draw(st.sampled_from(["beat", "save", "decline"]))
        try:
            if act == "beat":
                self.store.heartbeat(lease.token, lease.person)
            elif act == "save":
                self.store.save_draft(lease.token, lease.person, 0, "d")
            else:
                self.store.decline(lease.token, lease.person, "no")
                self.pairs.add((lease.item, lease.person))
        except RefusedError:
            pass

    @invariant()
    def nothing_is_lost_doubled_or_over_full(self):
        rows = self.database.read(lambda t: t.rows("SELECT id, content FROM submission"))
        assert {row["id"]: int(row["content"]) for row in rows} == self.acknowledged
        full = self.database.read(
            lambda t: t.rows(
                "SELECT number FROM item WHERE accepted + (SELECT count(*) FROM lease WHERE item = item.number "
                "AND lease.state = 'held' AND expires > ?) > want", self.now
            )
        )  # fmt: skip
        assert not full

    def teardown(self):
        assert verify(self.database)[0] == []
        self.database.close()
        self.folder.cleanup()


TestRoom = Room.TestCase
TestRoom.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "another program's", "a table of ours in another's"])
def test_a_damaged_file_or_another_programs_is_refused_in_one_line_and_left_alone(tmp_path, damage):
    path = tmp_path / "label.db"
    if "another" in damage:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE bookmarks (title TEXT)")
        if "ours" in damage:
            connection.execute("CREATE TABLE setting (key INTEGER)")
        connection.close()
    else:
        database = open_database(str(path))
        migrate(database)
        Store(database).add_items([NewItem("demonstration", {"prompt": "a" * 9000})], "x", "o")
        database.close()
        data = path.read_bytes()
        changed = {"cut": data[: len(data) // 2], "text": b"no database" * 500}
        path.write_bytes(changed.get(damage, data[:100] + bytes(8000) + data[8100:]))
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"label\.db: ") as refused:
        migrate(open_database(str(path)))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    assert path.read_bytes()[100:] == before[100:]  # a header may say that there is a write-ahead log now
