"""The wrong call: siblings, lost conversions, lost arguments, lost results."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._equivalent import (
    is_consumed,
    is_default,
    is_formatted,
    is_joined,
    is_only_read,
    is_order_ignored,
    is_order_of_items,
    is_path_conversion,
    is_stripped_anyway,
    is_tested,
    same_method,
    takes_one_part,
)
from momus.tamper.mutations._shared import assigned_to_itself, callee, fits, root
from momus.tamper.mutations.siblings import DROPPED_CALLS, DROPPED_METHODS, FUNCTIONS, METHODS
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_OPTIONAL_SECOND = {"get", "split", "rsplit", "getattr", "pop", "round", "next", "sum", "open", "enumerate", "print"}
_COSMETIC = {"file", "name", "doc", "prog", "help", "stacklevel"}
_COLLECTIONS = {"list", "tuple", "set", "frozenset", "sorted", "reversed"}
_NUMERIC = {"int", "float", "str", "len", "ord", "abs"}


@mutation("wrong_method", cst.Call)
def wrong_method(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """A method or function with a similar name or the opposite one."""
    func = node.func
    if isinstance(func, cst.Attribute):
        name, siblings = func.attr, METHODS.get(func.attr.value, ())
        if name.value in ("start", "end", "get") and root(func) == "self":
            return
    elif isinstance(func, cst.Name) and func.value not in tree.variables(node):
        name, siblings = func, FUNCTIONS.get(func.value, ())
    else:
        return
    text = fits(tree.code(node), tree.code(func), name.value)
    for other in siblings:
        if same_method(name.value, other, node, tree) or (other == "extend" and is_joined(node, tree)):
            continue
        yield Draft(tree.span(name), other, should_be(text, f"not `{other}`"), tree.span(node))


@mutation("conversion_dropped", cst.Call)
def conversion_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`x` for `int(x)`, `str(x)`, `len(x)` and the like."""
    why = DROPPED_CALLS.get(callee(node))
    plain = isinstance(node.func, cst.Name) or (
        isinstance(node.func, cst.Attribute) and isinstance(node.func.value, cst.Name)
    )
    if why is None or not plain or len(node.args) != 1 or node.args[0].star or node.args[0].keyword:
        return
    value = node.args[0].value
    inner = tree.code(value)
    above = tree.parent(node)
    if isinstance(value, cst.GeneratorExp | cst.NamedExpr) or isinstance(above, cst.Expr):
        return
    name = callee(node)
    if (
        (name in ("list", "tuple", "iter") and is_consumed(node, tree))
        or (name in ("list", "tuple") and is_only_read(node, tree))
        or (name in _COLLECTIONS and is_order_ignored(node, tree, repeats="set" in name))
        or (name == "sorted" and is_order_of_items(node, tree))
        or (name == "bool" and is_tested(node, tree))
        or (name == "str" and is_formatted(node, tree))
    ):
        return
    closed = isinstance(value, cst.Name | cst.Attribute | cst.Subscript | cst.Call | cst.List | cst.ListComp)
    free = not isinstance(above, cst.Attribute | cst.Subscript | cst.BinaryOperation | cst.ComparisonTarget)
    if (closed or free or value.lpar) and not assigned_to_itself(node, inner, tree):
        text = fits(tree.code(node), f"{tree.code(node.func)}(...)")
        yield Draft(tree.span(node), inner, should_be(text, why))


@mutation("map_dropped", cst.Call)
def map_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`input().split()` for `map(int, input().split())`."""
    if callee(node) == "map" and len(node.args) == 2 and tree.code(node.args[0].value) in _NUMERIC:
        text = fits(tree.code(node), f"map({tree.code(node.args[0].value)}, ...)")
        yield Draft(tree.span(node), tree.code(node.args[1].value), should_be(text, "the items are not converted"))


@mutation("method_dropped", cst.Call)
def method_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`x` for `x.strip()`, `x.items()` and the like."""
    func = node.func
    if not isinstance(func, cst.Attribute) or isinstance(tree.parent(node), cst.Expr):
        return
    name, whole = func.attr.value, tree.span(node)
    why = DROPPED_METHODS.get(name)
    owner = tree.outer(func.value)
    if why is None or (
        root(func) in ("self", "os", "copy", "shutil") and name in ("copy", "group", "format", "replace")
    ):
        return
    if name == "keys" and not isinstance(tree.parent(node), cst.BinaryOperation | cst.Return | cst.Assign):
        return  # iterating over a dictionary, or looking for something in it, is over its keys
    if (name == "copy" and is_consumed(node, tree)) or (name.endswith("strip") and is_stripped_anyway(node, tree)):
        return
    text = fits(tree.code(node), f".{tree.source[tree.span(func.attr).start : whole.stop]}", f".{name}(...)")
    if name == "join":
        if len(node.args) == 1 and not isinstance(node.args[0].value, cst.GeneratorExp):
            yield Draft(whole, tree.code(node.args[0].value), should_be(text, why))
    elif not assigned_to_itself(node, tree.code(func.value), tree):
        yield Draft(Where(owner.stop, whole.stop), "", should_be(text, why), Where(whole.start, owner.stop))


@mutation("copy_dropped", cst.Subscript)
def copy_dropped(node: cst.Subscript, tree: Tree) -> Iterator[Draft]:
    """`x` for `x[:]` or `x[::-1]`."""
    kept = tree.outer(node.value)
    brackets = tree.source[kept.stop : tree.span(node).stop].replace(" ", "")
    why = {"[:]": "the original would be changed", "[::-1]": "the order must be reversed"}.get(brackets)
    if brackets == "[:]" and is_consumed(node, tree):
        return
    if why and not tree.is_store(node) and not assigned_to_itself(node, tree.code(node.value), tree):
        yield Draft(Where(kept.stop, tree.span(node).stop), "", should_be(tree.code(node), why), kept)


@mutation("result_dropped", cst.Assign)
def result_dropped(node: cst.Assign, tree: Tree) -> Iterator[Draft]:
    """`x.strip()` for `x = x.strip()`."""
    target, value = node.targets[0].target, node.value
    if is_path_conversion(node, tree):
        return
    if len(node.targets) == 1 and isinstance(value, cst.Call) and isinstance(target, cst.Name):
        owner = root(value.func) if isinstance(value.func, cst.Attribute) else ""
        if target.value in (owner, *(tree.code(arg.value) for arg in value.args)):
            cut = Where(tree.span(node).start, tree.outer(value).start)
            text = fits(tree.code(node), tree.source[cut.start : tree.outer(value.func).stop])
            yield Draft(cut, "", should_be(text, "the result is thrown away"), tree.outer(value))


@mutation("argument_dropped", cst.Call)
def argument_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """A keyword argument that is forgotten, or the default of `get`."""
    for number, arg in enumerate(node.args):
        last = number == len(node.args) - 1
        if arg.keyword is None:
            optional = last and number == 1 and callee(node) in _OPTIONAL_SECOND
        else:
            optional = arg.keyword.value not in _COSMETIC
        if not optional or arg.star or is_default(tree.code(arg.value)) or takes_one_part(arg, tree):
            continue
        if not last:
            cut = Where(tree.outer(arg).start, tree.outer(node.args[number + 1]).start)
        elif number:
            cut = Where(tree.outer(node.args[number - 1].value).stop, tree.outer(arg.value).stop)
        else:
            cut = Where(tree.outer(arg).start, tree.outer(arg.value).stop)
        name = tree.source[tree.outer(arg).start : tree.outer(arg.value).stop]
        text = fits(tree.code(node), f"{callee(node)}(..., {name})", name)
        why = f"`{name}` is missing" if len(name) <= 24 else "an argument is missing"
        yield Draft(cut, "", should_be(text, why), tree.span(node))


@mutation("bound_dropped", cst.Call)
def bound_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`a` for `min(a, b)`."""
    plain = not any(arg.star or arg.keyword for arg in node.args)
    if not isinstance(node.func, cst.Name) or node.func.value not in ("min", "max") or not plain:
        return
    for arg in node.args if len(node.args) == 2 else ():
        inner = tree.code(arg.value)
        if isinstance(arg.value, cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.BinaryOperation):
            loose = isinstance(arg.value, cst.BinaryOperation) and isinstance(tree.parent(node), cst.BinaryOperation)
            wrong = f"({inner})" if loose and not arg.value.lpar else inner
            if not assigned_to_itself(node, wrong, tree):
                text = fits(tree.code(node), f"{node.func.value}({inner}, ...)")
                yield Draft(tree.span(node), wrong, should_be(text, "the value is not bounded"))


@mutation("await_dropped", cst.Await)
def await_dropped(node: cst.Await, tree: Tree) -> Iterator[Draft]:
    """A coroutine that is never run."""
    kept = tree.outer(node.expression)
    text = fits(tree.code(node), f"await {tree.code(node.expression).partition('(')[0]}")
    cut = Where(tree.span(node).start, kept.start)
    yield Draft(cut, "", should_be(text, "the coroutine is never awaited"), kept)


@mutation("yield_replaced", cst.Yield)
def yield_replaced(node: cst.Yield, tree: Tree) -> Iterator[Draft]:
    """`return` for `yield`, `yield` for `yield from`."""
    start, stop = tree.span(node)
    if isinstance(node.value, cst.From):
        item = tree.outer(node.value.item)
        why = should_be(tree.code(node), "the items must come one by one")
        yield Draft(Where(start, item.start), "yield ", why, Where(start, stop))
    elif node.value is not None and isinstance(tree.parent(node), cst.Expr):
        statement = tree.parent(tree.parent(node))
        if tree.siblings(statement)[-1] is statement:
            why = should_be(tree.code(node), "it stops at the first item")
            yield Draft(Where(start, start + len("yield")), "return", why, Where(start, stop))


@mutation("filter_dropped", cst.CompFor)
def filter_dropped(node: cst.CompFor, tree: Tree) -> Iterator[Draft]:
    """A comprehension without its condition."""
    if node.ifs:
        kept = Where(tree.span(node).start, tree.outer(node.iter).stop)
        cut = Where(kept.stop, tree.outer(node.ifs[-1]).stop)
        text = fits(tree.code(node).strip(), tree.source[cut.start : cut.stop].strip())
        yield Draft(cut, "", should_be(text, "every item is taken"), kept)
