"""The wrong variable, attribute, order of names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from momus.tamper.mutations._shared import place, shown
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_FIXED = {"self", "cls", "None", "True", "False", "_", "__class__", "print", "super"}
_TARGETS = cst.AssignTarget | cst.For | cst.CompFor


def _alike(name: str, other: str) -> int:
    """Rate how easily one name is written for another: same length and shared letters first."""
    shared = len(set(name) & set(other))
    same_length = len(name) == len(other)
    shortish = len(name) <= 2 and len(other) <= 2
    ends = (name[0] == other[0]) + (name[-1] == other[-1])
    return 4 * same_length + 4 * shortish + 3 * ends + min(shared, 3)


def _candidates(name: str, known: Sequence[str], count: int) -> list[str]:
    others = [other for other in known if other != name and other not in _FIXED]
    return sorted(others, key=lambda other: (-_alike(name, other), other))[:count]


@mutation("wrong_variable", cst.Name)
def wrong_variable(node: cst.Name, tree: Tree) -> Iterator[Draft]:
    """Another variable that is known at this point."""
    name, above = node.value, tree.parent(node)
    variables = tree.variables(node)
    if name not in variables or name in _FIXED or tree.is_store(node):
        return
    if isinstance(above, cst.Attribute | cst.Call) or (isinstance(above, cst.Arg) and above.keyword is node):
        # A receiver or a function of another type would fail at once; the keyword is not a variable at all.
        return
    if isinstance(above, cst.NameItem | cst.Del):
        return
    start = tree.span(node).start
    known = [other for other, first in variables.items() if first < tree.line_start(start)]
    text, where = shown(node, tree), place(node, tree)
    whole = tree.code(tree.parent(node))
    for other in _candidates(name, known, 2):
        if (
            isinstance(above, cst.Comparison | cst.BinaryOperation | cst.ComparisonTarget)
            and other in whole.split()
        ):
            continue  # `x == x`
        why = f"`{other}` is the wrong variable" if len(other) <= 12 else "the wrong variable is used"
        yield Draft(tree.span(node), other, should_be(text, why), where)


@mutation("wrong_attribute", cst.Attribute)
def wrong_attribute(node: cst.Attribute, tree: Tree) -> Iterator[Draft]:
    """Another attribute of the same object."""
    above = tree.parent(node)
    if not isinstance(node.value, cst.Name) or (isinstance(above, cst.Call) and above.func is node):
        return
    name = node.attr.value
    known = tree.attributes.get(node.value.value, [])
    for other in _candidates(name, known, 1):
        if other[0].isupper() == name[0].isupper():
            text = shown(node, tree)
            yield Draft(
                tree.span(node.attr), other, should_be(text, "the wrong attribute is used"), place(node, tree)
            )


@mutation("self_dropped", cst.Attribute)
def self_dropped(node: cst.Attribute, tree: Tree) -> Iterator[Draft]:
    """`x` for `self.x`."""
    if isinstance(node.value, cst.Name) and node.value.value == "self":
        name = node.attr.value
        stored = isinstance(tree.parent(node), cst.AssignTarget)
        if stored or name in tree.variables(node):
            start, stop = tree.span(node)
            why = "the attribute is never set" if stored else "the local variable is another value"
            above = tree.parent(tree.parent(node)) if stored else node
            assigned = tree.code(above)
            if stored and assigned.split("=")[-1].strip() == name:
                return  # `x = x` would be plain to see
            text = assigned if len(assigned) <= 40 else tree.code(node)
            cut = Where(start, stop - len(name))
            yield Draft(cut, "", should_be(text, why), Where(stop - len(name), stop))


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
        draft = _swapped(
            first.value,
            second.value,
            tree,
            shown(node, tree) if len(tree.code(node)) > 60 else tree.code(node),
            "the indexes are swapped",
        )
        yield from draft


@mutation("targets_swapped", cst.AssignTarget, cst.For, cst.CompFor)
def targets_swapped(node: cst.AssignTarget | cst.For | cst.CompFor, tree: Tree) -> Iterator[Draft]:
    """`b, a = …` for `a, b = …`."""
    target = node.target
    if isinstance(target, cst.Tuple) and len(target.elements) == 2:
        first, second = (element.value for element in target.elements)
        if isinstance(first, cst.Name) and isinstance(second, cst.Name):
            if "_" in (first.value, second.value):
                return
            whole = tree.parent(node) if isinstance(node, cst.AssignTarget) else node
            text = tree.code(target)
            if isinstance(node, cst.For | cst.CompFor):
                text = f"for {text} in {tree.code(node.iter)}"
            elif len(tree.code(whole)) <= 60:
                text = tree.code(whole)
            text = text if len(text) <= 60 else tree.code(target)
            yield from _swapped(first, second, tree, text, "the names are in the wrong order")


@mutation("pair_swapped", cst.Return, cst.Assign, cst.Arg, cst.Yield)
def pair_swapped(node: cst.Return | cst.Assign | cst.Arg | cst.Yield, tree: Tree) -> Iterator[Draft]:
    """`return b, a` for `return a, b`."""
    value = node.value
    if isinstance(value, cst.Tuple) and len(value.elements) == 2:
        first, second = (element.value for element in value.elements)
        text = tree.code(node) if isinstance(node, cst.Return) else tree.code(value)
        text = text if len(text) <= 60 else tree.code(value)
        yield from _swapped(first, second, tree, text, "the values are in the wrong order")


@mutation("arguments_swapped", cst.Call)
def arguments_swapped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`f(b, a)` for `f(a, b)`."""
    free = [arg for arg in node.args if not arg.star and not arg.keyword]
    if isinstance(node.func, cst.Name) and node.func.value in (
        "range",
        "max",
        "min",
        "print",
        "zip",
        "gcd",
        "set",
    ):
        return
    if len(free) in (2, 3) and not isinstance(free[0].value, cst.GeneratorExp | cst.Lambda):
        first, second = free[-2].value, free[-1].value
        text = tree.code(node)
        text = text if len(text) <= 60 else f"{tree.code(first)}, {tree.code(second)}"
        yield from _swapped(first, second, tree, text, "the arguments are swapped")


def _swapped(
    first: cst.BaseExpression, second: cst.BaseExpression, tree: Tree, text: str, why: str
) -> Iterator[Draft]:
    """Swap the text of two expressions, if that makes a difference."""
    left, right = tree.code(first), tree.code(second)
    if left != right:
        start, stop = tree.outer(first).start, tree.outer(second).stop
        middle = tree.source[tree.outer(first).stop : tree.outer(second).start]
        yield Draft(Where(start, stop), f"{right}{middle}{left}", should_be(text, why))
