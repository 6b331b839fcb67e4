"""Findings: their places, what is proposed in place of their code, and of every line whether it was read."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.review.files import read_source, source_of
from momus.review.findings import Coverage, Lines, Unread, Why, join_lines
from momus.review.result import FileLines, Manifest, Outcome, Review
from momus.review.reviewer import Target, review_targets
from momus.review.risk import risk
from momus.review.suggestion import propose
from momus.review.units import Unit
from support.reviewing import MarkingCritic

CODE = '''\
"""Module."""
import os


def first(x):
    """Return it."""
    y = x + 1

    return y


def second(x):
    if x:
        return x
    return 0
'''


def _review(code, critic, **options):
    target = Target(source_of(code, "m.py"), **options)
    return next(review_targets([target], critic, 0.5, keep_going=True))


def _numbers(coverage):
    read = [number for first, last in coverage.read for number in range(first, last + 1)]
    unread = [n for part in coverage.unread for n in range(part.lines.first, part.lines.last + 1)]
    return read, unread


def test_only_what_a_change_touches_is_read_and_only_comments_on_it_are_findings():
    critic = MarkingCritic("return")
    review = _review(CODE, critic, changed=frozenset({14}))
    assert [answer.split("(")[0] for answer in critic.read] == ["def second"]
    assert [finding.line for finding in review.findings] == [14]
    assert [finding.line for finding in review.outside] == [15]


def test_what_a_removal_leaves_is_read_and_can_be_commented_on():
    review = _review(CODE, MarkingCritic("return"), changed=frozenset(), beside_removed=frozenset({8, 9}))
    assert [finding.line for finding in review.findings] == [9]
    assert review.coverage == Coverage()


def test_a_changed_docstring_has_its_function_read():
    critic = MarkingCritic("return")
    review = _review(CODE, critic, changed=frozenset({6}))
    assert len(critic.read) == 1
    assert [finding.line for finding in review.outside] == [9]
    assert review.coverage == Coverage((), (Unread(Lines(6, 6), Why.NOT_RUN),))


def test_every_line_is_read_or_has_a_reason():
    review = _review(CODE, MarkingCritic())
    read, unread = _numbers(review.coverage)
    assert sorted(read + unread) == list(range(1, 16))
    assert {part.why for part in review.coverage.unread} == {Why.BLANK, Why.NOT_RUN}
    assert not review.coverage.is_partial


@given(st.sets(st.integers(1, 15)), st.integers(1, 8), st.integers(0, 3))
def test_read_and_unread_are_all_lines_of_a_change(changed, lines, fails_after):
    review = _review(CODE, MarkingCritic("return", lines=lines, fails_after=fails_after), changed=frozenset(changed))
    read, unread = _numbers(review.coverage)
    assert sorted(read + unread) == sorted(changed)
    failed = any(part.why is Why.NO_CRITIQUE for part in review.coverage.unread)
    assert not failed or (review.coverage.is_partial and review.problems == ("the server is gone",))


def test_a_critic_that_fails_is_asked_no_more():
    critic = MarkingCritic("return", fails_after=0)
    targets = [Target(source_of(CODE, "a.py")), Target(source_of(CODE, "b.py"))]
    reviews = tuple(review_targets(targets, critic, 0.5, keep_going=True))
    assert len(critic.read) == 1 and [review.unanswered for review in reviews] == [2, 2]
    assert Review(reviews).outcome is Outcome.NOT_RUN


def test_outcomes():
    found = _review(CODE, MarkingCritic("return"))
    clean = _review(CODE, MarkingCritic())
    assert Review((found,)).outcome is Outcome.FINDINGS
    assert Review((clean,)).outcome is Outcome.CLEAN
    partial = Coverage((Lines(1, 2),), (Unread(Lines(3, 3), Why.TOO_LONG),))
    assert Review((clean,), manifest=Manifest(files=(FileLines("m.py", partial),))).outcome is Outcome.PARTLY_READ
    assert Review((found,), manifest=Manifest(files=(FileLines("m.py", partial),))).outcome is Outcome.FINDINGS


def test_what_is_most_likely_to_be_wrong_is_read_first():
    plain = Unit("f", "", "x = 1\ny = 2", (1, 2))
    deciding = Unit("f", "", "if x >= 1 and y:\n    return", (1, 2))
    assert risk(deciding, None, "m.py") > risk(plain, None, "m.py") > risk(plain, frozenset({2}), "m.py")
    assert risk(deciding, None, "tests/test_m.py") == risk(deciding, None, "m.py") / 2
    critic = MarkingCritic()
    safe, risky = source_of("x = 1\ny = 2\n", "a.py"), source_of("if x > 1:\n    y = x and 2\n", "b.py")
    reviews = list(review_targets([Target(safe), Target(risky)], critic, 0.5, by_risk=True))
    assert critic.read[0].startswith("if") and {review.path.name for review in reviews} == {"a.py", "b.py"}


def test_numbers_are_joined():
    assert join_lines([]) == ()
    assert join_lines([3, 1, 2, 7]) == (Lines(1, 3), Lines(7, 7))


def test_a_whole_line_that_is_proposed_is_a_replacement():
    source = source_of("def f(x):\n    y = x - 1\n    if y > 0:\n        return y\n    return 0\n")
    assert propose("Should be `y = x + 1`: off by two.", source, 2, 2) == "    y = x + 1"
    assert propose("This should be changed to `if y >= 0`.", source, 3, 3) == "    if y >= 0:"
    for text in ("Should be `y = x - 1`.", "Should be `x`.", "Should be `y = x + (`.", "Fails.", "Should be `pass`."):
        assert propose(text, source, 2, 2) is None
    assert propose("Should be `y = x + 1`.", source, 2, 3) is None


JAVASCRIPT = "function f(x) {\n  return x - 1;\n}\n"
GO = "package m\n\nfunc F(x int) bool {\n\tif x > 0 {\n\t\treturn true\n\t}\n\treturn false\n}\n"
RUST = "fn f(x: i32) -> i32 {\n    let y = x - 1;\n    y\n}\n"


@pytest.mark.parametrize(
    ("name", "code", "line", "proposal", "replacement"),
    [
        ("m.js", JAVASCRIPT, 2, "return x + 1", "  return x + 1;"),
        ("m.js", JAVASCRIPT, 2, "return x + (1", None),
        ("m.go", GO, 4, "if x >= 0", "\tif x >= 0 {"),
        ("m.rs", RUST, 2, "let y = x + 1", "    let y = x + 1;"),
        ("m.rs", RUST, 2, "let y = x + {", None),
        ("m.py", "f(\n    x * 7,\n    b=2,\n)\n", 2, "x * 8", "    x * 8,"),
        ("m.py", "class A:\n    @d(1)\n    def f(self): return 1\n", 2, "@d(2)", "    @d(2)"),
        ("m.py", "x[0] = price\n", 1, "x[0] =", None),
        ("m.py", "x[0] = price\n", 1, "x[0]", None),
        ("m.py", "x[0] = price\n", 1, "x[0] += price", "x[0] += price"),
        ("m.py", "x.update(a, b)  # both\n", 1, "x.update(b, a)", "x.update(b, a)  # both"),
        ("m.py", "x = a // b\n", 1, "x = a / b", "x = a / b"),
        ("m.py", "x = '# b'\n", 1, "x = '# c'", "x = '# c'"),
        ("m.py", "x = 1\ny = '''\n'''\n", 1, "x = '''1", None),
    ],
)
def test_proposals_fit_the_language_and_the_end_of_the_line(tmp_path, name, code, line, proposal, replacement):
    (tmp_path / name).write_text(code)
    source = read_source(tmp_path / name, other_languages=True)
    assert propose(f"Should be `{proposal}`.", source, line, line) == replacement


@given(st.data())
def test_what_fits_its_statement_fits_the_file(data):
    lines = CODE.split("\n")
    line = data.draw(st.sampled_from([n for n, text in enumerate(lines, 1) if text.strip()]))
    old = lines[line - 1].strip()
    place = data.draw(st.integers(1, len(old)))
    new = old[:place] + data.draw(st.sampled_from(["", "(", ")", ":", " #", '"""', " + 1", "\\"])) + old[place:]
    replacement = propose(f"Should be ``{new}``.", source_of(CODE), line, line)
    if replacement is not None:
        ast.parse("\n".join([*lines[: line - 1], replacement, *lines[line:]]))


def test_a_file_is_parsed_once_whatever_is_proposed(monkeypatch):
    parsed, parse = [], ast.parse
    monkeypatch.setattr("ast.parse", lambda text, *more, **named: parsed.append(text) or parse(text, *more, **named))
    source = source_of(CODE * 50)
    for line in range(1, source.text.count("\n") + 1):
        propose("Should be `return x + 1`.", source, line, line)
    assert len(parsed) > 50 and sum(map(len, parsed)) < 2 * len(source.text) + len(parsed) * 200
