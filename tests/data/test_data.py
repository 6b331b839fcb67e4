"""Functions as tasks: what is taken, how it is split, what counts as the same, how it is rewritten."""

import ast
import random
import textwrap
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.data.dedup import Deduplicator
from momus.data.functions import Size, functions
from momus.data.packages import is_permissive
from momus.data.stdlib import functions_of_file, modules, split_of, stdlib_tasks
from momus.data.variants import as_script, rename_locals, tighten

SOURCE = textwrap.dedent('''
    class Stack:
        def push(self, item, *, twice=False):
            """Put an item on top. Returns nothing.

            More words.
            """

            self.items.append(item)
            if twice:
                self.items.append(item)

        def empty(self):
            """Nothing but words."""

    def total(values):
        result = 0
        for value in values:
            result += value
        return result
''')


@pytest.fixture(scope="module")
def tasks():
    return stdlib_tasks(Size())


def test_question_comes_from_signature_and_docstring_and_answer_is_the_rest():
    push, total = functions(SOURCE, Size())
    assert push.name == "Stack.push"
    assert push.question == "Write push(item, twice). Put an item on top."
    assert push.answer.startswith("def push(self, item, *, twice=False):\n    self.items.append(item)\n")
    assert total.question == "Write total(values)."


def test_sizes_are_bounds():
    assert [f.name for f in functions(SOURCE, Size(min_lines=5))] == ["total"]
    assert not list(functions(SOURCE, Size(max_chars=60)))


def test_split_is_fixed_and_a_module_is_whole(tasks):
    # These must never change: the shipped weights were trained on "train" of this very function.
    known = {"logging": "test", "ipaddress": "test", "asyncio": "train", "heapq": "train", "pathlib": "test"}
    assert {name: split_of(name) for name in known} == known
    assert split_of("asyncio.events") == split_of("asyncio")
    by_module = {}
    for task in tasks:
        by_module.setdefault(task.module.split(".")[0], set()).add(task.split)
    assert all(len(splits) == 1 for splits in by_module.values())
    counts = Counter(task.split for task in tasks)
    assert counts["train"] > 3000 and counts["test"] > 300 and counts["valid"] > 50


def test_no_test_modules():
    assert not [name for name, _ in modules() if "test" in name.split(".")]


def test_no_near_duplicates_across_splits(tasks):
    """Brute force over a sample: no held-out answer resembles a training answer."""
    from momus.data.dedup import _jaccard, _shingles

    rng = random.Random(0)
    held_out = [_shingles(t.answer) for t in rng.sample([t for t in tasks if t.split == "test"], 60)]
    training = [_shingles(t.answer) for t in rng.sample([t for t in tasks if t.split == "train"], 1500)]
    assert max(_jaccard(a, b) for a in held_out for b in training) < 0.7


def test_answers_parse_and_hold_no_docstring(tasks):
    for task in random.Random(1).sample(tasks, 400):
        (node,) = ast.parse(task.answer).body
        assert ast.get_docstring(node) is None


def test_deduplicator_is_blind_to_layout_and_keeps_different_texts():
    deduplicate = Deduplicator()
    assert deduplicate.add("def f(x):\n    return x + 1\n")
    assert not deduplicate.add("def f(x):  return x + 1")
    assert deduplicate.add("def g(a, b):\n    while a:\n        a, b = b % a, a\n    return b")


@given(st.lists(st.text("abc +=\n", max_size=40), max_size=8))
def test_deduplicator_refuses_exactly_what_it_has_seen(texts):
    deduplicate = Deduplicator()
    for text in texts:
        deduplicate.add(text)
        assert not deduplicate.add(text)


def test_rewritings_keep_the_structure(tasks):
    rng = random.Random(2)
    applied = Counter()
    for task in rng.sample(tasks, 500):
        before = ast.parse(task.answer)
        for rewrite in (lambda s: rename_locals(s, rng), lambda s: as_script(s, rng), tighten):
            text = rewrite(task.answer)
            if text is not None:
                applied[rewrite] += 1
                after = ast.parse(text)
                if rewrite is tighten:
                    assert ast.dump(after) == ast.dump(before)
        renamed = rename_locals(task.answer, rng)
        if renamed is not None:
            # The same tree but for names: kinds of nodes in the same order.
            assert [type(n) for n in ast.walk(ast.parse(renamed))] == [type(n) for n in ast.walk(before)]
    assert len(applied) >= 3


def test_renaming_is_consistent():
    renamed = rename_locals(
        "def f(alpha, beta=1):\n    gamma = g(alpha, beta=beta)\n    return gamma + alpha\n", random.Random(0)
    )
    scope = {}
    exec("def g(a, beta): return a * beta\n" + renamed, scope)
    assert scope["f"](3) == 6


def test_script_reads_and_prints():
    script = as_script("def f(n):\n    total = n * 2\n    return total\n", random.Random(0))
    assert script.splitlines()[0].startswith("n = ") and script.splitlines()[-1] == "print(total)"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License-Expression": "MIT"}, True),
        ({"License": "BSD-3-Clause\nlong text"}, True),
        ({"Classifier": "License :: OSI Approved :: Apache Software License"}, True),
        ({"License": "GPL-3.0"}, False),
        ({"License": "MPL-2.0", "Classifier": "License :: OSI Approved :: MIT License"}, False),
        ({}, False),
    ],
)
def test_only_permissive_licences(tmp_path, fields, expected):
    from importlib import metadata

    folder = tmp_path / "x-1.dist-info"
    folder.mkdir()
    lines = "".join(f"{key}: {value.replace(chr(10), chr(10) + '        ')}\n" for key, value in fields.items())
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: x\nVersion: 1\n{lines}")
    assert is_permissive(metadata.Distribution.at(folder)) is expected


def test_a_file_that_does_not_parse_has_no_functions(tmp_path):
    file = tmp_path / "two.py"
    file.write_text("print 'hello'\n")
    assert functions_of_file(file, Size()) == []


@pytest.mark.parametrize("character", ["\f", "\x0b", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_only_what_ends_a_line_for_python_ends_one(character):
    plain = "# a page\ndef first(a):\n    b = a + 1  # a note\n    return b\n"
    (function,) = functions(plain, Size())
    (other,) = functions(plain.replace("page", f"page {character} more"), Size())
    assert other == function
    for newline in ("\r\n", "\r"):
        assert list(functions(plain.replace("\n", newline), Size())) == [function]
