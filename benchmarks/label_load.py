"""The workbench under load: many labelers at once, on the real server, SQLite or PostgreSQL.

    python benchmarks/label_load.py                                       # SQLite, 100 labelers, 200 submissions/s
    python benchmarks/label_load.py --database postgresql://…             # an empty database
    python benchmarks/label_load.py --rate 0                              # as fast as it goes

`momus label serve` runs as it always does: every submission is durable before it is answered (SQLite: WAL and
synchronous=FULL; PostgreSQL: as the server is set, which is printed), with its idempotency record and its entry in the
audit log, which is sealed in batches meanwhile. Each labeler is one connection that takes the next task and submits it;
with a rate, labelers start at their time whether the server keeps up or not, and a submission's latency counts from
when it was sent. Processor time of the server, of PostgreSQL and of this program, the generator, are printed apart.

Afterwards the database is checked: no task went to more labelers than it wants or twice to one, everything that was
acknowledged is there, and `momus label verify` finds nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

from momus.label.database import Database
from momus.label.people import People
from momus.label.rules import NewItem
from momus.label.schema import migrate, open_database
from momus.label.store import Store
from momus.label.verify import verify

TICK = os.sysconf("SC_CLK_TCK")
FASTEST = 1500
"""Submissions a second for which tasks are prepared where there is no rate."""
ANSWER = "A labeler's answer of a few sentences. " * 12


@dataclass
class Labeler:
    """One labeler's connection and what came of it; times in seconds."""

    port: int
    key: str
    csrf: str
    claims: list[float] = field(default_factory=list)
    submissions: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def work(self, start: float, end: float, every: float, measured_from: float) -> None:
        """Take and submit tasks until the end, every so many seconds, or one after the other where that is 0."""
        due = start
        while True:
            now = time.perf_counter()
            due = max(due, now) if not every else due
            if due >= end or now >= end:
                return
            await asyncio.sleep(max(0.0, due - now))
            began = time.perf_counter()
            if not await self._one(began >= measured_from):
                return
            if began >= measured_from:
                self.late.append(began - due)
            due += every

    async def _one(self, measured: bool) -> bool:
        form = urlencode({"csrf": self.csrf, "kind": "demonstration"}).encode()
        began = time.perf_counter()
        status, headers, _ = await self._ask("POST", "/next", "application/x-www-form-urlencoded", form)
        claimed = time.perf_counter()
        if status == 404:  # nothing is left
            return False
        assert status == 303, status
        token = headers["location"].rpartition("/")[2]
        body = json.dumps({"request": uuid.uuid4().hex, "content": {"answer": ANSWER}, "active": 30.0}).encode()
        sent = time.perf_counter()
        status, _, answer = await self._ask("POST", f"/api/work/{token}/submission", "application/json", body)
        if status != 200:
            raise RuntimeError(f"{status}: {answer[:200]!r}")
        self.acknowledged.append(json.loads(answer)["id"])
        if measured:
            self.claims.append(claimed - began)
            self.submissions.append(time.perf_counter() - sent)
        return True

    async def _ask(self, method: str, path: str, kind: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        host = f"127.0.0.1:{self.port}"
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: momus={self.key}\r\n"
            f"X-CSRF-Token: {self.csrf}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        answer = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection", "") == "close":
            writer.close()
            self.streams = None
        return int(lines[0].split()[1]), headers, answer


def serve(address: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server; return it and its port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "momus", "label", "serve", "--database", address, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(3000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server, port
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.02)
    raise SystemExit("momus label serve did not start")


def processor_seconds(process: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def postgresql_seconds() -> float:
    """Return the processor time of every PostgreSQL process of this machine so far, those that ended included."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                name, _, rest = (folder / "stat").read_text().rpartition(")")
            except OSError:
                continue
            if name.endswith("(postgres"):
                total += sum(map(int, rest.split()[11:15])) / TICK
    return total


def settings_of(database: Database) -> dict[str, Any]:
    """Return the settings that decide what durable means."""
    if database.dialect == "sqlite":
        names = ("journal_mode", "synchronous", "busy_timeout")
        values = {name: database.read(lambda t, name=name: t.value(f"PRAGMA {name}")) for name in names}
        return {**values, "synchronous": {1: "NORMAL", 2: "FULL", 3: "EXTRA"}.get(values["synchronous"], "OFF")}
    names = ("server_version", "synchronous_commit", "fsync", "full_page_writes", "shared_buffers")
    return {name: database.read(lambda t, name=name: t.value(f"SHOW {name}")) for name in names}


def check(database: Database, acknowledged: list[str], want: int) -> list[str]:
    """Return what is wrong with the database after the run, a line each."""
    stored = {row["id"] for row in database.read(lambda t: t.rows("SELECT id FROM submission"))}
    most = database.read(lambda t: t.value("SELECT max(accepted) AS n FROM item"))
    twice = database.read(
        lambda t: t.value(
            "SELECT count(*) AS n FROM "
            "(SELECT item, person FROM submission GROUP BY item, person HAVING count(*) > 1) AS doubles"
        )
    )
    surplus = database.read(lambda t: t.value("SELECT count(*) AS n FROM submission WHERE status <> 'accepted'"))
    problems = verify(database)[0]
    problems += [f"{len(set(acknowledged) - stored)} acknowledged submissions are missing"] * (
        not set(acknowledged) <= stored or len(set(acknowledged)) != len(acknowledged)
    )
    problems += [f"a task has {most} judgements, {want} are wanted"] * (most > want)
    problems += [f"{twice} tasks went to one labeler twice", f"{surplus} are surplus"] * bool(twice or surplus)
    return problems


def row_of(name: str, values: list[float]) -> list[str]:
    """Return a row of percentiles in milliseconds."""
    if len(values) < 2:
        return [name, str(len(values)), *["–"] * 4]
    cuts = quantiles(values, n=1000, method="inclusive")
    shown = (cuts[499], cuts[949], cuts[989], max(values))
    return [name, str(len(values)), *(f"{1000 * value:.1f}" for value in shown)]


async def run(labelers: list[Labeler], rate: float, seconds: float, warm_up: float) -> float:
    """Let everybody work at once; return the seconds that were measured."""
    start = time.perf_counter() + 0.5
    every = len(labelers) / rate if rate else 0.0
    measured_from, end = start + warm_up, start + warm_up + seconds
    await asyncio.gather(
        *(
            labeler.work(start + every * number / len(labelers), end, every, measured_from)
            for number, labeler in enumerate(labelers)
        )
    )
    return time.perf_counter() - measured_from


def main() -> int:
    """Run the load, print what came of it, and return 1 where the database is not as it should be."""
    options = _options()
    console = Console(width=110)
    folder = tempfile.TemporaryDirectory(prefix="momus-load-", dir=options.folder)
    address = options.database or str(Path(folder.name) / "label.db")
    database = open_database(address)
    migrate(database)
    people = People(database)
    keys = [people.join(people.invite("labeler", "load"), f"labeler {i}", "en") for i in range(options.labelers)]
    planned = (options.rate or FASTEST) * (options.seconds + options.warm_up) * 1.2 / options.want + options.labelers
    items = [NewItem("demonstration", {"prompt": f"prompt {i}"}, options.want) for i in range(int(planned))]
    Store(database).add_items(items, "load", "load")
    server, port = serve(address)
    try:
        labelers = [Labeler(port, str(key), people.person(str(key)).csrf) for key in keys]  # type: ignore[union-attr]
        before = (processor_seconds(server.pid), postgresql_seconds(), _own_seconds())
        measured = asyncio.run(run(labelers, options.rate, options.seconds, options.warm_up))
        after = (processor_seconds(server.pid), postgresql_seconds(), _own_seconds())
    finally:
        server.terminate()
        server.wait(30)
    spent = [later - earlier for earlier, later in zip(before, after, strict=True)]
    return _report(console, options, database, labelers, measured, spent)


def _report(
    console: Console, options: argparse.Namespace, database: Database, labelers: list[Labeler], measured: float,
    spent: list[float],
) -> int:  # fmt: skip
    submissions = [value for labeler in labelers for value in labeler.submissions]
    claims = [value for labeler in labelers for value in labeler.claims]
    late = [value for labeler in labelers for value in labeler.late]
    acknowledged = [identity for labeler in labelers for identity in labeler.acknowledged]
    settings = {"dialect": database.dialect, **settings_of(database)}
    machine = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "platform": platform.platform(),
               "python": platform.python_version()}  # fmt: skip
    asked = {name: getattr(options, name) for name in ("labelers", "rate", "seconds", "warm_up", "want")}
    for name, values in (("settings", settings), ("machine", machine), ("asked", asked)):
        console.print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    table = Table("milliseconds", "n", "p50", "p95", "p99", "longest")
    for name, times in (("submission", submissions), ("next task", claims), ("started late", late)):
        table.add_row(*row_of(name, times))
    console.print(table)
    throughput = len(submissions) / measured
    console.print(f"{throughput:.0f} submissions/s over {measured:.1f} s")
    seconds = dict(zip(("server", "PostgreSQL", "generator"), spent, strict=True))
    console.print("processor seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    problems = check(database, acknowledged, options.want)
    console.print(*(problems or ["no double assignment, nothing lost, the audit log verifies"]), sep="\n")
    if options.json:
        result = {"settings": settings, "machine": machine, "asked": asked, "throughput": throughput,
                  "processor_seconds": seconds, "submission_s": submissions, "claim_s": claims, "late_s": late,
                  "problems": problems}  # fmt: skip
        options.json.write_text(json.dumps(result) + "\n", encoding="utf-8")
    database.close()
    return 1 if problems else 0


def _own_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="postgresql://…, empty; by default SQLite in a folder of its own")
    parser.add_argument("--folder", type=Path, help="where the SQLite file lies: a disk, not memory (the system's)")
    parser.add_argument("--labelers", type=int, default=100, help="at once (100)")
    parser.add_argument("--rate", type=float, default=200, help="submissions a second; 0: as fast as it goes (200)")
    parser.add_argument("--seconds", type=float, default=30, help="measured (30)")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds before that (5)")
    parser.add_argument("--want", type=int, default=3, help="judgements of each task (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all times")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
