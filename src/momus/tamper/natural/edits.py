"""The small edits of Python code: what may stand in the place of a token, an expression or a statement.

A bug is often one small edit away from right code: another operator, number, name, attribute or word; something around
an expression (`len`, `abs`, `+ 1`) or an expression grouped otherwise; a `return` forgotten. And most mutations undo
another, so every edit of `tamper/mutations` is one as well.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from momus.errors import UserError
from momus.tamper.sites import find_edits

VERSION = 2
"""Counted up where edits change: what was reviewed with others is not kept."""

_NAMES, _ATTRIBUTES, _OTHERS = 12, 6, 4
"""Of the code's names, attributes, and numbers and texts so many are tried for each other, the nearest first."""

_LONGEST_TEXT = 12
"""Characters of texts that are tried for each other: a longer one is likely wherever it stands a second time."""

_INSTEAD = {
    "+": ("-", "*", "//"), "-": ("+", "*", "//"), "*": ("+", "**", "//"), "/": ("//", "*", "%"), "//": ("/", "*", "%"),
    "%": ("//", "/"), "**": ("*",), "<": ("<=", ">", ">=", "=="), "<=": ("<", ">", ">="), ">": (">=", "<", "<="),
    ">=": (">", "<", "<="), "==": ("!=", "<", ">", "<=", ">=", "="), "!=": ("==",), "+=": ("-=", "*=", "="),
    "-=": ("+=",), "*=": ("+=",), "=": ("+=", "-="), "&": ("|", "^", "%"), "|": ("&", "^"), "^": ("&", "|", "**"),
    "and": ("or",), "or": ("and",), "True": ("False", "None"), "False": ("True", "None"), "None": ("False", "0"),
    "in": ("not in",), "not": ("",), "min": ("max",), "max": ("min",), "any": ("all",), "all": ("any",),
    "append": ("extend",), "extend": ("append",), "sum": ("len",), "len": ("sum",), "upper": ("lower",),
    "lower": ("upper",), "search": ("match", "fullmatch"), "match": ("search", "fullmatch"), "if": ("while", "elif"),
    "elif": ("if",), "while": ("if",), "break": ("continue", "return"), "continue": ("break", "return"),
    "pass": ("continue", "break", "return"),
}  # fmt: skip
"""What may stand instead of a token."""

_ERRORS = (
    "ValueError", "TypeError", "KeyError", "IndexError", "AttributeError", "RuntimeError", "OSError", "StopIteration",
    "NotImplementedError",
)  # fmt: skip
"""Exceptions that are raised or caught instead of each other."""

_AROUND = (
    "{} + 1", "{} - 1", "abs({})", "len({})", "list({})", "tuple({})", "sorted({})", "set({})", "str({})", "int({})",
    "not {}", "-{}", "{} // 2", "{}[0]", "{}[-1]", "{}[1:]", "{}[::-1]", "{} * 2", "round({}, 2)", "bool({})",
)  # fmt: skip
"""What may be made of what is returned, or of what an `if` or a loop goes by."""

_AROUND_PART = ("{} + 1", "{} - 1", "len({})", "abs({})", "int({})", "str({})", "{}[0]", "{}[::-1]", "max({}, 0)")
"""What may be made of an argument, of what is assigned, compared or looked up."""


class Edit(NamedTuple):
    """Another text in the place of the characters from `start` to `stop`, and its rank: the lower, the likelier."""

    start: int
    stop: int
    text: str
    rank: int = 0


TOKEN, NAME, STATEMENT, WHOLE, MUTATION, PART = range(6)
"""Ranks: another token, name or statement, something around all that decides, a mutation undone, and what is rarer."""


@lru_cache(maxsize=4)  # its lines are asked about one after another
def small_edits(code: str) -> tuple[Edit, ...]:
    """Return the small edits of code, by rank; none where it is no Python. What they make may be none either."""
    try:
        mutations = find_edits(code)
    except (UserError, RecursionError, MemoryError):
        mutations = []
    mutations.sort(key=lambda edit: edit.stop - edit.start + len(edit.replacement))
    undone = (Edit(edit.start, edit.stop, edit.replacement, MUTATION) for edit in mutations)
    return tuple(sorted((*_own_edits(code), *undone), key=lambda edit: edit.rank))


def parse(code: str) -> ast.Module | None:
    """Return code as Python reads it; None where it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _own_edits(code: str) -> Iterator[Edit]:
    """Yield the edits that are no mutations."""
    tree = parse(code)
    if tree is None or "\r" in code.replace("\r\n", "\n"):  # which ends a line for Python's parser alone
        return
    lines = io.StringIO(code).readlines()  # as the tokenizer: a form feed or U+2028 ends no line
    starts = [0, *itertools.accumulate(map(len, lines))]
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError):
        return

    def place(row: int, column: int) -> int:
        return starts[row - 1] + column

    placed = [_Token(each.type, each.string, place(*each.start), place(*each.end)) for each in tokens]
    yield from _token_edits(code, placed, _bound(tree))

    def span(node: ast.expr | ast.stmt) -> tuple[int, int]:
        first, last = (
            starts[line - 1] + len(lines[line - 1].encode()[:column].decode(errors="replace"))
            for line, column in ((node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0))
        )
        return first, last

    try:
        yield from _syntax_edits(code, tree, span)
    except RecursionError:
        return


class _Token(NamedTuple):
    kind: int
    text: str
    start: int
    stop: int


def _token_edits(code: str, tokens: Sequence[_Token], variables: set[str]) -> Iterator[Edit]:
    """Yield edits of single tokens: what mostly stands there instead, and what else is in the code, nearest first."""
    places = _places(tokens, variables)
    before = base = _Token(tokenize.NL, "", 0, 0)
    for token in tokens:
        start, stop, text = token.start, token.stop, token.text
        after = stop + len(code[stop:]) - len(code[stop:].lstrip(" "))  # nothing leaves no space behind
        for other in _instead_of(token, before):
            yield Edit(start, stop if other else after, other, TOKEN)
        if token.kind == tokenize.NAME and before.text == ".":
            for name in _nearest(places.get(f"{base.text}.", {}), token, _ATTRIBUTES):
                yield Edit(start, stop, name, PART)
        elif token.kind == tokenize.NAME and text in variables:
            for name in (f"{text} + 1", f"{text} - 1", *_nearest(places["variables"], token, _NAMES)):
                yield Edit(start, stop, name, NAME)
        elif token.kind == tokenize.NUMBER:
            for other in (*_nearest(places["numbers"], token, _OTHERS), *_nearest(places["variables"], token, _OTHERS)):
                yield Edit(start, stop, other, PART)
        elif token.kind == tokenize.STRING and len(text) <= _LONGEST_TEXT:
            for other in _nearest(places["texts"], token, _OTHERS):
                yield Edit(start, stop, other, PART)
        base, before = before, token


def _places(tokens: Sequence[_Token], variables: set[str]) -> Mapping[str, dict[str, list[int]]]:
    """Return where the variables, numbers and texts of code stand, and after each name and its dot the attributes."""
    places: dict[str, dict[str, list[int]]] = {"variables": {}, "numbers": {}, "texts": {}}
    before = base = ""
    for token in tokens:
        kind = {tokenize.NUMBER: "numbers", tokenize.STRING: "texts"}.get(token.kind, "")
        if kind == "texts" and len(token.text) > _LONGEST_TEXT:
            kind = ""
        if token.kind == tokenize.NAME:
            kind = f"{base}." if before == "." else "variables" if token.text in variables else ""
        if kind:
            places.setdefault(kind, {}).setdefault(token.text, []).append(token.start)
        base, before = before, token.text
    return places


def _nearest(places: Mapping[str, Sequence[int]], token: _Token, most: int) -> list[str]:
    """Return what else stands nearest to a token."""
    away = {text: min(abs(at - token.start) for at in where) for text, where in places.items() if text != token.text}
    return sorted(away, key=lambda text: (away[text], text))[:most]


def _instead_of(token: _Token, before: _Token) -> Iterator[str]:
    """Yield what may stand instead of a token, given the token before it, whatever else is in the code."""
    text = token.text
    yield from _INSTEAD.get(text, ())
    if (before.text, text) == ("[", ":"):
        yield "::"
    if before.text == "**" and token.kind == tokenize.NUMBER and text != "0.5":
        yield "0.5"
    if token.kind == tokenize.NUMBER and re.fullmatch(r"\d{1,9}", text):
        yield from (str(other) for other in (int(text) + 1, int(text) - 1, 0, 1, 2) if other not in (int(text), -1))
    if text in _ERRORS:
        yield from (error for error in _ERRORS if error != text)


_Span = Callable[[ast.expr | ast.stmt], tuple[int, int]]


def _syntax_edits(code: str, tree: ast.AST, span: _Span) -> Iterator[Edit]:
    """Yield edits of statements and expressions."""
    functions = {id(node) for top in ast.walk(tree) if isinstance(top, _FUNCTION) for node in ast.walk(top)}
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            first, last = span(node)
            for text in _instead_of_statement(node, code[first:last], id(node) in functions):
                yield Edit(first, last, text, STATEMENT)
        for part in _decisive(node):
            first, last = span(part)
            for text in _tests_of_none(part, code[first:last]):
                yield Edit(first, last, text, STATEMENT)
            for form in _AROUND:
                yield Edit(first, last, form.format(_bare(part, code[first:last])), WHOLE)
        for part in _parts(node):
            first, last = span(part)
            forms = (*_AROUND_PART, "*{}") if isinstance(node, ast.Call) else _AROUND_PART
            for form in forms:
                yield Edit(first, last, form.format(_bare(part, code[first:last])), PART)
        for group in _groups(node):
            first, last = span(group[0])[0], span(group[1])[1]
            yield Edit(first, last, f"({code[first:last]})", STATEMENT)


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def _bare(part: ast.expr, text: str) -> str:
    return text if isinstance(part, ast.Name | ast.Call | ast.Constant | ast.Subscript | ast.Attribute) else f"({text})"


def _instead_of_statement(node: ast.stmt, text: str, in_function: bool) -> Iterator[str]:
    """Yield what may stand in the place of a statement of one line: a value that is used, another way to go on."""
    if isinstance(node, ast.Return) and node.value is None:
        yield from ("continue", "break")
    if not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant) or "\n" in text:
        return
    if in_function and not isinstance(node.value, ast.Await | ast.Yield | ast.YieldFrom):
        yield f"return {text}"
    if isinstance(node.value, ast.Call):
        names = [part.id for part in node.value.args if isinstance(part, ast.Name)]
        yield from (f"{name} = {text}" for name in dict.fromkeys(names[:3]))
    else:
        yield f"print({text})"
    if isinstance(node.value, ast.Subscript | ast.Attribute):
        yield f"{text} = True"


def _tests_of_none(part: ast.expr, text: str) -> Iterator[str]:
    """Yield a test of None in the place of a test of truth, and the other way round."""
    match part:
        case ast.Name() | ast.Attribute():
            yield f"{text} is not None"
        case ast.UnaryOp(op=ast.Not(), operand=ast.Name() | ast.Attribute() as operand):
            yield f"{ast.unparse(operand)} is None"
        case ast.Compare(left=left, ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            yield ast.unparse(left)
        case ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            yield f"not {ast.unparse(left)}"


def _decisive(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what is returned, tested or gone through."""
    names = ("value",) if isinstance(node, ast.Return) else ("test", "iter")
    yield from (part for name in names if isinstance(part := getattr(node, name, None), ast.expr))


def _parts(node: ast.AST) -> Iterable[ast.expr]:
    """Return arguments, and what is assigned, compared or looked up, where it is no constant."""
    parts: Sequence[ast.expr] = ()
    match node:
        case ast.Call(args=parts):
            pass
        case ast.Assign(value=part) | ast.AugAssign(value=part) | ast.Subscript(slice=part):
            parts = [part]
        case ast.Compare(left=left, comparators=others):
            parts = [left, *others]
    known = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.BinOp)
    return [part for part in parts if isinstance(part, known)]


def _groups(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield first and last of what may be put between parentheses in the place of how an expression is grouped."""
    match node:
        case ast.BinOp(left=ast.BinOp(right=first), right=last):
            yield first, last
        case ast.BoolOp(values=[ast.UnaryOp(op=ast.Not(), operand=first), *_, last]):
            yield first, last
    match node:
        case ast.BinOp(left=first, right=ast.BinOp(left=last)):
            yield first, last


def _bound(tree: ast.AST) -> set[str]:
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
