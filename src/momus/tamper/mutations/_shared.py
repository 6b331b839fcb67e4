"""What several families need: how much of an expression to show, what is a number, which names look alike."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from momus.tamper.tree import Draft, Tree, Where, should_be

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
_BETWEEN = (cst.Arg, cst.Index, cst.Slice, cst.SubscriptElement, cst.ComparisonTarget, cst.Element)
_TEXT_MAKERS = {
    "join", "str", "repr", "list", "sorted", "format", "strip", "lower", "upper",
    "encode", "decode", "read", "readline",
}  # fmt: skip


def context(node: cst.CSTNode, tree: Tree, limit: int = 40) -> cst.CSTNode:
    """Return the smallest expression around `node` that says something, or `node` itself if that is long."""
    for above in tree.above(node):
        if isinstance(above, _BETWEEN):
            continue
        if isinstance(above, _SHOWN) and len(tree.code(above)) <= limit:
            return above
        break
    return node


def instead(node: cst.CSTNode, wrong: str, tree: Tree, why: str) -> Draft:
    """Put `wrong` in the place of `node`, and show the expression around it."""
    whole = context(node, tree)
    return Draft(tree.span(node), wrong, should_be(tree.code(whole), why), tree.span(whole))


def fits(*texts: str, limit: int = 60) -> str:
    """Return the first text that is short enough to be shown, or else the last."""
    return next((text for text in texts if len(text) <= limit), texts[-1])


def integer(node: cst.CSTNode) -> int | None:
    """Return the value of a decimal integer literal, sign included, or None."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        value = integer(node.expression)
        return None if value is None else -value
    if isinstance(node, cst.Integer) and node.value.isdecimal():
        return int(node.value)
    return None


def is_text_made(node: cst.CSTNode) -> bool:
    """Whether an operand is certainly text or a list, on which most arithmetic fails at once."""
    if isinstance(node, cst.Call):
        return callee(node) in _TEXT_MAKERS
    if isinstance(node, cst.BinaryOperation):
        return is_text_made(node.left) or is_text_made(node.right)
    return isinstance(
        node,
        cst.SimpleString | cst.ConcatenatedString | cst.FormattedString | cst.List | cst.Tuple | cst.ListComp,
    )


def callee(node: cst.Call) -> str:
    """Return the last name of what is called."""
    if isinstance(node.func, cst.Attribute):
        return node.func.attr.value
    return node.func.value if isinstance(node.func, cst.Name) else ""


def root(node: cst.CSTNode) -> str:
    """Return the name an attribute, subscript or call chain starts with, or an empty string."""
    while isinstance(node, cst.Attribute | cst.Subscript | cst.Call):
        node = node.func if isinstance(node, cst.Call) else node.value
    return node.value if isinstance(node, cst.Name) else ""


def assigned_to_itself(node: cst.CSTNode, text: str, tree: Tree) -> bool:
    """Whether putting `text` in the place of `node` would give `x = x`."""
    above = tree.parent(node)
    return isinstance(above, cst.Assign) and any(tree.code(each.target) == text for each in above.targets)


def alike(name: str, known: Sequence[str], count: int) -> list[str]:
    """Return the `count` names most easily written for `name`: of its length, sharing ends and letters."""

    def rank(other: str) -> tuple[int, str]:
        ends = (name[0] == other[0]) + (name[-1] == other[-1])
        brief = len(name) <= 2 and len(other) <= 2
        shared = min(3, len(set(name) & set(other)))
        return -(4 * (len(name) == len(other)) + 4 * brief + 3 * ends + shared), other

    return sorted((other for other in known if other != name), key=rank)[:count]


def keep_right(node: cst.BinaryOperation, tree: Tree, why: str) -> Draft:
    """Leave only the right operand of `node`; parentheses around both stay."""
    whole, right = tree.span(node), tree.outer(node.right)
    text = should_be(tree.source[whole.start : whole.stop], why)
    return Draft(Where(whole.start, right.start), "", text, right)


def cut_after(node: cst.BinaryOperation, tree: Tree, why: str) -> Draft:
    """Leave only the left operand of `node`, without the parentheses around both."""
    whole, left = tree.outer(node), tree.outer(node.left)
    bare = isinstance(node.left, cst.BinaryOperation) and bool(node.lpar)
    kept = tree.span(node) if bare else whole
    text = should_be(tree.source[tree.span(node).start : tree.span(node).stop], why)
    if kept.start == left.start:
        return Draft(Where(left.stop, kept.stop), "", text, left)
    return Draft(kept, tree.code(node.left), text)
