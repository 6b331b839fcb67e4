import subprocess
import sys
import time
from pathlib import Path

import pytest

from momus.errors import UserError
from momus.sandbox import Limits, run_python

pytestmark = pytest.mark.usefixtures("cage")


def test_a_program_reads_writes_and_ends():
    outcome = run_python("import sys; print(input()[::-1]); print('err', file=sys.stderr); sys.exit(3)", "héllo\n")
    assert (outcome.stdout, outcome.stderr, outcome.exit) == ("olléh\n", "err\n", 3)
    assert not outcome.ok and not outcome.timed_out


def test_it_is_the_same_python_with_the_standard_library_only():
    code = "import sys, json, sqlite3, decimal, asyncio; print(*sys.version_info[:3]); asyncio.run(asyncio.sleep(0))"
    assert run_python(code).stdout.split() == [str(part) for part in sys.version_info[:3]]
    assert "ModuleNotFoundError" in run_python("import momus").stderr


def test_an_exception_is_its_own():
    outcome = run_python("1 / 0")
    assert outcome.exit == 1
    assert "ZeroDivisionError" in outcome.stderr


def test_a_signal_is_128_and_its_number():
    assert run_python("import os; os.kill(os.getpid(), 9)").exit == 137


def test_time_is_bounded():
    began = time.monotonic()
    outcome = run_python("print('begun', flush=True)\nwhile True: pass", limits=Limits(seconds=5))
    assert outcome.timed_out and outcome.stdout == "begun\n" and outcome.exit == -1
    assert time.monotonic() - began < 60


def test_output_is_bounded_and_kept_so_far():
    outcome = run_python("while True: print('x' * 99)", limits=Limits(output_bytes=1000))
    assert outcome.stopped == "output"
    assert len(outcome.stdout) == 1000


def test_memory_is_bounded():
    assert "MemoryError" in run_python("bytearray(600 << 20)").stderr
    assert run_python("x = bytes(100 << 20)").ok


def test_a_large_input_is_read():
    assert run_python("import sys; print(len(sys.stdin.read()))", "x" * 5_000_000).stdout == "5000000\n"


def test_output_that_is_no_text_is_read():
    assert run_python("import sys; sys.stdout.buffer.write(bytes([255, 10]))").stdout == "\ufffd\n"


def test_runs_leave_nothing_to_each_other():
    run_python("open('/tmp/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x')")
    assert run_python("import os; print(os.listdir('/tmp'), os.listdir('/dev/shm'))").stdout == "[] []\n"


def test_no_descriptor_stays_open():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        run_python("")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


_SLEEPING = """
import sys
from momus.sandbox.limits import Limits
from momus.sandbox.run import run_unchecked
print(flush=True)
run_unchecked("import time; time.sleep(600)", limits=Limits(seconds=500, memory_bytes=int(sys.argv[1])))
"""


def _processes_of(memory):
    """Return the processes of a cage that was started with this limit of memory."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        processes += [process.name] if f"RLIMIT_AS={memory}".encode() in words else []
    return processes


def _wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_nothing_outlives_a_parent_that_is_killed_while_the_cage_is_built_or_after():
    delays = [0.01 * step for step in range(12)] + [None]
    limits = [(512 << 20) + time.monotonic_ns() % (1 << 20) + number for number in range(len(delays))]
    for delay, memory in zip(delays, limits, strict=True):
        with subprocess.Popen([sys.executable, "-c", _SLEEPING, str(memory)], stdout=subprocess.PIPE) as parent:
            parent.stdout.readline()
            if delay is None:
                assert _wait_until(
                    lambda memory=memory: len(_processes_of(memory)) >= 2
                )  # bubblewrap, and the launcher
            else:
                time.sleep(delay)
            parent.kill()
    time.sleep(0.5)  # for what has still to start
    assert _wait_until(lambda: not any(map(_processes_of, limits)))


@pytest.mark.parametrize("bad", [{"seconds": 0}, {"seconds": float("inf")}, {"memory_bytes": 1}, {"processes": 0}])
def test_limits_that_leave_no_room_are_refused(bad):
    with pytest.raises(UserError):
        Limits(**bad)
