"""Statements that are lost, or stand in the wrong place."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._equivalent import commute, is_path_conversion
from momus.tamper.mutations._lines import LEAVES, block, head, leaves, lines, removed, small
from momus.tamper.mutations._no_effect import is_set_anew_alike
from momus.tamper.mutations._shared import callee, fits
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, shorten, should_be

_STATE = {
    "append", "appendleft", "extend", "add", "update", "insert", "remove", "discard", "pop", "popleft", "clear", "sort",
    "reverse", "close", "flush", "write", "acquire", "release", "setdefault", "notify", "set", "cancel", "seek",
    "heappush",    "heapify", "unlink", "join", "start", "put", "send", "wait", "readline",
}  # fmt: skip
_LOOPS = (cst.For, cst.While)


@mutation("update_removed", cst.SimpleStatementLine)
def update_removed(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """A counter, accumulator or container is not updated."""
    only = small(node)
    if isinstance(only, cst.AugAssign):
        why = "it never changes"
    elif isinstance(only, cst.Expr) and isinstance(only.value, cst.Call) and callee(only.value) in _STATE:
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
    if not isinstance(only, cst.Assign) or len(only.targets) != 1 or is_path_conversion(only, tree):
        return
    target = only.targets[0].target
    name = fits(tree.code(target), "it", limit=20)
    shown = "it" if name == "it" else f"`{name}`"
    if isinstance(target, cst.Name) and not _is_first(target, node, tree):
        why = f"{shown} keeps its old value"
    elif isinstance(target, cst.Attribute | cst.Subscript):
        why = f"{shown} is never set"
    else:
        return  # to lose a first binding would fail at once
    draft = removed(node, tree, why)
    if draft:
        yield draft


@mutation("assignment_compared", cst.SimpleStatementLine)
def assignment_compared(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """`x == 1` for `x = 1`."""
    only = small(node)
    if isinstance(only, cst.Assign) and len(only.targets) == 1:
        target = only.targets[0].target
        later = isinstance(target, cst.Name) and not _is_first(target, node, tree)
        if later or isinstance(target, cst.Attribute | cst.Subscript):
            gap = Where(tree.outer(target).stop, tree.outer(only.value).start)
            simple = isinstance(
                only.value, cst.Name | cst.Integer | cst.Attribute | cst.Subscript | cst.BinaryOperation
            )
            if simple and tree.source[gap.start : gap.stop].strip() == "=":
                wrong = tree.source[gap.start : gap.stop].replace("=", "==")
                yield Draft(gap, wrong, should_be(tree.code(only), "nothing is assigned"), tree.span(only))


@mutation("statements_swapped", cst.SimpleStatementLine)
def statements_swapped(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """Two lines in the wrong order, the second of which needs what the first does."""
    other = _next(node, tree)
    first, second = small(node), small(other) if other is not None else None
    if other is None or first is None or second is None or isinstance(second, LEAVES) or Tree.is_text(second):
        return
    target = first.targets[0].target if isinstance(first, cst.Assign) else None
    if isinstance(target, cst.Name) and _is_first(target, node, tree):
        return  # a name used before it exists is too easy to see
    one, two = lines(node, tree), lines(other, tree)
    upper, lower = tree.source[one.start : one.stop], tree.source[two.start : two.stop]
    middle = tree.source[one.stop : two.start]
    used = any(_uses(tree.code(second), name) for name in _written(first, tree)) and not commute(first, second, tree)
    if used and not middle.strip() and middle.count("\n") == 1 and upper.strip() != lower.strip():
        indent = len(tree.indentation(node))
        why = f"Should come after `{shorten(tree.code(node), 50)}`: it needs that to be done first."
        yield Draft(Where(one.start + indent, two.stop), f"{lower[indent:]}{middle}{upper}", why)


@mutation("moved_out_of_block", cst.SimpleStatementLine)
def moved_out_of_block(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """The last statement of a loop or branch is dedented."""
    if isinstance(small(node), cst.Assign | cst.AugAssign | cst.Expr | cst.Return | cst.Raise | cst.Del):
        holder = _left_last(node, tree)
        if holder is None or (isinstance(small(node), LEAVES) and tree.siblings(holder)[-1] is not holder):
            return
        when = "only once" if isinstance(holder, _LOOPS) else "in every case"
        start = tree.line_start(tree.span(node).start)
        why = f"Should be inside `{shorten(head(holder, tree), 50)}`: it now runs {when}."
        where = tree.first_line(node)
        yield Draft(Where(start, tree.span(node).start), tree.indentation(holder), why, where)


@mutation("return_moved_into_loop", cst.SimpleStatementLine)
def return_moved_into_loop(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """The `return` after a loop is indented into it, and the first pass is the last."""
    if isinstance(small(node), cst.Return):
        yield from _indented(node, tree, _LOOPS, "the loop stops after one pass")


@mutation("moved_into_block", cst.SimpleStatementLine)
def moved_into_block(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """The statement after a loop or branch is indented into it."""
    only = small(node)
    if isinstance(only, cst.Assign | cst.AugAssign | cst.Expr) and not Tree.is_text(only):
        yield from _indented(node, tree, _LOOPS, "it now runs in every pass")
        yield from _indented(node, tree, (cst.If,), "it now runs only in that case")


@mutation("start_moved_into_loop", cst.SimpleStatementLine)
def start_moved_into_loop(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """An accumulator is set anew in every pass."""
    only, loop = small(node), _next(node, tree)
    if not isinstance(only, cst.Assign) or not isinstance(loop, cst.For) or "\n" in tree.code(only):
        return
    body, name = block(loop.body), tree.code(only.targets[0].target)
    if not body or not name.isidentifier() or name == tree.code(loop.target) or _uses(head(loop, tree), name):
        return
    if is_set_anew_alike(only, loop, tree):
        return
    one, stop = lines(node, tree), tree.line_start(tree.span(body[0]).start)
    start = lines(loop, tree).start
    header = tree.source[start:stop]
    if _uses(tree.code(loop), name) and not tree.source[one.stop : start].strip() and header.count("\n") == 1:
        indent = len(tree.indentation(node))
        statement = f"{tree.indentation(body[0])}{tree.source[one.start + indent : one.stop]}"
        wrong = f"{header[indent:]}{statement}{tree.newline}"
        why = f"Should come before the loop: `{shorten(tree.code(only), 50)}` starts anew in every pass."
        yield Draft(Where(one.start + indent, stop), wrong, why, line=1)


def _is_first(target: cst.Name, node: cst.CSTNode, tree: Tree) -> bool:
    """Whether a variable is not bound before the statement `node`."""
    return tree.variables(node).get(target.value, -1) >= tree.span(node).start


def _next(node: cst.CSTNode, tree: Tree) -> cst.CSTNode | None:
    """Return the statement below in the same block."""
    siblings = tree.siblings(node)
    number = siblings.index(node) + 1
    return siblings[number] if number < len(siblings) else None


def _left_last(node: cst.CSTNode, tree: Tree) -> cst.CSTNode | None:
    """Return the loop or branch a statement is the last of, if it can be dedented out of it."""
    holder, siblings = tree.parent(tree.parent(node)), tree.siblings(node)
    if not isinstance(holder, cst.For | cst.While | cst.If) or holder.orelse is not None:
        return None
    if len(siblings) < 2 or siblings[-1] is not node or leaves(siblings[-2]) or "\n" in tree.code(node).strip():
        return None
    return None if isinstance(tree.parent(holder), cst.If) or node.leading_lines else holder  # type: ignore[attr-defined]


def _indented(
    node: cst.SimpleStatementLine, tree: Tree, kinds: tuple[type[cst.CSTNode], ...], why: str
) -> Iterator[Draft]:
    """Indent a statement into the loop or branch just above it."""
    siblings = tree.siblings(node)
    number = siblings.index(node)
    above = siblings[number - 1] if number else None
    if not isinstance(above, cst.For | cst.While | cst.If) or not isinstance(above, kinds) or above.orelse is not None:
        return
    body = block(above.body)
    if not body or leaves(body[-1]) or "\n" in tree.code(node).strip():
        return
    start, stop = lines(body[-1], tree).stop, tree.span(node).start
    if not tree.source[start:stop].strip():
        wrong = f"{tree.newline}{tree.indentation(body[0])}"
        place = f"the `{shorten(head(above, tree), 50)}` block"
        yield Draft(Where(start, stop), wrong, f"Should come after {place}: {why}.", tree.first_line(node))


def _uses(code: str, name: str) -> bool:
    """Whether a name, or a longer expression, occurs in a piece of code as a whole word."""
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", code) is not None


def _written(node: cst.BaseSmallStatement, tree: Tree) -> set[str]:
    """Return what a statement changes: the texts of its targets, or of what a method is called on."""
    if isinstance(node, cst.Assign):
        targets = [target.target for target in node.targets]
        whole = [t.elements if isinstance(t, cst.Tuple) else () for t in targets]
        names = {tree.code(element.value) for elements in whole for element in elements}
        return names | {tree.code(_container(target)) for target in targets if not isinstance(target, cst.Tuple)}
    if isinstance(node, cst.AugAssign):
        return {tree.code(_container(node.target))}
    if isinstance(node, cst.Expr) and isinstance(node.value, cst.Call) and isinstance(node.value.func, cst.Attribute):
        owner = node.value.func.value
        return {tree.code(owner)} if callee(node.value) in _STATE else set()
    return set()


def _container(target: cst.CSTNode) -> cst.CSTNode:
    while isinstance(target, cst.Subscript):
        target = target.value
    return target
