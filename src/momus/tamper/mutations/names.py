"""The wrong variable or attribute, or names in the wrong order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import libcst as cst

from momus.tamper.mutations._equivalent import order_is_ignored
from momus.tamper.mutations._shared import alike, assigned_to_itself, callee, context, fits, instead
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_FIXED = {"self", "cls", "None", "True", "False", "_", "__class__"}
_SYMMETRIC = {"range", "max", "min", "print", "zip", "gcd", "lcm", "set", "isinstance", "issubclass"}


@mutation("wrong_variable", cst.Name)
def wrong_variable(node: cst.Name, tree: Tree) -> Iterator[Draft]:
    """Another variable that is known at this point."""
    name, above = node.value, tree.parent(node)
    if name not in tree.variables(node) or name in _FIXED or tree.is_store(node):
        return
    # A receiver or a function of another type would fail at once; a keyword is not a variable at all.
    if isinstance(above, cst.Attribute | cst.Call | cst.NameItem | cst.Del):
        return
    if isinstance(above, cst.Arg) and above.keyword is node:
        return
    nearby = tree.code(above).replace("[", " ").replace("]", " ").split()
    compared = isinstance(above, cst.Comparison | cst.BinaryOperation | cst.ComparisonTarget)
    for other in alike(name, _known(node, tree), 4 if len(name) <= 2 else 2):
        if (compared and other in nearby) or assigned_to_itself(node, other, tree):
            continue  # `x == x` and `x = x` are plain to see
        why = f"`{other}` is the wrong variable" if len(other) <= 12 else "the wrong variable is used"
        yield instead(node, other, tree, why)


@mutation("wrong_target", cst.AugAssign)
def wrong_target(node: cst.AugAssign, tree: Tree) -> Iterator[Draft]:
    """Another variable is updated."""
    target = node.target
    if isinstance(target, cst.Name):
        for other in alike(target.value, _known(target, tree), 1):
            if other != tree.code(node.value):
                why = should_be(tree.code(node), "the wrong variable is updated")
                yield Draft(tree.span(target), other, why, tree.span(node))


@mutation("wrong_attribute", cst.Attribute)
def wrong_attribute(node: cst.Attribute, tree: Tree) -> Iterator[Draft]:
    """Another attribute of the same object."""
    above = tree.parent(node)
    if not isinstance(node.value, cst.Name) or (isinstance(above, cst.Call) and above.func is node):
        return
    name = node.attr.value
    known = [other for other in tree.attributes(node, node.value.value) if _akin(name, other)]
    for other in alike(name, known, 1):
        if other[0].isupper() == name[0].isupper():
            whole = context(node, tree)
            why = should_be(tree.code(whole), "the wrong attribute is used")
            yield Draft(tree.span(node.attr), other, why, tree.span(whole))


@mutation("self_dropped", cst.Attribute)
def self_dropped(node: cst.Attribute, tree: Tree) -> Iterator[Draft]:
    """`x` for `self.x`."""
    name, above = node.attr.value, tree.parent(node)
    if not isinstance(node.value, cst.Name) or node.value.value != "self":
        return
    stored = isinstance(above, cst.AssignTarget)
    if not stored and (name not in tree.variables(node) or assigned_to_itself(node, name, tree)):
        return
    statement = tree.parent(above)
    if isinstance(statement, cst.Assign) and stored and tree.code(statement.value) == name:
        return  # `x = x` is plain to see
    text = fits(tree.code(statement if stored else node), tree.code(node))
    why = "the attribute is never set" if stored else "the local variable is another value"
    start, stop = tree.span(node)
    bare = Where(stop - len(name), stop)
    yield Draft(Where(start, bare.start), "", should_be(text, why), bare)


@mutation("indexes_transposed", cst.Subscript)
def indexes_transposed(node: cst.Subscript, tree: Tree) -> Iterator[Draft]:
    """`a[j][i]` for `a[i][j]`, `a[j, i]` for `a[i, j]`."""
    if len(node.slice) == 2:
        first, second = node.slice[0].slice, node.slice[1].slice
    elif isinstance(node.value, cst.Subscript) and len(node.slice) == len(node.value.slice) == 1:
        first, second = node.value.slice[0].slice, node.slice[0].slice
    else:
        return
    if isinstance(first, cst.Index) and isinstance(second, cst.Index):
        yield from _swapped(first.value, second.value, tree, tree.code(node), "the indexes are swapped")


@mutation("targets_swapped", cst.AssignTarget, cst.For, cst.CompFor)
def targets_swapped(node: cst.AssignTarget | cst.For | cst.CompFor, tree: Tree) -> Iterator[Draft]:
    """`b, a = …` for `a, b = …`."""
    target = node.target
    if not isinstance(target, cst.Tuple) or len(target.elements) > 4:
        return
    if isinstance(node, cst.AssignTarget):
        whole = tree.code(tree.parent(node))
    else:
        whole = f"for {tree.code(target)} in {tree.code(node.iter)}"
    for first, second in pairwise(element.value for element in target.elements):
        named = isinstance(first, cst.Name) and isinstance(second, cst.Name)
        names = (tree.code(first), tree.code(second))
        unused = all(name.startswith("_") for name in names)
        if named and "_" not in names and not unused:
            text = fits(whole, tree.code(target))
            yield from _swapped(first, second, tree, text, "the names are in the wrong order")


@mutation("pair_swapped", cst.Return, cst.Assign, cst.Arg, cst.Yield)
def pair_swapped(node: cst.Return | cst.Assign | cst.Arg | cst.Yield, tree: Tree) -> Iterator[Draft]:
    """`return b, a` for `return a, b`."""
    value = node.value
    if isinstance(value, cst.Tuple) and len(value.elements) == 2:
        first, second = (element.value for element in value.elements)
        unpacked = isinstance(node, cst.Assign) and isinstance(node.targets[0].target, cst.Tuple)
        if not unpacked and not order_is_ignored(node, tree):
            text = fits(tree.code(node) if isinstance(node, cst.Return) else tree.code(value), tree.code(value))
            yield from _swapped(first, second, tree, text, "the values are in the wrong order")


@mutation("arguments_swapped", cst.Call)
def arguments_swapped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`f(b, a)` for `f(a, b)`."""
    free = [arg for arg in node.args if not arg.star and not arg.keyword]
    if len(free) in (2, 3) and len(free) == len(node.args) and callee(node) not in _SYMMETRIC:
        first, second = free[-2].value, free[-1].value
        text = fits(tree.code(node), f"{tree.code(first)}, {tree.code(second)}")
        yield from _swapped(first, second, tree, text, "the arguments are swapped")


def _known(node: cst.Name, tree: Tree) -> list[str]:
    """Return the variables bound on earlier lines."""
    line = tree.line_start(tree.span(node).start)
    return [name for name, first in tree.variables(node).items() if first < line and name not in _FIXED]


def _akin(name: str, other: str) -> bool:
    """Whether two attributes begin or end alike, or are both short."""
    name, other = name.strip("_"), other.strip("_")
    return name[:3] == other[:3] or name[-3:] == other[-3:] or len(name) == len(other) or len(name + other) <= 6


def _swapped(first: cst.BaseExpression, second: cst.BaseExpression, tree: Tree, text: str, why: str) -> Iterator[Draft]:
    """Exchange the text of two expressions, if that makes a difference."""
    left, right = tree.code(first), tree.code(second)
    if left != right:
        start, stop = tree.outer(first).start, tree.outer(second).stop
        middle = tree.source[tree.outer(first).stop : tree.outer(second).start]
        yield Draft(Where(start, stop), f"{right}{middle}{left}", should_be(text, why))
