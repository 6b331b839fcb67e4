"""Bugs in branches: guards and clauses that are lost, added or exchanged."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._lines import block, ends, head, headline, lines, moved, removed, small
from momus.tamper.mutations._no_effect import are_opposite, goes_there_anyway, is_cache, only_looks
from momus.tamper.mutations._shared import fits
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, missing, should_be

_LOST_GUARD = {
    cst.Return: "this case is not handled",
    cst.Raise: "bad input is not refused",
    cst.Continue: "these items are not skipped",
    cst.Break: "the loop does not stop",
}


@mutation("guard_removed", cst.If)
def guard_removed(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """A whole `if …: return/raise/continue/break` is gone."""
    if node.orelse is None and ends(node.body) and not _is_elif(node, tree):
        last = node.body.body[-1]
        jump = last.body[-1] if isinstance(last, cst.SimpleStatementLine) else last
        if isinstance(jump, cst.Break) and _is_only_way_out(node, tree):
            return
        if len(node.body.body) == 1 and goes_there_anyway(node, tree):
            return
        draft = removed(node, tree, _LOST_GUARD.get(type(jump), "this case is not handled"))
        if draft:
            yield draft


@mutation("if_removed", cst.If)
def if_removed(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """A whole `if` that does some work is gone."""
    short = tree.code(node).count("\n") <= 6
    if node.orelse is None and not ends(node.body) and not _is_elif(node, tree) and short and not only_looks(node):
        draft = removed(node, tree, "this case is not handled")
        if draft:
            yield draft


@mutation("condition_removed", cst.If)
def condition_removed(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The `if` is gone and its body always runs."""
    if node.orelse is not None or is_cache(node, tree) or only_looks(node):
        return
    if not ends(node.body) and not _is_elif(node, tree):
        yield from _unwrapped(node, tree, "this must not always run")


@mutation("with_removed", cst.With)
def with_removed(node: cst.With, tree: Tree) -> Iterator[Draft]:
    """The body runs without the lock or the like."""
    if len(node.items) == 1 and node.items[0].asname is None:
        yield from _unwrapped(node, tree, "it is not protected")


def _unwrapped(node: cst.If | cst.With, tree: Tree, why: str) -> Iterator[Draft]:
    """Put the body of a block in the place of the block."""
    body = block(node.body)
    text = moved(body, tree.indentation(node), tree) if body else None
    if text is not None:
        span = Where(tree.line_start(tree.span(node).start), lines(body[-1], tree).stop)
        yield Draft(span, text, missing(head(node, tree), "before this", why))


@mutation("else_dropped", cst.If)
def else_dropped(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The last `else` is gone."""
    orelse = node.orelse
    if isinstance(orelse, cst.Else) and not ends(node.body) and block(orelse.body) and block(node.body):
        if isinstance(small(block(orelse.body)[0]), cst.Pass):
            return
        text = f"else: {headline(block(orelse.body)[0], tree)}"
        why = missing(text, "after this", "the other case is not handled")
        yield Draft(tree.outer(orelse), "", why, tree.first_line(block(node.body)[-1]))


@mutation("elif_dropped", cst.If)
def elif_dropped(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """One `elif` branch is gone."""
    other = node.orelse
    if isinstance(other, cst.If) and block(other.body) and block(node.body):
        start, stop = tree.outer(other)
        if other.orelse is not None:
            stop = tree.outer(other.orelse).start
        why = missing(f"elif {tree.code(other.test)}:", "after this", "this case is not handled")
        yield Draft(Where(start, stop), "", why, tree.first_line(block(node.body)[-1]))


@mutation("elif_to_if", cst.If)
def elif_to_if(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """`if` for `elif`, so that two branches may run."""
    above = tree.parent(node)
    if not isinstance(above, cst.If) or ends(above.body):
        return
    if node.orelse is not None or not _exclusive(above.test, node.test, tree):
        start = tree.span(node).start
        why = should_be(f"elif {tree.code(node.test)}:", "both branches may run")
        yield Draft(Where(start, start + len("elif")), "if", why, tree.first_line(node))


@mutation("elif_to_else", cst.If)
def elif_to_else(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """`else` for the last `elif`, whose condition is forgotten."""
    if _is_elif(node, tree) and node.orelse is None and block(node.body):
        start, stop = tree.span(node).start, tree.outer(node.test).stop
        why = should_be(f"elif {tree.code(node.test)}:", "not every other case belongs here")
        above = tree.parent(node)
        opposite = isinstance(above, cst.If) and not _is_elif(above, tree) and are_opposite(above.test, node.test, tree)
        if "\n" not in tree.source[start:stop] and not opposite:
            yield Draft(Where(start, stop), "else", why, tree.first_line(node))


@mutation("if_to_elif", cst.If)
def if_to_elif(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """`elif` for a second `if`, so that only one branch runs."""
    siblings = tree.siblings(node)
    number = siblings.index(node) if node in siblings else 0
    above = siblings[number - 1] if number else None
    if isinstance(above, cst.If) and not ends(above.body) and above.orelse is None:
        start = tree.span(node).start
        touching = tree.line_start(start) == tree.outer(above).stop
        if touching and not _exclusive(above.test, node.test, tree):
            why = should_be(f"if {tree.code(node.test)}:", "both tests must be made")
            yield Draft(Where(start, start + len("if")), "elif", why, tree.first_line(node))


@mutation("else_unindented", cst.If)
def else_unindented(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The body of `else` runs in both cases."""
    orelse = node.orelse
    if isinstance(orelse, cst.Else) and not ends(node.body) and not ends(orelse.body):
        body = block(orelse.body)
        start = tree.span(orelse).start
        indent = tree.source[tree.line_start(start) : start]
        text = moved(body, indent, tree) if body else None
        if text is not None:
            span = Where(tree.outer(orelse).start, lines(body[-1], tree).stop)
            yield Draft(span, text, missing("else:", "before this", "it runs in both cases"))


@mutation("branches_swapped", cst.If)
def branches_swapped(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The bodies of `if` and `else` are exchanged."""
    if not isinstance(node.orelse, cst.Else) or _is_elif(node, tree):
        return
    first, second = block(node.body), block(node.orelse.body)
    if first and second and not any(isinstance(small(each), cst.Pass) for each in first + second):
        one = Where(lines(first[0], tree).start, lines(first[-1], tree).stop)
        two = Where(lines(second[0], tree).start, lines(second[-1], tree).stop)
        upper, lower = tree.source[one.start : one.stop], tree.source[two.start : two.stop]
        aligned = tree.indentation(first[0]) == tree.indentation(second[0])
        if aligned and upper != lower and len(upper) + len(lower) < 600:
            middle = tree.source[one.stop : two.start]
            why = should_be(headline(first[0], tree), "the branches are swapped")
            yield Draft(Where(one.start, two.stop), f"{lower}{middle}{upper}", why)


@mutation("choices_swapped", cst.IfExp)
def choices_swapped(node: cst.IfExp, tree: Tree) -> Iterator[Draft]:
    """`b if c else a` for `a if c else b`."""
    first, second = tree.outer(node.body), tree.outer(node.orelse)
    one, two = tree.code(node.body), tree.code(node.orelse)
    if one != two and not isinstance(node.orelse, cst.IfExp):
        middle = tree.source[first.stop : second.start]
        text = fits(tree.code(node), f"{one} if {tree.code(node.test)}", f"{one} if ...")
        why = should_be(text, "the choices are swapped")
        yield Draft(Where(first.start, second.stop), f"{two}{middle}{one}", why)


@mutation("finally_dropped", cst.Try)
def finally_dropped(node: cst.Try, tree: Tree) -> Iterator[Draft]:
    """The clean-up after `try` is gone."""
    final = node.finalbody
    if final is not None and node.handlers and block(final.body) and block(node.handlers[-1].body):
        text = f"finally: {headline(block(final.body)[0], tree)}"
        where = tree.first_line(block(node.handlers[-1].body)[-1])
        yield Draft(tree.outer(final), "", missing(text, "after this", "it is not cleaned up"), where)


@mutation("handler_dropped", cst.Try)
def handler_dropped(node: cst.Try, tree: Tree) -> Iterator[Draft]:
    """One of several `except` clauses is gone."""
    for above, handler in zip(node.handlers, node.handlers[1:], strict=False):
        if handler.type is not None and block(handler.body) and block(above.body):
            text = f"except {tree.code(handler.type)}:"
            where = tree.first_line(block(above.body)[-1])
            why = missing(text, "after this", "this exception is not caught")
            yield Draft(tree.outer(handler), "", why, where)


def _is_elif(node: cst.If, tree: Tree) -> bool:
    return isinstance(tree.parent(node), cst.If)


def _is_only_way_out(node: cst.CSTNode, tree: Tree) -> bool:
    loop = next((above for above in tree.above(node) if isinstance(above, cst.For | cst.While)), None)
    return isinstance(loop, cst.While) and tree.code(loop.test) in ("True", "1")


def _exclusive(first: cst.BaseExpression, second: cst.BaseExpression, tree: Tree) -> bool:
    """Whether two tests probably never hold together: the same thing is compared or examined twice."""
    if isinstance(first, cst.Comparison) and isinstance(second, cst.Comparison):
        return tree.code(first.left) == tree.code(second.left)
    if isinstance(first, cst.Call) and isinstance(second, cst.Call):
        return tree.code(first.func) == tree.code(second.func)
    return False
