"""Bugs in loops and in the ways out of them."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._lines import LEAVES, head, removed, small
from momus.tamper.mutations._no_effect import follows, goes_there_anyway, returned
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be


@mutation("break_continue", cst.Break, cst.Continue)
def break_continue(node: cst.Break | cst.Continue, tree: Tree) -> Iterator[Draft]:
    """`break` for `continue`."""
    if isinstance(node, cst.Continue):
        yield Draft(tree.span(node), "break", should_be("continue", "later items are never reached"))
    elif isinstance(_loop(node, tree), cst.For):
        yield Draft(tree.span(node), "continue", should_be("break", "the loop must stop here"))


@mutation("jump_to_return", cst.Break, cst.Continue)
def jump_to_return(node: cst.Break | cst.Continue, tree: Tree) -> Iterator[Draft]:
    """`return` for `break` or `continue`."""
    if isinstance(tree.scope(node), cst.FunctionDef):
        if isinstance(node, cst.Continue):
            yield Draft(tree.span(node), "return", should_be("continue", "only this item is skipped"))
        elif (loop := _loop(node, tree)) is not None and tree.siblings(loop)[-1] is not loop:
            if follows(loop, tree) == "None":
                return
            yield Draft(tree.span(node), "return", should_be("break", "the code after the loop must run"))


@mutation("return_to_jump", cst.Return)
def return_to_jump(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """`break` or `continue` for `return` in a loop."""
    loop = _loop(node, tree)
    if loop is not None and isinstance(tree.parent(tree.parent(tree.parent(node))), cst.If):
        if follows(loop, tree) != returned(node, tree):
            yield Draft(tree.span(node), "break", should_be(tree.code(node), "the function must end here"))
        if isinstance(loop, cst.For):
            yield Draft(tree.span(node), "continue", should_be(tree.code(node), "the search is over here"))


@mutation("jump_removed", cst.SimpleStatementLine)
def jump_removed(node: cst.SimpleStatementLine, tree: Tree) -> Iterator[Draft]:
    """A `break`, `continue`, `raise` or `return` at the end of a branch is gone."""
    inside = isinstance(tree.parent(tree.parent(node)), cst.If | cst.ExceptHandler)
    siblings = tree.siblings(node)
    if isinstance(small(node), LEAVES) and inside and siblings[-1] is node and not goes_there_anyway(node, tree):
        draft = removed(node, tree, "it goes on with what follows")
        if draft:
            yield draft


@mutation("while_to_if", cst.While)
def while_to_if(node: cst.While, tree: Tree) -> Iterator[Draft]:
    """`if` for `while`."""
    code = tree.code(node)
    jumps = "break" in code or "continue" in code
    if not jumps and node.orelse is None and tree.code(node.test) not in ("True", "1"):
        start = tree.span(node).start
        why = should_be(head(node, tree), "it must be repeated")
        yield Draft(Where(start, start + len("while")), "if", why, tree.first_line(node))


def _loop(node: cst.CSTNode, tree: Tree) -> cst.For | cst.While | None:
    """Return the loop around a statement, in the same function."""
    for above in tree.above(node):
        if isinstance(above, cst.For | cst.While):
            return above
        if isinstance(above, cst.FunctionDef | cst.ClassDef):
            return None
    return None
