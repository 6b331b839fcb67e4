"""Processes that write at once and are killed; disks that fill up; statements that fail: the store stays consistent."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from momus.errors import UserError
from momus.label import database as database_module
from momus.label.audit import seal
from momus.label.people import People
from momus.label.rules import NewItem
from momus.label.schema import migrate, open_database
from momus.label.sqlite import SQLite
from momus.label.store import Store
from momus.label.verify import verify

WORKER = """
import sys
from momus.label.schema import open_database
from momus.label.store import Store

address, person, log = sys.argv[1:]
store = Store(open_database(address), lease_seconds=0.6)
with open(log, "a", buffering=1) as acknowledged:
    while True:
        lease = store.claim(person, "demonstration", lambda kind, payload, random: {})
        if lease is None:
            if all(queue.open + queue.waiting == 0 for queue in store.queues(person)):
                break
            continue
        answer = store.submit(lease.token, person, lease.token, {"item": lease.item}, 1.0, lambda *given: given[-1])
        acknowledged.write(answer["id"] + "\\n")
"""


@pytest.fixture
def filled(address):
    """A database with 60 items that want 3, and six labelers."""
    database = open_database(address)
    migrate(database)
    people = People(database)
    labelers = [people.person(people.join(people.invite("labeler", "o"), "n", "en")).id for _ in range(6)]
    items = [NewItem("demonstration", {"prompt": f"p{i}"}, want=3) for i in range(60)]
    Store(database).add_items(items, "b", "o")
    yield database, address, labelers
    database.close()


@pytest.mark.slow
def test_six_writers_and_many_kills_leave_exactly_k_judgements_and_lose_none(filled, tmp_path):
    database, address, labelers = filled
    draw = random.Random(1)

    def start(number):
        log = tmp_path / f"{number}.log"
        return subprocess.Popen([sys.executable, "-c", WORKER, address, labelers[number], str(log)], env=os.environ)

    workers, kills = [start(i) for i in range(6)], 0
    deadline = time.monotonic() + 120
    while any(worker.poll() is None for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(draw.random() * 0.1)
        number = draw.randrange(6)
        if kills < 64 and workers[number].poll() is None:
            workers[number].send_signal(signal.SIGKILL)
            workers[number].wait()
            workers[number] = start(number)
            kills += 1
    assert [worker.returncode for worker in workers] == [0] * 6
    acknowledged = [line for path in tmp_path.glob("*.log") for line in path.read_text().split()]
    stored = database.read(lambda t: t.rows("SELECT id, status FROM submission"))
    assert set(acknowledged) <= {row["id"] for row in stored} and len(acknowledged) == len(set(acknowledged))
    counts = database.read(lambda t: t.rows("SELECT accepted FROM item"))
    assert {row["accepted"] for row in counts} == {3}
    assert verify(database)[0] == []


def test_two_processes_seal_one_chain(filled):
    database, address, _ = filled
    code = "import sys; from momus.label.schema import open_database; from momus.label.audit import seal; " \
        "print(seal(open_database(sys.argv[1])))"  # fmt: skip
    others = [subprocess.Popen([sys.executable, "-c", code, address], stdout=subprocess.PIPE) for _ in range(2)]
    sealed = seal(database) + sum(int(other.communicate()[0]) for other in others)
    problems, count, _ = verify(database)
    assert problems == [] and count == sealed == database.read(lambda t: t.value("SELECT count(*) AS n FROM audit"))


def test_whichever_statement_fails_all_or_nothing_is_kept(filled, monkeypatch):
    database, _, labelers = filled
    store = Store(database)
    whole = database_module.Transaction.run
    for number in range(1, 30):
        lease = store.claim(labelers[0], "demonstration", lambda *_: {})
        left = number

        def failing(self, sql, *values):
            nonlocal left
            left -= 1
            if left == 0:
                raise sqlite3.OperationalError("disk I/O error")
            return whole(self, sql, *values)

        before = _everything(database)
        monkeypatch.setattr(database_module.Transaction, "run", failing)
        try:
            store.submit(lease.token, labelers[0], f"r{number}", {}, 1.0, lambda *given: given[-1])
        except sqlite3.OperationalError:
            monkeypatch.undo()
            assert _everything(database) == before
        else:
            monkeypatch.undo()
            break
    assert 4 < number < 29
    assert verify(database)[0] == []


def _everything(database):
    tables = ("submission", "lease", "draft", "reply", "audit", "item")
    return database.read(lambda t: [t.rows(f"SELECT * FROM {table} ORDER BY 1") for table in tables])


def test_a_disk_that_does_not_write_is_not_called_damage_of_the_file(tmp_path):
    database = open_database(str(tmp_path / "label.db"))
    migrate(database)
    items = [NewItem("demonstration", {"prompt": "x" * 9000})]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="disk I/O error"):
            Store(database).add_items(items, "b", "o")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    Store(database).add_items(items, "b", "o")
    assert database.read(lambda t: t.value("SELECT count(*) AS n FROM item")) == 1


def test_a_file_that_cannot_be_opened_for_writing_is_refused_and_not_waited_for(tmp_path):
    database = open_database(str(tmp_path / "folder" / "label.db"))
    shutil.rmtree(tmp_path / "folder")
    (tmp_path / "folder").write_text("no folder")
    with pytest.raises(UserError, match=r"label\.db"):
        database.write(lambda t: t.value("SELECT 1 AS n"))


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path):
    database = open_database(str(tmp_path / "label.db"))
    migrate(database)
    people, store = People(database), Store(database)
    person = people.person(people.join(people.invite("labeler", "o"), "n", "en")).id
    store.add_items([NewItem("demonstration", {"prompt": f"p{i}"}) for i in range(100)], "b", "o")
    database.write(lambda t: t.rows(f"PRAGMA max_page_count = {t.value('PRAGMA page_count') + 12}"))
    acknowledged = 0
    with pytest.raises(OSError, match="full"):
        for _ in range(100):
            lease = store.claim(person, "demonstration", lambda *_: {})
            store.submit(lease.token, person, lease.token, {"answer": "x" * 2000}, 1.0, lambda *given: given[-1])
            acknowledged += 1
    assert acknowledged
    assert database.read(lambda t: t.value("SELECT count(*) AS n FROM submission")) == acknowledged
    database.write(lambda t: t.rows("PRAGMA max_page_count = 1000000"))
    assert verify(database)[0] == []
    assert database.read(lambda t: t.value("PRAGMA integrity_check")) == "ok"
    database.close()


def test_closing_while_others_write_leaves_nobody_waiting(tmp_path):
    """What is asked for after `close` is another writer's: it takes no order to stop that was meant for the first."""
    database = SQLite(tmp_path / "m.db")
    database.write(lambda t: t.run("CREATE TABLE kept (number INTEGER)"))

    def write_some():
        for number in range(100):
            database.write(lambda t, number=number: t.run("INSERT INTO kept VALUES (?)", number))

    def close_some():
        for _ in range(100):
            database.close()

    works = [threading.Thread(target=work, daemon=True) for work in (*[write_some] * 3, close_some)]
    for work in works:
        work.start()
    for work in works:
        work.join(60)
        assert not work.is_alive()
    assert database.read(lambda t: t.value("SELECT count(*) FROM kept")) == 300
    database.close()
