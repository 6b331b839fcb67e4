"""A PostgreSQL server of the tests' own, where its programs are installed."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

WHERE = (shutil.which("postgres"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")), reverse=True))


def postgres_programs():
    """Return the folder of the server's programs, or None where there is no server."""
    for path in WHERE:
        if path and (folder := Path(path).resolve().parent) and (folder / "initdb").exists():
            return folder
    return None


@contextmanager
def postgresql_server():
    """Run a server on a socket in a folder of its own; yields a function that makes an empty database's address."""
    programs = postgres_programs()
    folder = Path(tempfile.mkdtemp(prefix="momus-pg-"))
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(folder, "nobody", "nogroup")
    run = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)}, **user}
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", "-U", "momus", "-A", "trust", "-E", "UTF8"],
        check=True, stdout=subprocess.DEVNULL, **run,
    )  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
            stdout=log, stderr=log, **run,
        )  # fmt: skip
    address = f"postgresql://momus@/{{}}?host={folder}"
    try:
        yield _maker(address)
    finally:
        server.send_signal(signal.SIGINT)  # at once, whoever is connected
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _maker(address):
    import psycopg

    for _ in range(200):
        try:
            psycopg.connect(address.format("postgres")).close()
            break
        except psycopg.OperationalError:
            time.sleep(0.05)
    made = 0

    def make():
        nonlocal made
        made += 1
        with psycopg.connect(address.format("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE test{made}")
        return address.format(f"test{made}")

    return make
