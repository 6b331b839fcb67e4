"""Changes that change nothing are no bugs, and what is said of a bug says what to change."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.data.functions import Size
from momus.data.stdlib import stdlib_tasks
from momus.tamper.apply import apply_edits
from momus.tamper.sites import find_edits
from momus.tamper.tree import shorten

# Source, and what must not be made of it because it would do the same.
EQUIVALENT = [
    ("def f(x):\n    return isinstance(x, (int, str))", "isinstance(x, (str, int))"),
    ("def f(x):\n    return x.startswith(('#', ';'))", "startswith((';', '#'))"),
    ("def f(x):\n    return x.split()", "x.rsplit()"),
    ("def f(x):\n    return x.split(',')", "x.rsplit(',')"),
    ("def f(x):\n    while line := x.readline():\n        print(line)", "x.read()"),
    ("def f(x):\n    return sorted(list(x))", "sorted(x)"),
    ("def f(x):\n    return ','.join(list(x))", "','.join(x)"),
    ("def f(x):\n    for y in list(x):\n        print(y)", "for y in x:"),
    ("def f(x):\n    return [y for y in tuple(x)]", "for y in x]"),
    ("def f(x):\n    if bool(x):\n        return 1", "if x:"),
    ("def f(x):\n    return f'{str(x)}'", "{x}"),
    ("def f(x):\n    print(str(x))", "print(x)"),
    ("def f(x):\n    for key in x.keys():\n        print(key)", "in x:"),
    ("def f(x, y):\n    return x in y.keys()", "x in y\n"),
    ("def f(x, y):\n    return x.get(y, None)", "x.get(y)\n"),
    ("def f(x):\n    return sorted(x, reverse=False)", "sorted(x)\n"),
    ("def f(x, best):\n    if x > best:\n        best = x\n    return best", "if x >= best"),
    ("def f(x, y):\n    return x if x < y else y", "x if x <= y"),
    ("import re\ndef f(x):\n    m = re.match('a', x)\n    if m is not None:\n        return m.group()", "if m:"),
    ("def f(x, key=None):\n    if key is None:\n        return x\n    return key(x)", "if not key:"),
    ("import re\ndef f(x):\n    return re.match('^a', x)", "re.search('^a', x)"),
    ("import re\ndef f(x):\n    return re.search(r'\\Aa', x)", "re.match(r'\\Aa', x)"),
    ("def f(a, b):\n    if a > b:\n        a, b = b, a\n    return a - b", "if a >= b"),
    (
        "def f(x, i, j):\n    while i < j:\n        if x[i] != x[j]:\n            return 0\n"
        "        i += 1\n        j -= 1",
        "i <= j",
    ),
    ("def f(x):\n    out = []\n    for y in x:\n        out.append(y)\n    return ''.join(out)", "out.extend(y)"),
    ("def f(n):\n    row = list(range(n))\n    return row[0]", "row = range(n)"),
    ("def f(x):\n    x = sorted(x)\n    n = len(x)\n    return x[n // 2]", "n = len(x)\n    x = sorted(x)"),
    (
        "def f(s):\n    s = s.replace('a', 'b')\n    s = s.replace('c', 'd')\n    return s",
        "'d')\n    s =",
    ),
]
# The same forms where they do make a difference: they stay bugs.
DIFFERENT = [
    ("def f(x, y):\n    return g((x, y))", "g((y, x))"),
    ("def f(x):\n    return x.split(',', 1)", "x.rsplit(',', 1)"),
    ("def f(x):\n    y = list(x)\n    return y", "y = x"),
    ("def f(x):\n    for y in list(x):\n        x.remove(y)", "for y in x:"),
    ("def f(x):\n    return bool(x)", "return x\n"),
    ("def f(x, y):\n    return x.get(y, 3)", "x.get(y)\n"),
    ("def f(x, best):\n    if x > best:\n        best = x + 1\n    return best", "if x >= best"),
    ("def f(x=None):\n    if x is None:\n        return 1\n    return x", "if not x:"),
    ("import re\ndef f(x):\n    return re.match('a', x)", "re.search('a', x)"),
    ("def f(x):\n    out = []\n    for y in x:\n        out.append(y)\n    return '-'.join(out)", "out.extend(y)"),
    ("def f(n):\n    row = list(range(n))\n    row[0] = 3\n    return row", "row = range(n)"),
    (
        "def f(s):\n    s = s.replace('a', 'b')\n    s = s.replace('b', 'd')\n    return s",
        "'d')\n    s =",
    ),
    ("def f(x, i, j):\n    while i < j:\n        x[i] = j\n        i += 1", "i <= j"),
]


def made_of(source: str) -> list[str]:
    return [apply_edits(source, [edit])[0] + "\n" for edit in find_edits(source)]


@pytest.mark.parametrize(("source", "same"), EQUIVALENT)
def test_what_changes_nothing_is_no_bug(source, same):
    assert not [text for text in made_of(source) if same in text]


@pytest.mark.parametrize(("source", "other"), DIFFERENT)
def test_what_makes_a_difference_stays_one(source, other):
    assert [text for text in made_of(source) if other in text]


@given(st.lists(st.sampled_from(["'a  b'", '"  "', "x", " ", "  ", "\n    ", "+", "'it\\'s   so'", "''"])))
def test_spaces_inside_strings_are_part_of_the_code(parts):
    text = "".join(parts)
    shown = shorten(text, 10**6)
    literals = re.compile(r"'(?:[^'\\]|\\.)*'|\"[^\"]*\"")
    assert literals.findall(shown) == literals.findall(text)
    assert not re.search(r"\s\s", literals.sub("L", shown))
    assert "".join(shown.split()) == "".join(text.split())


def test_no_description_proposes_what_stands_there():
    tasks = [task for task in stdlib_tasks(Size(3, 20, 600)) if "  " in task.answer.replace("    ", "")][:60]
    tasks += [task for number, task in enumerate(stdlib_tasks(Size(3, 20, 600))) if number % 40 == 0]
    seen = 0
    for task in tasks:
        for edit in find_edits(task.answer):
            repair = re.match(r"Should be `(.*)`: ", edit.description, re.DOTALL)
            if repair is None or repair[1].endswith("..."):
                continue
            text, (bug,) = apply_edits(task.answer, [edit])
            assert shorten(text[bug.spans[0].start : bug.spans[0].end], 10**6) != repair[1], (edit, task.answer)
            seen += 1
    assert seen > 1000
