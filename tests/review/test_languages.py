"""Other languages than Python: their functions and lines, broken code, and who reads them."""

import json
import time
from contextlib import suppress
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.cli import main
from momus.critics.critic import LengthDial
from momus.critics.open import open_critic
from momus.errors import UserError
from momus.review.files import read_source, read_sources
from momus.review.findings import Why, join_lines
from momus.review.languages.grammars import LANGUAGES, language_of
from momus.review.languages.outline import read_outline
from momus.review.reviewer import leave_out_unreadable, review_code, review_sources
from momus.review.units import units
from support.candidates import written

CASES = {
    "a.js": (
        "#!/usr/bin/env node\nimport x from 'y';\nconst LIMIT = 3;\n/**\n * Add two. More.\n */\n"
        "export const add = (a, b) => {\n  return a + b;\n};\nclass A {\n  x = () => 1;\n  m() { return this.x(); }\n"
        "  nothing() {}\n}\nmodule.exports.g = function (a) { return a };\nconst o = { h() { return 2; } };\n"
        "it('works', () => {\n  check();\n});\n",
        [("add", 7, 9), ("A.x", 11, 11), ("A.m", 12, 12), ("module.exports.g", 15, 15), ("o.h", 16, 16)],
        (3, 17, 18, 19),
    ),
    "a.ts": (
        "abstract class A {\n  @dec()\n  f(): number { return 1 }\n  abstract g(): void\n}\n"
        "function o(a: string): void;\nnamespace N { export function q() { return 1 } }\ntype X = { a: number };\n",
        [("A.f", 2, 3), ("N.q", 7, 7)],
        (),
    ),
    "a.tsx": ("const Row = ({ x }: P) => {\n  return <b>{x}</b>;\n};\n", [("Row", 1, 3)], ()),
    "a.go": (
        'package a\n\nimport "fmt"\n\nvar Limit = 3\n\n// Handle it. More.\nfunc (s *Server[T]) Handle() error {\n'
        "\treturn nil\n}\nfunc F() {}\nvar x = func() int { return 1 }\ntype T struct { a int }\n",
        [("Server.Handle", 8, 10), ("x", 12, 12)],
        (5,),
    ),
    "A.java": (
        "package a;\nclass A {\n  int x = 1;\n  A() {}\n  @Override\n  public int f() { return 1; }\n"
        "  interface B { default void g() { x(); } void h(); }\n}\n",
        [("A.f", 5, 6), ("A.B.g", 7, 7)],
        (),
    ),
    "a.c": (
        "#include <x.h>\n#ifdef X\nstatic int limit = 3;\nstatic int *f(int a) { return 0; }\n#endif\n"
        "#define M(x) x+1\n#define N 3\nint (*g(void))(int) { return 0; }\nvoid h(void) { each(x, l) { y } }\n",
        [("f", 4, 4), ("M", 6, 6), ("g", 8, 8), ("h", 9, 9)],
        (3,),
    ),
    "a.cpp": (
        "namespace n {\ntemplate <class T>\nclass A {\n  int f() const { return 1; }\n  A() : a(1) {}\n"
        "  A(int) = default;\n};\n}\ntemplate <class T>\nint n::A<T>::g() { return 1; }\n"
        "auto x = [](int a) { return a; };\n",
        [("n.A.f", 4, 4), ("n.A.A", 5, 5), ("n.A.g", 9, 10), ("x", 11, 11)],
        (),
    ),
    "a.rs": (
        "use std::io;\nconst N: i32 = 3;\n/// Do it. More.\n#[test]\nfn f() { x(); }\nimpl<T> Foo<T> for Bar<T> {\n"
        "    pub fn m(&self) { 1 }\n}\nmod t {\n    fn g() { h() }\n}\ntrait T { fn d(&self) { 1 } fn e(&self); }\n",
        [("f", 4, 5), ("Bar.m", 7, 7), ("t.g", 10, 10), ("T.d", 12, 12)],
        (2,),
    ),
}


def _outline(name: str, text: str):
    language = language_of(PurePath(name), text)
    assert language is not None
    return read_outline(language, text, name)


@pytest.mark.parametrize("name", CASES)
def test_functions_have_their_names_and_lines(name):
    text, definitions, outside = CASES[name]
    outline = _outline(name, text)
    assert [(one.name, one.first, one.last) for one in outline.definitions] == definitions
    assert (outline.outside, outline.unread) == (outside, ())


def test_a_comment_above_a_function_says_what_it_should_do(tmp_path):
    for name, question in (("a.js", "Write add. Add two."), ("a.go", "Write Server.Handle. Handle it.")):
        (tmp_path / name).write_text(CASES[name][0])
        first, *_ = units(read_source(tmp_path / name, other_languages=True))
        assert first.question == question


def test_every_language_has_a_case():
    covered = {language.name for name in CASES if (language := language_of(PurePath(name)))}
    assert covered == {language.name for language in LANGUAGES}


@pytest.mark.parametrize(
    ("name", "text", "read", "unread"),
    [
        ("b.go", "package a\nfunc f() {\n\tx :=\n}\nfunc g() int {\n\treturn 1\n}\nfunc h( {\n", ["g"], (2, 3, 4, 8)),
        ("b.js", "class A {\n  f() { return 1 +; }\n  g() { return 2; }\n}\n", ["A.g"], (2,)),
        ("b.rs", "fn f() { 1 }\nfn g( { 2 }\n", ["f"], (2,)),
        ("B.java", "class B {\n  int f() { return 1; }\n  int g() { return ; + }\n}\n", ["B.f"], (3,)),
    ],
)
def test_what_parses_of_broken_code_is_read_and_the_rest_is_listed(name, text, read, unread, tmp_path):
    outline = _outline(name, text)
    assert [one.name for one in outline.definitions] == read
    assert outline.unread == unread
    (tmp_path / name).write_text(text)
    review = review_code(tmp_path / name, _LineCritic("nothing"))
    broken = [part.lines for part in review.coverage.unread if part.why is Why.BROKEN]
    assert (review.units, join_lines(unread)) == (len(read), tuple(broken))
    assert review.coverage.is_partial


_PIECES = st.lists(
    st.tuples(st.sampled_from([text for text, *_ in CASES.values()]), st.integers(0, 200), st.integers(0, 200)),
    max_size=4,
)


@given(st.sampled_from(sorted(CASES)), _PIECES, st.text(max_size=30))
def test_units_are_disjoint_lines_of_the_file_however_its_lines_end(tmp_path_factory, name, pieces, garbage):
    text = "\n".join([CASES[name][0], *(piece[start : start + size] for piece, start, size in pieces), garbage])
    text = "".join(c for c in text if c not in "\0\r" and not "\ud800" <= c <= "\udfff")
    folder = tmp_path_factory.mktemp("code")
    cut = []
    for i, data in enumerate((text.encode(), text.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + text.encode())):
        path = folder / f"{i}{Path(name).suffix}"
        path.write_bytes(data)
        source = read_source(path, other_languages=True)
        cut.append((list(units(source)), source.outline.unread))
        assert source.encode(source.text) == data
    assert cut[0] == cut[1] == cut[2]
    found, unread = cut[0]
    lines = text.removeprefix("\ufeff").split("\n")
    numbers = [number for unit in found for number in unit.lines]
    assert len(numbers) == len(set(numbers)) and not set(numbers) & set(unread)
    for unit in found:
        for number, line in zip(unit.lines, unit.text.split("\n"), strict=True):
            assert lines[number - 1].strip() == line.strip()


class _LineCritic:
    dial = LengthDial()

    def __init__(self, word):
        self.word = word

    def fits(self, task):
        return True

    def write(self, tasks):
        return [written(task.answer, self._critique(task.answer)) for task in tasks]

    def _critique(self, answer):
        return "\n\n".join(f"```\n{line}\n```\nHm, hm." for line in answer.split("\n") if self.word in line)


def test_comments_land_on_their_lines(tmp_path):
    path = tmp_path / "a.go"
    path.write_text(CASES["a.go"][0])
    (finding,) = review_code(path, _LineCritic("return nil")).findings
    assert (finding.line, finding.function, finding.quote) == (9, "Server.Handle", "\treturn nil")


def test_a_directory_is_searched_for_all_languages_that_are_read(tmp_path):
    for name, (text, *_) in CASES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "m.py").write_text("x = 1\n")
    assert [s.path.name for s in read_sources([tmp_path])[0]] == ["m.py"]
    sources, skipped = read_sources([tmp_path], other_languages=True)
    assert sorted(s.path.name for s in sources) == sorted([*CASES, "m.py"])
    assert skipped == []
    assert all(review.units for review in review_sources(sources, _LineCritic("x"), 0.0))


def test_the_trained_critic_says_that_it_reads_python_only(tmp_path, capsys):
    (tmp_path / "a.go").write_text(CASES["a.go"][0])
    assert main(["review", str(tmp_path / "a.go")]) == 2
    assert "a.go: Go: this critic reads Python only: name a model" in capsys.readouterr().err
    (tmp_path / "m.py").write_text("def f(x):\n    return x + 1\n")
    assert main(["review", str(tmp_path), "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [file["path"] for file in out["files"]] == [str(tmp_path / "m.py")]
    assert ["Go: this critic reads Python only" in file["reason"] for file in out["skipped"]] == [True]
    with pytest.raises(UserError, match="reads Python only"):
        review_code(tmp_path / "a.go", open_critic())


def test_a_critic_that_names_no_languages_reads_all(tmp_path):
    (tmp_path / "a.go").write_text(CASES["a.go"][0])
    sources, _ = read_sources([tmp_path / "a.go"], other_languages=True)
    assert leave_out_unreadable(sources, _LineCritic("x")) == (sources, [])


def test_without_the_grammars_one_line_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("momus.review.files.is_installed", lambda: False)
    (tmp_path / "a.go").write_text(CASES["a.go"][0])
    with pytest.raises(UserError, match=r"reading Go needs its grammar: pip install 'momus\[review\]'"):
        read_sources([tmp_path / "a.go"], other_languages=True)
    (tmp_path / "m.py").write_text("x = 1\n")
    assert [s.path.name for s in read_sources([tmp_path], other_languages=True)[0]] == ["m.py"]


def test_a_header_is_in_the_language_of_its_text():
    assert _outline("a.h", "static int f(void) { return 1; }\n").language == "C"
    assert _outline("a.h", "class A { int f() { return 1; } };\n").language == "C++"


@pytest.mark.parametrize("text", ["(" * 400_000, "{" * 200_000, "a<" * 100_000, "f(){" * 50_000, "[[" * 100_000])
@pytest.mark.parametrize("name", ["a.js", "a.cpp", "a.rs"])
def test_deep_nesting_ends_in_time(name, text, monkeypatch):
    monkeypatch.setattr("momus.review.languages.grammars.MAX_SECONDS", 0.3)
    start = time.monotonic()
    with suppress(UserError):
        _outline(name, text)
    assert time.monotonic() - start < 20


def test_a_file_that_takes_too_long_is_one_line(monkeypatch):
    monkeypatch.setattr("momus.review.languages.grammars.MAX_SECONDS", 0.0)
    with pytest.raises(UserError, match=r"a.js: too deeply nested to parse"):
        _outline("a.js", "{" * 100_000)
