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
    ("import os\ndef f(x):\n    x = os.fspath(x)\n    return x + sep(x)", "f(x):\n    os.fspath(x)"),
    ("import os\ndef f(x):\n    x = os.fspath(x)\n    y = sep(x)\n    return x + y", "y = sep(x)\n    x ="),
    ("import os\ndef f(x):\n    return g(os.fspath(x))", "g(x)"),
    ("def f(a, b):\n    return a is b or a == b", "return a == b\n"),
    ("def f(a):\n    return a is None or not a", "return not a\n"),
    ("def f(a, b):\n    if 0 and a:\n        b = 1\n    return b", "if a"),
    ("def f(a, b):\n    if 0 and a:\n        b = 1\n    return b", "b = 0"),
    ("def f(a, b):\n    if 0 and a:\n        b = 1\n    return b", "f(a, b):\n    return b"),
    ("def f(x):\n    push = heappush\n    for y in x:\n        push(x, y)", "in x:\n        push = heappush"),
    ("def f(x):\n    top = max(x)\n    for i, y in enumerate(x):\n        print(top[i])", "(x):\n        top ="),
    ("def f(x):\n    if not x.strip():\n        return 1", "x.lstrip()"),
    ("def f(x):\n    return x.strip().split()", "x.split()"),
    ("def f(x):\n    return x.strip().split()", "x.rstrip().split()"),
    ("def f(x):\n    return int(x.strip('\\n'))", "int(x)"),
    ("def f(x):\n    return x.find('a') >= 0", "x.rfind"),
    ("def f(x):\n    return max(sorted(x))", "max(x)"),
    ("def f(x):\n    return max(set(x))", "max(list(x))"),
    ("def f(x, y):\n    return x in list(y)", "x in y\n"),
    ("def f(x, y):\n    return x[y:len(x)]", "x[y:]"),
    ("def f(x, y):\n    return x[y:len(x)]", "x[y:len(x) + 1]"),
    ("def f(x):\n    return x.split(',', 1)[0]", "x.split(',', 2)[0]"),
    ("def f(x):\n    return x.rsplit(',', 1)[-1]", "x.rsplit(',', 2)[-1]"),
    ("def f(x):\n    for y in x:\n        g(y)\n        if y:\n            continue", "g(y)\n\n"),
    (
        "def f(x):\n    for y in x:\n        g(y)\n        if y:\n            h(y)\n            continue",
        "h(y)\n\n",
    ),
    ("def f(x):\n    g(x)\n    if x:\n        h(x)\n        return", "h(x)\n\n"),
    ("def f(x):\n    for y in x:\n        if y:\n            return False\n    return False", "break"),
    ("def f(x):\n    for y in x:\n        if y:\n            g(y)\n            return", "break"),
    ("def f(x):\n    for y in x:\n        if y:\n            break\n    return None", "            return\n"),
    ("def f(a, b):\n    if a < b:\n        g(a)\n    elif a >= b:\n        g(b)", "else:"),
    ("def f(a):\n    if a:\n        g(a)\n    else:\n        pass", "g(a)\n\n"),
    ("def f(d):\n    d['a'] = 1\n    d['b'] = 2", "d['b'] = 2\n    d['a'] = 1"),
    ("def f(x):\n    for y in x[:]:\n        print(y)", "in x:"),
    ("def f(x):\n    return sorted(x.copy())", "sorted(x)"),
    ("def f(x, names=()):\n    return x in names", "names=[]"),
    (
        "def f(x):\n    global table\n    if table is None:\n        table = g()\n    return table[x]",
        "    global table\n    table = g()",
    ),
    ("def f(x):\n    top = Counter(x).most_common(1)\n    return top[0][0]", "top[-1]"),
    ("def f(x):\n    top = Counter(x).most_common(1)\n    return top[0][0]", "most_common(2)"),
    ("def f(x):\n    return Counter(x).most_common(1)[0]", "most_common(1)[-1]"),
    ("def f(x):\n    parts = x.split(',', 1)\n    return parts[0]", "x.split(',', 2)"),
    ("def f(x):\n    parts = x.split(',', 1)\n    return parts[0]", "x.split(',')"),
    ("def f(x):\n    return isinstance(x[0], str)", "x[-1]"),
    ("def f(x):\n    return isinstance(x[0], str)", "x[1]"),
    ("def f(x):\n    if x <= 0.5:\n        return 1", "x < 0.5"),
    ("def f(x, y):\n    if not x:\n        y[:0] + '/'\n    return y", "f(x, y):\n    y[:0]"),
    ("def f(x):\n    for y in sorted(x):\n        x[y].sort()", "for y in x:"),
    ("def f(x):\n    for y in sorted(x):\n        x[y].sort()", "reversed"),
    ("def f(x, y):\n    if not x:\n        y[:0] + '/'\n    return y", "f(x, y):\n    return y"),
    ("def f(a, b):\n    if a == b:\n        return 1\n    if a < b:\n        return 2", "a <= b"),
    (
        "def f(a, b):\n    if b == a:\n        g(a)\n    elif a:\n        g(b)\n    elif a > b:\n        g(2)",
        "elif a >= b",
    ),
    ("def f(x):\n    top, _order, _item = x\n    return top", "_item, _order"),
    ("def f(x, y):\n    if not x:\n        y[:0] + '/'\n    return y", "if x:"),
    (
        "def f(x):\n    def predicate(y):\n        return y.strip()\n    return [z for z in x if predicate(z)]",
        "y.rstrip()",
    ),
    ("def f(x):\n    global t\n    if t is None:\n        t = g()\n    return t[x]", "if not t"),
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
    ("import os\ndef f(x):\n    y = os.fsencode(x)\n    return y", "return x\n"),
    ("def f(a, b):\n    return a is b or a == c", "return a == c\n"),
    ("def f(a, b):\n    return a is not b and a == b", "return a == b\n"),
    ("def f(a, b):\n    if a:\n        b = 1\n    return b", "f(a, b):\n    return b"),
    ("def f(a, b):\n    if 0 and a:\n        b = 1\n    else:\n        b = 2\n    return b", "b = 3"),
    ("def f(x):\n    seen = 0\n    for y in x:\n        seen += y\n    return seen", "in x:\n        seen = 0"),
    ("def f(x):\n    seen = list(x)\n    for y in x:\n        seen.pop()", "in x:\n        seen = list(x)"),
    ("def f(x, i):\n    line = next(i)\n    for y in x:\n        g(line)", "in x:\n        line = next(i)"),
    ("def f(x):\n    return x.strip()", "x.lstrip()"),
    ("def f(x):\n    return x.strip().split(',')", "x.split(',')"),
    ("def f(x):\n    return int(x.strip('()'))", "int(x)"),
    ("def f(x):\n    return x[x.find('a'):]", "x.rfind"),
    ("def f(x):\n    return len(set(x))", "len(x)"),
    ("def f(x):\n    return list(sorted(x))", "list(x)"),
    ("def f(x, y):\n    return x[y:len(y)]", "x[y:]"),
    ("def f(x):\n    return x.split(',', 2)[1]", "x.split(',')[1]"),
    (
        "def f(x):\n    for y in x:\n        if y:\n            h(y)\n            continue\n        g(y)",
        "h(y)\n        g",
    ),
    ("def f(x):\n    for y in x:\n        if y:\n            return False\n    return True", "break"),
    (
        "def f(x):\n    for y in x:\n        for z in y:\n            if z:\n                return\n        g(y)",
        "break",
    ),
    ("def f(a, b):\n    if a < b:\n        g(a)\n    elif a > b:\n        g(b)", "else:"),
    ("def f(d):\n    d['a'] = 1\n    d['a'] = 2", "d['a'] = 2\n    d['a'] = 1"),
    ("def f(d):\n    d['a'] = 1\n    d['b'] = d['a']", "d['b'] = d['a']\n    d['a'] = 1"),
    ("def f(x):\n    for y in x[:]:\n        x.remove(y)", "in x:"),
    ("def f(x, names=()):\n    names += (x,)\n    return names", "names=[]"),
    ("def f(x):\n    if x is None:\n        x = g()\n    return x", "f(x):\n    x = g()"),
    ("def f(x):\n    top = Counter(x).most_common(2)\n    return top[0][0]", "top[-1]"),
    ("def f(x):\n    top = Counter(x).most_common(1)\n    return top", "most_common(2)"),
    ("def f(x):\n    parts = x.split(',', 1)\n    return parts[0], parts[1:]", "x.split(',', 2)"),
    ("def f(x):\n    return g(x[0], str)", "x[-1]"),
    ("def f(x):\n    if x <= 5.0:\n        return 1", "x < 5.0"),
    ("def f(x):\n    if x <= 0.5:\n        return 1", "x > 0.5"),
    ("def f(x, y):\n    if not x:\n        y.add(x)\n    return y", "f(x, y):\n    y.add"),
    ("def f(x):\n    for y in sorted(x):\n        print(x[y])", "for y in x:"),
    ("def f(x):\n    top, order, _item = x\n    return top", "top, _item, order"),
    ("def f(a, b):\n    if a == b:\n        g(a)\n    if a < b:\n        return 2", "a <= b"),
    ("def f(a, b):\n    if a == b:\n        return 1\n    if a < 0:\n        return 2", "a <= 0"),
    ("def f(a, b):\n    if g(a) == b:\n        return 1\n    if g(a) < b:\n        return 2", "g(a) <= b"),
]


def made_of(source: str) -> list[str]:
    return [apply_edits(source, [edit])[0] + "\n\n" for edit in find_edits(source)]


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
    tasks = stdlib_tasks(Size(3, 20, 600))
    spaced = [task for task in tasks if "  " in task.answer.replace("    ", "")]
    seen = 0
    for task in [*spaced[:60], *tasks[::40]]:
        for edit in find_edits(task.answer):
            repair = re.match(r"Should be `(.*)`: ", edit.description, re.DOTALL)
            if repair is None or repair[1].endswith("..."):
                continue
            text, (bug,) = apply_edits(task.answer, [edit])
            assert shorten(text[bug.spans[0].start : bug.spans[0].end], 10**6) != repair[1], (edit, task.answer)
            seen += 1
    assert seen > 1000
