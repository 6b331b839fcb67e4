"""Wrong literals: truth values, strings, containers, defaults."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._equivalent import is_unchanged_default
from momus.tamper.mutations._shared import alike, context, fits, instead
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, should_be

_SEPARATORS = {
    "": " ", " ": "", "\\n": "", ", ": ",", ",": " ", ": ": ":", "/": "//", "-": "_", "_": "-", ".": ",",
    "0": "1", "1": "0",
}  # fmt: skip
_FIRST_VALUES = {"[]": "None", "{}": "[]", "set()": "[]", "dict()": "[]", '""': "None", "''": "None"}
_WHERE_STRINGS_COUNT = (
    cst.Arg | cst.Comparison | cst.ComparisonTarget | cst.Return | cst.Index | cst.Assign | cst.BinaryOperation
    | cst.Attribute | cst.DictElement | cst.Element
)  # fmt: skip
_WHERE_SPELLING_COUNTS = {
    "print", "write", "count", "startswith", "endswith", "find", "index", "split", "replace", "get", "getattr", "pop",
}  # fmt: skip


@mutation("boolean_flipped", cst.Name)
def boolean_flipped(node: cst.Name, tree: Tree) -> Iterator[Draft]:
    """`True` for `False`."""
    if node.value in ("True", "False"):
        above = tree.parent(node)
        wrong = "False" if node.value == "True" else "True"
        named = isinstance(above, cst.Assign | cst.Return | cst.Arg | cst.Param)
        text = tree.code(above) if named else node.value
        where = tree.span(above) if named else None
        yield Draft(tree.span(node), wrong, should_be(fits(text, node.value), "the flag is inverted"), where)


@mutation("separator_wrong", cst.SimpleString)
def separator_wrong(node: cst.SimpleString, tree: Tree) -> Iterator[Draft]:
    """`''` for `' '` and other one-character strings."""
    content = node.raw_value
    if _counts(node, tree) and content in _SEPARATORS:
        wrong = _SEPARATORS[content]
        if _called(node, tree) in ("split", "rsplit", "partition") and not wrong:
            return  # an empty separator fails at once
        yield instead(node, _literal(node, wrong), tree, "the string is wrong")


@mutation("wrong_string", cst.SimpleString)
def wrong_string(node: cst.SimpleString, tree: Tree) -> Iterator[Draft]:
    """Another string of the same function: the wrong key, mode or answer."""
    content = node.raw_value
    if not _counts(node, tree) or not 1 <= len(content) <= 24:
        return
    others = {
        other.raw_value
        for other in tree.strings(node)
        if (other.quote, other.prefix) == (node.quote, node.prefix)
        and _same_sort(content, other.raw_value)
        and isinstance(tree.parent(other), _WHERE_STRINGS_COUNT)
    }
    for other in alike(content, sorted(others), 1):
        yield instead(node, _literal(node, other), tree, "the string is wrong")


@mutation("string_misspelt", cst.SimpleString)
def string_misspelt(node: cst.SimpleString, tree: Tree) -> Iterator[Draft]:
    """A string with the wrong case, a lost character or two exchanged."""
    content = node.raw_value
    if not _counts(node, tree) or not content.isascii() or not 2 <= len(content) <= 16:
        return
    if isinstance(tree.parent(node), cst.Arg) and _called(node, tree) not in _WHERE_SPELLING_COUNTS:
        return
    if content.isalpha():
        wrong = content[0].swapcase() + content[1:]
        yield instead(node, _literal(node, wrong), tree, "the case matters")
    if content.isalnum():
        middle = len(content) // 2
        exchanged = content[: middle - 1] + content[middle] + content[middle - 1] + content[middle + 1 :]
        for wrong in sorted({exchanged, content[:-1], content[1:]} - {content}):
            yield instead(node, _literal(node, wrong), tree, "the string is wrong")


@mutation("wrong_container", cst.Assign)
def wrong_container(node: cst.Assign, tree: Tree) -> Iterator[Draft]:
    """`None` or `{}` for `[]`."""
    wrong = _FIRST_VALUES.get(tree.code(node.value))
    if wrong is not None:
        text = should_be(tree.code(node), "it starts from the wrong value")
        yield Draft(tree.outer(node.value), wrong, text, tree.span(node))


@mutation("rows_shared", cst.ListComp)
def rows_shared(node: cst.ListComp, tree: Tree) -> Iterator[Draft]:
    """`[[0] * m] * n` for `[[0] * m for _ in range(n)]`."""
    loop, row = node.for_in, node.elt
    if isinstance(row, cst.BinaryOperation):
        fresh = isinstance(row.left, cst.List) and isinstance(row.operator, cst.Multiply)
    else:
        fresh = isinstance(row, cst.List) and not row.elements
    counted = isinstance(loop.iter, cst.Call) and tree.code(loop.iter.func) == "range"
    if fresh and counted and not loop.ifs and loop.inner_for_in is None:
        assert isinstance(loop.iter, cst.Call)
        if len(loop.iter.args) == 1:
            count = loop.iter.args[0].value
            text = tree.code(count)
            text = f"({text})" if isinstance(count, cst.BinaryOperation) and not count.lpar else text
            why = should_be(tree.code(node), "all rows are the same list")
            yield Draft(tree.outer(node), f"[{tree.code(row)}] * {text}", why)


@mutation("mutable_default", cst.Param)
def mutable_default(node: cst.Param, tree: Tree) -> Iterator[Draft]:
    """A list as a default, shared by all calls."""
    if node.default is not None and tree.code(node.default) in ("()", "None"):
        plural = node.name.value.endswith("s") or node.name.value.endswith("list")
        harmless = tree.code(node.default) == "()" and is_unchanged_default(node, tree)
        if plural and not harmless and isinstance(tree.scope(node), cst.FunctionDef):
            text = f"{node.name.value}={tree.code(node.default)}"
            why = should_be(text, "a list would be shared by all calls")
            yield Draft(tree.outer(node.default), "[]", why, tree.span(context(node, tree)))


def _counts(node: cst.SimpleString, tree: Tree) -> bool:
    """Whether this literal can be changed, and doing so changes what the program does."""
    inside = any(isinstance(above, cst.FormattedString) for above in tree.above(node))
    one_line = node.quote not in ('"""', "'''") and "\n" not in node.value
    return isinstance(tree.parent(node), _WHERE_STRINGS_COUNT) and one_line and not inside


def _called(node: cst.SimpleString, tree: Tree) -> str:
    """Return the name of the function whose argument the literal is."""
    call = tree.parent(tree.parent(node))
    return tree.code(call.func).rpartition(".")[2] if isinstance(call, cst.Call) else ""


def _same_sort(content: str, other: str) -> bool:
    """Whether one string could have been written for another."""
    return (
        content != other
        and 1 <= len(other) <= 24
        and abs(len(content) - len(other)) <= 8
        and (" " in content) == (" " in other)
        and content[0].isalnum() == other[0].isalnum()
    )


def _literal(node: cst.SimpleString, content: str) -> str:
    return f"{node.prefix}{node.quote}{content}{node.quote}"
