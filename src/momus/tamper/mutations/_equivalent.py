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

_ORDER_FREE = {"set", "frozenset", "min", "max", "any", "all", "sum", "len", "sorted", "Counter"}
"""What gives the same for the same items in any order."""

_REPEATS_IGNORED = _ORDER_FREE - {"sum", "len", "sorted", "Counter"}
"""What gives the same however often an item is there."""

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
    if isinstance(above, cst.For) and above.iter is node and isinstance(node, cst.Call | cst.Subscript):
        inside = node.value if isinstance(node, cst.Subscript) else node.args[0].value if node.args else node.func
        return not {part.value for part in names_in(inside)} & {part.value for part in names_in(above.body)}
    return False


def is_order_ignored(node: cst.Call, tree: Tree, repeats: bool) -> bool:
    """Whether only what is in an iterable counts, and not in which order: `max(sorted(x))`, `y in list(x)`.

    Args:
        node: What makes the iterable.
        tree: The source.
        repeats: Whether it has to be ignored too how often an item is there.
    """
    above = tree.parent(node)
    if isinstance(above, cst.ComparisonTarget):
        return isinstance(above.operator, cst.In | cst.NotIn)
    call = tree.parent(above)
    if not isinstance(above, cst.Arg) or not isinstance(call, cst.Call) or len(call.args) != 1:
        return False
    return callee(call) in (_REPEATS_IGNORED if repeats else _ORDER_FREE)


def is_stripped_anyway(node: cst.Call, tree: Tree) -> bool:
    """Whether white space that `.strip()` takes off does not count: `x.strip().split()`, `int(x.strip())`."""
    given = [arg.value for arg in node.args]
    if any(not isinstance(each, cst.SimpleString) or str(each.evaluated_value).strip() for each in given):
        return False
    above = tree.parent(node)
    call = tree.parent(above)
    if not isinstance(call, cst.Call):
        return False
    if isinstance(above, cst.Attribute):
        return call.func is above and above.attr.value == "split" and not call.args
    return isinstance(above, cst.Arg) and callee(call) in ("int", "float") and len(call.args) == 1


def takes_one_part(node: cst.CSTNode, tree: Tree) -> bool:
    """Whether `split(sep, 1)[0]`, `rsplit(sep, 1)[-1]` or `most_common(1)[0]` is what an argument belongs to.

    More parts than one do not change the first. The parts may have a name that is only ever read at that place.
    """
    call = tree.parent(node)
    if not isinstance(call, cst.Call) or call.args[-1] is not node:
        return False
    index = {"split": "0", "rsplit": "-1", "most_common": "0"}.get(callee(call))
    return index is not None and _read_at(call, tree) == {index}


def is_one_item(node: cst.BaseExpression, tree: Tree) -> bool:
    """Whether a list has one item at most, which is its first and its last: `most_common(1)`, or a name for it."""
    made = node if isinstance(node, cst.Call) else None
    if isinstance(node, cst.Name):
        given = [each.value for each in tree.nodes if isinstance(each, cst.Assign) and _names(each, tree) == node.value]
        bound = sum(
            tree.is_store(each) for each in tree.nodes if isinstance(each, cst.Name) and each.value == node.value
        )
        made = given[0] if len(given) == bound == 1 and isinstance(given[0], cst.Call) else None
    return made is not None and callee(made) == "most_common" and [tree.code(arg) for arg in made.args] == ["1"]


def _read_at(call: cst.Call, tree: Tree) -> set[str]:
    """Return the indexes at which the result of a call is read; one of them is "" where it is used in another way."""
    above = tree.parent(call)
    if isinstance(above, cst.Subscript):
        return {tree.code(above.slice[0]) if len(above.slice) == 1 else ""}
    name = _names(above, tree) if isinstance(above, cst.Assign) else ""
    uses = [
        each for each in tree.nodes if isinstance(each, cst.Name) and each.value == name and not tree.is_store(each)
    ]
    around = [tree.parent(each) for each in uses]
    return {tree.code(use.slice[0]) if isinstance(use, cst.Subscript) and len(use.slice) == 1 else "" for use in around}


def _names(node: cst.Assign, tree: Tree) -> str:
    """Return the name that an assignment gives, "" where it is another target."""
    target = node.targets[0].target
    return target.value if len(node.targets) == 1 and isinstance(target, cst.Name) else ""


def is_asked_for_its_type(node: cst.CSTNode, tree: Tree) -> bool:
    """Whether an item is only asked for its type, which is mostly that of its neighbours: `isinstance(x[0], str)`."""
    above = tree.parent(node)
    call = tree.parent(above)
    return isinstance(above, cst.Arg) and isinstance(call, cst.Call) and callee(call) in ("isinstance", "type")


def is_seldom_met(node: cst.Comparison) -> bool:
    """Whether something measured is compared with a fraction, which it seldom is exactly: `share <= 0.5`."""
    sides = [node.left, *(target.comparator for target in node.comparisons)]
    return any(isinstance(side, cst.Float) and not float(side.value.replace("_", "")).is_integer() for side in sides)


def is_order_of_items(node: cst.Call, tree: Tree) -> bool:
    """Whether a loop does one thing with one item each, in whatever order: `for k in sorted(d): d[k].sort()`."""
    loop = tree.parent(node)
    if not isinstance(loop, cst.For) or loop.iter is not node or not isinstance(loop.body, cst.IndentedBlock):
        return False
    if len(loop.body.body) != 1 or len(node.args) != 1:
        return False
    item = f"{tree.code(node.args[0].value)}[{tree.code(loop.target)}]"
    return re.fullmatch(rf"{re.escape(item)}\.\w+\(\)", tree.code(loop.body.body[0]).strip()) is not None


def is_subsumed(clause: cst.BaseExpression, other: cst.BaseExpression, either: bool, tree: Tree) -> bool:
    """Whether a clause says nothing beside the other: `a is b` in `a is b or a == b`, `x is None` in `… or not x`."""
    if not isinstance(clause, cst.Comparison) or len(clause.comparisons) != 1:
        return False
    left, target = tree.code(clause.left), clause.comparisons[0]
    right = tree.code(target.comparator)
    if either and isinstance(target.operator, cst.Is):
        return tree.code(other) in (f"{left} == {right}", f"{right} == {left}") or (
            right == "None" and tree.code(other) == f"not {left}"
        )
    return not either and isinstance(target.operator, cst.IsNot) and right == "None" and tree.code(other) == left


def is_whole_length(bound: cst.BaseExpression, node: cst.Slice, tree: Tree) -> bool:
    """Whether a slice ends at the length of what it is taken from: `x[i:len(x)]`."""
    taken = next((above for above in tree.above(node) if isinstance(above, cst.Subscript)), None)
    return taken is not None and tree.code(bound) == f"len({tree.code(taken.value)})"


def is_path_conversion(node: cst.BaseSmallStatement, tree: Tree) -> bool:
    """Whether a statement is `path = os.fspath(path)`, which leaves texts, as paths mostly are, as they are."""
    return (
        isinstance(node, cst.Assign)
        and isinstance(node.value, cst.Call)
        and callee(node.value) == "fspath"
        and len(node.value.args) == 1
        and tree.code(node.targets[0].target) == tree.code(node.value.args[0].value)
    )


def is_unchanged_default(node: cst.Param, tree: Tree) -> bool:
    """Whether a parameter whose default is `()` is only gone through, as a list can be."""
    name = re.escape(node.name.value)
    read = rf"\*{name}\b|\bin {name}\b(?!\.)|\b(?:len|tuple|list|set|sorted)\({name}\)|\b(?:if|not) {name}\b(?=[ :)])"
    uses = len(re.findall(rf"\b{name}\b(?!=)", tree.source)) - (f"{node.name.value} = ()" in tree.source)
    return uses > 0 and len(re.findall(read, tree.source)) == uses


def is_tested(node: cst.CSTNode, tree: Tree) -> bool:
    """Whether only the truth of an expression counts."""
    above = tree.parent(node)
    while isinstance(above, cst.BooleanOperation):
        node, above = above, tree.parent(above)
    if isinstance(above, cst.Return) and isinstance(function := tree.scope(above), cst.FunctionDef):
        return _is_predicate(function, tree)
    return _is_test(node, above)


def _is_test(node: cst.CSTNode, above: cst.CSTNode) -> bool:
    tests = cst.If | cst.While | cst.IfExp | cst.Assert | cst.CompIf
    return (isinstance(above, tests) and above.test is node) or (
        isinstance(above, cst.UnaryOperation) and isinstance(above.operator, cst.Not)
    )


def _is_predicate(function: cst.FunctionDef, tree: Tree) -> bool:
    """Whether a function within another is called for the truth of what it returns, and only so."""
    name = function.name.value
    calls = [each for each in tree.nodes if isinstance(each, cst.Call) and tree.code(each.func) == name]
    return (
        isinstance(tree.scope(function), cst.FunctionDef)
        and bool(calls)
        and all(_is_test(call, tree.parent(call)) for call in calls)
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


def commute(upper: cst.BaseSmallStatement, lower: cst.BaseSmallStatement, tree: Tree) -> bool:
    """Whether two statements of one name do the same in either order: replacements or items apart, or a count."""
    first, second = tree.code(upper).strip(), tree.code(lower).strip()
    one, other = _REPLACE.fullmatch(first), _REPLACE.fullmatch(second)
    if _sets_other_item(upper, lower, tree) or is_path_conversion(upper, tree):
        return True
    if one and other and one[1] == other[1]:
        old, new = one[2][1:-1], one[3][1:-1]
        old_too, new_too = other[2][1:-1], other[3][1:-1]
        return not (set(old) & set(old_too + new_too) or set(old_too) & set(new))
    for before, after in ((first, second), (second, first)):
        sorting = re.fullmatch(r"(\w+) = (?:sorted|list|tuple)\(\1\)", before)
        if sorting and re.fullmatch(rf"\w+ = len\({sorting[1]}\)", after):
            return True
    return False


def _sets_other_item(upper: cst.CSTNode, lower: cst.CSTNode, tree: Tree) -> bool:
    """Whether two statements set items of one container under different literal keys, and do not read it."""
    places = []
    for node in (upper, lower):
        target = node.targets[0].target if isinstance(node, cst.Assign) and len(node.targets) == 1 else None
        if isinstance(node, cst.AugAssign):
            target = node.target
        if not isinstance(target, cst.Subscript) or len(target.slice) != 1:
            return False
        key = target.slice[0].slice
        if not isinstance(key, cst.Index) or not isinstance(key.value, cst.SimpleString | cst.Integer):
            return False
        assert isinstance(node, cst.Assign | cst.AugAssign)
        container = tree.code(target.value)
        if re.search(rf"(?<![\w.]){re.escape(container)}(?!\w)", tree.code(node.value)):
            return False
        places.append((container, key.value.evaluated_value))
    return places[0][0] == places[1][0] and places[0][1] != places[1][1]


_REPLACE = re.compile(r"(\w+) = \1\.replace\((['\"].*?['\"]), (['\"].*?['\"])\)")


def is_default(value: str) -> bool:
    """Whether an argument is what it would mostly be if it were left out."""
    return value in _DEFAULTS


def same_method(name: str, other: str, node: cst.Call, tree: Tree) -> bool:
    """Whether a method does what another does, called as it is here."""
    if {name, other} == {"split", "rsplit"}:
        return len(node.args) < 2 and not any(arg.keyword for arg in node.args)
    if {name, other} == {"find", "rfind"}:
        return _says_whether(tree.parent(node), node, tree)
    if {name, other} <= {"strip", "lstrip", "rstrip"}:
        return is_tested(node, tree) or is_stripped_anyway(node, tree)
    if (name, other) in (("sorted", "reversed"), ("list", "set"), ("set", "list")):
        return is_order_ignored(node, tree, repeats=name != "sorted") or (
            name == "sorted" and is_order_of_items(node, tree)
        )
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


def _says_whether(above: cst.CSTNode, node: cst.Call, tree: Tree) -> bool:
    """Whether a place found is only compared with -1: it is there or it is not."""
    if not isinstance(above, cst.Comparison) or above.left is not node or len(above.comparisons) != 1:
        return False
    return tree.code(above)[len(tree.code(node)) :].replace(" ", "") in {"==-1", "!=-1", ">-1", "<0", ">=0"}


def names_in(node: cst.CSTNode) -> list[cst.Name]:
    """Return all names in a node."""
    names: list[cst.Name] = []
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, cst.Name):
            names.append(current)
        pending += current.children
    return names
