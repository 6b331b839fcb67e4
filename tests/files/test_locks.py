"""A directory is held by one process, and a run directory by the runs that were started alike."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.errors import UserError
from momus.files import CONFIG, DirectoryLock, Log, changed, open_run_directory, plain
from support import forked
from support.dying import at_call
from support.forked import finish


def held(folder: Path) -> int:
    try:
        with DirectoryLock(folder):
            (folder / "held").touch()
            time.sleep(60)
    except UserError as error:
        return 2 if "another command is at work in" in str(error) else 1
    return 0


def test_two_processes_cannot_hold_one_directory_and_a_kill_lets_go(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path):
        assert finish(forked.start(held, tmp_path)) == 2
    process = forked.start(held, tmp_path)
    while not (tmp_path / "held").exists():
        time.sleep(0.02)
    with pytest.raises(UserError, match="at work"):
        DirectoryLock.shared(tmp_path)
    process.kill()
    assert finish(process) == -signal.SIGKILL
    DirectoryLock(tmp_path).close()


def test_a_directory_is_held_once_in_a_process_unless_it_is_shared(tmp_path: Path) -> None:
    first = DirectoryLock.shared(tmp_path)
    assert DirectoryLock.shared(tmp_path / ".") is first
    with pytest.raises(UserError):
        DirectoryLock(tmp_path)
    del first
    DirectoryLock(tmp_path).close()


def refuse_other(config: dict[str, Any]) -> Any:
    def check(stored: Any) -> None:
        if stored is not None and stored != config:
            raise UserError("another")

    return check


@pytest.mark.parametrize("ends", ["error", "kill"])
def test_a_run_directory_begun_with_a_failure_at_any_call_has_its_whole_configuration_or_none(
    tmp_path: Path, ends: str
) -> None:
    config = {"seed": 1, "text": "x" * 2000}
    for number in range(1, 100):
        out = tmp_path / str(number)
        done = at_call(number, ends, lambda out=out: open_run_directory(out, config, refuse_other(config)).close())
        assert not (out / CONFIG).exists() or json.loads((out / CONFIG).read_text()) == config
        with open_run_directory(out, config, refuse_other(config)):
            assert json.loads((out / CONFIG).read_text()) == config
        if done:
            return
    raise AssertionError("it never came to an end")


def test_a_refused_run_directory_is_left_as_it_is_and_a_damaged_one_is_shown_to_the_check(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another"):
        (tmp_path / CONFIG).write_text("{")
        open_run_directory(tmp_path, {"a": 1}, refuse_other({"a": 1}))
    with pytest.raises(UserError, match="another"):
        (tmp_path / CONFIG).write_text('{"a": 2}')
        open_run_directory(tmp_path, {"a": 1}, refuse_other({"a": 1}))
    assert [p.name for p in tmp_path.iterdir()] == [CONFIG]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_settings_differ_where_json_says_so(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert plain(one) == one and changed(one, plain(one)) == ""
    if any("." in key for key in (*one, *other)):
        return
    assert (changed(one, other) == "") <= (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)) or (
        one == other
    )


def test_changes_are_named_briefly() -> None:
    old = {"a": {"b": 1, "free": 1}, "c": "x" * 500, **{f"k{i}": i for i in range(9)}}
    assert changed(old, {**old, "a": {"b": 2, "free": 2}}, {"free"}) == "a.b 1 -> 2"
    assert len(changed(old, {"c": "y" * 500})) < 300 and changed(old, {}).endswith("and 7 more")
    assert changed({"a": None}, {}) and changed({"a": {}}, {})


def test_a_log_cut_short_leaves_out_the_last_line_and_is_cut_back(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    assert log.lines() == [] and log.sync() == 0
    log.add("one")
    size = log.sync()
    log.add("t\u2028wo")
    assert log.lines() == ["one", "t\u2028wo"]
    log.path.write_bytes(log.path.read_bytes() + "half ü".encode()[:-1])
    assert log.lines() == ["one", "t\u2028wo"]
    log.cut(size)
    assert log.lines() == ["one"]
