"""A copy is put in place whole or not at all, and the workbench goes on from it, on SQLite and on PostgreSQL."""

import os
import resource
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from momus.cli import main
from momus.errors import UserError
from momus.label.app import make_app
from momus.label.owner.restoring import restore
from momus.label.people import People
from momus.label.rules import NewItem
from momus.label.schema import back_up, migrate, open_database
from momus.label.security import Site
from momus.label.store import Store
from momus.label.verify import verify
from support.databases import postgres_programs

K = "demonstration"
ORIGIN = "http://127.0.0.1:8765"


def keep(*given):
    return given[-1]


def arrange(*given):
    return {}


class Running:
    """A workbench in the middle of its work: one judgement, one held task with a draft, one free item."""

    def __init__(self, database):
        self.database, self.store, self.people = database, Store(database), People(database)

    def begin(self):
        self.store.add_items([NewItem(K, {"prompt": f"p{i}"}, want=1) for i in range(3)], "b", "o")
        key = self.people.join(self.people.invite("labeler", "o"), "Kim", "en")
        person = self.people.person(key).id
        lease = self.store.claim(person, K, arrange)
        self.store.submit(lease.token, person, "request 1", {"answer": "a"}, 1.0, keep)
        held = self.store.claim(person, K, arrange)
        self.store.save_draft(held.token, person, 0, {"answer": "half"})
        self.people.erase(
            self.people.person(self.people.join(self.people.invite("labeler", "o"), "Gone", "en")).id, "o"
        )
        return key, person, held.token, verify(self.database)

    def go_on(self, key, person, token, before):
        """Check that nothing is missing, that it is served, and that the work goes on under the same chain."""
        assert verify(self.database) == before and before[0] == []
        client = TestClient(make_app(self.database, self.store, Site((ORIGIN,))), base_url=ORIGIN)
        client.cookies["momus"] = key
        assert "Hello, Kim." in client.get("/").text
        assert "half" in client.get(f"/work/{token}").text
        answer = self.store.submit(token, person, "request 2", {"answer": "whole"}, 1.0, keep)
        assert answer["status"] == "accepted" and self.store.claim(person, K, arrange).item == 3
        with pytest.raises(Exception, match="never changed"):
            self.database.write(lambda t: t.run("DELETE FROM submission"))
        problems, count, _ = verify(self.database)
        assert problems == [] and count == before[1] + 1


def test_a_restored_copy_verifies_serves_and_goes_on(tmp_path):
    first = open_database(str(tmp_path / "label.db"))
    migrate(first)
    begun = Running(first).begin()
    back_up(first, tmp_path / "copy.db")
    after = first.read(lambda t: t.value("SELECT count(*) AS n FROM lease"))
    first.close()
    (tmp_path / "copy.db").chmod(0o400)
    (tmp_path / "new").mkdir()
    assert restore(tmp_path / "copy.db", tmp_path / "new" / "label.db") == begun[3][1:]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["label.db"]
    second = open_database(str(tmp_path / "new" / "label.db"))
    migrate(second)
    assert second.read(lambda t: t.value("SELECT count(*) AS n FROM lease")) == after
    Running(second).go_on(*begun)
    second.close()


def test_a_dump_of_postgresql_verifies_serves_and_goes_on(make_postgresql):
    first, target = open_database(make_postgresql()), make_postgresql()
    migrate(first)
    begun = Running(first).begin()
    programs = Path(postgres_programs())
    dump = subprocess.run([programs / "pg_dump", first.address], check=True, capture_output=True).stdout
    first.close()
    psql = shutil.which("psql") or str(programs / "psql")
    subprocess.run([psql, "-q", "-v", "ON_ERROR_STOP=1", target], input=dump, check=True, capture_output=True)
    second = open_database(target)
    migrate(second)
    Running(second).go_on(*begun)
    second.close()


@pytest.fixture
def copy(tmp_path):
    database = open_database(str(tmp_path / "label.db"))
    migrate(database)
    Running(database).begin()
    back_up(database, tmp_path / "copy.db")
    database.close()
    return tmp_path / "copy.db"


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path):
    path.write_bytes(b"not a database at all, but long enough to be read as one" * 100)


def empty(path):
    path.write_bytes(b"")


def run_sql(*statements):
    def change(path):
        connection = sqlite3.connect(path)
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "damaged"),
        (overwrite, "damaged"),
        (empty, "no audit log"),
        (run_sql("UPDATE audit SET actor = 'x' WHERE position = 2"), "does not verify: audit log"),
        (run_sql("DROP TRIGGER submission_delete_refused", "DELETE FROM submission"), "does not verify: submission"),
        (run_sql("DROP TABLE audit"), "damaged|no audit log"),
    ],
)
def test_a_copy_that_is_not_whole_is_refused_and_nothing_is_left(copy, tmp_path, damage, message):
    damage(copy)
    (tmp_path / "to").mkdir()
    with pytest.raises(UserError, match=message):
        restore(copy, tmp_path / "to" / "label.db")
    assert list((tmp_path / "to").iterdir()) == []


def test_nothing_is_written_over(copy, tmp_path):
    before = (tmp_path / "label.db").read_bytes()
    with pytest.raises(UserError, match="already"):
        restore(copy, tmp_path / "label.db")
    with pytest.raises(UserError, match="no such file"):
        restore(tmp_path / "other.db", tmp_path / "new.db")
    assert (tmp_path / "label.db").read_bytes() == before


def test_the_command(copy, tmp_path, capsys):
    new = str(tmp_path / "new.db")
    assert main(["label", "restore", str(copy), "--database", new]) == 0
    told = capsys.readouterr().out
    assert main(["label", "verify", "--database", new]) == 0 and capsys.readouterr().out == told
    assert main(["label", "restore", str(copy), "--database", new]) == 2
    assert main(["label", "restore", str(copy), "--database", "postgresql://x"]) == 2


def test_a_copy_that_cannot_be_made_is_one_line(copy, tmp_path, capsys):
    def refused(target):
        assert main(["label", "backup", str(target), "--database", str(copy)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert f"there is no directory {tmp_path / 'none'}" in refused(tmp_path / "none" / "x.db")
    assert "is there already" in refused(copy)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        assert "disk" in refused(tmp_path / "x.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.glob("x.db*"))
