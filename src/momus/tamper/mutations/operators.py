"""Bugs in arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._shared import context, cut_after, fits, integer, is_text_made, keep_right
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


@mutation("arithmetic_operator", cst.BinaryOperation)
def arithmetic_operator(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`+` for `-` and the like."""
    yield from _other_operator(node, tree, _ARITHMETIC)


@mutation("bitwise_operator", cst.BinaryOperation)
def bitwise_operator(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`|` for `&` and the like."""
    yield from _other_operator(node, tree, _BITWISE)


def _other_operator(node: cst.BinaryOperation, tree: Tree, table: dict[str, tuple[str, str]]) -> Iterator[Draft]:
    span = tree.span(node.operator)
    operator = tree.source[span.start : span.stop]
    if operator in table and not is_text_made(node):
        wrong, why = table[operator]
        text = fits(_bare(node, tree), f"{operator} {tree.code(node.right)}")
        yield Draft(span, wrong, should_be(text, why), tree.span(node))


@mutation("augmented_operator", cst.AugAssign)
def augmented_operator(node: cst.AugAssign, tree: Tree) -> Iterator[Draft]:
    """`-=` for `+=`."""
    span = tree.span(node.operator)
    operator = tree.source[span.start : span.stop]
    if operator in _AUGMENTED and not is_text_made(node.value):
        wrong, why = _AUGMENTED[operator]
        yield Draft(span, wrong, should_be(tree.code(node), why), tree.span(node))


@mutation("accumulation_lost", cst.AugAssign)
def accumulation_lost(node: cst.AugAssign, tree: Tree) -> Iterator[Draft]:
    """`=` for `+=`."""
    if tree.code(node.target) != tree.code(node.value):
        why = should_be(tree.code(node), "earlier values are overwritten")
        yield Draft(tree.span(node.operator), "=", why, tree.span(node))


@mutation("modulo_dropped", cst.BinaryOperation)
def modulo_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`x` for `x % m`."""
    if isinstance(node.operator, cst.Modulo) and not is_text_made(node):
        yield cut_after(node, tree, "the remainder is not taken")


@mutation("operand_dropped", cst.BinaryOperation)
def operand_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`a` for `a + b`, `a * b` or `a // b`."""
    if isinstance(node.operator, cst.FloorDivide | cst.Divide | cst.Multiply):
        yield cut_after(node, tree, "the result is not scaled")
        if isinstance(node.operator, cst.Multiply) and not is_text_made(node.left):
            yield keep_right(node, tree, "a factor is left out")
    elif isinstance(node.operator, cst.Add | cst.Subtract) and integer(node.right) is None:
        text = tree.code(node.right)
        yield cut_after(node, tree, f"`{text}` is left out" if len(text) < 25 else "a term is left out")
        text = tree.code(node.left)
        if isinstance(node.operator, cst.Add):
            yield keep_right(node, tree, f"`{text}` is left out" if len(text) < 25 else "a term is left out")


@mutation("operands_swapped", cst.BinaryOperation)
def operands_swapped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`b - a` for `a - b`."""
    simple = cst.Name | cst.Attribute | cst.Subscript | cst.Call
    ordered = isinstance(node.operator, cst.Subtract | cst.Divide | cst.FloorDivide | cst.Modulo)
    if ordered and isinstance(node.left, simple) and isinstance(node.right, simple) and not is_text_made(node):
        first, second = tree.outer(node.left), tree.outer(node.right)
        left, right = tree.code(node.left), tree.code(node.right)
        if left != right:
            middle = tree.source[first.stop : second.start]
            why = should_be(_bare(node, tree), "the operands are swapped")
            yield Draft(Where(first.start, second.stop), f"{right}{middle}{left}", why)


@mutation("parentheses_dropped", cst.BinaryOperation)
def parentheses_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`a + b * c` for `(a + b) * c`."""
    above = tree.parent(node)
    if len(node.lpar) != 1 or not isinstance(node.operator, cst.Add | cst.Subtract):
        return
    if not isinstance(above, cst.BinaryOperation) or is_text_made(above) or "\n" in tree.code(node):
        return
    right_of_minus = isinstance(above.operator, cst.Subtract) and above.right is node
    tight = cst.Multiply | cst.Divide | cst.FloorDivide | cst.Modulo | cst.Power
    if right_of_minus or isinstance(above.operator, tight):
        text = fits(_bare(above, tree), tree.code(node))
        whole = tree.span(context(node, tree, 60))
        yield Draft(tree.outer(node), _bare(node, tree), should_be(text, "the sum must be made first"), whole)


def _bare(node: cst.BinaryOperation, tree: Tree) -> str:
    """Return the text of an operation without the parentheses around it."""
    start, stop = tree.span(node)
    return tree.source[start:stop]
