"""What several families need: how much of an expression to show, and what counts as a number."""

from __future__ import annotations

import libcst as cst

from momus.tamper.tree import Tree, Where

_SHOWN = (
    cst.BinaryOperation,
    cst.Comparison,
    cst.Attribute,
    cst.Subscript,
    cst.Call,
    cst.UnaryOperation,
    cst.AugAssign,
    cst.Return,
)
_BETWEEN = (
    cst.Arg, cst.Index, cst.Slice, cst.SubscriptElement, cst.ComparisonTarget, cst.Element,
)  # fmt: skip


def context(node: cst.CSTNode, tree: Tree, limit: int = 40) -> cst.CSTNode:
    """Return the smallest expression around `node` that says something, or `node` itself if that is long."""
    for other in tree.above(node):
        if isinstance(other, _BETWEEN):
            continue
        if isinstance(other, _SHOWN) and len(tree.code(other)) <= limit:
            return other
        break
    return node


def shown(node: cst.CSTNode, tree: Tree, limit: int = 40) -> str:
    """Return the text of `context`."""
    return tree.code(context(node, tree, limit))


def place(node: cst.CSTNode, tree: Tree) -> Where:
    """Return the characters of `context`, which is what to highlight."""
    return tree.span(context(node, tree))


def integer(node: cst.CSTNode) -> int | None:
    """Return the value of a decimal integer literal, sign included, or None."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        value = integer(node.expression)
        return None if value is None else -value
    if isinstance(node, cst.Integer) and node.value.isdecimal():
        return int(node.value)
    return None


def is_stringy(node: cst.CSTNode) -> bool:
    """Whether `node` is certainly text."""
    return isinstance(node, cst.SimpleString | cst.ConcatenatedString | cst.FormattedString)


def root(node: cst.CSTNode) -> str:
    """Return the name an attribute, subscript or call chain starts with, or an empty string."""
    while isinstance(node, cst.Attribute | cst.Subscript | cst.Call):
        node = node.func if isinstance(node, cst.Call) else node.value
    return node.value if isinstance(node, cst.Name) else ""
