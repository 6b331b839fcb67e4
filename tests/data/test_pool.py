"""A map over a stream by several processes."""

import operator
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count, islice

import pytest

from momus.data.pool import in_order
from momus.errors import UserError

UPPER = partial(operator.methodcaller, "upper")


def test_a_map_by_processes_is_in_order_and_does_not_run_ahead():
    taken = 0

    def texts():
        nonlocal taken
        for taken in count(1):
            yield f"x{taken}"

    found = list(islice(in_order(UPPER, texts(), workers=2), 3000))
    assert found == [f"X{number}" for number in range(1, 3001)]
    assert taken <= 3072 + 4 * 512


def fail(message):
    raise UserError(message)


def killer():
    return os._exit


def test_a_process_that_cannot_start_and_one_that_is_killed_are_errors():
    with pytest.raises(UserError, match="no such thing"):
        list(in_order(partial(fail, "no such thing"), range(600), workers=2))
    with pytest.raises(UserError, match="one of 2 processes was killed"):
        list(in_order(killer, range(600), workers=2))


SCRIPT = """
import sys, time
from functools import partial
from momus.data.pool import in_order
def make():
    import os, pathlib
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(0.5)
    return time.sleep
if __name__ == '__main__': list(in_order(make, [float(sys.argv[2])] * 600, workers=2))
"""


@pytest.fixture
def started(tmp_path):
    """Return what starts a pool of two processes in a process group of its own, and whether any of them is alive."""
    path, pids = tmp_path / "script.py", tmp_path / "pids"
    path.write_text(SCRIPT)
    pids.mkdir()
    parents = []

    def start(seconds):
        command = [sys.executable, str(path), str(pids), str(seconds)]
        parents.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True))
        wait_for(lambda: len(list(pids.iterdir())) == 2)
        return parents[0], lambda: any(alive(int(entry.name)) for entry in pids.iterdir())

    yield start
    for parent in parents:
        parent.kill()
        parent.communicate()


def test_processes_end_with_the_one_that_started_them(started):
    parent, running = started(1000)
    assert running()
    parent.kill()
    wait_for(lambda: not running())


def test_control_c_is_heard_by_the_one_that_started_them(started):
    parent, running = started(0.001)  # they are still starting
    os.killpg(parent.pid, signal.SIGINT)
    _, error = parent.communicate(timeout=60)
    assert error.count("Traceback") == error.count("KeyboardInterrupt") == 1
    wait_for(lambda: not running())


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.05)
