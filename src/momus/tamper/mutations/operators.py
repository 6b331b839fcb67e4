"""Bugs in arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._shared import integer, is_stringy, shown
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_ARITHMETIC = {
    "+": ("-", "it must be added"),
    "-": ("+", "it must be subtracted"),
    "*": ("+", "it must be multiplied"),
    "/": ("//", "the fraction is lost"),
    "//": ("/", "a whole number is needed"),
    "%": ("//", "the remainder is needed"),
    "**": ("*", "a power is needed"),
}
_BITWISE = {
    "&": ("|", "the bits must be masked"),
    "|": ("&", "the two must be joined"),
    "^": ("|", "equal bits must cancel"),
    "<<": (">>", "the shift goes left"),
    ">>": ("<<", "the shift goes right"),
}
_AUGMENTED = {
    "+=": ("-=", "it must grow"),
    "-=": ("+=", "it must shrink"),
    "*=": ("+=", "it must be multiplied"),
    "/=": ("*=", "it must be divided"),
    "//=": ("/=", "a whole number is needed"),
    "|=": ("&=", "the two must be joined"),
    "&=": ("|=", "it must be masked"),
    "<<=": (">>=", "the shift goes left"),
    ">>=": ("<<=", "the shift goes right"),
    "%=": ("//=", "the remainder is needed"),
}


def _swap(node: cst.BinaryOperation, tree: Tree, table: dict[str, tuple[str, str]]) -> Iterator[Draft]:
    span = tree.span(node.operator)
    operator = tree.source[span.start : span.stop]
    textual = is_stringy(node.left) or is_stringy(node.right) or isinstance(node.left, cst.List | cst.Tuple)
    if operator in table and not (textual or isinstance(node.right, cst.List | cst.Tuple)):
        wrong, why = table[operator]
        text = tree.code(node)
        if len(text) > 60:
            text = f"{operator} {tree.code(node.right)}"
        yield Draft(span, wrong, should_be(text, why), tree.span(node))


@mutation("arithmetic_operator", cst.BinaryOperation)
def arithmetic_operator(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`+` for `-` and the like."""
    yield from _swap(node, tree, _ARITHMETIC)


@mutation("bitwise_operator", cst.BinaryOperation)
def bitwise_operator(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`|` for `&` and the like."""
    yield from _swap(node, tree, _BITWISE)


@mutation("augmented_operator", cst.AugAssign)
def augmented_operator(node: cst.AugAssign, tree: Tree) -> Iterator[Draft]:
    """`-=` for `+=`."""
    span = tree.span(node.operator)
    operator = tree.source[span.start : span.stop]
    if operator in _AUGMENTED and not is_stringy(node.value):
        wrong, why = _AUGMENTED[operator]
        yield Draft(span, wrong, should_be(tree.code(node), why), tree.span(node))


@mutation("accumulation_lost", cst.AugAssign)
def accumulation_lost(node: cst.AugAssign, tree: Tree) -> Iterator[Draft]:
    """`=` for `+=`."""
    why = "earlier values are overwritten"
    yield Draft(tree.span(node.operator), "=", should_be(tree.code(node), why), tree.span(node))


@mutation("modulo_dropped", cst.BinaryOperation)
def modulo_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`x` for `x % m`."""
    if isinstance(node.operator, cst.Modulo) and not is_stringy(node.left):
        yield _left_only(node, tree, "the remainder is not taken")


@mutation("operand_dropped", cst.BinaryOperation)
def operand_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`a` for `a + b`."""
    if integer(node.right) is None and isinstance(node.operator, cst.Add | cst.Subtract | cst.Multiply):
        text = tree.code(node.right)
        yield _left_only(node, tree, f"`{text}` is left out" if len(text) < 25 else "a term is left out")
    elif isinstance(node.operator, cst.FloorDivide | cst.Divide | cst.Multiply):
        yield _left_only(node, tree, "the result is not scaled")


@mutation("operands_swapped", cst.BinaryOperation)
def operands_swapped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`b - a` for `a - b`."""
    simple = cst.Name | cst.Attribute | cst.Subscript | cst.Call | cst.Integer
    left, right = tree.code(node.left), tree.code(node.right)
    ordered = isinstance(node.operator, cst.Subtract | cst.Divide | cst.FloorDivide | cst.Modulo)
    if not ordered or left == right or integer(node.left) is not None:
        return
    if isinstance(node.left, simple) and isinstance(node.right, simple) and not is_stringy(node.left):
        first, second = tree.outer(node.left), tree.outer(node.right)
        middle = tree.source[first.stop : second.start]
        wrong = f"{right}{middle}{left}"
        yield Draft(
            Where(first.start, second.stop),
            wrong,
            should_be(shown(node.left, tree, 60), "the operands are swapped"),
        )


@mutation("parentheses_dropped", cst.BinaryOperation)
def parentheses_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`a + b * c` for `(a + b) * c`."""
    above = tree.parent(node)
    loose = isinstance(node.operator, cst.Add | cst.Subtract)
    tight = isinstance(above, cst.BinaryOperation) and isinstance(
        above.operator, cst.Multiply | cst.Divide | cst.FloorDivide | cst.Modulo | cst.Subtract | cst.Power
    )
    if len(node.lpar) == 1 and loose and tight and not is_stringy(above.left):  # type: ignore[attr-defined]
        if isinstance(above.operator, cst.Subtract) and above.left is node:  # type: ignore[attr-defined]
            return
        inner = tree.span(node)
        if "\n" not in tree.code(node):
            yield Draft(
                tree.outer(node), tree.source[inner.start : inner.stop],
                should_be(tree.code(above), "the sum must come first"), tree.span(above),
            )  # fmt: skip


def _left_only(node: cst.BinaryOperation, tree: Tree, why: str) -> Draft:
    kept = Where(tree.span(node).start, tree.outer(node.left).stop)
    return Draft(Where(kept.stop, tree.span(node).stop), "", should_be(tree.code(node), why), kept)
