"""Wrong literals: truth values, strings, containers, exception types, returned values."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._shared import context, place, shown
from momus.tamper.mutations.names import _candidates
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, should_be

_SEPARATORS = {
    "": " ",
    " ": "",
    "\\n": "",
    ", ": ",",
    ",": " ",
    ": ": ":",
    "/": "\\\\",
    "-": "_",
    "_": "-",
    ".": ",",
    "0": "1",
    "1": "0",
}
_EXCEPTIONS = {
    "ValueError": "TypeError",
    "TypeError": "ValueError",
    "KeyError": "IndexError",
    "IndexError": "KeyError",
    "AttributeError": "NameError",
    "OSError": "ValueError",
    "FileNotFoundError": "PermissionError",
    "StopIteration": "IndexError",
    "ImportError": "AttributeError",
    "UnicodeDecodeError": "UnicodeEncodeError",
    "UnicodeEncodeError": "UnicodeDecodeError",
    "UnicodeError": "LookupError",
    "NotImplementedError": "AttributeError",
    "RuntimeError": "ValueError",
    "EOFError": "OSError",
    "OverflowError": "ZeroDivisionError",
    "ZeroDivisionError": "OverflowError",
    "BlockingIOError": "InterruptedError",
    "TimeoutError": "ConnectionError",
    "Exception": "ValueError",
    "LookupError": "AttributeError",
}
_PLACES = (
    cst.Arg
    | cst.Comparison
    | cst.ComparisonTarget
    | cst.Return
    | cst.Index
    | cst.Assign
    | cst.BinaryOperation
    | cst.Attribute
    | cst.DictElement
    | cst.Element
)


@mutation("boolean_flipped", cst.Name)
def boolean_flipped(node: cst.Name, tree: Tree) -> Iterator[Draft]:
    """`True` for `False`."""
    if node.value in ("True", "False"):
        above = tree.parent(node)
        wrong = "False" if node.value == "True" else "True"
        whole: cst.CSTNode = (
            above if isinstance(above, cst.Assign | cst.Return | cst.Arg | cst.Param) else node
        )
        text = tree.code(whole).rstrip(", ")
        whole, text = (node, node.value) if len(text) > 60 else (whole, text)
        yield Draft(tree.span(node), wrong, should_be(text, "the flag is inverted"), tree.span(whole))


def _string(node: cst.SimpleString, tree: Tree) -> bool:
    """Whether changing this literal changes what the program does."""
    above = tree.parent(node)
    inside = any(isinstance(up, cst.FormattedString) for up in tree.above(node))
    triple = node.quote in ('"""', "'''")
    return isinstance(above, _PLACES) and not inside and not triple and "\n" not in node.value


def _literal(node: cst.SimpleString, content: str) -> str:
    return f"{node.prefix}{node.quote}{content}{node.quote}"


@mutation("separator_wrong", cst.SimpleString)
def separator_wrong(node: cst.SimpleString, tree: Tree) -> Iterator[Draft]:
    """`''` for `' '` and other one-character strings."""
    content = node.raw_value
    if _string(node, tree) and content in _SEPARATORS:
        above = tree.parent(node)
        if content in ("", " ") and isinstance(above, cst.Arg):
            call = tree.parent(above)
            if (
                isinstance(call, cst.Call)
                and isinstance(call.func, cst.Attribute)
                and call.func.attr.value in ("split", "rsplit")
            ):
                return  # an empty separator fails at once
        wrong = _literal(node, _SEPARATORS[content])
        yield Draft(
            tree.span(node), wrong, should_be(_quoted(node, tree), "the string is wrong"), place(node, tree)
        )


@mutation("wrong_string", cst.SimpleString)
def wrong_string(node: cst.SimpleString, tree: Tree) -> Iterator[Draft]:
    """Another string of the same function: the wrong key, mode or answer."""
    content = node.raw_value
    if not _string(node, tree) or not 1 <= len(content) <= 24:
        return
    others = {
        s.raw_value for s in tree.strings
        if s.quote == node.quote and s.prefix == node.prefix and s.raw_value != content
        and 1 <= len(s.raw_value) <= 24 and isinstance(tree.parent(s), _PLACES)
        and (" " in s.raw_value) == (" " in content) and s.raw_value[0].isalnum() == content[0].isalnum()
    }  # fmt: skip
    for other in _candidates(content, sorted(others), 1):
        yield Draft(
            tree.span(node),
            _literal(node, other),
            should_be(_quoted(node, tree), "the string is wrong"),
            place(node, tree),
        )


@mutation("string_misspelt", cst.SimpleString)
def string_misspelt(node: cst.SimpleString, tree: Tree) -> Iterator[Draft]:
    """A string with the wrong case, a lost or a doubled character."""
    content, above = node.raw_value, tree.parent(node)
    if not _string(node, tree) or not content.isascii() or "\\" in content or not 2 <= len(content) <= 16:
        return
    if isinstance(above, cst.Arg) and not _printed(above, tree):
        return
    if content.isalpha():
        why = "the spelling matters"
        yield Draft(
            tree.span(node),
            _literal(node, content.swapcase()[0] + content[1:]),
            should_be(_quoted(node, tree), why),
            place(node, tree),
        )
    wrong = (
        content[:-2] + content[-1] + content[-2]
        if content[-1] != content[-2] and len(content) > 2
        else content[:-1]
    )
    yield Draft(
        tree.span(node),
        _literal(node, wrong),
        should_be(_quoted(node, tree), "the string is wrong"),
        place(node, tree),
    )


def _printed(arg: cst.Arg, tree: Tree) -> bool:
    call = tree.parent(arg)
    name = tree.code(call.func).rpartition(".")[2] if isinstance(call, cst.Call) else ""
    return name in (
        "print",
        "write",
        "count",
        "startswith",
        "endswith",
        "find",
        "index",
        "split",
        "replace",
        "get",
    )


def _quoted(node: cst.SimpleString, tree: Tree) -> str:
    return shown(node, tree)


@mutation("wrong_exception", cst.ExceptHandler, cst.Raise)
def wrong_exception(node: cst.ExceptHandler | cst.Raise, tree: Tree) -> Iterator[Draft]:
    """Another exception is caught or raised."""
    if isinstance(node, cst.ExceptHandler):
        kind, why = node.type, "another exception is caught"
        if isinstance(kind, cst.Tuple):
            names = [element.value for element in kind.elements]
            kind = names[0] if names else None
    else:
        kind, why = node.exc, "another exception is raised"
        kind = kind.func if isinstance(kind, cst.Call) else kind
    if isinstance(kind, cst.Name) and kind.value in _EXCEPTIONS:
        verb = "except" if isinstance(node, cst.ExceptHandler) else "raise"
        wrong = _EXCEPTIONS[kind.value]
        if isinstance(node, cst.ExceptHandler) and wrong in tree.code(tree.parent(node)):
            return
        text = (
            kind.value
            if isinstance(node, cst.ExceptHandler) and kind is not node.type
            else f"{verb} {kind.value}"
        )
        yield Draft(tree.span(kind), wrong, should_be(text, why), tree.first_line(node))


@mutation("wrong_return", cst.Return)
def wrong_return(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """Another variable, or nothing, is returned."""
    value = node.value
    if not isinstance(value, cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.BinaryOperation):
        return
    if isinstance(value, cst.Name) and value.value in ("None", "True", "False", "NotImplemented"):
        return
    text = tree.code(node)
    text = text if len(text) <= 60 else f"return {tree.code(value)}"
    if (
        isinstance(value, cst.Name | cst.Attribute | cst.Call)
        and not value.lpar
        and not isinstance(value, cst.Name)
    ):
        known = [
            n for n, first in tree.variables(node).items() if first < tree.line_start(tree.span(node).start)
        ]
        used = tree.code(value)
        for other in [name for name in reversed(known) if name not in ("self", "cls", "_")][:1]:
            if other != used:
                yield Draft(
                    tree.outer(value), other, should_be(text, "the wrong value is returned"), tree.span(node)
                )
    elif isinstance(value, cst.BinaryOperation):
        left = tree.code(value.left)
        yield Draft(tree.outer(value), left, should_be(text, "part of the result is lost"), tree.span(node))


@mutation("return_forgotten", cst.Return)
def return_forgotten(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """The value is computed and not returned."""
    if isinstance(node.value, cst.Call | cst.Await) and not node.value.lpar:
        start = tree.span(node).start
        statement = tree.parent(node)
        if tree.siblings(statement)[-1] is not statement:
            return
        span = tree.span(node)._replace(start=start, stop=tree.outer(node.value).start)
        text = tree.code(node)
        text = (
            text
            if len(text) <= 60
            else f"return {tree.code(node.value.func) if isinstance(node.value, cst.Call) else ''}"
        )
        yield Draft(span, "", should_be(text, "the result is not returned"), tree.outer(node.value))


@mutation("wrong_container", cst.Assign)
def wrong_container(node: cst.Assign, tree: Tree) -> Iterator[Draft]:
    """`None`, `{}` or a shared row for `[]`."""
    value = tree.code(node.value)
    table = {"[]": "None", "{}": "[]", "set()": "[]", "0": "None", "dict()": "[]", '""': "None", "''": "None"}
    if value in table:
        yield Draft(
            tree.outer(node.value),
            table[value],
            should_be(tree.code(node), "it starts from the wrong value"),
            tree.span(node),
        )
    if isinstance(node.value, cst.ListComp) and isinstance(node.value.elt, cst.BinaryOperation):
        comp = node.value
        inner = comp.for_in
        if (
            isinstance(inner.iter, cst.Call)
            and tree.code(inner.iter.func) == "range"
            and len(inner.iter.args) == 1
            and not inner.ifs
            and inner.inner_for_in is None
        ):
            if isinstance(comp.elt.left, cst.List):  # type: ignore[attr-defined]
                wrong = f"[{tree.code(comp.elt)}] * {_factor(inner.iter.args[0].value, tree)}"
                yield Draft(tree.outer(comp), wrong, should_be(tree.code(comp), "all rows are the same list"))


def _factor(node: cst.BaseExpression, tree: Tree) -> str:
    text = tree.code(node)
    return f"({text})" if isinstance(node, cst.BinaryOperation) and not node.lpar else text


@mutation("none_default", cst.Param)
def none_default(node: cst.Param, tree: Tree) -> Iterator[Draft]:
    """A mutable default, shared by all calls."""
    if (
        node.default is not None
        and tree.code(node.default) in ("()", "None")
        and node.name.value.endswith("s")
    ):
        scope = tree.scope(node)
        wrong = "[]"
        if isinstance(scope, cst.FunctionDef):
            text = f"{node.name.value}={tree.code(node.default)}"
            yield Draft(
                tree.outer(node.default),
                wrong,
                should_be(text, "a list would be shared by all calls"),
                tree.span(context(node.name, tree)),
            )
