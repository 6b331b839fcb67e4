"""Every edit parses, differs, carries true spans; multiple edits leave the rest alone; every kind occurs."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import random
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.critique import format_critique, lines_of, parse_critique
from momus.errors import UserError
from momus.records import Tamper, Task
from momus.tamper.apply import apply_edits, choose_edits, compatible, valid
from momus.tamper.edits import Edit
from momus.tamper.insert import tamper, tamper_file, tamper_tasks
from momus.tamper.registry import KINDS
from momus.tamper.sites import find_edits
from momus.tamper.tree import Tree

MODULES = ("textwrap", "bisect", "heapq", "shlex", "fnmatch")

# A script and functions that hold at least one place for each kind the modules above may lack.
FIXTURES = (
    """\
n, m = map(int, input().split())
a = [int(x) - 1 for x in input().split()]
grid = [[0] * m for _ in range(n)]
MOD = 998244353
best = float("inf")
ans = 0
for i in range(1, n + 1):
    for j in range(0, m, 2):
        grid[i][j] = (grid[i - 1][j] + a[j] * i) % MOD
        if 0 <= grid[i][j] < best and a[j] % 2 == 0:
            best = grid[i][j]
    ans += best
order = sorted(a, reverse=True)
copy = a[:]
back = a[::-1]
print("Yes" if ans >= 10 ** 5 else "No", min(ans, best))
print(-1)
if n == 1:
    print("one")
elif m == 1:
    print("two")
""",
    """\
async def worker(self, queue, names=None, retries=3):
    \"\"\"Take jobs: while retries > 0 and not done.\"\"\"
    lock = self.lock
    with self.lock:
        self.count = 0
        self.counts = names
    try:
        job = await queue.get()
    except KeyError:
        job = None
    except (ValueError, OSError):
        job = -1
    finally:
        queue.close()
    for name in names:
        if name in self.seen:
            return name
        elif all(part.isdigit() for part in name.split("-") if part):
            self.seen.add(name)
        if job is not None:
            name = name.strip().lower()
        if retries:
            retries -= 1
        else:
            break
    self.flags |= 4
    while retries > 0:
        retries -= 1
    start = lock.pos
    size = (self.count + retries) * 2
    return bool(size) or lock.ready(names, default=True)
""",
    """\
def walk(tree, key, depth=0):
    if not tree.startswith(key):
        raise ValueError("bad key")
    total = 0
    for child in tree.items():
        total = total + len(child[0])
        if child is None:
            continue
        yield from walk(child, key, depth + 1)
        total += 1
    other = "left" if key else "right"
    while total:
        total -= depth
        depth += 1
    yield total


def count(items):
    seen = 0
    for item in items:
        seen += item
    return seen


def has(self, item):
    found, where = self.look(item, "key")
    for each in self.all:
        if each == item:
            found = True
            break
    else:
        found = None
    if found and where & 3 == 1:
        return -1
    if where:
        self.hits += 1
        self.log.append(where)
    if item:
        self.miss += 1
    return self.table.has(item, where)
""",
)


@functools.cache
def functions() -> tuple[str, ...]:
    found = list(FIXTURES)
    for module in MODULES:
        spec = importlib.util.find_spec(module)
        assert spec is not None and spec.origin is not None
        text = Path(spec.origin).read_text(encoding="utf-8")
        lines = text.split("\n")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                source = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])) + "\n"
                try:
                    compile(source, "<function>", "exec")  # not one that needs the function around it
                except SyntaxError:
                    continue
                if source.count("\n") < 50:
                    found.append(source)
    return tuple(found)


@functools.cache
def edits_of(source: str) -> tuple[Edit, ...]:
    return tuple(find_edits(source))


def sample(source: str, count: int, seed: int) -> list[Edit]:
    return choose_edits(edits_of(source), count, random.Random(seed), source)


def test_there_are_many_kinds_and_each_occurs() -> None:
    seen = Counter(edit.kind for source in functions() for edit in edits_of(source))
    assert len(KINDS) >= 22
    assert sorted(set(KINDS) - set(seen)) == []


def test_every_edit_is_sound_and_nearly_all_are_valid() -> None:
    total = 0
    refused: Counter[str] = Counter()
    multi = set()
    for source in functions():
        for edit in edits_of(source):
            text, (bug,) = apply_edits(source, [edit])
            (span,) = bug.spans
            assert 0 <= span.start < span.end <= len(text)
            quote = text[span.start : span.end]
            assert quote.strip() and quote == quote.strip("\n")
            assert bug.description.startswith(("Should be ", "Should come ", "Missing `"))
            assert bug.description.endswith(".") and "\n" not in bug.description and len(bug.description) <= 140
            ast.parse(text)
            total += 1
            if total % 3 == 0:
                refused[edit.kind] += not valid(source, text)
            if edit.multi:
                multi.add(edit.kind)
    assert total > 1500
    assert sum(refused.values()) <= 0.01 * total
    assert {"guard_removed", "branches_swapped", "statements_swapped", "else_dropped"} <= multi


def test_no_edit_touches_docstrings_comments_annotations_decorators() -> None:
    source = '''\
@cache(size=1, on=True)
def f(x: Literal["a", 1] = 1) -> Literal[1, 2]:  # not 1 < 2
    """Return x + 1 if x < 2 and not None."""
    y: Literal[3] = x + 1  # y == x + 1
    # if y > 3: return
    "a string that says nothing 1 < 2"
    return y
'''
    for edit in find_edits(source):
        changed = source[edit.start : edit.stop]
        assert "#" not in changed and '"' not in changed
        line = source[source.rfind("\n", 0, edit.start) + 1 :].split("\n")[0]
        assert not line.startswith("@")
        before_comment = source.rfind("#", 0, edit.start)
        assert "\n" in source[before_comment : edit.start] or before_comment < 0
    assert {edit.kind for edit in find_edits(source)} >= {"initial_value", "plus_one_dropped"}


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(0, 2**32))
def test_several_edits_leave_the_rest_alone(data: st.DataObject, count: int, seed: int) -> None:
    source = data.draw(st.sampled_from(functions()))
    edits = sample(source, count, seed)
    text, bugs = apply_edits(source, edits)
    restored = text
    for edit, bug in zip(sorted(edits, key=lambda edit: edit.start), bugs, strict=True):
        stop = edit.start + len(bug.replacement)
        assert bug.original == source[edit.start : edit.stop]
        assert restored[edit.start : stop] == bug.replacement
        restored = restored[: edit.start] + bug.original + restored[stop:]
    assert restored == source


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 3), st.integers(0, 2**32))
def test_gold_critique_round_trips(data: st.DataObject, count: int, seed: int) -> None:
    answer = data.draw(st.sampled_from(functions()))
    task = Task(id="t", question="", answer=answer)
    made = tamper(task, count, random.Random(seed))
    if made is None:
        assert count > 0
        return
    assert len(made.bugs) == count
    assert made == tamper(task, count, random.Random(seed))
    assert Tamper.model_validate_json(made.model_dump_json()) == made
    if count:
        assert valid(answer, made.answer)
    gold = made.gold_critique()
    again = parse_critique(format_critique(gold), made.answer)
    assert again == gold and not again.unanchored and len(again.comments) == count
    for comment, bug in zip(gold.comments, sorted(made.bugs, key=lambda bug: bug.spans[0]), strict=True):
        assert comment.span is not None
        wanted = set(lines_of(bug.spans[0], made.answer))
        assert wanted <= set(lines_of(comment.span, made.answer))


def test_as_many_bugs_as_drawn_and_tasks_without_room_left_out() -> None:
    tasks = [Task(id=str(i), question="", answer=FIXTURES[1] if i % 2 else "pass\n") for i in range(12)]
    made = list(tamper_tasks(tasks, (0.25, 0.5, 0.25), random.Random(0)))
    assert {len(t.bugs) for t in made} == {0, 1, 2}
    assert all(int(t.task.id) % 2 for t in made if t.bugs)
    assert [t.task for t in tamper_tasks(tasks, (1.0,), random.Random(0))] == tasks


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_edits_travel_as_json(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(functions()))
    for edit in edits_of(source):
        assert Edit.from_list(json.loads(json.dumps(edit.to_list()))) == edit


VARIED = {
    "windows line ends": "def f(a, b):\r\n    if a < b:\r\n        return a\r\n    return b + 1\r\n",
    "tabs": "def f(a, b):\n\tif a < b:\n\t\treturn a\n\tb += 1\n\treturn b + 1\n",
    "no last newline": "def f(a, b):\n    c = 0\n    for x in a:\n        c += x\n    return c + b",
    "spaces at the end": "x = 1\nif x < 2:\n    print(x)\n\n   \n",
    "unicode": 'def größe(ä, 语):\n    s = "héllo 🎉"\n    if ä < 语:\n        return s\n    return s[1:] + "🎉"\n',
    "nested": "def f(a):\n    def g(b):\n        return a + b\n\n    return [g(x) for x in a if x > 1]\n",
    "async": "async def f(a):\n    async with a as b:\n        await b.go(1)\n    return [x async for x in a]\n",
    "decorated": "@d(1)\nclass A:\n    @property\n    def f(self):\n        return self.x + 1\n",
    "semicolons": "x = 1; y = 2\nif x < y: print(x); print(y)\n",
    "continuation": "def f(a):\n    return a + \\\n        1\n",
    "lines in brackets": "def f(a, b):\n    return (a and  # one\n            b < 2)\n",
    "form feed": "import os\n\x0c\n\ndef f(a):\n    a = a + 2\n    return a\n",
    "blank lines": "\n\n# head\n\ndef f(a):\n\n    a = 1\n\n    # why\n    a = a + 2\n\n    return a\n",
}


@pytest.mark.parametrize("source", VARIED.values(), ids=VARIED.keys())
def test_unusual_sources(source: str) -> None:
    edits = find_edits(source)
    assert edits
    for edit in edits:
        text, (bug,) = apply_edits(source, [edit])
        ast.parse(text)
        assert text[bug.spans[0].start : bug.spans[0].end].strip()
        if "\r\n" in source:
            assert text.count("\n") == text.count("\r\n")


def test_offsets_are_those_of_the_text() -> None:
    for source in (*functions(), *VARIED.values()):
        tree = Tree(source)
        for node in tree.nodes:
            if type(node).__name__ in ("Name", "Integer", "SimpleString"):
                start, stop = tree.span(node)
                assert source[start:stop] == node.value  # type: ignore[attr-defined]


def test_removed_blocks_leave_no_hole() -> None:
    source = "def f(a):\n    x = 1\n\n    # not for none\n    if a is None:\n        return x\n\n    return a.x\n"
    (edit,) = [edit for edit in find_edits(source) if edit.kind == "guard_removed"]
    text, (bug,) = apply_edits(source, [edit])
    assert text == "def f(a):\n    x = 1\n\n    return a.x\n"
    assert bug.description.startswith("Missing `if a is None: return x` before this")
    assert text[bug.spans[0].start : bug.spans[0].end] == "return a.x"


def test_descriptions_name_the_repair() -> None:
    source = "def f(n):\n    for i in range(1, n):\n        if i <= n:\n            return i\n    return None\n"
    descriptions = {edit.kind: edit.description for edit in find_edits(source)}
    assert descriptions["comparison_boundary"].startswith("Should be `i <= n`: ")
    assert descriptions["range_bound"].startswith("Should be `range(1, n)`: ")


INVALID = {
    "same tree": ("x = (1)\n", "x = 1\n"),
    "syntax": ("x = 1\n", "x = \n"),
    "unreachable": ("def f():\n    g()\n    return 1\n", "def f():\n    return 1\n    g()\n"),
    "itself": ("a = b < c\n", "a = b < b\n"),
    "assigned to itself": ("a = b\n", "a = a\n"),
    "compile": ("for x in y:\n    break\n", "for x in y:\n    return\n"),
    "trailing space": ("a = b\n", "a = c \n"),
    "hole": ("a = 1\nb = 2\n", "a = 3\n\n\nb = 2\n"),
    "hole after a header": ("if a:\n    b = 1\n    c = 2\n", "if a:\n\n    c = 2\n"),
}


@pytest.mark.parametrize("pair", INVALID.values(), ids=INVALID.keys())
def test_what_is_plain_to_see_is_refused(pair: tuple[str, str]) -> None:
    assert not valid(*pair)
    assert valid("a = 1\n", "a = 2\n")


def test_touching_edits_are_refused() -> None:
    source = "def f(a, b):\n    return a < b and a == b\n"
    edits = [edit for edit in find_edits(source) if edit.kind in ("comparison_boundary", "equality_inverted")]
    assert len(edits) == 2 and not compatible(source, edits)
    with pytest.raises(ValueError, match="same lines"):
        apply_edits(source, edits)


def test_kinds_are_chosen_before_places() -> None:
    body = "".join(f"    if a == {number}0:\n        b()\n" for number in range(1, 40))
    source = f"def f(a, b):\n{body}    while a <= 3:\n        a += 1\n"
    edits = find_edits(source)
    rng = random.Random(0)
    kinds = Counter(choose_edits(edits, 1, rng)[0].kind for _ in range(600))
    assert kinds["while_to_if"] > 5  # one place among hundreds
    assert len(choose_edits(edits, 10**6, rng, source)) < len(edits)


def test_whole_files_and_bad_input() -> None:
    source = "\n\n".join(functions()[:12])
    made = tamper_file(source, 6, random.Random(3))
    assert made is not None and len(made[1]) == 6
    assert tamper_file(source, 0, random.Random(3)) == (source, ())
    assert tamper_file("pass\n", 1, random.Random(0)) is None
    assert tamper_file("", 1, random.Random(0)) is None
    for bad in ("print 'x'\n", "def f(:\n", "x = '\n", "\0"):
        with pytest.raises(UserError):
            tamper_file(bad, 1, random.Random(0))
    with pytest.raises(UserError):
        tamper_file("x = 1\n", -1, random.Random(0))
