"""Put chosen edits into the source, and check that the result is a fair bug."""

from __future__ import annotations

import ast
import itertools
import random
import warnings
from collections.abc import Sequence

from momus.critique import Span
from momus.records import Bug
from momus.tamper.edits import Edit


def apply_edits(source: str, edits: Sequence[Edit]) -> tuple[str, tuple[Bug, ...]]:
    """Apply edits that do not touch each other.

    Returns:
        The tampered text and one bug per edit, in the order of the text, with spans in the tampered text.

    Raises:
        ValueError: Two edits touch the same lines, or a span would be blank.
    """
    ordered = sorted(edits, key=lambda edit: edit.start)
    if not compatible(source, ordered):
        raise ValueError("edits touch the same lines")
    pieces: list[str] = []
    bugs: list[Bug] = []
    read = length = 0
    for edit in ordered:
        pieces += source[read : edit.start], edit.replacement
        length += edit.start - read
        first, last = edit.anchor
        bugs.append(
            Bug(
                kind=edit.kind,
                spans=(Span(length + first, length + last),),
                description=edit.description,
                original=source[edit.start : edit.stop],
                replacement=edit.replacement,
            )
        )
        length += len(edit.replacement)
        read = edit.stop
    tampered = "".join([*pieces, source[read:]])
    for bug in bugs:
        if not tampered[bug.spans[0].start : bug.spans[0].end].strip():
            raise ValueError(f"blank span for {bug.kind}")
    return tampered, tuple(bugs)


def compatible(source: str, edits: Sequence[Edit]) -> bool:
    """Whether no two edits replace or highlight parts of the same line."""
    taken = sorted(_lines(source, edit) for edit in edits)
    return _apart(edits) and all(a[1] < b[0] for a, b in itertools.pairwise(taken))


def _apart(edits: Sequence[Edit]) -> bool:
    taken = sorted(edit.footprint for edit in edits)
    return all(a[1] <= b[0] for a, b in itertools.pairwise(taken))


def _lines(source: str, edit: Edit) -> tuple[int, int]:
    start, stop = edit.footprint
    return source.count("\n", 0, start), source.count("\n", 0, max(start, stop))


def choose_edits(edits: Sequence[Edit], count: int, rng: random.Random, source: str = "") -> list[Edit]:
    """Choose `count` edits, each time a kind first and then a place, so that kinds with many places do not dominate.

    Fewer edits are returned when there are no more that stay clear of each other.

    Args:
        edits: What `find_edits` returned.
        count: How many to choose.
        rng: Source of all choices.
        source: Where given, the chosen edits stay clear of each other's lines, else of each other's characters.
    """
    places: dict[str, list[Edit]] = {}
    for edit in edits:
        places.setdefault(edit.kind, []).append(edit)
    chosen: list[Edit] = []
    while places and len(chosen) < count:
        kinds = sorted(places)
        kind = rng.choice(kinds)
        edit = places[kind].pop(rng.randrange(len(places[kind])))
        if not places[kind]:
            del places[kind]
        if compatible(source, [*chosen, edit]) if source else _apart([*chosen, edit]):
            chosen.append(edit)
    return chosen


def valid(original: str, tampered: str) -> bool:
    """Whether `tampered` is Python that differs from `original` in its syntax tree and does not show it.

    Refused: statements nothing can reach, comparisons of something with itself, `x = x`, and more blank lines
    or trailing spaces than before.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            before, after = ast.parse(original), ast.parse(tampered)
            compile(after, "<answer>", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return False
    if ast.dump(before) == ast.dump(after):
        return False
    if _oddities(after) > _oddities(before):
        return False
    return all(a <= b for a, b in zip(_traces(tampered), _traces(original), strict=True))


def _oddities(tree: ast.AST) -> int:
    """Count what a reader sees to be wrong without thinking."""
    total = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            total += sum(ast.dump(a) == ast.dump(b) for a, b in itertools.pairwise(sides))
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            total += type(target) is type(node.value) and ast.unparse(target) == ast.unparse(node.value)
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - len({ast.dump(value) for value in node.values})
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div | ast.Mod | ast.FloorDiv):
            total += ast.dump(node.left) == ast.dump(node.right)
        for body in (
            getattr(node, "body", None),
            getattr(node, "orelse", None),
            getattr(node, "finalbody", None),
        ):
            if isinstance(body, list):
                total += sum(isinstance(s, ast.Return | ast.Raise | ast.Continue | ast.Break) for s in body[:-1])
    return total


def _traces(text: str) -> tuple[int, int, int]:
    """Count the lines with trailing spaces, the longest run of blank lines and the blocks that begin with one."""
    lines = text.split("\n")
    run = longest = after_header = 0
    for number, line in enumerate(lines):
        run = 0 if line.strip() else run + 1
        longest = max(longest, run)
        previous = lines[number - 1].rstrip() if number else ""
        after_header += not line.strip() and previous.endswith(":")
    return sum(line.rstrip("\r") != line.rstrip() for line in lines), longest, after_header
