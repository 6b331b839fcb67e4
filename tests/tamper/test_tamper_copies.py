"""`momus tamper --out`: a copy differs from its file in nothing but the bugs, byte by byte."""

import codecs
import random
import shutil
import subprocess

import pytest

from momus.cli import main
from momus.records import Tamper, read_jsonl
from support.samples import MEAN

# With an encoding named, a letter it needs and an empty line, which is where line endings go wrong.
CODE = "# coding: {encoding}\n" + MEAN.replace("the mean.", "the mean, or naïvely the default.").replace(
    "    for", "\n    for", 1
)

WAYS = {
    "plain": ("\n", "utf-8", b""),
    "windows": ("\r\n", "utf-8", b""),
    "old mac": ("\r", "utf-8", b""),
    "byte-order mark": ("\n", "utf-8", codecs.BOM_UTF8),
    "windows, byte-order mark": ("\r\n", "utf-8", codecs.BOM_UTF8),
    "windows, latin-1": ("\r\n", "latin-1", b""),
}


@pytest.mark.parametrize("last", ["\n", ""], ids=["last newline", "no last newline"])
@pytest.mark.parametrize("way", WAYS)
def test_only_the_bug_changes(tmp_path, way, last):
    newline, encoding, mark = WAYS[way]
    text = CODE.format(encoding=encoding).removesuffix("\n") + last
    file, out = tmp_path / "code.py", tmp_path / "out"
    file.write_bytes(mark + text.replace("\n", newline).encode(encoding))
    assert main(["tamper", str(file), "--out", str(out)]) == 0
    (record,) = read_jsonl(out / "tampers.jsonl", Tamper)
    assert record.task.answer == text != record.answer
    assert record.answer.endswith("\n") == bool(last)
    assert (out / "code.py").read_bytes() == mark + record.answer.replace("\n", newline).encode(encoding)


@pytest.mark.skipif(shutil.which("patch") is None, reason="GNU patch is not installed")
@pytest.mark.parametrize("seed", range(12))
def test_the_printed_diff_applies_and_gives_the_copy(tmp_path, capfdbinary, seed):
    rng = random.Random(seed)
    encoding, mark = rng.choice([("utf-8", b""), ("utf-8", codecs.BOM_UTF8), ("latin-1", b"")])
    newlines = rng.choice([["\n"], ["\r\n"], ["\n", "\r\n"], ["\n", "\r\n", "\r"]])
    lines = CODE.format(encoding=encoding).removesuffix("\n").split("\n")
    lines[2:2] = ["\f", "# \x0b\x1c\x85" if encoding == "latin-1" else "# \x0b\x1c\u2028\x85"]
    data = mark + "".join(line + rng.choice(newlines) for line in lines).encode(encoding)
    data = data.rstrip(b"\r\n") if rng.random() < 0.5 else data
    file, out, patched = tmp_path / "code.py", tmp_path / "out", tmp_path / "patched.py"
    file.write_bytes(data)
    assert main(["tamper", str(file), "--seed", str(seed), "--out", str(out)]) == 0
    capfdbinary.readouterr()
    assert main(["tamper", str(file), "--seed", str(seed)]) == 0
    (tmp_path / "diff").write_bytes(capfdbinary.readouterr().out)
    patched.write_bytes(data)
    subprocess.run(["patch", "-s", "-f", "--binary", str(patched), str(tmp_path / "diff")], check=True)
    assert patched.read_bytes() == (out / "code.py").read_bytes() != data
    changed = data.splitlines(keepends=True), patched.read_bytes().splitlines(keepends=True)
    assert sum(line not in changed[0] for line in changed[1]) <= 4, "nothing but the bug changes"


def test_nothing_a_terminal_obeys_is_printed_on_one(tmp_path, capsys, monkeypatch):
    file = tmp_path / "code.py"
    file.write_text(MEAN.replace("    total = 0", "    # \x1b[31m\n    total = 0", 1))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["tamper", str(file)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_file_that_cannot_be_tampered_with_is_named_and_the_others_are(tmp_path, capsys):
    code = "def f(a, b):\n    if a > b:\n        return a - b\n    return a + b\n"
    (tmp_path / "good.py").write_text(code)
    (tmp_path / "feed.py").write_text(code.replace("    if", "\x0c    if"))  # Python reads it, LibCST does not
    (tmp_path / "small\x1b.py").write_text("import os\n")
    assert main(["tamper", str(tmp_path), "--bugs", "1", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count('"task"') == 1 and "feed.py: left out" in printed.err
    assert "\x1b" not in printed.err


@pytest.mark.parametrize(
    "encoding", ["idna", "utf-7", "unicode_escape", "raw_unicode_escape", "iso2022_jp", "punycode"]
)
def test_an_encoding_that_does_not_give_the_bytes_back_is_refused(tmp_path, capsys, encoding):
    path = tmp_path / "a.py"
    path.write_bytes(
        f"# coding: {encoding}\n".encode()
        + b"def f(a, b):\n    s = '\\x41+ACE-\x1b$B8l\x1b(B\x1b(B'\n    return a + b\n"
    )
    code = main(["tamper", str(path), "--out", str(tmp_path / "out")])
    if code:
        assert capsys.readouterr().err.count("\n") == 1
    else:
        copy = (tmp_path / "out" / "a.py").read_bytes().split(b"\n")
        assert sum(one != other for one, other in zip(path.read_bytes().split(b"\n"), copy, strict=False)) <= 2
