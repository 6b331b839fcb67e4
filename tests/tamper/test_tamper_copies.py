"""`momus tamper --out`: a copy differs from its file in nothing but the bugs, byte by byte."""

import codecs

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


def test_a_file_whose_lines_end_in_two_ways_is_left_out(tmp_path, capsys):
    for name, endings in (("good.py", ["\r\n"]), ("mixed.py", ["\n", "\r\n"])):
        lines = CODE.format(encoding="utf-8").splitlines()
        (tmp_path / name).write_bytes("".join(x + endings[i % len(endings)] for i, x in enumerate(lines)).encode())
    out = tmp_path / "out"
    assert main(["tamper", str(tmp_path), "--out", str(out)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"{tmp_path}/mixed.py: left out, for its lines end in more than one way"
    assert len(told) == 2 and "1 file tampered with, 1 left out" in told[1]
    assert sorted(path.name for path in out.iterdir()) == ["good.py", "tampers.jsonl"]
    assert main(["tamper", str(tmp_path / "mixed.py")]) == 0
