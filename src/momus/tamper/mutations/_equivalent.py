"""Changes that change nothing: where a mutation would give other code that does the same, and so no bug."""

from __future__ import annotations

import re

import libcst as cst

from momus.tamper.mutations._shared import callee
from momus.tamper.tree import Tree

_ANY_ORDER = {
    "isinstance", "issubclass", "startswith", "endswith", "set", "frozenset", "sum", "min", "max", "any", "all",
    "sorted", "Counter",
}  # fmt: skip
"""What takes a tuple whose order does not matter."""

_CONSUMERS = {
    "sorted", "set", "frozenset", "sum", "min", "max", "any", "all", "list", "tuple", "join", "enumerate", "dict",
    "map", "filter", "Counter", "extend", "update", "zip", "deque", "iter",
}  # fmt: skip
"""What goes through an iterable once, so that it need not be a list, a tuple or an iterator before."""

_NEVER_EMPTY = {"match", "search", "fullmatch", "compile", "finditer", "open", "popen", "Lock", "getLogger"}
"""Calls whose result is never false but when it is None."""

_CALLABLES = {"key", "func", "function", "fn", "callback", "predicate", "handler", "hook", "cmp", "factory", "cls"}
"""Names of parameters that are functions or classes, which are never false."""

_DEFAULTS = {"None", "False", "0", "1", "''", '""', "'r'", '"r"', "'strict'", '"strict"', "'utf-8'", '"utf-8"'}
"""Values that an optional argument mostly has when it is left out."""


def order_is_ignored(node: cst.CSTNode, tree: Tree) -> bool:
    """Whether a tuple is an argument of something that does not look at its order."""
    above = tree.parent(node)
    return isinstance(node, cst.Arg) and isinstance(above, cst.Call) and callee(above) in _ANY_ORDER


def is_consumed(node: cst.CSTNode, tree: Tree) -> bool:
    """Whether an iterable is only gone through: by a function, or by a loop whose body does not mention it."""
    above = tree.parent(node)
    if isinstance(above, cst.Arg):
        call = tree.parent(above)
        return isinstance(call, cst.Call) and call.args[0] is above and callee(call) in _CONSUMERS
    if isinstance(above, cst.CompFor):
        return True
    if isinstance(above, cst.For) and above.iter is node and isinstance(node, cst.Call):
        names = {part.value for part in _names(node.args[0].value if node.args else node.func)}
        return not names & {part.value for part in _names(above.body)}
    return False


def is_tested(node: cst.CSTNode, tree: Tree) -> bool:
    """Whether only the truth of an expression counts."""
    above = tree.parent(node)
    while isinstance(above, cst.BooleanOperation):
        node, above = above, tree.parent(above)
    tests = cst.If | cst.While | cst.IfExp | cst.Assert | cst.CompIf
    return (isinstance(above, tests) and above.test is node) or (
        isinstance(above, cst.UnaryOperation) and isinstance(above.operator, cst.Not)
    )


def is_formatted(node: cst.CSTNode, tree: Tree) -> bool:
    """Whether an expression is written as text anyway."""
    above = tree.parent(node)
    if isinstance(above, cst.FormattedStringExpression):
        return above.conversion is None
    call = tree.parent(above)
    return isinstance(above, cst.Arg) and isinstance(call, cst.Call) and callee(call) in ("print", "format", "str")


def is_never_false(node: cst.Name | cst.Attribute, tree: Tree) -> bool:
    """Whether a name's value is true whenever it is not None: a match, a file, a function."""
    name = node.value if isinstance(node, cst.Name) else node.attr.value
    if name.strip("_") in _CALLABLES or name.endswith(("_func", "_function", "_callback", "_factory", "_hook")):
        return True
    return any(
        isinstance(other, cst.Assign | cst.NamedExpr)
        and isinstance(other.value, cst.Call)
        and callee(other.value) in _NEVER_EMPTY
        and tree.code(other.targets[0].target if isinstance(other, cst.Assign) else other.target) == tree.code(node)
        for other in tree.nodes
    )


def keeps_the_extreme(node: cst.Comparison, tree: Tree) -> bool:
    """Whether a comparison only decides which of two equal sides is taken: `if a > b: b = a`, `a if a < b else b`."""
    if len(node.comparisons) != 1:
        return False
    sides = {tree.code(node.left), tree.code(node.comparisons[0].comparator)}
    above = tree.parent(node)
    if isinstance(above, cst.IfExp):
        return {tree.code(above.body), tree.code(above.orelse)} == sides
    if not isinstance(above, cst.If) or above.orelse is not None or not isinstance(above.body, cst.IndentedBlock):
        return False
    (line, *more) = above.body.body
    if more or not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
        return False
    (statement,) = line.body
    if isinstance(statement, cst.Assign) and isinstance(statement.value, cst.Tuple):  # a, b = b, a
        return {tree.code(element.value) for element in statement.value.elements} == sides
    return (
        isinstance(statement, cst.Assign)
        and len(statement.targets) == 1
        and {tree.code(statement.targets[0].target), tree.code(statement.value)} == sides
    )


def meets_in_the_middle(node: cst.Comparison, tree: Tree) -> bool:
    """Whether a loop goes on while two places move towards each other: at the end both are one, and nothing is left."""
    above = tree.parent(node)
    if not isinstance(above, cst.While) or len(node.comparisons) != 1:
        return False
    sides = [tree.code(node.left), tree.code(node.comparisons[0].comparator)]
    body = tree.code(above.body)
    return all(re.search(rf"\b{re.escape(side)} [-+]= 1\b", body) for side in sides)


def is_joined(node: cst.Call, tree: Tree) -> bool:
    """Whether the texts that are appended to a list are only joined: one by one or letter by letter, it is the same."""
    owner = tree.code(node.func.value) if isinstance(node.func, cst.Attribute) else ""
    uses = len(re.findall(rf"\b{re.escape(owner)}\b(?!\.append|\.extend| = \[\])", tree.source))
    return bool(owner) and uses == 1 and re.search(rf"['\"]['\"]\.join\({re.escape(owner)}\)", tree.source) is not None


def is_only_read(node: cst.Call, tree: Tree) -> bool:
    """Whether `list(range(…))` gets a name that is only indexed and gone through, as a range can be."""
    above = tree.parent(node)
    inner = node.args[0].value
    if not isinstance(inner, cst.Call) or callee(inner) != "range" or not isinstance(above, cst.Assign):
        return False
    name = re.escape(tree.code(above.targets[0].target))
    read = rf"\b{name}\[[^\]\n]*\](?! ?[-+*/|&^]*=[^=])|\bin {name}\b|\blen\({name}\)|\b{name} = "
    return len(re.findall(read, tree.source)) == len(re.findall(rf"\b{name}\b", tree.source))


def commute(upper: cst.CSTNode, lower: cst.CSTNode, tree: Tree) -> bool:
    """Whether two statements of one name do the same in either order: replacements apart, sorting and counting."""
    first, second = tree.code(upper).strip(), tree.code(lower).strip()
    one, other = _REPLACE.fullmatch(first), _REPLACE.fullmatch(second)
    if one and other and one[1] == other[1]:
        old, new = one[2][1:-1], one[3][1:-1]
        old_too, new_too = other[2][1:-1], other[3][1:-1]
        return not (set(old) & set(old_too + new_too) or set(old_too) & set(new))
    for before, after in ((first, second), (second, first)):
        sorting = re.fullmatch(r"(\w+) = (?:sorted|list|tuple)\(\1\)", before)
        if sorting and re.fullmatch(rf"\w+ = len\({sorting[1]}\)", after):
            return True
    return False


_REPLACE = re.compile(r"(\w+) = \1\.replace\((['\"].*?['\"]), (['\"].*?['\"])\)")


def is_default(value: str) -> bool:
    """Whether an argument is what it would mostly be if it were left out."""
    return value in _DEFAULTS


def same_method(name: str, other: str, node: cst.Call, tree: Tree) -> bool:
    """Whether a method does what another does, called as it is here."""
    if {name, other} == {"split", "rsplit"}:
        return len(node.args) < 2 and not any(arg.keyword for arg in node.args)
    if (name, other) == ("readline", "read"):
        return any(isinstance(above, cst.While) for above in tree.above(node))
    if {name, other} <= {"match", "search", "fullmatch"}:
        first = node.args[0].value if node.args else None
        pattern = first.evaluated_value if isinstance(first, cst.SimpleString) else ""
        pattern = pattern if isinstance(pattern, str) else ""
        if "fullmatch" in (name, other):
            return pattern.endswith(("$", "\\Z"))
        return pattern.startswith(("^", "\\A"))
    return False


def _names(node: cst.CSTNode) -> list[cst.Name]:
    """Return all names in a node."""
    names: list[cst.Name] = []
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, cst.Name):
            names.append(current)
        pending += current.children
    return names
