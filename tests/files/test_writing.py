"""Files and directories are written whole or not at all, whatever call of the system fails or is the last."""

from __future__ import annotations

import errno
import gc
import os
import random
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from momus.errors import UserError
from momus.files import (
    atomic_directory,
    atomic_file,
    locks,
    restore_directory,
    write_json,
    write_lines,
    write_text,
    writing,
)
from momus.files.locks import lock
from support.dying import at_call

OLD, NEW = "old\n" * 700, "new\n" * 700


def fill(path: Path, text: str) -> None:
    with atomic_directory(path) as folder:
        (folder / "inner").mkdir()
        for name in ("a", "inner/b"):
            (folder / name).write_text(text)


def text_in(path: Path) -> str | None:
    """What a reader sees: a whole text, or nothing."""
    if not path.exists():
        return None
    if path.is_file():
        return path.read_text()
    assert sorted(str(p.relative_to(path)) for p in path.rglob("*")) == ["a", "inner", "inner/b"]
    first, second = ((path / name).read_text() for name in ("a", "inner/b"))
    assert first == second
    return first


WRITERS: dict[str, Callable[[Path, str], None]] = {
    "text": write_text,
    "lines": lambda path, text: write_lines(path, iter(text.splitlines())),
    "directory": fill,
}


@pytest.mark.parametrize("ends", ["error", "kill"])
@pytest.mark.parametrize(
    ("name", "old", "swaps"),
    [*((name, old, True) for name in WRITERS for old in (None, OLD)), ("directory", OLD, False)],
    ids=[*(f"{name}-{old}" for name in WRITERS for old in ("new", "old")), "directory-two renames"],
)
def test_a_write_that_fails_or_is_killed_at_any_call_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str | None, swaps: bool, ends: str
) -> None:
    write = WRITERS[name]
    if not swaps:
        monkeypatch.setattr(writing, "_swap", lambda one, other: False)
    for number in range(1, 200):
        place = tmp_path / str(number) / "there"
        if old is not None:
            write(place, old)
        done = at_call(number, ends, lambda place=place: write(place, NEW))
        if ends == "kill" and not swaps:
            restore_directory(place)
        assert text_in(place) in ((old, NEW) if old else (None, NEW))
        if done:
            assert text_in(place) == NEW and number > 4
            break
        write(place, NEW + NEW)  # goes on, whatever was left behind
        assert text_in(place) == NEW + NEW
        assert [p.name for p in place.parent.iterdir()] == ["there"]
    else:
        raise AssertionError("it never came to an end")


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_killed_at_a_random_instant_leaves_the_old_or_the_new(tmp_path: Path, name: str) -> None:
    place, texts, chance = tmp_path / "there", [letter * 200_000 + "\n" for letter in "ab"], random.Random(0)
    WRITERS[name](place, texts[0])
    for _ in range(25):
        child = os.fork()
        if child == 0:
            gc.disable()  # it would copy all memory of the parent
            while True:
                for text in texts:
                    WRITERS[name](place, text)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert text_in(place) in texts
    WRITERS[name](place, OLD)
    assert text_in(place) == OLD and [path.name for path in tmp_path.iterdir()] == ["there"]


def test_an_error_on_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    for write in (atomic_file, atomic_directory):
        with pytest.raises(RuntimeError), write(tmp_path / "thing"):  # type: ignore[operator]
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_one_line_and_leaves_the_old(tmp_path: Path, name: str) -> None:
    path = tmp_path / "thing"
    WRITERS[name](path, OLD)
    # safetensors raises a type of its own.
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), RuntimeError("No space left (28)")):
        write = atomic_directory if path.is_dir() else atomic_file
        with pytest.raises(UserError, match="no space left on the disk of"), write(path):  # type: ignore[operator]
            raise error
    with pytest.raises(UserError, match="thing cannot be written: File too large"), write(path):  # type: ignore[operator]
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    assert text_in(path) == OLD and [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_two_writers_of_one_file_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "thing"
    with atomic_file(path) as file:
        file.write(b"first")
        with pytest.raises(UserError, match=r"another command is at work in .*thing"), atomic_file(path) as other:
            other.write(b"second")
    assert path.read_bytes() == b"first" and [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_writers_that_take_turns_in_a_hurry_never_leave_half_a_file(tmp_path: Path) -> None:
    path, done, refused = tmp_path / "thing", [], []

    def work(text: str) -> None:
        for _ in range(60):
            try:
                write_text(path, text)
                done.append(text)
            except UserError:
                refused.append(text)
            assert path.read_text() in texts

    texts = [letter * 5000 for letter in "abcd"]
    write_text(path, texts[0])
    threads = [threading.Thread(target=work, args=[text]) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done and len(done) + len(refused) == 240
    assert [p.name for p in tmp_path.iterdir()] == ["thing"]


def test_a_file_whose_name_was_taken_over_before_the_lock_is_not_written_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "thing"

    def late(file: object, place: Path) -> None:
        monkeypatch.setattr(locks, "lock", lock)
        place.rename(path)  # the other writer was faster
        path.write_text("theirs")
        lock(file, place)  # type: ignore[arg-type]

    monkeypatch.setattr(locks, "lock", late)
    with atomic_file(path) as file:
        assert path.read_text() == "theirs"
        file.write(b"mine")
    assert path.read_text() == "mine"


def test_links_are_followed_and_pipes_and_devices_written_into(tmp_path: Path) -> None:
    real, link = tmp_path / "data" / "real", tmp_path / "link"
    write_text(real, "old")
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new"
    write_text(Path(os.devnull), "gone")
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        write_text(pipe, "through")
        assert reader.communicate()[0] == b"through"
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "x")


def test_what_the_system_lets_others_read_they_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "thing", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "thing").stat().st_mode) == 0o640


@contextmanager
def without_locks() -> Iterator[None]:
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", none)
        yield


def test_a_file_system_without_locks_is_written_on_with_a_warning(tmp_path: Path) -> None:
    with without_locks(), pytest.warns(UserWarning, match="has no locks"):
        write_text(tmp_path / "thing", "x")
    assert (tmp_path / "thing").read_text() == "x"


def test_json_is_text_as_it_is_read_and_names_that_are_no_text_are_escaped(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"값": Path("x")})
    assert (tmp_path / "a").read_text() == '{"값": "x"}\n'
    write_json(tmp_path / "b", {"name": os.fsdecode(b"\xff")}, indent=1)
    assert (tmp_path / "b").read_bytes() == b'{\n "name": "\\udcff"\n}\n'


def test_the_old_directory_is_put_back_after_a_kill_between_two_renames(tmp_path: Path) -> None:
    fill(tmp_path / "thing", OLD)
    (tmp_path / "thing").rename(tmp_path / "thing.old")
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "thing"):
        raise RuntimeError
    assert text_in(tmp_path / "thing") == OLD and not (tmp_path / "thing.old").exists()
    shutil.rmtree(tmp_path / "thing")
    restore_directory(tmp_path / "thing")
    assert not (tmp_path / "thing").exists()
