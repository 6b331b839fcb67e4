"""Statements that change nothing: jumps to where the code goes anyway, and starts that a loop does not touch."""

from __future__ import annotations

import libcst as cst

from momus.tamper.mutations._equivalent import names_in
from momus.tamper.mutations._lines import ends, small
from momus.tamper.mutations._shared import callee
from momus.tamper.tree import Tree

_PURE = {"len", "min", "max", "sum", "sorted", "abs", "int", "float", "str", "bool", "ord", "chr", "tuple", "range"}
"""Functions that give the same again and change nothing."""

_OPPOSITE = (
    (cst.Equal, cst.NotEqual),
    (cst.LessThan, cst.GreaterThanEqual),
    (cst.GreaterThan, cst.LessThanEqual),
    (cst.Is, cst.IsNot),
    (cst.In, cst.NotIn),
)


def goes_there_anyway(jump: cst.CSTNode, tree: Tree) -> bool:
    """Whether nothing follows a `continue` in its loop, or a `return` without value in its function.

    Args:
        jump: The line of the jump, or an `if` that holds nothing else.
        tree: The source.
    """
    only = small(jump) or (small(jump.body.body[-1]) if isinstance(jump, cst.If) else None)
    if isinstance(only, cst.Continue):
        goal: tuple[type[cst.CSTNode], ...] = (cst.For, cst.While)
    elif isinstance(only, cst.Return) and returned(only, tree) == "None":
        goal = (cst.FunctionDef,)
    else:
        return False
    node = jump
    for above in tree.above(jump):
        if tree.siblings(node)[-1] is not node:
            return False
        if isinstance(above, goal):
            return True
        if isinstance(above, cst.Try) and (above.orelse is not None or above.finalbody is not None):
            return False
        if isinstance(above, cst.For | cst.While | cst.With | cst.FunctionDef):
            return False
        node = above
    return False


def follows(loop: cst.CSTNode, tree: Tree) -> str:
    """Return what the statement after a loop returns, "None" where nothing follows, "" for any other statement."""
    siblings = tree.siblings(loop)
    number = siblings.index(loop) + 1
    if getattr(loop, "orelse", None) is not None:
        return ""
    if number == len(siblings):
        return "None" if isinstance(tree.parent(tree.parent(loop)), cst.FunctionDef) else ""
    only = small(siblings[number])
    return returned(only, tree) if isinstance(only, cst.Return) else ""


def returned(node: cst.Return, tree: Tree) -> str:
    """Return the code of what a `return` returns."""
    return "None" if node.value is None else tree.code(node.value)


def is_set_anew_alike(start: cst.Assign, loop: cst.For, tree: Tree) -> bool:
    """Whether a loop neither changes what is assigned before it nor what that is made of."""
    for part in _below(start.value):
        if isinstance(part, cst.Call) and (not isinstance(part.func, cst.Name) or part.func.value not in _PURE):
            return False
        if isinstance(part, cst.List | cst.Dict | cst.Set | cst.ListComp | cst.DictComp | cst.SetComp):
            return False  # a new one each time
    kept = {name.value for name in names_in(start)}
    for name in names_in(loop.body):
        if name.value in kept and not _is_only_read(name, tree):
            return False
    return not kept & {name.value for name in names_in(loop.target)}


def _is_only_read(name: cst.Name, tree: Tree) -> bool:
    """Whether a name's use changes nothing of its value: no assignment to it or its parts, no method of it called."""
    above = tree.parent(name)
    if tree.is_store(name):
        return False
    node: cst.CSTNode = name
    while isinstance(above, cst.Attribute | cst.Subscript):
        node, above = above, tree.parent(above)
    if isinstance(above, cst.Call) and above.func is node:
        return node is name  # a function, whose value stays; a method may change what it is called on
    if isinstance(above, cst.Arg):
        call = tree.parent(above)
        return node is not name or (isinstance(call, cst.Call) and callee(call) in _PURE)
    return not isinstance(above, cst.AssignTarget | cst.AugAssign | cst.Del | cst.Element)


def _below(node: cst.CSTNode) -> list[cst.CSTNode]:
    """Return a node and all below it."""
    below: list[cst.CSTNode] = []
    pending = [node]
    while pending:
        below.append(current := pending.pop())
        pending += current.children
    return below


def is_cache(node: cst.If, tree: Tree) -> bool:
    """Whether an `if` fills a global variable once, so that filling it each time only costs time."""
    stored = {tree.code(item.name) for other in tree.nodes if isinstance(other, cst.Global) for item in other.names}
    return tree.code(node.test).removesuffix(" is None") in stored and tree.code(node.test).endswith(" is None")


def only_looks(node: cst.If) -> bool:
    """Whether the body of an `if` calls and changes nothing, so that it may as well run always."""
    body = node.body.body if isinstance(node.body, cst.IndentedBlock) else ()
    return bool(body) and all(
        isinstance(only := small(each), cst.Expr)
        and not any(isinstance(part, cst.Call | cst.Await | cst.Yield) for part in _below(only))
        for each in body
    )


def equal_is_done(node: cst.Comparison, tree: Tree) -> bool:
    """Whether equal sides never get to a comparison: `if a == b: return` or `if a == b: … elif` is before it."""
    above = tree.parent(node)
    if not isinstance(above, cst.If) or above.test is not node or len(node.comparisons) != 1:
        return False
    before, first = list[cst.If](), above
    while isinstance(upper := tree.parent(first), cst.If) and upper.orelse is first:
        before.append(first := upper)
    siblings = tree.siblings(first)
    number = siblings.index(first) if first in siblings else 0
    if number and isinstance(previous := siblings[number - 1], cst.If) and ends(previous.body):
        before.append(previous)
    tests = [each.test for each in before]
    return any(isinstance(test, cst.Comparison) and _same_sides(test, node, tree) for test in tests)


def _same_sides(test: cst.Comparison, node: cst.Comparison, tree: Tree) -> bool:
    """Whether a test is whether the two sides of a comparison, which call nothing, are equal."""
    if len(test.comparisons) != 1 or not isinstance(test.comparisons[0].operator, cst.Equal):
        return False
    one, other = ({tree.code(each.left), tree.code(each.comparisons[0].comparator)} for each in (test, node))
    return one == other and not any("(" in side for side in one)


def are_opposite(first: cst.BaseExpression, second: cst.BaseExpression, tree: Tree) -> bool:
    """Whether one of two tests always holds, and the other then does not: `a < b` and `a >= b`, `x` and `not x`."""
    one, other = tree.code(first), tree.code(second)
    if other == f"not {one}" or one == f"not {other}":
        return True
    if not isinstance(first, cst.Comparison) or not isinstance(second, cst.Comparison):
        return False
    if len(first.comparisons) != 1 or len(second.comparisons) != 1 or tree.code(first.left) != tree.code(second.left):
        return False
    a, b = first.comparisons[0], second.comparisons[0]
    kinds = {type(a.operator), type(b.operator)}
    return tree.code(a.comparator) == tree.code(b.comparator) and any(kinds == set(pair) for pair in _OPPOSITE)
