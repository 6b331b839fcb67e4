"""The server itself, `momus label serve`, killed at any instant while six people work: nothing acknowledged is lost.

Four kills by default; `MOMUS_SERVER_KILLS=64` for the long run.
"""

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from urllib.parse import urlencode

import pytest

from momus.label.people import People
from momus.label.rules import NewItem
from momus.label.schema import migrate, open_database
from momus.label.store import Store
from momus.label.verify import verify

KILLS = int(os.environ.get("MOMUS_SERVER_KILLS", "4"))
WRITERS, WANT, BETWEEN = 6, 3, 12
"""People, judgements of each item, and at most so many acknowledgements between two kills."""
ITEMS = BETWEEN * (KILLS + 2) // WANT


class Server:
    """`momus label serve` in a process of its own, started again after every kill."""

    def __init__(self, address, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._command = [
            sys.executable,
            "-m",
            "momus",
            "label",
            "serve",
            "--database",
            address,
            "--port",
            str(self.port),
        ]
        self._log = log.open("ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self._log.close()


class Writer(threading.Thread):
    """Somebody who works until there is nothing left, and repeats every request until it is answered."""

    def __init__(self, port, key, csrf, acknowledged):
        super().__init__(daemon=True)
        self._port, self._csrf, self._acknowledged = port, csrf, acknowledged
        self._headers = {"Cookie": f"momus={key}", "Origin": f"http://127.0.0.1:{port}"}
        self.error = None

    def run(self):
        deadline = time.monotonic() + 1500
        try:
            while len(self._acknowledged) < ITEMS * WANT and time.monotonic() < deadline:
                if not self._work_once():
                    # Nothing now. PostgreSQL may still be committing what a killed server asked for: the task that it
                    # handed to this writer is there a moment later.
                    time.sleep(0.05)
        except BaseException as error:
            self.error = error

    def _work_once(self):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, location, _ = self._ask("POST", "/next", urlencode({"csrf": self._csrf, "kind": "demonstration"}), form)
        if status == 404:
            return False
        assert status == 303
        token = location.rpartition("/")[2]
        body = json.dumps({"request": uuid.uuid4().hex, "content": {"answer": "x" * 200}, "active": 1.0})
        sent = {"Content-Type": "application/json", "X-CSRF-Token": self._csrf}
        status, _, answer = self._ask("POST", f"/api/work/{token}/submission", body, sent)
        assert status == 200, answer
        self._acknowledged.append(json.loads(answer)["id"])
        return True

    def _ask(self, method, path, body, headers):
        for _ in range(6000):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                connection.request(method, path, body, {**self._headers, **headers})
                answer = connection.getresponse()
                return answer.status, answer.getheader("location", ""), answer.read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            finally:
                connection.close()
        raise AssertionError("the server never came back")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_server_is_killed_while_six_people_work(address, tmp_path):
    database = open_database(address)
    migrate(database)
    people, draw, acknowledged = People(database), random.Random(KILLS), []
    keys = [people.join(people.invite("labeler", "o"), "n", "en") for _ in range(WRITERS)]
    Store(database).add_items([NewItem("demonstration", {"prompt": f"p{i}"}, WANT) for i in range(ITEMS)], "b", "o")
    server = Server(address, tmp_path / "server.log")
    writers = [Writer(server.port, key, people.person(key).csrf, acknowledged) for key in keys]
    try:
        for writer in writers:
            writer.start()
        for _ in range(KILLS):
            target = len(acknowledged) + draw.randrange(BETWEEN)
            while len(acknowledged) < target and any(writer.is_alive() for writer in writers):
                time.sleep(0.001)
            time.sleep(draw.random() * 0.02)
            assert any(writer.is_alive() for writer in writers), "the work was done before the last kill"
            server.kill()
            server.start()
        for writer in writers:
            writer.join(120)
    finally:
        server.stop()
    assert [writer.error for writer in writers] == [None] * WRITERS
    stored = {
        row["id"] for row in database.read(lambda t: t.rows("SELECT id FROM submission WHERE status = 'accepted'"))
    }
    assert len(set(acknowledged)) == len(acknowledged) == ITEMS * WANT and set(acknowledged) == stored
    assert {row["accepted"] for row in database.read(lambda t: t.rows("SELECT accepted FROM item"))} == {WANT}
    by_item = database.read(lambda t: t.rows("SELECT item, count(DISTINCT person) AS n FROM submission GROUP BY item"))
    assert len(by_item) == ITEMS and {row["n"] for row in by_item} == {WANT}
    assert verify(database)[0] == []
    assert not re.search(r"Traceback|Error", (tmp_path / "server.log").read_text())
    database.close()
