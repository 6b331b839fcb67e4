"""Paths that are no plain files, names that are no plain text: one line for each, and no escape sequences."""

import errno
import io
import json
import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from momus.cli import main
from momus.errors import UserError
from momus.review.files import MAX_BYTES, Skipped, read_source, read_sources
from momus.review.findings import FileReview, Finding
from momus.review.formats.json import to_json
from momus.review.formats.text import print_review, print_skipped
from momus.review.result import Review
from momus.terminal import visible, visible_line

CODE = "def f(x):\n    return x + 1\n"
# Every control character, what changes the direction of text, what has no width, separators, and halves of pairs.
INVISIBLE = [
    *map(chr, [*range(1, 0x20), *range(0x7F, 0xA1), 0xAD, 0x61C, 0x2028, 0x2029, 0x3000, 0xFEFF, 0xE0041]),
    *map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)]),
    "\udc80",
    "\udcff",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ok.py").write_text(CODE)
    return tmp_path


def _reasons(folder):
    sources, skipped = read_sources([folder])
    assert [source.path.name for source in sources] == ["ok.py"]
    return {file.path.name: file.reason for file in skipped}


def test_links_in_circles_and_to_nowhere_are_skipped_and_named(folder):
    (folder / "itself.py").symlink_to("itself.py")
    (folder / "one.py").symlink_to("two.py")
    (folder / "two.py").symlink_to("one.py")
    (folder / "nowhere.py").symlink_to("gone")
    (folder / "circle").symlink_to(".")
    (folder / "folder.py").symlink_to(".")
    circle = "a link that leads in a circle"
    assert _reasons(folder) == {
        "itself.py": circle,
        "one.py": circle,
        "two.py": circle,
        "nowhere.py": "a link to gone, which is not there",
    }
    for name in ("itself.py", "nowhere.py"):
        with pytest.raises(UserError, match=f"{name}: a link"):
            read_sources([folder / name])


def test_a_link_that_leads_out_of_the_directory_is_not_followed_unless_it_is_named(folder):
    inner = folder / "inner"
    inner.mkdir()
    (inner / "a.py").write_text(CODE)
    (inner / "out.py").symlink_to("../ok.py")
    (inner / "same.py").symlink_to("a.py")
    sources, skipped = read_sources([inner])
    assert [source.path.name for source in sources] == ["a.py"]
    assert skipped == [Skipped(inner / "out.py", f"a link that leads out of {inner}: not followed", by_design=True)]
    assert [source.path for source in read_sources([inner / "out.py"])[0]] == [inner / "out.py"]
    (folder / "named").symlink_to("inner")
    assert len(read_sources([folder / "named"])[0]) == 1
    assert len(read_sources([inner, inner / "out.py"])[0]) == 2


def test_a_file_with_several_links_is_read_once(folder):
    (folder / "same.py").symlink_to("ok.py")
    sources, skipped = read_sources([folder, folder / "same.py"])
    assert len(sources) == 1 and not skipped


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_sockets_and_devices_are_never_waited_for(folder, monkeypatch):
    os.mkfifo(folder / "pipe.py")
    (folder / "device.py").symlink_to("/dev/zero")
    monkeypatch.chdir(folder)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.py")
        reasons = _reasons(folder)
        assert "leads out" in reasons.pop("device.py")
        assert reasons == dict.fromkeys(["pipe.py", "socket.py"], "not a regular file")
        with pytest.raises(UserError, match="not a regular file"):
            read_source(folder / "device.py")


def test_a_file_larger_than_its_size_says_is_not_read_on_and_on(folder, monkeypatch):
    (folder / "big.py").write_bytes(b"#" * (MAX_BYTES + 1))
    monkeypatch.setattr(os, "fstat", lambda descriptor: (folder / "ok.py").stat())
    with pytest.raises(UserError, match=r"1\.0 MB is too large"):
        read_source(folder / "big.py")


def _deny(monkeypatch, denied):
    """Refuse to open some paths, as a file system does; permissions do not bind who runs tests as root."""
    scandir, open_ = os.scandir, os.open

    def refusing(function):
        def call(path, *rest, **options):
            if Path(path) in denied:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return function(path, *rest, **options)

        return call

    monkeypatch.setattr(os, "scandir", refusing(scandir))
    monkeypatch.setattr(os, "open", refusing(open_))


def test_unreadable_files_and_folders_are_reported(folder, monkeypatch):
    (folder / "closed").mkdir()
    (folder / "secret.py").write_text(CODE)
    _deny(monkeypatch, {folder / "closed", folder / "secret.py"})
    _, skipped = read_sources([folder])
    assert skipped == [
        Skipped(folder / "closed", "cannot be read: Permission denied", is_directory=True),
        Skipped(folder / "secret.py", "Permission denied"),
    ]
    with pytest.raises(UserError, match="closed: Permission denied"):
        read_sources([folder / "closed"])


def test_a_directory_of_unreadable_folders_is_refused_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    _deny(monkeypatch, {tmp_path / "closed"})
    with pytest.raises(UserError, match=r"no Python files in this directory .*closed: cannot be read"):
        read_sources([tmp_path])


def test_directories_nest_deeper_than_python_recurses(folder):
    made = [folder / "d"]
    made[0].mkdir()
    for _ in range(sys.getrecursionlimit() + 20):
        made.append(made[-1] / "d")
        made[-1].mkdir()
    (made[-1] / "x.py").write_text(CODE)
    assert [source.path.name for source in read_sources([folder])[0]] == ["ok.py", "x.py"]
    (made[-1] / "x.py").unlink()
    for deep in reversed(made):  # pytest's own cleaning up recurses
        deep.rmdir()


@pytest.mark.parametrize("path", ["a" * 300 + ".py", "ok.py/inner.py"])
def test_names_that_no_file_has_are_refused_in_one_line(folder, path):
    with pytest.raises(UserError):
        read_sources([folder / path])


@pytest.mark.parametrize("character", INVISIBLE)
def test_no_name_reaches_the_terminal_as_it_is(character, tmp_path):
    path = tmp_path / f"a{character}b.py:3  forged"
    finding = Finding(line=1, end_line=1, function="f", quote="return x", text="Odd.")
    out = io.StringIO()
    console = Console(file=out, width=200)
    print_review(FileReview(path, (finding,), units=1, unanchored=1), console)
    print_skipped([Skipped(path, "odd")], console)
    lines = out.getvalue().split("\n")
    assert all(line.isprintable() for line in lines)
    assert sum("forged" in line for line in lines) == 3  # each on its own line, with the rest of the name
    assert all(line.startswith((str(tmp_path), "skipped")) for line in lines if "forged" in line)


@pytest.mark.parametrize("character", INVISIBLE)
def test_no_refusal_of_a_name_reaches_the_terminal_as_it_is(character, tmp_path, capsys):
    assert main(["review", str(tmp_path / f"a{character}b.py")]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and shown.rstrip("\n").isprintable()


@pytest.mark.skipif(sys.platform == "darwin", reason="names are UTF-8 there")
def test_a_name_that_is_not_utf8_is_spelled_out_in_json(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.py")
    path.write_text(CODE)
    sources, _ = read_sources([tmp_path])
    document = json.loads(to_json(Review((FileReview(sources[0].path, (), units=1),), (Skipped(path, "odd"),))))
    assert document["files"][0]["path"] == document["skipped"][0]["path"] == f"{tmp_path}/caf\\xe9.py"
    assert visible_line(str(path)) == f"{tmp_path}/caf\\xe9.py"


@given(st.text())
def test_nothing_visible_controls_the_terminal(text):
    assert all(c.isprintable() or c in "\n\t" for c in visible(text))
    assert visible_line(text).isprintable()


@given(st.text())
def test_what_is_printable_stays_as_it_is(text):
    if text.isprintable():
        assert visible(text) == visible_line(text) == text
