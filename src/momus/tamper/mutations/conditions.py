"""Bugs in tests: comparisons, negations and clauses."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._equivalent import (
    is_never_false,
    is_seldom_met,
    is_subsumed,
    keeps_the_extreme,
    meets_in_the_middle,
)
from momus.tamper.mutations._no_effect import equal_is_done, is_cache, only_looks
from momus.tamper.mutations._shared import fits
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_BOUNDARY = {
    "<": ("<=", "the equal case is wrongly included"),
    ">": (">=", "the equal case is wrongly included"),
    "<=": ("<", "the equal case is missed"),
    ">=": (">", "the equal case is missed"),
}
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _compared(node: cst.Comparison, tree: Tree) -> Iterator[tuple[str, Where, str]]:
    """Yield each operator of a comparison, its place, and the text of the comparison it makes."""
    left = node.left
    for target in node.comparisons:
        span = tree.span(target.operator)
        text = tree.source[tree.outer(left).start : tree.outer(target.comparator).stop]
        if len(text) > 60:
            text = f"{tree.source[span.start : span.stop]} {tree.code(target.comparator)}"
        yield tree.source[span.start : span.stop], span, text
        left = target.comparator


def _operator(node: cst.Comparison, tree: Tree, table: dict[str, str], why: str) -> Iterator[Draft]:
    for operator, span, text in _compared(node, tree):
        if operator in table:
            yield Draft(span, table[operator], should_be(text, why), tree.span(node))


@mutation("comparison_boundary", cst.Comparison)
def comparison_boundary(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`<` for `<=` and the like."""
    if keeps_the_extreme(node, tree) or meets_in_the_middle(node, tree) or is_seldom_met(node):
        return
    if equal_is_done(node, tree):
        return
    for operator, span, text in _compared(node, tree):
        if operator in _BOUNDARY:
            wrong, why = _BOUNDARY[operator]
            yield Draft(span, wrong, should_be(text, why), tree.span(node))


@mutation("comparison_flipped", cst.Comparison)
def comparison_flipped(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`<` for `>`."""
    yield from _operator(node, tree, _FLIPPED, "the comparison is backwards")


@mutation("comparison_negated", cst.Comparison)
def comparison_negated(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`>=` for `<`."""
    table = {"<": ">=", ">": "<=", "<=": ">", ">=": "<"}
    yield from _operator(node, tree, table, "the test is inverted")


@mutation("comparison_dropped", cst.Comparison)
def comparison_dropped(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`a and b` for `a and b == 1`."""
    equal = len(node.comparisons) == 1 and isinstance(node.comparisons[0].operator, cst.Equal)
    if equal and isinstance(tree.parent(node), cst.BooleanOperation):
        left, whole = tree.outer(node.left), tree.span(node)
        why = should_be(tree.code(node), "nothing is compared")
        yield Draft(Where(left.stop, whole.stop), "", why, left)


@mutation("equality_inverted", cst.Comparison)
def equality_inverted(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`==` for `!=`."""
    yield from _operator(node, tree, {"==": "!=", "!=": "=="}, "the test is inverted")


@mutation("identity_inverted", cst.Comparison)
def identity_inverted(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`is` for `is not`."""
    yield from _operator(node, tree, {"is": "is not", "is not": "is"}, "the test is inverted")


@mutation("membership_inverted", cst.Comparison)
def membership_inverted(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`in` for `not in`."""
    yield from _operator(node, tree, {"in": "not in", "not in": "in"}, "the test is inverted")


@mutation("none_test_loose", cst.Comparison)
def none_test_loose(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """Truth instead of a test for None, so that zero and empty values take the wrong branch."""
    target = node.comparisons[0]
    tested = isinstance(target.operator, cst.Is | cst.IsNot) and tree.code(target.comparator) == "None"
    above = tree.parent(node)
    if not tested or len(node.comparisons) != 1 or (isinstance(above, cst.If) and is_cache(above, tree)):
        return
    if isinstance(node.left, cst.Name | cst.Attribute) and not is_never_false(node.left, tree):
        left = tree.code(node.left)
        wrong = left if isinstance(target.operator, cst.IsNot) else f"not {left}"
        yield Draft(tree.span(node), wrong, should_be(tree.code(node), "0 and empty values are not None"))


@mutation("not_dropped", cst.UnaryOperation)
def not_dropped(node: cst.UnaryOperation, tree: Tree) -> Iterator[Draft]:
    """`x` for `not x`."""
    above = tree.parent(node)
    if isinstance(node.operator, cst.Not) and not (isinstance(above, cst.If) and only_looks(above)):
        kept = tree.outer(node.expression)
        cut = Where(tree.span(node).start, kept.start)
        yield Draft(cut, "", should_be(tree.code(node), "the condition is inverted"), kept)


@mutation("not_added", cst.If, cst.While, cst.IfExp, cst.CompIf)
def not_added(node: cst.If | cst.While | cst.IfExp | cst.CompIf, tree: Tree) -> Iterator[Draft]:
    """`if not x` for `if x`."""
    test = node.test
    if isinstance(test, cst.Name | cst.Attribute | cst.Call | cst.Subscript) and not test.lpar:
        text = tree.code(test)
        word = "while" if isinstance(node, cst.While) else "if"
        yield Draft(tree.outer(test), f"not {text}", should_be(f"{word} {text}", "the condition is inverted"))


@mutation("and_or_swapped", cst.BooleanOperation)
def and_or_swapped(node: cst.BooleanOperation, tree: Tree) -> Iterator[Draft]:
    """`or` for `and`."""
    both = isinstance(node.operator, cst.And)
    word, wrong = ("and", "or") if both else ("or", "and")
    why = "both must hold" if both else "either is enough"
    text = fits(tree.code(node), f"{word} {tree.code(node.right)}")
    yield Draft(tree.span(node.operator), wrong, should_be(text, why), tree.span(node))


@mutation("clause_dropped", cst.BooleanOperation)
def clause_dropped(node: cst.BooleanOperation, tree: Tree) -> Iterator[Draft]:
    """`a` or `b` for `a and b`."""
    left, right, whole = tree.outer(node.left), tree.outer(node.right), tree.span(node)
    either = isinstance(node.operator, cst.Or)
    word = "or" if either else "and"
    first, second = tree.code(node.left), tree.code(node.right)
    drop_right = (Where(left.stop, whole.stop), left, second, f"{word} {second}")
    drop_left = (Where(whole.start, right.start), right, first, f"{first} {word}")
    for (cut, kept, lost, short), clause, other in (
        (drop_right, node.right, node.left),
        (drop_left, node.left, node.right),
    ):
        if is_subsumed(clause, other, either, tree):
            continue
        why = f"`{lost}` is not checked" if len(lost) < 25 else "a check is missing"
        yield Draft(cut, "", should_be(fits(tree.code(node), short), why), kept)


@mutation("chain_shortened", cst.Comparison)
def chain_shortened(node: cst.Comparison, tree: Tree) -> Iterator[Draft]:
    """`a < b` for `a < b < c`."""
    if len(node.comparisons) == 2:
        whole, middle = tree.span(node), tree.outer(node.comparisons[0].comparator)
        why = should_be(tree.code(node), "one bound is not checked")
        yield Draft(Where(middle.stop, whole.stop), "", why, Where(whole.start, middle.stop))
        yield Draft(Where(whole.start, middle.start), "", why, Where(middle.start, whole.stop))


@mutation("quantifier_swapped", cst.Call)
def quantifier_swapped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`any` for `all`."""
    if isinstance(node.func, cst.Name) and node.func.value in ("any", "all") and len(node.args) == 1:
        name = node.func.value
        wrong, why = ("all", "one is enough") if name == "any" else ("any", "every one must hold")
        text = fits(tree.code(node), f"{name}(...)")
        yield Draft(tree.span(node.func), wrong, should_be(text, why), tree.span(node))
