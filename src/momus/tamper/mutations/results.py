"""What leaves a function: returned values and exceptions."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._shared import fits
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

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


@mutation("wrong_exception", cst.ExceptHandler, cst.Raise)
def wrong_exception(node: cst.ExceptHandler | cst.Raise, tree: Tree) -> Iterator[Draft]:
    """Another exception is caught or raised."""
    if isinstance(node, cst.Raise):
        kind = node.exc.func if isinstance(node.exc, cst.Call) else node.exc
        verb, why, seen = "raise ", "another exception is expected", ""
    else:
        kind = node.type
        verb, why, seen = "except ", "another exception is raised", tree.code(tree.parent(node))
        if isinstance(kind, cst.Tuple) and kind.elements:
            verb, kind = "", kind.elements[0].value
    wrong = _EXCEPTIONS.get(kind.value) if isinstance(kind, cst.Name) else None
    if isinstance(kind, cst.Name) and wrong is not None and wrong not in seen:
        yield Draft(tree.span(kind), wrong, should_be(f"{verb}{kind.value}", why), tree.first_line(node))


@mutation("wrong_return", cst.Return)
def wrong_return(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """The last variable that was set is returned, not what is made of it."""
    value = node.value
    if isinstance(value, cst.Attribute | cst.Call | cst.Subscript) and not value.lpar:
        line = tree.line_start(tree.span(node).start)
        known = [name for name, first in tree.variables(node).items() if first < line]
        known = [name for name in known if name not in ("self", "cls", "_")]
        if known:
            text = fits(tree.code(node), f"return {tree.code(value)}")
            yield Draft(tree.outer(value), known[-1], should_be(text, "the wrong value is returned"), tree.span(node))


@mutation("return_cut_short", cst.Return)
def return_cut_short(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """`return a` for `return a + b` or `return a and b`."""
    value = node.value
    if isinstance(value, cst.BinaryOperation | cst.BooleanOperation):
        why = should_be(tree.code(node), "part of the result is lost")
        yield Draft(tree.outer(value), tree.code(value.left), why, tree.span(node))


@mutation("return_forgotten", cst.Return)
def return_forgotten(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """The value is computed and not returned."""
    value = node.value
    statement = tree.parent(node)
    if isinstance(value, cst.Call | cst.Await) and not value.lpar and tree.siblings(statement)[-1] is statement:
        call = value.expression if isinstance(value, cst.Await) else value
        short = f"return {tree.code(call.func)}" if isinstance(call, cst.Call) else "return"
        why = should_be(fits(tree.code(node), short), "the result is not returned")
        start = tree.span(node).start
        yield Draft(Where(start, tree.outer(value).start), "", why, tree.outer(value))


@mutation("truth_inverted", cst.Return)
def truth_inverted(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """`return not x` for `return x`, where `x` is a truth value."""
    value = node.value
    if isinstance(value, cst.Call) and not value.lpar:
        name = tree.code(value.func).rpartition(".")[2]
        if name.startswith(("is", "has", "any", "all", "starts", "ends", "contains", "bool", "can")):
            why = should_be(fits(tree.code(node), f"return {tree.code(value.func)}"), "the answer is inverted")
            yield Draft(tree.outer(value), f"not {tree.code(value)}", why, tree.span(node))
