"""Statements that are lost, or stand in the wrong place."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._lines import LEAVES, block, ends, headline, leaves, lines, removed, small
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, shorten

_STATE = {
    "append", "appendleft", "extend", "add", "update", "insert", "remove", "discard", "pop", "popleft", "clear", "sort",
    "reverse", "close", "flush", "write", "acquire", "release", "setdefault", "notify", "set", "cancel", "seek", "heappush",
    "heapify", "unlink", "join", "start", "put", "send", "wait", "readline", "strip",
}  # fmt: skip
_LOOPS = cst.For | cst.While


@mutation("update_removed", cst.SimpleStatementLine)
def update_removed(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """A counter, accumulator or container is not updated."""
    only = small(node)
    if isinstance(only, cst.AugAssign):
        why = "it never changes"
    elif isinstance(only, cst.Expr) and isinstance(only.value, cst.Call):
        func = only.value.func
        name = func.attr.value if isinstance(func, cst.Attribute) else getattr(func, "value", "")
        if name not in _STATE:
            return
        why = "this step is left out"
    else:
        return
    draft = removed(node, tree, why)
    if draft:
        yield draft


@mutation("assignment_removed", cst.SimpleStatementLine)
def assignment_removed(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """A variable keeps its old value, or an attribute is never set."""
    only = small(node)
    if isinstance(only, cst.Assign) and len(only.targets) == 1:
        target = only.targets[0].target
        name = tree.code(target)
        if isinstance(target, cst.Name):
            first = tree.variables(node).get(name, -1)
            if first >= tree.span(node).start:
                return  # the first binding: losing it would fail at once
            why = f"`{name}` keeps its old value"
        elif isinstance(target, cst.Attribute | cst.Subscript):
            why = "it is never set" if len(name) > 20 else f"`{name}` is never set"
        else:
            return
        draft = removed(node, tree, why)
        if draft:
            yield draft


@mutation("jump_removed", cst.SimpleStatementLine)
def jump_removed(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """A `break`, `continue` or bare `return` at the end of a branch is gone."""
    only = small(node)
    siblings = tree.siblings(node)
    inside = isinstance(tree.parent(tree.parent(node)), cst.If | cst.ExceptHandler)
    if isinstance(only, LEAVES) and inside and len(siblings) > 1 and siblings[-1] is node:
        draft = removed(node, tree, "it goes on")
        if draft:
            yield draft


@mutation("statements_swapped", cst.SimpleStatementLine)
def statements_swapped(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """Two lines in the wrong order, the second of which needs what the first does."""
    siblings = tree.siblings(node)
    number = siblings.index(node) if node in siblings else len(siblings)
    if number + 1 >= len(siblings):
        return
    other = siblings[number + 1]
    first, second = small(node), small(other)
    if first is None or second is None or tree.outer(other).start != tree.line_start(tree.span(other).start):
        return
    written = _written(first, tree)
    if not written or isinstance(second, LEAVES) or Tree.is_text(second):
        return
    if not (written & _words(tree.code(second))) or isinstance(first, cst.Import | cst.ImportFrom):
        return
    if isinstance(first, cst.Assign) and isinstance(first.targets[0].target, cst.Name):
        earlier = tree.variables(node).get(first.targets[0].target.value, -1)
        if earlier >= tree.span(node).start:
            return  # a name used before it exists is too easy to see
    one, two = lines(node, tree), lines(other, tree)
    upper, lower = tree.source[one.start : one.stop], tree.source[two.start : two.stop]
    middle = tree.source[one.stop : two.start]
    if not middle.strip() and upper.strip() != lower.strip():
        text = shorten(tree.code(node), 50)
        why = f"Should come after `{text}`: it needs the new value."
        indent = len(tree.indentation(node))
        yield Draft(Where(one.start + indent, two.stop), f"{lower[indent:]}{middle}{upper}", why)


@mutation("moved_out_of_block", cst.SimpleStatementLine)
def moved_out_of_block(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """The last statement of a loop or branch is dedented."""
    holder = tree.parent(tree.parent(node))
    siblings = tree.siblings(node)
    if not isinstance(holder, _LOOPS | cst.If | cst.With) or len(siblings) < 2 or siblings[-1] is not node:
        return
    if getattr(holder, "orelse", None) is not None or isinstance(tree.parent(holder), cst.If):
        return
    only = small(node)
    if (
        only is None
        or isinstance(only, cst.Break | cst.Continue | cst.Pass)
        or "\n" in tree.code(node).strip()
    ):
        return
    if isinstance(only, cst.Return | cst.Raise):
        return _return_out(node, holder, tree)
    if leaves(siblings[-2]):
        return None
    head = shorten(_head(holder, tree), 50)
    word = "only once" if isinstance(holder, _LOOPS) else "in every case"
    if isinstance(holder, cst.With):
        word = "too late"
    yield _dedent(node, holder, tree, f"Should be inside `{head}`: it now runs {word}.")
    return None


def _return_out(node: cst.SimpleStatementLine, holder: cst.CSTNode, tree: Tree) -> None:
    return None


@mutation("return_moved_out", cst.SimpleStatementLine)
def return_moved_out(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """A `return` that belongs to a branch is reached in every case."""
    only = small(node)
    holder = tree.parent(tree.parent(node))
    siblings = tree.siblings(node)
    if (
        not isinstance(only, cst.Return | cst.Raise)
        or not isinstance(holder, cst.If)
        or holder.orelse is not None
    ):
        return
    if len(siblings) < 2 or siblings[-1] is not node or "\n" in tree.code(node).strip():
        return
    if (
        isinstance(tree.parent(holder), cst.If)
        or tree.siblings(holder)[-1] is not holder
        or leaves(siblings[-2])
    ):
        return
    head = shorten(_head(holder, tree), 50)
    yield _dedent(node, holder, tree, f"Should be inside `{head}`: it now runs in every case.")


@mutation("return_moved_into_loop", cst.SimpleStatementLine)
def return_moved_into_loop(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """The `return` after a loop is indented into it, and the first pass is the last."""
    only = small(node)
    if isinstance(only, cst.Return):
        yield from _indent(node, tree, _LOOPS, "the loop stops after one pass")


@mutation("moved_into_block", cst.SimpleStatementLine)
def moved_into_block(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """The statement after a loop or branch is indented into it."""
    only = small(node)
    if isinstance(only, cst.Assign | cst.AugAssign | cst.Expr) and not Tree.is_text(only):
        if isinstance(only, cst.Expr) and isinstance(only.value, cst.Ellipsis):
            return
        yield from _indent(node, tree, _LOOPS, "it now runs in every pass")
        yield from _indent(node, tree, cst.If, "it now runs only in that case")


@mutation("start_moved_into_loop", cst.SimpleStatementLine)
def start_moved_into_loop(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """An accumulator is set anew in every pass."""
    only, siblings = small(node), tree.siblings(node)
    number = siblings.index(node) if node in siblings else len(siblings)
    if not isinstance(only, cst.Assign) or number + 1 >= len(siblings):
        return
    loop = siblings[number + 1]
    name = tree.code(only.targets[0].target)
    if not isinstance(loop, cst.For) or not isinstance(only.targets[0].target, cst.Name):
        return
    body = block(loop.body)
    if not body or name in _words(_head(loop, tree)) or name not in _words(tree.code(loop)):
        return
    one = lines(node, tree)
    start, stop = lines(loop, tree).start, tree.line_start(tree.span(body[0]).start)
    header = tree.source[start:stop]
    if tree.source[one.stop : start].strip() or header.count("\n") != 1 or "\n" in tree.code(node):
        return
    indent = tree.indentation(node)
    statement = f"{tree.indentation(body[0])}{tree.source[one.start + len(indent) : one.stop]}"
    wrong = f"{header[len(indent) :]}{statement}{tree.newline}"
    text = shorten(tree.code(only), 50)
    yield Draft(
        Where(one.start + len(indent), stop), wrong, f"Should be before the loop: `{text}` starts anew in every pass.",
        None,
    )  # fmt: skip


def _indent(
    node: cst.SimpleStatementLine, tree: Tree, kind: type[cst.CSTNode] | object, why: str
) -> Iterator[Draft]:
    """Indent a statement into the loop or branch just above it."""
    siblings = tree.siblings(node)
    number = siblings.index(node) if node in siblings else 0
    above = siblings[number - 1] if number else None
    if above is None or not isinstance(above, kind) or "\n" in tree.code(node).strip():  # type: ignore[arg-type]
        return
    body = block(above.body)  # type: ignore[attr-defined]
    if (
        not body
        or above.orelse is not None
        or leaves(body[-1])
        or node.leading_lines
        and any(  # type: ignore[attr-defined]
            line.comment for line in node.leading_lines
        )
    ):
        return
    start = lines(body[-1], tree).stop
    if tree.source[start : tree.span(node).start].strip():
        return
    head = shorten(_head(above, tree), 50)
    stop = tree.span(node).start
    wrong = f"{tree.newline}{tree.indentation(body[0])}"
    where = Where(stop, tree.first_line(node).stop)
    yield Draft(Where(start, stop), wrong, f"Should come after the `{head}` block: {why}.", where)


def _dedent(node: cst.SimpleStatementLine, holder: cst.CSTNode, tree: Tree, text: str) -> Draft:
    start = tree.line_start(tree.span(node).start)
    return Draft(Where(start, tree.span(node).start), tree.indentation(holder), text, tree.first_line(node))


def _head(node: cst.CSTNode, tree: Tree) -> str:
    where = tree.first_line(node)
    return tree.source[where.start : where.stop]


def _words(text: str) -> set[str]:
    """Return the identifiers in a piece of code."""
    word, words = "", set()
    for character in f"{text} ":
        if character.isalnum() or character == "_":
            word += character
        elif word:
            words.add(word)
            word = ""
    return words


def _written(node: cst.BaseSmallStatement, tree: Tree) -> set[str]:
    """Return the names a statement changes: its targets, or what a method is called on."""
    if isinstance(node, cst.Assign):
        return set().union(*(_words(tree.code(target.target)) for target in node.targets)) - {"self"}
    if isinstance(node, cst.AugAssign):
        return _words(tree.code(node.target)) - {"self"}
    if (
        isinstance(node, cst.Expr)
        and isinstance(node.value, cst.Call)
        and isinstance(node.value.func, cst.Attribute)
    ):
        return _words(tree.code(node.value.func.value)) - {"self"}
    return set()
