"""A parsed piece of source in which every node knows its characters, its parent and its scope.

One pass of libcst's own code generator records all offsets, which is several times quicker than its metadata
providers and as exact: the generated text must equal the source.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import libcst as cst
from libcst.metadata.span_provider import SpanProvidingCodegenState

from momus.errors import UserError

# Exact types, not isinstance: every class of libcst is abstract, and asking an abstract class is slow.
# Never touched: what does not run, or only names and reports.
_FROZEN = {
    cst.Annotation,
    cst.Decorator,
    cst.Import,
    cst.ImportFrom,
    cst.Global,
    cst.Nonlocal,
    cst.TypeAlias,
    cst.TypeParameters,
    cst.Raise,
    cst.Assert,
}
_PLUMBING = {
    cst.SimpleWhitespace,
    cst.ParenthesizedWhitespace,
    cst.TrailingWhitespace,
    cst.EmptyLine,
    cst.Newline,
    cst.Comment,
    cst.Comma,
    cst.Dot,
    cst.LeftParen,
    cst.RightParen,
    cst.AssignEqual,
    cst.Colon,
}
_GROUPS = {cst.Tuple, cst.List, cst.Element, cst.StarredElement}
_BINDERS = {cst.AssignTarget, cst.AugAssign, cst.AnnAssign, cst.For, cst.CompFor, cst.NamedExpr}
_NAMERS = {cst.Param, cst.AsName}
_SCOPES = {cst.FunctionDef, cst.Lambda, cst.Module}


class Where(NamedTuple):
    """A half-open range of characters of the original source."""

    start: int
    stop: int


class Draft(NamedTuple):
    """An edit before it gets its kind: what is replaced, by what, and what to highlight in original offsets.

    `where` may enclose `span` or lie outside it; None highlights line number `line` of the replacement.
    """

    span: Where
    replacement: str
    description: str
    where: Where | None = None
    line: int = 0


@dataclass
class _Offsets(SpanProvidingCodegenState):
    """Code generation that notes, for each node, its order, its parent and two ranges of characters."""

    order: list[cst.CSTNode] = field(default_factory=list)
    parents: dict[cst.CSTNode, cst.CSTNode] = field(default_factory=dict)
    outer: dict[cst.CSTNode, Where] = field(default_factory=dict)
    inner: dict[cst.CSTNode, Where] = field(default_factory=dict)
    path: list[cst.CSTNode] = field(default_factory=list)

    def before_codegen(self, node: cst.CSTNode) -> None:
        self._stack.append(self.position)
        if self.path:
            self.parents[node] = self.path[-1]
        self.path.append(node)
        if type(node) not in _PLUMBING:
            self.order.append(node)

    def after_codegen(self, node: cst.CSTNode) -> None:
        self.path.pop()
        self.outer[node] = Where(self._stack.pop(), self.position)

    @contextmanager
    def record_syntactic_position(
        self,
        node: cst.CSTNode,
        *,
        start_node: cst.CSTNode | None = None,
        end_node: cst.CSTNode | None = None,
    ) -> Iterator[None]:
        start = self.position
        yield
        first = self.inner.get(start_node) if start_node is not None else None
        last = self.inner.get(end_node, self.outer.get(end_node)) if end_node is not None else None
        self.inner[node] = Where(first.start if first else start, last.stop if last else self.position)


class Tree:
    """Parsed source with offsets, parents and the names of each scope.

    Attributes:
        source: The text as given.
        nodes: The nodes mutations may look at, in order of their text.

    Raises:
        UserError: The text is not Python, or not in a form libcst can reproduce exactly.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        # What follows the last code is of no interest, and libcst does not always reproduce it.
        parsed = source.rstrip() + ("\r\n" if "\r\n" in source else "\n")
        try:
            module = cst.parse_module(parsed)
        except (cst.ParserSyntaxError, ValueError, RecursionError) as error:
            line = getattr(error, "raw_line", "?")
            raise UserError(f"line {line}: not valid Python 3") from error
        state = _Offsets(module.default_indent, module.default_newline, provider=cast(Any, None))
        module._codegen(state)
        if "".join(state.tokens) != parsed:
            raise UserError("cannot reproduce the source exactly; use one kind of line ending")
        self.module = module
        self.newline = module.default_newline
        self._parents, self._outer, self._inner = state.parents, state.outer, state.inner
        self.nodes = self._editable(state.order)
        self._bind(state.order)

    def _editable(self, order: list[cst.CSTNode]) -> list[cst.CSTNode]:
        kept, frozen_until = [], -1
        for node in order:
            start, stop = self._outer[node]
            if start < frozen_until:
                continue
            if type(node) in _FROZEN or self.is_text(node):
                frozen_until = max(frozen_until, stop)
            elif type(node) is cst.If and _is_never_true(node.test):
                frozen_until = self._outer[node.orelse].start if node.orelse is not None else stop
                continue
            kept.append(node)
        return kept

    @staticmethod
    def is_text(node: cst.CSTNode) -> bool:
        """Whether `node` is a docstring or another string that stands as a statement."""
        texts = cst.SimpleString | cst.ConcatenatedString | cst.FormattedString
        return type(node) is cst.Expr and isinstance(node.value, texts)

    def _bind(self, order: list[cst.CSTNode]) -> None:
        """Collect, per scope, the variables and where each is first bound, and the attributes of `self`."""
        self._variables: dict[cst.CSTNode, dict[str, int]] = {}
        self._attributes: dict[tuple[cst.CSTNode, str], list[str]] = {}
        self._strings: dict[cst.CSTNode, list[cst.SimpleString]] = {}
        for node in order:
            if type(node) is cst.Name and self.is_store(node):
                names = self._variables.setdefault(self.scope(node), {})
                names.setdefault(node.value, self._outer[node].start)
            elif type(node) is cst.Attribute and type(node.value) is cst.Name:
                above = self.parent(node)
                if not (isinstance(above, cst.Call) and above.func is node):
                    known = self._attributes.setdefault((self.scope(node), node.value.value), [])
                    if node.attr.value not in known:
                        known.append(node.attr.value)
            elif type(node) is cst.SimpleString:
                self._strings.setdefault(self.scope(node), []).append(node)

    @functools.cached_property
    def space(self) -> str:
        """Return what usually stands after a comma and around an operator: a space, or nothing."""
        loose, tight = (len(re.findall(gap, self.source)) for gap in (r"\w [-+*<=] ?\w", r"\w[-+*<=]\w"))
        return " " if loose >= tight else ""

    def signed(self, number: int) -> str:
        """Return a number as it is added to an expression, spaced as the rest of the source."""
        return f"{self.space}{'+' if number > 0 else '-'}{self.space}{abs(number)}"

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return the node above (the module is its own parent)."""
        return self._parents.get(node, self.module)

    def above(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """Yield parent, grandparent … up to the module."""
        while node is not self.module:
            node = self.parent(node)
            yield node

    def scope(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return the function, lambda or module whose names `node` uses."""
        for other in self.above(node):
            if type(other) in _SCOPES:
                return other
        return self.module

    def variables(self, node: cst.CSTNode) -> dict[str, int]:
        """Return the names bound in the scope of `node`, each with the offset of its first binding."""
        return self._variables.get(self.scope(node), {})

    def attributes(self, node: cst.CSTNode, name: str) -> list[str]:
        """Return the attributes of the variable `name` that are read or set in the scope of `node`."""
        return self._attributes.get((self.scope(node), name), [])

    def strings(self, node: cst.CSTNode) -> list[cst.SimpleString]:
        """Return the string literals in the scope of `node`."""
        return self._strings.get(self.scope(node), [])

    def is_store(self, node: cst.CSTNode) -> bool:
        """Whether `node` is bound (assigned, a parameter, a loop variable …) rather than read."""
        parent = self.parent(node)
        while type(parent) in _GROUPS:
            node, parent = parent, self.parent(parent)
        kind = type(parent)
        if kind in _BINDERS:
            return getattr(parent, "target", None) is node
        return kind in _NAMERS and getattr(parent, "name", None) is node

    def span(self, node: cst.CSTNode) -> Where:
        """Return the characters of `node` without parentheses, or of a statement from its first word."""
        if type(node) is cst.Arg:
            return Where(self._outer[node].start, self._outer[node.value].stop)
        if type(node) is cst.Param and node.default is not None:
            return Where(self._outer[node].start, self._outer[node.default].stop)
        return self._inner.get(node) or self._outer[node]

    def outer(self, node: cst.CSTNode) -> Where:
        """Return the characters of `node` with parentheses, or of a statement with the lines above it."""
        start, stop = self._outer[node]
        return Where(start, min(stop, len(self.source)))

    def code(self, node: cst.CSTNode) -> str:
        """Return the text of `node`, parentheses included for an expression."""
        start, stop = self._outer[node] if isinstance(node, cst.BaseExpression) else self.span(node)
        return self.source[start:stop]

    def first_line(self, node: cst.CSTNode) -> Where:
        """Return the first line of a statement, without indentation, trailing comment or spaces."""
        start, stop = self.span(node)
        end = self.source.find("\n", start, stop)
        line = self.source[start : stop if end < 0 else end]
        return Where(start, start + len(without_comment(line)))

    def line_start(self, offset: int) -> int:
        """Return the offset of the first character of the line."""
        return self.source.rfind("\n", 0, offset) + 1

    def indentation(self, node: cst.CSTNode) -> str:
        """Return the white space before a statement."""
        start = self.span(node).start
        return self.source[self.line_start(start) : start]

    def siblings(self, node: cst.CSTNode) -> list[cst.CSTNode]:
        """Return the statements of the block a whole-line statement stands in, itself included."""
        body = getattr(self.parent(node), "body", ())
        return list(body) if isinstance(body, tuple | list) and node in body else [node]


def _is_never_true(test: cst.BaseExpression) -> bool:
    """Whether a condition is false by what is written: `0`, `False`, `0 and x`."""
    if isinstance(test, cst.BooleanOperation):
        return isinstance(test.operator, cst.And) and (_is_never_true(test.left) or _is_never_true(test.right))
    return (isinstance(test, cst.Integer) and test.evaluated_value == 0) or (
        isinstance(test, cst.Name) and test.value == "False"
    )


def without_comment(line: str) -> str:
    """Cut a trailing comment off a line; a `#` inside a string makes it keep the line whole."""
    strings = max(line.rfind("'"), line.rfind('"')) + 1
    comment = re.search(r"\s#", line[strings:])
    return (line[: strings + comment.start()] if comment else line).rstrip()


_LITERAL_OR_SPACE = re.compile(r"""((['"])(?:(?!\2)[^\\\n]|\\.)*\2)|\s+""")


def shorten(text: str, limit: int = 60) -> str:
    """Return code on one line, cut to `limit` characters; spaces inside string literals stay as they are."""
    flat = _LITERAL_OR_SPACE.sub(lambda match: match[1] or " ", text.strip()[: 20 * limit])
    return flat if len(flat) <= limit else flat[: limit - 3].rstrip() + "..."


def should_be(text: str, why: str) -> str:
    """Write the repair of a changed expression, then what goes wrong."""
    return f"Should be `{shorten(text)}`: {why}."


def missing(text: str, place: str, why: str) -> str:
    """Write the repair of something removed; `place` is "before this", "after this" or "here"."""
    return f"Missing `{shorten(text)}` {place}: {why}."
