"""The smallest change that makes a wrong answer pass its tests.

Two sources of changes: the small edits of `edits.py` are tried; else a model is asked, and of its changes the fewest
lines that are needed are kept.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from momus.lm.chats.protocol import Question
from momus.tamper.natural.answers import code_of
from momus.tamper.natural.edits import parse, small_edits
from momus.tamper.natural.problems import Problem

MOST_EDITS = 256
"""Edits of one line, at most."""

_MOST_TRIED = 512
"""Changes of one answer that are tried on its tests."""

_MOST_LINES = 4
"""Lines that a repair may change, and at most half of all: more is another answer, not a repair."""

Hunk = tuple[str, int, int, int, int]
"""What `difflib` says of a change: its kind, the lines before and the lines after."""

Passes = Callable[[Sequence[str]], list[bool]]
"""Says of each of some codes whether it passes the tests."""


def repair_by_edit(code: str, passes: Passes) -> str | None:
    """Try small edits, those of lower ranks first; return the first of them that passes."""
    ranked: dict[str, int] = {}
    for edit in small_edits(code):
        ranked.setdefault(code[: edit.start] + edit.text + code[edit.stop :], edit.rank)
    candidates = _share({text: rank for text, rank in ranked.items() if parse(text) is not None}, _MOST_TRIED)
    for start in range(0, len(candidates), 64):
        batch = candidates[start : start + 64]
        for candidate, passed in zip(batch, passes(batch), strict=True):
            if passed:
                return candidate
    return None


def _share(ranked: Mapping[str, int], most: int) -> list[str]:
    """Return at most so many edits, by rank: of too many up to two thirds of the first, of the others as many each."""
    groups = [list(same) for _, same in itertools.groupby(ranked, key=ranked.__getitem__)]
    sizes = [0] * len(groups)
    if groups:
        others = sum(map(len, groups[1:]))
        sizes[0] = min(len(groups[0]), max(-(-2 * most // 3), most - others))
    room = most - sum(sizes)
    rest = sorted(range(1, len(groups)), key=lambda group: len(groups[group]))
    for left, group in enumerate(rest):
        sizes[group] = min(len(groups[group]), -(-room // (len(rest) - left)))
        room -= sizes[group]
    return [group[i * len(group) // size] for group, size in zip(groups, sizes, strict=True) for i in range(size)]


def repair_question(problem: Problem, code: str, complaint: str) -> Question:
    """Return the question that asks a model to repair an answer."""
    text = (
        f"{problem.text}\n\nThis answer is wrong:\n```python\n{code}```\nA test fails:\n```python\n{complaint}\n```\n"
        "Repair it. Change as little as possible, and keep everything else as it is, names and comments too. "
        "Answer with the whole repaired code in one block and nothing else."
    )
    return Question.of(text, max_tokens=512)


def repair_by_model(code: str, answer: str, passes: Passes) -> str | None:
    """Return the fewest of a model's changes that pass, None where none do or they are too many lines."""
    before, after = code.splitlines(True), code_of(answer).splitlines(True)
    hunks = [hunk for hunk in difflib.SequenceMatcher(None, before, after, False).get_opcodes() if hunk[0] != "equal"]
    if not hunks or len(hunks) > 6:
        return None
    chosen = [subset for size in range(1, len(hunks) + 1) for subset in itertools.combinations(hunks, size)][:64]
    codes = ["".join(_apply(before, after, subset)) for subset in chosen]
    for candidate, subset, passed in zip(codes, chosen, passes(codes), strict=True):
        if passed:
            lines = sum(max(hunk[2] - hunk[1], hunk[4] - hunk[3]) for hunk in subset)
            return candidate if lines <= min(_MOST_LINES, len(before) // 2) else None
    return None


def _apply(before: Sequence[str], after: Sequence[str], hunks: Sequence[Hunk]) -> Iterator[str]:
    read = 0
    for _, start, stop, first, last in hunks:
        yield from before[read:start]
        yield from after[first:last]
        read = stop
    yield from before[read:]


def line_repairs(code: str, line: int, most: int = MOST_EDITS) -> dict[str, int]:
    """Return what a line, from 1, may be in place of what it is, and the rank of that edit; the code still parses.

    No test, call or difference in which something stands twice (`a or a`, `f(a, a)`, `a - a`): that is likely and
    seldom meant. Of more edits than `most`, up to two thirds are of the first rank, and of the others as many each.
    """
    lines = code.split("\n")
    was = lines[line - 1]
    first = sum(len(text) + 1 for text in lines[: line - 1])
    last = first + len(was)
    ranked: dict[str, int] = {}
    for start, stop, text, rank in small_edits(code):
        if first <= start and stop <= last and "\n" not in text:
            ranked.setdefault(code[first:start] + text + code[stop:last], rank)
    fit = {text: ranked[text] for text in lines_that_fit(code, line, ranked)}
    return {text: fit[text] for text in _share(fit, max(1, most))}


def lines_that_fit(code: str, line: int, options: Iterable[str]) -> Iterator[str]:
    """Yield, of what may stand in the place of a line, from 1, whatever leaves code that parses and is other code.

    It repeats no more than the code does as it is and, where that compiles, still does.
    """
    lines = code.split("\n")
    was = lines[line - 1]
    first = sum(len(text) + 1 for text in lines[: line - 1])
    before, after = _around(code, line, first, first + len(was))
    unchanged = parse(before + was + after)
    repeats, compiles = _repeats(unchanged), unchanged is not None and _compiles(unchanged)
    for text in options:
        tree = parse(before + text + after) if text.strip() not in ("", was.strip()) else None
        if tree is not None and _repeats(tree) <= repeats and (not compiles or _compiles(tree)):
            yield text


def _around(code: str, line: int, first: int, last: int) -> tuple[str, str]:
    """Return what stands before and after a line in the statements of a file that it is part of, and in the one before.

    Of a long file reading all of it for each edit would take too long; without the one before, no `elif` could be read.
    """
    tree = parse(code)
    lines = code.split("\n")
    spans = [(_first_line(node), node.end_lineno or node.lineno) for node in (tree.body if tree else ())]
    inside = [n for n, (start, stop) in enumerate(spans) if start <= line <= stop]
    if "\f" in code or "\r" in code or not inside:
        return code[:first], code[last:]
    start, stop = spans[max(0, inside[0] - 1)][0], spans[inside[-1]][1]
    before = "".join(f"{text}\n" for text in lines[start - 1 : line - 1])
    return before, "".join(f"\n{text}" for text in lines[line:stop])


def _first_line(node: ast.stmt) -> int:
    decorators: Sequence[ast.expr] = getattr(node, "decorator_list", ())
    return min([node.lineno, *(each.lineno for each in decorators)])


def _compiles(tree: ast.Module) -> bool:
    """Return whether code is more than a parser asks for: no `break` outside a loop, no argument named twice."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(tree, "", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _repeats(tree: ast.AST | None) -> int:
    """Count what is twice in a test, an operation but a sum or product, a call, an f-string, parameters, or `a = a`."""
    return sum(_twice(_parts(node)) for node in ast.walk(tree)) if tree else 0


def _parts(node: ast.AST) -> Sequence[ast.expr | ast.arg]:
    """Return what should not stand in a piece of code twice, constants aside."""
    match node:
        case ast.BoolOp(values=parts) | ast.Call(args=parts) | ast.arguments(args=parts):
            return [part for part in parts if not isinstance(part, ast.Constant)]
        case ast.JoinedStr(values=parts):
            return [part for part in parts if isinstance(part, ast.FormattedValue)]
        case ast.Compare(left=left, comparators=others):
            return [part for part in (left, *others) if not isinstance(part, ast.Constant)]
        case ast.BinOp(left=left, op=op, right=right) if not isinstance(op, ast.Add | ast.Mult):
            return [part for part in (left, right) if not isinstance(part, ast.Constant)]
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name() as value) if value.id == name:
            return [value, value]
    return ()


def _twice(parts: Sequence[ast.expr | ast.arg]) -> int:
    """Count what is another part again; only parts as long as another are compared, for they may be deep."""
    sizes = [((part.end_lineno or 0) - part.lineno, (part.end_col_offset or 0) - part.col_offset) for part in parts]
    alike = [part for part, size in zip(parts, sizes, strict=True) if sizes.count(size) > 1]
    try:
        return len(alike) - len({ast.dump(part) for part in alike})
    except RecursionError:
        return 0
