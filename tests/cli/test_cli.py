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
from support.samples import MEAN


@pytest.fixture
def refused(capsys):
    """Run a command, and see that it is refused in one line that holds all words."""

    def check(arguments, *words):
        assert main([*map(str, arguments)]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("momus: error: ")
        assert shown.err.count("\n") == 1
        assert all(word in shown.err for word in words), shown.err

    return check


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


HELP = """
import sys
import momus.cli
for command in sys.argv[1:]:
    try:
        momus.cli.main([command, "--help"])
    except SystemExit as stop:
        print("left", command, stop.code, *{"torch", "matplotlib"} & sys.modules.keys())
"""


def test_every_command_has_help_without_loading_torch():
    done = subprocess.run([sys.executable, "-c", HELP, *cli.COMMANDS], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("left")] == [
        f"left {c} 0" for c in cli.COMMANDS
    ]
    assert all(f"usage: momus {command}" in done.stdout for command in cli.COMMANDS)


@pytest.mark.parametrize(
    "words", ["match calibrate", "feedback approve", "feedback return", "feedback collect", "feedback export"]
)
def test_a_command_of_two_words_is_called_by_both_in_its_help(capsys, words):
    with pytest.raises(SystemExit, match="0"):
        main([*words.split(), "--help"])
    assert capsys.readouterr().out.startswith(f"usage: momus {words} [-h]")


BAD = {
    "missing": (None, "no such file"),
    "empty": (b"\n", "empty"),
    "syntax": (b"x = 1\ndef f(:\n", ":2: syntax error"),
    "python2": (b"x = 1\nprint 'hi'\n", ":2: ", "Python 2"),
    "large": (b"#" * 10_000_000, "10.0 MB", "limit"),
    "binary": (bytes(range(256)), "binary"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_refused_in_one_line(refused, tmp_path, kind):
    data, *words = BAD[kind]
    path = tmp_path / "bad.py"
    if data is not None:
        path.write_bytes(data)
    refused(["review", path], str(path), *words)


def test_tamper_refuses_the_same_files(refused, tmp_path):
    refused(["tamper", tmp_path / "gone.py"], "no such file")


def test_a_directory_without_python_is_refused(refused, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    refused(["review", tmp_path], "no Python files")


@pytest.mark.parametrize("arguments", [["review"], ["reveiw", "x.py"], ["review", "x.py", "--max-comments", "0"]])
def test_wrong_arguments_are_refused_in_one_line(refused, arguments):
    refused(arguments)


@pytest.mark.parametrize(
    "arguments", [["demo", "--preset", "huge"], ["review", "x.py", "--jsn"], ["tamper", "--bugs", "x"]]
)
def test_wrong_options_exit_with_two(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().out == ""


SEEDED = (
    "demo", "critique x --out x", "calibrate x", "tamper x", "evaluate sample x --systems x --out x",
    "evaluate critics x --critiques a=x", "evaluate labelers x --model x --out x", "rain --prompt x --model x",
    "judge calibrate x --model x", "judge compare x --model x --out x", "extract x --model x --out x",
    "match x x --model x", "match calibrate x --model x --out x", "overlap x --out x", "feedback x --model x",
)  # fmt: skip


@pytest.mark.parametrize("command", SEEDED)
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_refused_first(refused, command, seed):
    refused([*command.split(), "--seed", str(seed)], f"--seed {seed}: must be from 0")


def test_every_seed_of_the_command_line_is_checked():
    """`Seed` is the type of all of them; `momus train` has its settings' own."""
    wrong = [path for path in Path(cli.__file__).parent.glob("*.py") if "seed: int =" in path.read_text()]
    assert wrong == []


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


def test_tamper_tells_what_it_leaves_out(code, tmp_path, capsys):
    (tmp_path / "broken.py").write_text("def f(:\n")
    assert main(["tamper", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().err
    assert f"skipped {tmp_path / 'broken.py'}: " in shown and "syntax error" in shown
    assert "1 file tampered with, 1 left out" in shown


def test_tamper_writes_over_nothing_but_may_be_run_again(code, tmp_path, capsys):
    """A copy or a list of records that is there and says something else stays, and so does all the rest."""
    out = tmp_path / "out"
    arguments = ["tamper", str(code), "--out", str(out)]
    for name in ("code.py", "tampers.jsonl"):
        assert main(arguments) == main(arguments) == 0
        (out / name).write_text("mine\n")
        before = {path: path.read_bytes() for path in out.iterdir()}
        assert main(arguments) == 2
        assert f"would overwrite {out / name}" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in out.iterdir()} == before
        (out / name).unlink()


def test_names_that_are_not_utf8_are_tampered_with_like_others(code, tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9.py")
    try:
        odd.write_text(MEAN)
    except OSError:
        pytest.skip("no such names here")
    out = tmp_path / "out"
    assert main(["tamper", str(tmp_path), "--out", str(out)]) == 0
    found = list(read_jsonl(out / "tampers.jsonl", Tamper))
    assert [record.task.id for record in found] == [f"{tmp_path.as_posix()}/caf\\xe9.py", code.as_posix()]
    assert [(out / path.name).read_text() for path in (odd, code)] == [record.answer for record in found]


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

    monkeypatch.setattr(cli, "parse", fail)
    assert main(["review"]) == code
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("error", [ValueError("bug"), ModuleNotFoundError(name="momus.nothing")])
def test_our_own_mistakes_keep_their_traceback(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(cli, "parse", fail)
    with pytest.raises(type(error)):
        main(["review"])


def test_control_c_is_one_line():
    script = (
        "import os, signal, sys, momus.cli as cli\n"
        "cli.parse = lambda _: (os.kill(os.getpid(), signal.SIGINT), signal.pause())\n"
        "sys.exit(cli.main([]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "momus: interrupted\n")
