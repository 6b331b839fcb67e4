"""Many labelers at once: a task costs the same however much was done, and who waits is judged by the time after."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from momus.label import database as database_module
from momus.label.rules import NewItem
from momus.label.verify import verify

K = "demonstration"


def claim(store, person):
    return store.claim(person, K, lambda *_: {})


def submit(store, lease, content="x"):
    return store.submit(lease.token, lease.person, lease.token, content, 1.0, lambda *given: given[-1])


@pytest.fixture
def statements(monkeypatch):
    """Every statement that is run."""
    run = []
    for name in ("rows", "run"):
        original = getattr(database_module.Transaction, name)

        def counted(self, sql, *values, _original=original):
            run.append(sql)
            return _original(self, sql, *values)

        monkeypatch.setattr(database_module.Transaction, name, counted)
    return run


def test_a_task_takes_as_many_statements_after_much_work_as_at_the_start(store, people, labeler, statements):
    store.add_items([NewItem(K, {"prompt": f"p{i}"}, want=5) for i in range(4)], "b", "owner")
    store.add_items([NewItem("edit", {"prompt": "p", "answer": "a"}, purpose="training")], "b", "owner")
    costs = set()
    for name in "abcde":
        key = people.join(people.invite("labeler", "owner"), name, "en")
        person = people.person(key).id
        for _ in range(4):
            statements.clear()
            people.person(key)
            session = len(statements)
            lease = claim(store, person)
            claimed = len(statements) - session
            submit(store, lease)
            costs.add((session, claimed, len(statements) - session - claimed))
    assert len(costs) == 1
    session, claimed, submitted = costs.pop()
    assert (session, claimed) == (1, 5) and submitted <= 9


def test_a_task_is_looked_for_by_indexes_also_by_a_plan_made_while_the_tables_were_empty(store, labeler, statements):
    if store.database.dialect != "postgresql":
        pytest.skip("SQLite keeps no plan of its own")
    statements.clear()
    assert claim(store, labeler()) is None
    (sql,) = [sql for sql in statements if sql.startswith("SELECT number FROM item WHERE kind")]
    for value in ("'demonstration'", "'real'", "-1", "0.0", "'L'", "'L'", "'L'"):
        sql = sql.replace("?", value, 1)
    plan = "\n".join(next(iter(row.values())) for row in store.database.read(lambda t: t.rows(f"EXPLAIN {sql}")))
    assert "item_open" in plan and "Join" not in plan and "Nested Loop" not in plan and "Seq Scan" not in plan


def test_a_lease_that_lapses_while_its_submission_waits_is_late(store, labeler, clock):
    store.add_items([NewItem(K, {"prompt": "p"})], "b", "owner")
    slow, quick = labeler("slow"), labeler("quick")
    lease = claim(store, slow)
    answers = []
    late = threading.Thread(target=lambda: answers.append(submit(store, lease)))

    def work(transaction):
        transaction.rows(f"SELECT number FROM item WHERE number = 1{transaction.for_update}")
        late.start()
        time.sleep(0.3)  # it waits for the item by now
        clock.now += store.lease_seconds + 1
        transaction._now = None
        return store.hand_out(transaction, 1, quick, lambda *_: {})

    theirs = store.database.write(work)
    late.join()
    assert answers[0]["status"] == "surplus"
    assert submit(store, theirs)["status"] == "accepted"
    assert verify(store.database)[0] == []


def test_more_threads_than_connections_take_turns_and_a_connection_that_broke_is_replaced(store, labeler):
    from momus.label.postgresql import CONNECTIONS

    database = store.database
    if database.dialect != "postgresql":
        pytest.skip("SQLite has one writer")
    store.add_items([NewItem(K, {"prompt": f"p{i}"}) for i in range(30)], "b", "owner")
    people = [labeler(f"l{i}") for i in range(30)]
    with ThreadPoolExecutor(30) as threads:
        tokens = list(threads.map(lambda person: submit(store, claim(store, person))["id"], people))
    assert len(set(tokens)) == 30
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert database.read(lambda t: t.value(f"SELECT count(*) AS n {others}")) < CONNECTIONS
    database.read(lambda t: t.rows(f"SELECT pg_terminate_backend(pid) {others}"))
    import psycopg

    for _ in range(3 * CONNECTIONS):  # each that broke is noticed by whoever gets it, and then there is a new one
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            futures = [threads.submit(store.paused) for _ in range(CONNECTIONS)]
        if not any(isinstance(future.exception(), psycopg.OperationalError) for future in futures):
            break
    assert [future.result() for future in futures] == [False] * CONNECTIONS
