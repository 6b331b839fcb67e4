"""The command line as a user meets it: exit codes, one line for every mistake, nothing half-written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import momus
from momus import cli
from momus.cli import main
from momus.errors import UserError
from momus.records import Tamper, read_jsonl
from samples import MEAN


def run(*arguments, **options):
    command = [sys.executable, "-m", "momus", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def refused(done, *words):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("momus: error: ")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(MEAN)
    return path


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"momus {momus.__version__}\n"
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: momus")
    assert main([]) == 2


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_but_train_has_help_without_loading_torch(command):
    code = (
        "import sys, momus.cli\n"
        "try: momus.cli.main([sys.argv[1], '--help'])\n"
        "except SystemExit as stop: print(stop.code)\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)
    assert f"usage: momus {command}" in done.stdout
    # The options of `train` are the settings of its stages, which live beside their mathematics.
    assert done.stdout.endswith("0\nTrue False\n" if command == "train" else "0\nFalse False\n")


BAD = {
    "missing": (None, "no such file"),
    "empty": (b"\n", "empty"),
    "syntax": (b"x = 1\ndef f(:\n", ":2: syntax error"),
    "python2": (b"x = 1\nprint 'hi'\n", ":2: ", "Python 2"),
    "large": (b"#" * 10_000_000, "10.0 MB", "limit"),
    "binary": (bytes(range(256)), "binary"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, kind):
    data, *words = BAD[kind]
    path = tmp_path / "bad.py"
    if data is not None:
        path.write_bytes(data)
    refused(run("review", path), str(path), *words)


def test_tamper_refuses_the_same_files(tmp_path):
    refused(run("tamper", tmp_path / "gone.py"), "no such file")


def test_a_directory_without_python_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    refused(run("review", tmp_path), "no Python files")


@pytest.mark.parametrize("arguments", [["review"], ["reveiw", "x.py"], ["review", "x.py", "--max-comments", "0"]])
def test_wrong_arguments_are_refused_in_one_line(arguments):
    refused(run(*arguments))


@pytest.mark.parametrize(
    "arguments", [["demo", "--preset", "huge"], ["review", "x.py", "--jsn"], ["tamper", "--bugs", "x"]]
)
def test_wrong_options_exit_with_two(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_misspelt_command_is_suggested(capsys):
    assert main(["reveiw"]) == 2
    assert "did you mean 'review'?" in capsys.readouterr().err


def test_tamper_prints_a_diff_and_its_critique(code, capsys):
    def printed(seed):
        assert main(["tamper", str(code), "--seed", str(seed)]) == 0
        return capsys.readouterr().out

    text = printed(3)
    assert text.startswith(f"--- {code}\n+++ {code} (tampered)\n@@")
    assert text.count("```") == 2
    assert code.read_text() == MEAN
    assert printed(3) == text
    assert {printed(seed) for seed in range(4)} != {text}


def test_tamper_prints_records(code, capsys):
    assert main(["tamper", str(code), "--json", "--bugs", "2"]) == 0
    record = Tamper.model_validate(json.loads(capsys.readouterr().out))
    assert record.task.answer == MEAN != record.answer
    assert len(record.bugs) == 2


def test_tamper_writes_copies_and_their_records_never_in_place(code, tmp_path, capsys):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "code.py").write_bytes(b"# coding: latin-1\n# \xe9\n" + MEAN.encode())
    out = tmp_path / "out"
    assert main(["tamper", str(code), str(tmp_path / "pkg"), "--out", str(out)]) == 0
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == ["code.py", "pkg/code.py", "tampers.jsonl"]
    first, second = read_jsonl(out / "tampers.jsonl", Tamper)
    assert (out / "code.py").read_text() == first.answer != MEAN
    assert (out / "pkg" / "code.py").read_text("latin-1") == second.answer
    assert main(["tamper", str(code), "--out", str(tmp_path)]) == 2
    assert "would overwrite" in capsys.readouterr().err
    assert code.read_text() == MEAN


def test_no_room_for_so_many_bugs(code, capsys):
    assert main(["tamper", str(code), "--bugs", "500"]) == 2
    shown = capsys.readouterr()
    assert "no room for 500 bugs" in shown.err
    assert shown.out == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(code):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "momus", "tamper", str(code)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "momus: error: the disk is full: free some space and run the same command again\n"


def test_a_reader_that_leaves_is_no_error(code):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "momus", "tamper", str(code)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("x.py: wrong\n  here"), 2, "momus: error: x.py: wrong here\n"),
        (KeyboardInterrupt(), 130, "momus: interrupted\n"),
        (OSError(28, "No space left on device"), 2, "momus: error: the disk is full: free some space and run"),
        (PermissionError(13, "Permission denied", "/x"), 2, "momus: error: /x: Permission denied\n"),
        (ModuleNotFoundError(name="torch"), 2, "momus: error: this command needs torch: pip install 'momus[train]'\n"),
    ],
)
def test_expected_failures_are_one_line(monkeypatch, capsys, error, code, line):
    def fail(_):
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["review"]) == code
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("error", [ValueError("bug"), ModuleNotFoundError(name="momus.nothing")])
def test_our_own_mistakes_keep_their_traceback(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    with pytest.raises(type(error)):
        main(["review"])


def test_control_c_is_one_line():
    script = (
        "import os, signal, sys, momus.cli as cli\n"
        "cli._dispatch = lambda _: (os.kill(os.getpid(), signal.SIGINT), signal.pause())\n"
        "sys.exit(cli.main([]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "momus: interrupted\n")
