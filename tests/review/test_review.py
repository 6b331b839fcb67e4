"""Review: which files are read, how they are cut, where comments land, and what is refused in one line."""

import ast
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from momus.critics.critic import LengthDial
from momus.data.functions import Size, functions
from momus.errors import UserError
from momus.review.answers import answers
from momus.review.files import MAX_BYTES, Source, read_source, read_sources, spelled
from momus.review.findings import FileReview
from momus.review.formats.json import to_json
from momus.review.formats.text import print_review, print_summary
from momus.review.result import Review
from momus.review.reviewer import review_sources
from momus.review.units import units, windows
from support.candidates import written
from support.reviewing import MarkingCritic

CODE = '''\
import os


class Shape:
    """A shape."""

    @property
    def area(self):
        """Return the area."""

        return self.width * self.height

    async def load(self, path):
        if path:
            text = """
  odd indentation
"""
            return text


def later():
    ...


if os.name:
    def chosen(): return 1
'''


def _source(tmp_path, text, name="code.py"):
    path = tmp_path / name
    path.write_text(text)
    return read_source(path)


def _reviews(paths, critic, max_comments=None):
    return list(review_sources(read_sources(paths)[0], critic, 0.0, max_comments))


def _everything_fits(_):
    return True


class LineCritic:
    """A critic for tests: comments on every line that holds a word, and misquotes once."""

    dial = LengthDial()

    def __init__(self, word, lines=100):
        self.word, self.lines, self.tasks = word, lines, []

    def fits(self, task):
        return task.answer.count("\n") < self.lines and all(len(line) < 200 for line in task.answer.split("\n"))

    def write(self, tasks):
        self.tasks += tasks
        return [written(task.answer, self._critique(task.answer)) for task in tasks]

    def _critique(self, answer):
        quotes = [line for line in answer.split("\n") if self.word in line]
        comments = [f"```\n{quote}\n```\nLook at `{self.word}`." for quote in quotes]
        return "\n\n".join([*comments, "```\nnot in the code\n```\nHm."])


def test_functions_and_methods_are_cut_with_their_decorators_and_lines(tmp_path):
    cut = list(units(_source(tmp_path, CODE)))
    assert [unit.name for unit in cut] == ["Shape.area", "Shape.load", "chosen"]
    assert cut[0].text == "@property\ndef area(self):\n    return self.width * self.height"
    assert cut[0].lines == (7, 8, 11)
    assert cut[0].question == "Write area(). Return the area."
    assert cut[1].text.split("\n")[3] == "  odd indentation"
    assert cut[2].lines == (26,)


def test_units_are_what_the_critic_was_trained_on():
    text = "def f(x):\n    '''Do it.'''\n    y = x + 1\n\n    return y\n\n"
    text += "class A:\n    def g(self, a=1):\n        return a\n"
    trained = list(functions(text, Size(1, 100, 1000)))
    cut = list(units(Source("m.py", text, ast.parse(text))))
    assert [(f.name, f.question, f.answer) for f in trained] == [(u.name, u.question, u.text) for u in cut]


def test_what_a_file_runs_outside_its_functions_is_a_unit_of_its_own(tmp_path):
    text = (
        '"""Doc."""\nimport os\n\nLIMIT = 3\n\n\ndef f(x):\n    return x\n\n\nclass C:\n    a = 1\n\n\n'
        "if LIMIT > 2:\n    print(f(LIMIT))\n"
    )
    (tmp_path / "m.py").write_text(text)
    cut = list(units(read_source(tmp_path / "m.py")))
    assert [(unit.name, unit.lines) for unit in cut] == [("f", (7, 8)), ("", (4, 15, 16))]
    assert cut[1].text == "LIMIT = 3\nif LIMIT > 2:\n    print(f(LIMIT))"


def test_a_file_of_stubs_is_not_reported_as_free_of_problems(tmp_path, capsys):
    print_summary(Review((FileReview(tmp_path / "m.py", (), units=0),)), Console(width=200))
    assert capsys.readouterr().out == "Nothing to review: no code but definitions that do nothing yet.\n"


def test_a_file_whose_error_says_empty_is_not_passed_over_in_silence(tmp_path):
    (tmp_path / "a.py").write_text("x = 1 +\n")
    (tmp_path / "b.py").write_text("")
    (tmp_path / "c.py").write_text("x = 1\n")
    (tmp_path / "d.py").write_text('x = f"{}"\n')
    _, skipped = read_sources([tmp_path])
    assert [file.path.name for file in skipped] == ["a.py", "d.py"]


def test_a_script_without_functions_is_one_unit(tmp_path):
    (unit,) = units(_source(tmp_path, "\n\nx = 1\nprint(x)\n\n"))
    assert (unit.text, unit.lines) == ("x = 1\nprint(x)", (3, 4))


_METHOD = "class A:\n    def g(self):\n\n        return '''\nz\n  '''"
_STATEMENTS = st.lists(
    st.sampled_from(
        [
            "x = 1",
            "if x:\n    y = 2",
            "def f(a):\n    '''Doc.'''\n    return a",
            _METHOD,
            "for i in x:\n\tprint(i)",
        ]
    ),
    min_size=1,
    max_size=6,
)


@given(_STATEMENTS, st.integers(1, 6))
def test_every_line_of_every_part_is_its_line_of_the_file(statements, size):
    text = "\n\n".join(statements) + "\n"
    lines = text.split("\n")
    for unit in units(Source("m.py", text, ast.parse(text))):
        parts, too_long = windows(unit, lambda part: len(part.lines) <= size)
        assert too_long == []
        covered = [number for part in parts for number in part.lines]
        assert [n for n in unit.lines if n not in covered and lines[n - 1].strip()] == []
        assert covered == sorted(set(covered))
        for part in parts:
            assert 1 <= len(part.lines) <= size
            for number, line in zip(part.lines, part.text.split("\n"), strict=True):
                assert lines[number - 1].endswith(line)
                assert lines[number - 1].strip() == line.strip()


def test_a_window_breaks_before_the_least_indented_line(tmp_path):
    (unit,) = units(
        _source(tmp_path, "def f(x):\n    if x:\n        a = 1\n    if not x:\n        b = 2\n        c = 3\n")
    )
    parts, _ = windows(unit, lambda part: len(part.lines) <= 5)
    assert [part.lines for part in parts] == [(1, 2, 3), (4, 5, 6)]


def test_lines_that_never_fit_are_named(tmp_path):
    path = tmp_path / "long.py"
    path.write_text(f"def f():\n    x = '{'a' * 300}'\n    return x\n")
    (review,) = _reviews([path], LineCritic("return"))
    assert review.unread == (2,)
    assert [finding.line for finding in review.findings] == [3]


def test_comments_land_on_their_lines(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(CODE)
    critic = LineCritic("return")
    (review,) = _reviews([path], critic)
    assert [(f.line, f.function) for f in review.findings] == [
        (11, "Shape.area"),
        (18, "Shape.load"),
        (26, "chosen"),
    ]
    assert all(CODE.split("\n")[f.line - 1].strip() == f.quote.strip() for f in review.findings)
    assert (review.units, review.unanchored) == (3, 3)
    (short,) = _reviews([path], critic, max_comments=1)
    assert [f.line for f in short.findings] == [11]
    assert short.omitted == 2


def test_comments_that_say_nothing_or_propose_what_stands_there_are_dropped_and_counted(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("def mean(values):\n    total = sum(values)\n    return total / len(values)\n")
    text = (
        "```\ntotal = sum(values)\n```\n-\n\n"
        "```\nreturn total / len(values)\n```\nShould be `total / len(values)`: `values` is the wrong variable.\n\n"
        "```\nreturn total / len(values)\n```\nFails for an empty list."
    )
    critic = SimpleNamespace(
        dial=LengthDial(), fits=_everything_fits, write=lambda tasks: [written(task.answer, text) for task in tasks]
    )
    (review,) = _reviews([path], critic)
    assert [finding.text for finding in review.findings] == ["Fails for an empty list."]
    assert review.vacuous == 2
    console = Console(file=io.StringIO(), width=200)
    print_review(review, console)
    assert "2 comments left out: saying nothing, or proposing what already stands there" in console.file.getvalue()


def test_directories_are_searched_without_what_is_not_the_users(tmp_path):
    for name in ["a.py", "pkg/b.py", ".venv/c.py", "pkg/__pycache__/d.py", "myenv/e.py", "notes.txt"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x = 1\n")
    (tmp_path / "myenv" / "pyvenv.cfg").write_text("")
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "old.py").write_text("print 'hello'\n")
    sources, skipped = read_sources([tmp_path, tmp_path / "a.py"])
    assert [str(source.path.relative_to(tmp_path)) for source in sources] == ["a.py", "pkg/b.py"]
    assert [(file.path.name, "Python 2" in file.reason) for file in skipped] == [("old.py", True)]


def test_declared_encodings_and_line_endings_are_kept(tmp_path):
    path = tmp_path / "latin.py"
    path.write_bytes("# -*- coding: latin-1 -*-\r\nx = 'é'\r\n".encode("latin-1"))
    assert read_source(path).text == "# -*- coding: latin-1 -*-\nx = 'é'\n"
    path.write_bytes("\ufeffx = 'é'\n".encode())
    assert read_source(path).text == "x = 'é'\n"


BAD_FILES = {
    "empty": (b" \n\n", "is empty"),
    "syntax": (b"x = 1\ndef f(:\n    pass\n", ":2: syntax error"),
    "print": (b"x = 1\nprint 'hello'\n", ":2: this looks like Python 2"),
    "except": (b"try:\n    x\nexcept E, e:\n    y\n", ":3: this looks like Python 2"),
    "raise": (b"raise E, 'x'\n", ":1: this looks like Python 2"),
    "octal": (b"x = 0777\n", ":1: this looks like Python 2"),
    "large": (b"x = 1\n" * (10_000_000 // 6), "10.0 MB is too large"),
    "binary": (b"\x7fELF\0\0", "binary"),
    "encoding": (b"x = 1\n# \xff\xfe\n# more\ny = '\xe9'\n", "utf-8"),
    "endless cookie": (b"# coding: k" + b"1" * 5000 + b"\nx = 1\n", "unknown encoding: k111"),
    "cookie": (b"# coding: klingon\nx = 1\n", "unknown encoding"),
    "deep": (b"x = " + b"(" * 5000 + b")" * 5000, ""),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_what_cannot_be_reviewed_is_refused_in_one_line(tmp_path, kind):
    data, message = BAD_FILES[kind]
    path = tmp_path / "bad.py"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_sources([path])
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["nb.ipynb", "data.json", "notes.txt", "set.toml", "LICENSE"])
def test_what_parses_by_chance_is_not_python(tmp_path, name):
    path = tmp_path / name
    path.write_text({"nb.ipynb": '{"cells": []}', "data.json": '[{"x": 1}]', "set.toml": "x = 1"}.get(name, "no"))
    with pytest.raises(UserError, match="nbconvert" if name == "nb.ipynb" else "not Python"):
        read_source(path)


@pytest.mark.parametrize(
    ("name", "first"),
    [("stub.pyi", ""), ("WINDOW.PYW", ""), ("tool", "#!/usr/bin/env python3\n"), ("x.cgi", "#! /usr/bin/pypy\n")],
)
def test_python_is_known_by_its_name_or_its_first_line(tmp_path, name, first):
    path = tmp_path / name
    path.write_text(first + "x = 1\n")
    assert read_source(path).text == first + "x = 1\n"


@given(st.binary(min_size=1).filter(lambda name: not {0, ord("/")} & {*name}))
def test_every_name_can_be_written_and_utf8_stays_itself(name):
    path = Path(os.fsdecode(name))
    text = spelled(path)
    assert text.encode()
    if path.as_posix().isprintable():
        assert text == path.as_posix()


def test_what_a_dial_was_measured_on_can_be_written_whatever_its_name(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9.py")
    try:
        odd.write_text(CODE)
    except OSError:
        pytest.skip("no such names here")
    tampers, where, _ = answers([odd], None, SimpleNamespace(fits=lambda task: True), 9, seed=0)
    assert all(tamper.model_dump_json() for tamper in tampers)
    assert where.encode().endswith(b"caf\\xe9.py, bugs inserted")


def test_the_limit_is_a_megabyte(tmp_path):
    path = tmp_path / "code.py"
    path.write_bytes(b"x = 1 #" + b"a" * (MAX_BYTES - 7))
    assert read_source(path)


def test_paths_that_are_not_files_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    for path, message in [(tmp_path / "gone.py", "no such file"), (tmp_path / "none", "no Python files")]:
        with pytest.raises(UserError, match=message):
            read_sources([path])
    with pytest.raises(UserError, match="name at least one"):
        read_sources([])


def test_the_terminal_shows_place_quote_and_comment_and_no_escapes(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("def f(x):\n    return '\x1b[31m[bold]' + x\n\n\ndef g(x):\n    return x\n")
    reviews = _reviews([path], LineCritic("bold"))
    out = io.StringIO()
    console = Console(file=out, width=200)
    print_review(reviews[0], console)
    print_summary(Review(tuple(reviews)), console)
    text = out.getvalue()
    assert f"{path}:2  f  {reviews[0].findings[0].id}\n" in text
    assert "return '\\x1b[31m[bold]' + x" in text and "\x1b" not in text
    assert "Look at `bold`." in text
    assert "2 comments left out: the quote is not in the code" in text
    assert "1 comment on 2 functions in 1 file." in text


def test_of_clean_files_one_line_says_how_many_were_read(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
    out, reviews = io.StringIO(), _reviews([tmp_path], MarkingCritic("absent"))
    console = Console(file=out, width=200)
    for review in reviews:
        print_review(review, console)
    print_summary(Review(tuple(reviews)), console)
    assert out.getvalue() == "No problems found in 2 functions in 2 files.\n"


def test_json_is_versioned_and_complete(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(CODE)
    document = json.loads(to_json(Review(tuple(_reviews([path], LineCritic("return"))))))
    assert (document["schema"], document["schema_version"]) == ("momus.review", 2)
    (file,) = document["files"]
    assert file["findings"][0] == {
        "line": 11,
        "end_line": 11,
        "function": "Shape.area",
        "quote": "    return self.width * self.height",
        "text": "Look at `return`.",
        "severity": None,
        "id": file["findings"][0]["id"],
        "code": "return self.width * self.height",
        "number": 0,
        "nth": 0,
        "status": "new",
        "because": "",
        "confidence": None,
        "replacement": None,
    }
