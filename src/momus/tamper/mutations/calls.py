"""The wrong call: siblings, lost conversions, lost arguments, lost results."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._shared import root, shown
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_METHODS = {
    "append": ("extend", "insert"),
    "extend": ("append",),
    "add": ("discard", "update"),
    "update": ("setdefault",),
    "lower": ("upper",),
    "upper": ("lower",),
    "startswith": ("endswith",),
    "endswith": ("startswith",),
    "find": ("rfind", "index"),
    "rfind": ("find",),
    "index": ("rindex", "find"),
    "rindex": ("index",),
    "keys": ("values",),
    "values": ("keys",),
    "items": ("keys",),
    "encode": ("decode",),
    "decode": ("encode",),
    "split": ("rsplit", "partition"),
    "rsplit": ("split",),
    "partition": ("rpartition",),
    "rpartition": ("partition",),
    "strip": ("lstrip", "rstrip"),
    "lstrip": ("rstrip",),
    "rstrip": ("lstrip", "strip"),
    "read": ("readline",),
    "readline": ("read",),
    "readlines": ("readline",),
    "pop": ("popleft", "remove"),
    "popleft": ("pop",),
    "appendleft": ("append",),
    "remove": ("discard",),
    "discard": ("remove",),
    "isdigit": ("isalpha",),
    "isalpha": ("isalnum",),
    "isalnum": ("isalpha",),
    "isupper": ("islower",),
    "islower": ("isupper",),
    "match": ("search",),
    "search": ("match",),
    "fullmatch": ("match",),
    "group": ("groups",),
    "start": ("end",),
    "end": ("start",),
    "union": ("intersection",),
    "intersection": ("union",),
    "issubset": ("issuperset",),
    "issuperset": ("issubset",),
    "difference": ("intersection",),
    "ljust": ("rjust",),
    "rjust": ("ljust",),
    "acquire": ("release",),
    "release": ("acquire",),
    "get": ("pop",),
    "bisect_left": ("bisect_right",),
    "bisect_right": ("bisect_left",),
    "heappush": ("heappushpop",),
    "dirname": ("basename",),
    "basename": ("dirname",),
    "isfile": ("isdir",),
    "isdir": ("isfile",),
    "ceil": ("floor",),
    "floor": ("ceil",),
    "min": ("max",),
    "max": ("min",),
    "dumps": ("dump",),
    "loads": ("load",),
}
_FUNCTIONS = {
    "min": ("max",),
    "max": ("min",),
    "sum": ("max", "len"),
    "sorted": ("reversed",),
    "ord": ("chr",),
    "chr": ("ord",),
    "int": ("float",),
    "float": ("int",),
    "list": ("set",),
    "set": ("list",),
    "repr": ("str",),
    "str": ("repr",),
    "isinstance": ("issubclass",),
    "setattr": ("delattr",),
    "hasattr": ("callable",),
    "ceil": ("floor",),
    "floor": ("ceil",),
    "gcd": ("lcm",),
    "lcm": ("gcd",),
    "bisect_left": ("bisect_right",),
    "bisect_right": ("bisect_left",),
    "bisect": ("bisect_left",),
    "permutations": ("combinations",),
    "combinations": ("permutations",),
}
_NOT_SIBLINGS = {"issubclass", "delattr", "callable"}
_CONVERSIONS = {
    "int": "it must be a number",
    "str": "it must be a string",
    "float": "it must be a number",
    "list": "it must be a list",
    "tuple": "it must be a tuple",
    "set": "duplicates must go",
    "len": "the length is needed",
    "sorted": "the order is lost",
    "reversed": "the order is reversed",
    "abs": "the sign must go",
    "round": "it must be rounded",
    "bool": "it must be a truth value",
    "bytes": "it must be bytes",
    "repr": "quotes are lost",
    "sum": "the total is needed",
    "iter": "an iterator is needed",
    "dict": "it must be a dictionary",
    "frozenset": "it must be hashable",
    "ord": "the code is needed",
    "chr": "the character is needed",
    "next": "one item is needed",
    "fspath": "it must be a path string",
    "abspath": "the path must be absolute",
    "escape": "it must be escaped",
    "quote": "it must be quoted",
    "deepcopy": "the original would be changed",
}
_METHOD_CONVERSIONS = {
    "strip": "white space stays",
    "lstrip": "leading characters stay",
    "rstrip": "trailing characters stay",
    "lower": "the case then matters",
    "upper": "the case then matters",
    "casefold": "the case then matters",
    "split": "it is not split",
    "splitlines": "it is not split",
    "encode": "it must be bytes",
    "decode": "it must be text",
    "items": "keys only are visited",
    "keys": "keys are needed",
    "values": "keys are visited instead",
    "format": "the fields stay empty",
    "replace": "nothing is replaced",
    "copy": "the original is changed",
    "expandtabs": "tabs stay",
    "title": "the case is wrong",
    "tolist": "it must be a list",
    "group": "the text of the match is needed",
    "join": "it must be joined",
    "zfill": "zeros are missing",
}


@mutation("wrong_method", cst.Call)
def wrong_method(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """A method or function with a similar name or the opposite one."""
    func = node.func
    if isinstance(func, cst.Attribute):
        name, siblings = func.attr, _METHODS.get(func.attr.value, ())
    elif isinstance(func, cst.Name):
        if func.value in tree.variables(node):
            return
        name, siblings = func, tuple(f for f in _FUNCTIONS.get(func.value, ()) if f not in _NOT_SIBLINGS)
    else:
        return
    text = tree.code(node)
    if len(text) > 60:
        text = tree.code(func)
    if len(text) > 60:
        text = name.value
    for other in siblings:
        if name.value == "append" and other == "insert":
            continue
        if name.value in ("start", "end", "get") and root(func) == "self":
            continue
        yield Draft(tree.span(name), other, should_be(text, f"not `{other}`"), tree.span(node))


@mutation("conversion_dropped", cst.Call)
def conversion_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`x` for `int(x)`, `str(x)`, `len(x)` and the like."""
    func = node.func
    name = func.attr.value if isinstance(func, cst.Attribute) else getattr(func, "value", "")
    if len(node.args) != 1 or name not in _CONVERSIONS or node.args[0].star or node.args[0].keyword:
        return
    value = node.args[0].value
    if isinstance(value, cst.GeneratorExp | cst.NamedExpr) or isinstance(tree.parent(node), cst.Expr):
        return
    if isinstance(func, cst.Attribute) and not isinstance(func.value, cst.Name):
        return
    inner = tree.code(value)
    closed = isinstance(value, cst.Name | cst.Attribute | cst.Subscript | cst.Call | cst.List | cst.ListComp)
    free = not isinstance(
        tree.parent(node), cst.Attribute | cst.Subscript | cst.BinaryOperation | cst.Comparison
    )
    if closed or free or value.lpar:
        text = tree.code(node)
        text = text if len(text) <= 60 else f"{tree.code(func)}(...)"
        yield Draft(tree.span(node), inner, should_be(text, _CONVERSIONS[name]))


@mutation("method_dropped", cst.Call)
def method_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`x` for `x.strip()`, `x.items()` and the like."""
    func = node.func
    if isinstance(func, cst.Attribute) and func.attr.value in _METHOD_CONVERSIONS:
        if isinstance(tree.parent(node), cst.Expr) or (func.attr.value == "join" and len(node.args) != 1):
            return
        text = tree.code(node)
        text = (
            text if len(text) <= 60 else f".{tree.source[tree.span(func.attr).start : tree.span(node).stop]}"
        )
        why = _METHOD_CONVERSIONS[func.attr.value]
        if func.attr.value == "join":
            value = node.args[0].value
            if not isinstance(value, cst.GeneratorExp):
                yield Draft(tree.span(node), tree.code(value), should_be(text, why))
            return
        if func.attr.value in ("group", "copy", "format") and root(func) in ("self", "os", "copy"):
            return
        stop = tree.outer(func.value).stop
        kept = Where(tree.span(node).start, stop)
        yield Draft(Where(stop, tree.span(node).stop), "", should_be(text, why), kept)


@mutation("copy_dropped", cst.Subscript)
def copy_dropped(node: cst.Subscript, tree: Tree) -> Iterator[Draft]:
    """`x` for `x[:]` or `x[::-1]`."""
    whole = tree.source[tree.outer(node.value).stop : tree.span(node).stop].replace(" ", "")
    if whole in ("[:]", "[::-1]") and isinstance(
        tree.parent(node), cst.Assign | cst.Arg | cst.For | cst.Return | cst.CompFor
    ):
        why = "the original would be changed" if whole == "[:]" else "the order must be reversed"
        stop = tree.outer(node.value).stop
        kept = Where(tree.span(node).start, stop)
        yield Draft(Where(stop, tree.span(node).stop), "", should_be(tree.code(node), why), kept)


@mutation("result_dropped", cst.Assign)
def result_dropped(node: cst.Assign, tree: Tree) -> Iterator[Draft]:
    """`x.strip()` for `x = x.strip()`."""
    if len(node.targets) == 1 and isinstance(node.value, cst.Call):
        target, value = node.targets[0].target, node.value
        uses = root(value.func) if isinstance(value.func, cst.Attribute) else ""
        again = any(tree.code(arg.value) == tree.code(target) for arg in value.args)
        if isinstance(target, cst.Name) and (uses == target.value or again):
            span = Where(tree.span(node).start, tree.outer(value).start)
            text = tree.code(node)
            text = text if len(text) <= 60 else tree.source[span.start : tree.outer(value.func).stop]
            yield Draft(span, "", should_be(text, "the result is thrown away"), tree.outer(value))


@mutation("argument_dropped", cst.Call)
def argument_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """A keyword argument that is forgotten, or the default of `get`."""
    args = node.args
    method = node.func.attr.value if isinstance(node.func, cst.Attribute) else getattr(node.func, "value", "")
    whole = tree.code(node)
    for number, arg in enumerate(args):
        last = number == len(args) - 1
        optional = arg.keyword is not None or (
            last
            and number == 1
            and method
            in (
                "get",
                "split",
                "rsplit",
                "getattr",
                "pop",
                "round",
                "next",
                "sum",
                "open",
                "replace",
                "enumerate",
            )
        )
        if not optional or arg.star or (len(args) == 1 and arg.keyword is None):
            continue
        if arg.keyword is not None and arg.keyword.value in (
            "file",
            "name",
            "doc",
            "prog",
            "help",
            "stacklevel",
        ):
            continue
        span = tree.span(arg)
        stop = span.stop
        if last:
            start = tree.outer(args[number - 1].value).stop if number else tree.outer(node.func).stop + 1
            close = tree.outer(arg.value).stop
            cut = Where(start, close)
        else:
            cut = Where(tree.outer(arg).start, tree.outer(args[number + 1]).start)
        text = whole if len(whole) <= 60 else tree.source[span.start : stop].rstrip(", \n")
        name = tree.source[tree.outer(arg).start : tree.outer(arg.value).stop]
        why = f"`{name}` is missing" if len(name) <= 24 else "an argument is missing"
        yield Draft(cut, "", should_be(text, why), _around(node, cut, tree))


def _around(node: cst.Call, cut: Where, tree: Tree) -> Where:
    return tree.span(node)


@mutation("bound_dropped", cst.Call)
def bound_dropped(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """`a` for `min(a, b)`."""
    if isinstance(node.func, cst.Name) and node.func.value in ("min", "max") and len(node.args) == 2:
        if any(arg.star or arg.keyword for arg in node.args):
            return
        for arg in node.args:
            if isinstance(
                arg.value, cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.BinaryOperation
            ):
                inner = tree.code(arg.value)
                loose = isinstance(arg.value, cst.BinaryOperation) and isinstance(
                    tree.parent(node), cst.BinaryOperation
                )
                text = tree.code(node)
                text = text if len(text) <= 60 else shown(node.func, tree)
                wrong = f"({inner})" if loose and not arg.value.lpar else inner
                yield Draft(tree.span(node), wrong, should_be(text, "the value is not bounded"))


@mutation("await_dropped", cst.Await)
def await_dropped(node: cst.Await, tree: Tree) -> Iterator[Draft]:
    """A coroutine that is never run."""
    kept = tree.outer(node.expression)
    span = Where(tree.span(node).start, kept.start)
    yield Draft(span, "", should_be(tree.code(node), "the coroutine is never awaited"), kept)


@mutation("yield_replaced", cst.Yield)
def yield_replaced(node: cst.Yield, tree: Tree) -> Iterator[Draft]:
    """`return` for `yield`, `yield` for `yield from`."""
    start = tree.span(node).start
    where = tree.span(node)
    if isinstance(node.value, cst.From):
        item = tree.outer(node.value.item)
        yield Draft(
            Where(start, item.start),
            "yield ",
            should_be(tree.code(node), "the items must come one by one"),
            where,
        )
    elif node.value is not None and isinstance(tree.parent(node), cst.Expr):
        statements = tree.siblings(tree.parent(tree.parent(node)))
        if statements and statements[-1] is tree.parent(tree.parent(node)):
            yield Draft(
                Where(start, start + 5),
                "return",
                should_be(tree.code(node), "it stops at the first item"),
                where,
            )


@mutation("comprehension_filter_dropped", cst.CompFor)
def comprehension_filter_dropped(node: cst.CompFor, tree: Tree) -> Iterator[Draft]:
    """A comprehension without its condition."""
    if node.ifs:
        start, stop = tree.outer(node.iter).stop, tree.outer(node.ifs[-1]).stop
        text = tree.code(node.ifs[0])
        kept = Where(tree.span(node).start, start)
        yield Draft(
            Where(start, stop),
            "",
            should_be(
                f"{tree.code(node).strip()}" if len(tree.code(node).strip()) <= 60 else text.strip(),
                "every item is taken",
            ),
            kept,
        )
