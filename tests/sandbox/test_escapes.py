"""Attempts at escape, each in a cage, and the attempts themselves: do they notice a wall that is missing?"""

import pytest

from momus.errors import UserError
from momus.sandbox import NoCageError, check_cage, escapes, is_caged, run, run_python
from momus.sandbox.escapes import ESCAPES, Attempt


@pytest.fixture(scope="module")
def attempts(cage):
    return {attempt.name: attempt for attempt in check_cage()}


def test_there_are_at_least_20_attempts():
    assert len(ESCAPES) >= 20


@pytest.mark.parametrize("name", ESCAPES)
def test_the_cage_holds(attempts, name):
    assert attempts[name].held, attempts[name].got


def _without(monkeypatch, *flags, add=()):
    """Take walls down: flags of bubblewrap's, or limits by their name."""
    whole = run.command

    def fewer(*arguments):
        kept = [part for part in whole(*arguments) if part not in flags and part.partition("=")[0] not in flags]
        at = kept.index("--remount-ro")
        return [*kept[:at], *add, *kept[at:]]

    monkeypatch.setattr(run, "command", fewer)


def _escaped(monkeypatch, *names):
    """Return which of some attempts escape; of the others only one is made."""
    made = {"keyring", *names}
    quick, bounded = ({name: ways[name] for name in ways if name in made} for ways in (escapes.QUICK, escapes.BOUNDED))
    monkeypatch.setattr(escapes, "QUICK", quick)
    monkeypatch.setattr(escapes, "BOUNDED", bounded)
    monkeypatch.setattr(escapes, "ESCAPES", quick | bounded)
    return {attempt.name for attempt in check_cage() if not attempt.held}


def test_a_missing_wall_between_processes_is_noticed(cage, monkeypatch):
    _without(monkeypatch, "--unshare-pid", "--as-pid-1")
    both = {"processes_of_others", "background"}
    assert both <= _escaped(monkeypatch, *both)


def test_a_missing_wall_to_the_network_is_noticed(cage, monkeypatch):
    _without(monkeypatch, "--unshare-net")
    # The filter of system calls still refuses the others.
    assert _escaped(monkeypatch, "unix_sockets", "tcp", "udp") == {"unix_sockets"}
    monkeypatch.setattr(run, "filter_for", lambda: None)
    assert {"tcp", "udp"} <= _escaped(monkeypatch, "tcp", "udp")


def test_a_missing_filter_is_noticed(cage, monkeypatch):
    monkeypatch.setattr(run, "filter_for", lambda: None)
    assert "memory_bomb" in _escaped(monkeypatch, "memory_bomb")


def test_files_of_the_machine_are_noticed(cage, monkeypatch):
    _without(monkeypatch, add=["--ro-bind", "/etc", "/etc"])
    assert "read_passwd" in _escaped(monkeypatch, "read_passwd")


def test_missing_limits_are_noticed(cage, monkeypatch):
    _without(monkeypatch, "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_AS")
    both = {"core_dump", "fork_bomb"}
    assert both <= _escaped(monkeypatch, *both)


def test_disks_without_a_size_are_noticed(cage, monkeypatch):
    whole = run.command
    monkeypatch.setattr(
        run, "command", lambda *arguments: [p if p != str(4 << 20) else str(1 << 30) for p in whole(*arguments)]
    )
    assert "disk_filling" in _escaped(monkeypatch, "disk_filling")


def test_nothing_runs_where_an_attempt_succeeds(monkeypatch):
    escapes.require_cage.cache_clear()
    monkeypatch.setattr(escapes, "check_cage", lambda: (Attempt("tcp", "connect over TCP", "127.0.0.1"),))
    with pytest.raises(NoCageError, match=r"connect over TCP \(127\.0\.0\.1\)"):
        run_python("print(1)")
    assert not is_caged()


@pytest.mark.parametrize(
    ("system", "bwrap", "words"),
    [("darwin", "/usr/bin/bwrap", "needs Linux"), ("linux", None, "apt install bubblewrap")],
)
def test_a_machine_without_a_cage_says_why(monkeypatch, system, bwrap, words):
    from momus.sandbox import bubblewrap

    escapes.require_cage.cache_clear()
    monkeypatch.setattr(bubblewrap.sys, "platform", system)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: bwrap)
    with pytest.raises(UserError, match=words):
        run_python("print(1)")
