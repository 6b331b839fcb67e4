"""Every regular expression of the package, texts that are hard for it, and how its time grows with them.

Run as a program, it measures and prints one line for every pattern that is not linear; the test runs it as a child with
a limit, for a pattern may hang.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
USES = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")
SIZE = 4_000
"""Characters of the longer text; the shorter has a quarter."""
FLOOR = 0.006
"""Seconds of processor time under which nothing is compared; a quadratic search takes more."""
FACTOR = 9.0
"""How much longer four times the text may take: 4 is linear, 16 quadratic."""
BOUNDED = {"momus/lm/remote/connection.py": (r"<(style", 4_000), "momus/tamper/tree.py": ("(([", 1_200)}
"""Patterns, by how they begin, that see no more than so many characters: what matters is the time for those."""
MOST = 0.1
"""Seconds that a bounded one may take."""


@dataclass(frozen=True)
class Use:
    """A pattern and the method it is used by, at a line of a file."""

    place: str
    pattern: re.Pattern[Any]
    method: str

    def __str__(self) -> str:
        return f"{self.place}: {self.method} of {self.pattern.pattern!r}"


def uses() -> list[Use]:
    """Return all uses of regular expressions in the package."""
    found: list[Use] = []
    for path in sorted((SOURCE / "momus").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "import re\n" in text:
            found += _uses_of(path, ast.parse(text))
    return list({(use.pattern, use.method): use for use in found}.values())


def _uses_of(path: Path, tree: ast.Module) -> Iterator[Use]:
    methods: dict[str, set[str]] = {}  # of the compiled ones, by the name of the variable, of this module
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in USES and isinstance(node.value, ast.Name | ast.Attribute):
            name = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            methods.setdefault(name, set()).add(node.attr)
    names: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
            if isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Tuple):
                pairs = list(zip(node.targets[0].elts, node.value.elts, strict=True))
            for target, value in pairs:
                names[id(value)] = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re"):
            continue
        if node.func.attr not in (*USES, "compile"):
            continue
        flags = next((word.value for word in node.keywords if word.arg == "flags"), None)
        last = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(node.func.attr, 2)
        flags = flags or (node.args[last] if len(node.args) > last else None)
        wanted = {node.func.attr}
        if node.func.attr == "compile":
            wanted = methods.get(names.get(id(node), ""), set()) or {"search", "match"}
        place = f"{path.relative_to(SOURCE)}:{node.lineno}"
        value = eval(ast.unparse(flags), {"re": re}) if flags is not None else 0
        for pattern in _patterns(node.args[0], module):
            yield from (Use(place, re.compile(pattern, value), method) for method in sorted(wanted))


def _patterns(node: ast.expr, module: str) -> list[Any]:
    """Return what an expression of a pattern stands for; what only running code knows becomes a word."""
    if isinstance(node, ast.Constant):
        return [node.value]
    names = vars(importlib.import_module(module))
    try:
        return [eval(ast.unparse(node), dict(names))]
    except NameError:
        pass
    if isinstance(node, ast.JoinedStr):
        text = ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            assert isinstance(part, ast.FormattedValue)
            try:
                text += str(eval(ast.unparse(part.value), dict(names)))
            except Exception:
                text += "word"
        return [text]
    if isinstance(node, ast.BinOp):
        return _patterns(node.left, module)
    return []


def hard_texts(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Yield texts of about a size that make a backtracking matcher try much: what the pattern names, over and over."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = _parser.parse(source, pattern.flags & ~(re.UNICODE if isinstance(pattern.pattern, bytes) else 0))
    prefixes = list(dict.fromkeys(["", *_prefixes(tree)]))[:16]
    letters = list(dict.fromkeys(_letters(tree)))[:12]
    pieces = dict.fromkeys([*letters, *_pieces(tree), *prefixes[1:]])
    for piece in list(pieces):
        pieces.update(dict.fromkeys((piece[:-1], piece + "\n", piece + " ")))
    for one in letters:
        pieces.update(dict.fromkeys(one + other for other in letters))
    for piece in filter(None, pieces):
        body = piece * (size // len(piece))
        for end in ("", "\0", "\n\0"):
            yield body + end
        for start in prefixes[1:]:
            yield start + body + "\0"
    for one in letters:
        for other in letters:
            if one != other:
                yield one * (size // 2) + other * (size // 2) + "\0"


def _prefixes(tree: Any) -> list[str]:
    """Return texts that match the first items of a pattern, for every number of items, groups opened."""
    found, before = [], [""]
    for item in tree:
        for inner in _inside(item):
            found += [start + text for start in before[:2] for text in _prefixes(inner)]
        before = [start + text for start in before for text in _samples(item)[:3]][:6]
        found += before
    return found[:60]


def _pieces(tree: Any) -> list[str]:
    """Return texts that match parts of a pattern."""
    found = []
    for item in tree:
        found += _samples(item)[:3]
        for inner in _inside(item):
            found += ["".join(_samples(part)[0] for part in inner if _samples(part)), *_pieces(inner)]
    return [piece for piece in found if piece][:40]


def _inside(item: Any) -> list[Any]:
    code, value = item
    if code is op.BRANCH:
        return list(value[1])
    if code is op.SUBPATTERN:
        return [value[3]]
    if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        return [value[2]]
    if code is op.ATOMIC_GROUP:
        return [value]
    return [value[1]] if code in (op.ASSERT, op.ASSERT_NOT) else []


def _samples(item: Any) -> list[str]:
    """Return a few texts that match an item of a pattern."""
    code, value = item
    if code in (op.AT, op.ASSERT_NOT):
        return [""]
    if code in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.CATEGORY):
        return _letters([item]) or ["a"]
    if code is op.GROUPREF:
        return ["`", "a"]
    if code is op.ASSERT:
        return [""]
    if code in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        once = _sequence(value[2])
        return [text * max(value[0], 1) for text in once] + ([""] if value[0] == 0 else [])
    return [text for inner in _inside(item) for text in _sequence(inner)[:2]][:8] or [""]


def _sequence(tree: Any) -> list[str]:
    found = [""]
    for item in tree:
        found = [start + text for start in found for text in _samples(item)[:3]][:6]
    return found


def _letters(tree: Any) -> list[str]:
    """Return characters that the items of a pattern name, one or two for each class."""
    found: list[str] = []
    for item in tree:
        code, value = item
        if code is op.LITERAL:
            found.append(chr(value))
        elif code is op.NOT_LITERAL:
            found.append("b" if chr(value) == "a" else "a")
        elif code is op.ANY:
            found.append("a")
        elif code is op.RANGE:
            found.append(chr(value[0]))
        elif code is op.CATEGORY:
            found += _CATEGORIES.get(value, ["a"])
        elif code is op.IN:
            found += ["a", " "] if value[0][0] is op.NEGATE else _letters(value)[:4]
        else:
            for inner in _inside(item):
                found += _letters(inner)
    return found


_CATEGORIES = {
    op.CATEGORY_DIGIT: ["1"],
    op.CATEGORY_SPACE: [" ", "\n"],
    op.CATEGORY_WORD: ["a", "1"],
    op.CATEGORY_NOT_WORD: [" ", "-"],
    op.CATEGORY_NOT_SPACE: ["a", "1"],
    op.CATEGORY_NOT_DIGIT: ["a", " "],
}


def slow_text(use: Use) -> str | None:
    """Return a hard text whose time grows faster than its length, and the times; None where no such text is known."""
    call = _call(use)
    beginning, most = BOUNDED.get(use.place.partition(":")[0], ("", 0))
    if beginning and str(use.pattern.pattern).startswith(beginning):
        slowest = max(hard_texts(use.pattern, most), key=lambda text: _seconds(call, text))
        seconds = min(_seconds(call, slowest) for _ in range(3))
        return f"{slowest[:60]!r}…: {seconds:.4f} s for {most} characters" if seconds > MOST else None
    shorter = list(hard_texts(use.pattern, SIZE // 4))
    for short, long in zip(shorter, hard_texts(use.pattern, SIZE), strict=True):
        # A pattern that is cubic or worse shows in the short text already, and the long one would take minutes.
        if _seconds(call, short) > FLOOR and min(_seconds(call, short) for _ in range(2)) > FLOOR:
            return f"{short[:60]!r}…: over {FLOOR} s for {len(short)} characters"
        if _seconds(call, long) <= FLOOR:
            continue
        times = [min(_seconds(call, text) for _ in range(3)) for text in (short, long)]
        if times[1] > FLOOR and times[1] > FACTOR * times[0]:
            return f"{short[:60]!r}…: {times[0]:.4f} s for {len(short)} characters, {times[1]:.4f} s for {len(long)}"
    return None


def _call(use: Use) -> Callable[[Any], object]:
    pattern = use.pattern
    if isinstance(pattern.pattern, bytes):
        by = [b""] if use.method in ("sub", "subn") else []
        return lambda text: getattr(pattern, use.method)(*by, text.encode("latin-1", "replace"))
    if use.method in ("sub", "subn"):
        return lambda text: pattern.sub("", text)
    if use.method == "finditer":
        return lambda text: [None for _ in pattern.finditer(text)]
    method: Callable[[Any], object] = getattr(pattern, use.method)
    return method


def _seconds(call: Callable[[Any], object], text: str) -> float:
    start = time.process_time()
    call(text)
    return time.process_time() - start


def main(which: list[str]) -> None:
    for use in uses():
        if which and not any(name in use.place for name in which):
            continue
        print(f"trying {use}", file=sys.stderr, flush=True)
        if slow := slow_text(use):
            print(f"{use}: {slow}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
