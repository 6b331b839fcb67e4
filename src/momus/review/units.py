"""A file cut into what is reviewed at a time: its functions, or the whole script, each line's place kept.

The critic is trained on functions whose docstring has become the question, so that is how it is asked here.
"""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from momus.data.functions import question_of
from momus.review.files import Source
from momus.review.identity import strip_dismissal
from momus.review.languages.outline import Outline

_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Unit:
    """A piece of code to review at a time.

    `lines[i]` is the 1-based number in the file of line i of `text`, which is that line without the
    indentation of the unit's first and without a dismissal. Lines of a docstring that went into the question are
    missing, and so are dismissals with a line to themselves: who reviews is not told of them, and so says the same of
    the other lines.
    """

    name: str
    question: str
    text: str
    lines: tuple[int, ...]

    def part(self, start: int, stop: int) -> Unit:
        """Return lines `start` to `stop` (zero-based, half open) as a unit of their own."""
        text = "\n".join(self.text.split("\n")[start:stop])
        return Unit(self.name, self.question, text, self.lines[start:stop])


def units(source: Source) -> Iterator[Unit]:
    """Yield the functions and methods of a file, decorators included, and what it runs outside them.

    A function inside another is part of that one. Functions that do nothing yet (`pass`, `...`, a docstring
    alone) are left out, and of a file with functions its imports and class bodies. One without is a unit as it is.
    """
    lines = source.text.split("\n")
    if source.outline is not None:
        yield from _outlined(source.outline, lines)
        return
    definitions = list(_definitions(source.tree))
    for name, node in definitions:
        if not _is_stub(node):
            yield _unit(name, question_of(node), lines, _numbers(node, lines))
    if not definitions:
        yield _unit("", "", lines, list(range(1, len(lines) + 1)))
    elif numbers := _outside(source.tree, definitions):
        yield _unit("", "", lines, numbers)


_FIRST_GUESS = 64
"""Lines that mostly fit."""


def windows(unit: Unit, fits: Callable[[Unit], bool]) -> tuple[list[Unit], list[int]]:
    """Cut a unit into runs of lines that fit, preferring to break before the least indented line.

    Args:
        unit: What to cut.
        fits: Whether the critic can read a unit; a part of one that fits must fit too.

    Returns:
        The parts in order, and the file's numbers of the lines that do not fit even alone.
    """
    total = len(unit.lines)
    text = unit.text.split("\n")
    parts, too_long, start, guess = [], [], 0, _FIRST_GUESS
    while start < total:
        size = _most(total - start, guess, lambda n, first=start: fits(unit.part(first, first + n)))  # type: ignore[misc]
        guess = max(size, 1)
        if not size:
            too_long.append(unit.lines[start])
            start += 1
            continue
        if start + size < total:
            size = max(range(size // 2 + 1, size + 1), key=lambda n: (-_indent(text[start + n]), n))
        part = unit.part(start, start + size)
        if part.text.strip():
            parts.append(part)
        start += size
    return parts, too_long


def _most(total: int, guess: int, fits: Callable[[int], bool]) -> int:
    """Return how many of `total` lines fit, looking at about as many: of a long unit never at the whole rest."""
    low, high = 0, min(guess, total)
    while fits(high):
        if high == total:
            return total
        low, high = high, min(2 * high, total)
    return low + bisect_left(range(low + 1, high), True, key=lambda n: not fits(n))


def _outlined(outline: Outline, lines: list[str]) -> Iterator[Unit]:
    for one in outline.definitions:
        question = " ".join(filter(None, [f"Write {one.name}." if one.name else "", one.about]))
        yield _unit(one.name, question, lines, list(range(one.first, one.last + 1)))
    if outline.outside:
        yield _unit("", "", lines, list(outline.outside))


def _definitions(tree: ast.Module) -> Iterator[tuple[str, _Definition]]:
    pending: list[tuple[str, ast.AST]] = [("", tree)]
    while pending:
        prefix, node = pending.pop()
        if isinstance(node, _Definition):
            yield prefix + node.name, node
            continue
        if isinstance(node, ast.ClassDef):
            prefix = f"{prefix}{node.name}."
        inner = [
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.stmt | ast.excepthandler | ast.match_case)
        ]
        pending += [(prefix, child) for child in reversed(inner)]


def _outside(tree: ast.Module, definitions: Sequence[tuple[str, _Definition]]) -> list[int]:
    """Return the numbers of the lines of a module's own statements but imports, texts and what defines something."""
    defining = {id(node) for _, node in definitions}
    numbers: set[int] = set()
    for statement in tree.body:
        text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        defines = isinstance(statement, ast.ClassDef) or any(id(node) in defining for node in ast.walk(statement))
        if not (text or defines or isinstance(statement, ast.Import | ast.ImportFrom)):
            numbers.update(range(statement.lineno, (statement.end_lineno or statement.lineno) + 1))
    return sorted(numbers)


def _is_stub(node: _Definition) -> bool:
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in node.body
    )


def _numbers(node: _Definition, lines: list[str]) -> list[int]:
    """Return the line numbers of a function, less those of a docstring that has lines to itself."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    last = node.end_lineno or node.lineno
    numbers = list(range(first, last + 1))
    if ast.get_docstring(node, clean=False) is None or len(node.body) == 1:
        return numbers
    docstring, body = node.body[0], node.body[1].lineno
    stop = docstring.end_lineno or docstring.lineno
    before = lines[docstring.lineno - 1].encode()[: docstring.col_offset]
    if before.strip() or body <= stop:
        return numbers
    while not lines[stop].strip():
        stop += 1
    return [number for number in numbers if not docstring.lineno <= number <= stop]


def _unit(name: str, question: str, lines: list[str], numbers: list[int]) -> Unit:
    while not lines[numbers[-1] - 1].strip():
        numbers = numbers[:-1]
    while not lines[numbers[0] - 1].strip():
        numbers = numbers[1:]
    first = lines[numbers[0] - 1]
    margin = first[: len(first) - len(first.lstrip())]
    rows = [(number, lines[number - 1], strip_dismissal(lines[number - 1])) for number in numbers]
    kept = [(number, line) for number, whole, line in rows if line.strip() or not whole.strip()] or [(numbers[0], "")]
    text = (line.removeprefix(margin) if line.strip() else "" for _, line in kept)
    return Unit(name, question, "\n".join(text), tuple(number for number, _ in kept))


def _indent(line: str) -> int:
    """Return how far a line is indented; a blank one as deep as can be, so that nothing starts with it."""
    return len(line) - len(line.lstrip()) if line.strip() else 1_000_000
