"""A command at a pseudo-terminal: keys go in, and what it shows is read."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path


class Terminal:
    """A `momus` command, started in a folder."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._master, slave = pty.openpty()
        environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "XDG_CACHE_HOME": str(folder / "cache")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "momus", *words],
            stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def wait_for(self, words: str, seconds: float = 60) -> None:
        start, place = time.monotonic(), len(self.shown)
        while words not in self.shown[place:]:
            assert time.monotonic() - start < seconds, self.shown
            self._read()

    def press(self, keys: str, words: str) -> None:
        place = len(self.shown)
        os.write(self._master, keys.encode())
        start = time.monotonic()
        while words not in self.shown[place:]:
            assert time.monotonic() - start < 60, self.shown[place:]
            self._read()

    def end(self) -> int:
        while self._process.poll() is None:
            self._read()
        os.close(self._master)
        return self._process.returncode

    def _read(self) -> None:
        if select.select([self._master], [], [], 0.1)[0]:
            try:
                self.shown += os.read(self._master, 4096).decode("utf-8", "replace")
            except OSError:  # the other end is closed
                return
