"""The small edits of Python code: what may stand in the place of a token, an expression or a statement.

A bug is often one small edit away from right code: another operator, number, name, attribute or word; something around
an expression (`len`, `abs`, `+ 1`) or an expression grouped otherwise; a `return` forgotten. And most mutations undo
another, so every edit of `tamper/mutations` is one as well.
"""

from __future__ import annotations

import ast
import bisect
import io
import itertools
import keyword
import re
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from momus.errors import UserError
from momus.tamper.sites import find_edits

VERSION = 2
"""Counted up where edits change: what was reviewed or repaired with others is done again."""

_NAMES, _ATTRIBUTES, _OTHERS = 12, 6, 4
"""Of the code's names, attributes, and numbers and texts so many are tried for each other, the nearest first."""

_WITHIN = 100
"""Of these so many before a token and after it are looked at."""

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
"""What may be made of what is returned or tested."""

_AROUND_ITERABLE = (
    "list({})", "sorted({})", "set({})", "reversed({})", "range({})", "range(len({}))", "{}[1:]", "{}[:-1]", "{}[::-1]",
)  # fmt: skip
"""What may be made of what a loop goes through."""

_AROUND_PART = ("{} + 1", "{} - 1", "len({})", "abs({})", "int({})", "str({})", "{}[0]", "{}[::-1]", "max({}, 0)")
"""What may be made of an argument, of what is assigned, compared or looked up."""

_RETURN_NOTHING = (
    "print", "append", "extend", "insert", "remove", "sort", "reverse", "update", "add", "discard", "clear", "close",
    "__init__",
)  # fmt: skip
"""Functions whose result nobody returns or assigns."""


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

    placed = [_Token(each.type, each.string, place(*each.start), place(*each.end)) for each in _outside_texts(tokens)]
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


def _outside_texts(tokens: Iterable[tokenize.TokenInfo]) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens that are in no f-string, which before Python 3.12 is one token."""
    depth = 0
    for token in tokens:
        depth += token.type == getattr(tokenize, "FSTRING_START", None)
        if not depth:
            yield token
        depth -= token.type == getattr(tokenize, "FSTRING_END", None)


_SPACES = re.compile(" *")


class _Token(NamedTuple):
    """A token of `tokenize`: its kind and text, and the characters from `start` to `stop`."""

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
        for other in _instead_of(token, before):
            yield Edit(start, stop if other else _SPACES.match(code, stop).end(), other, TOKEN)  # type: ignore[union-attr]
        if token.kind == tokenize.NAME and before.text == ".":
            for name in _nearest(places.get(f"{base.text}.", ()), token, _ATTRIBUTES):
                yield Edit(start, stop, name, PART)
        elif token.kind == tokenize.NAME and text in variables:
            for name in (f"{text} + 1", f"{text} - 1", *_nearest(places["variables"], token, _NAMES)):
                yield Edit(start, stop, name, NAME)
        elif token.kind == tokenize.NUMBER:
            for kind in ("numbers", "variables"):
                for other in _nearest(places[kind], token, _OTHERS):
                    yield Edit(start, stop, other, PART)
        elif _is_short_text(token):
            for other in _nearest(places["texts"], token, _OTHERS):
                yield Edit(start, stop, other, PART)
        base, before = before, token


_Places = Sequence[tuple[int, str]]
"""Where texts stand, in the order of the code."""


def _places(tokens: Sequence[_Token], variables: set[str]) -> Mapping[str, _Places]:
    """Return where the variables, numbers and short texts of code stand, and after each name and its dot attributes."""
    places: dict[str, list[tuple[int, str]]] = {"variables": [], "numbers": [], "texts": []}
    before = base = _Token(tokenize.NL, "", 0, 0)
    for token in tokens:
        kind = "numbers" if token.kind == tokenize.NUMBER else "texts" if _is_short_text(token) else ""
        if token.kind == tokenize.NAME and before.text != ".":
            kind = "variables" if token.text in variables else ""
        elif token.kind == tokenize.NAME and base.kind == tokenize.NAME and not keyword.iskeyword(base.text):
            kind = f"{base.text}."
        if kind:
            places.setdefault(kind, []).append((token.start, token.text))
        base, before = before, token
    return places


def _is_short_text(token: _Token) -> bool:
    return token.kind == tokenize.STRING and len(token.text) <= _LONGEST_TEXT and token.text[-3:] not in ("'''", '"""')


def _nearest(places: _Places, token: _Token, most: int) -> list[str]:
    """Return what else stands nearest to a token."""
    after = bisect.bisect_left(places, (token.start, ""))
    window = places[max(0, after - _WITHIN) : after + _WITHIN]
    others = sorted((abs(at - token.start), text) for at, text in window if text != token.text)
    return list(dict.fromkeys(text for _, text in others))[:most]


def _instead_of(token: _Token, before: _Token) -> Iterator[str]:
    """Yield what may stand instead of a token, given the token before it, whatever else is in the code."""
    text = token.text
    if token.kind in (tokenize.NAME, tokenize.OP):
        yield from _INSTEAD.get(text, ())
    if (before.text, text) == ("[", ":"):
        yield "::"
    if before.text == "**" and token.kind == tokenize.NUMBER and text != "0.5":
        yield "0.5"
    if token.kind == tokenize.NUMBER and re.fullmatch(r"\d{1,9}", text):
        yield from (str(other) for other in (int(text) + 1, int(text) - 1, 0, 1, 2, -1) if other != int(text))
    if text in _ERRORS:
        yield from (error for error in _ERRORS if error != text)


_Span = Callable[[ast.expr | ast.stmt], tuple[int, int]]


def _syntax_edits(code: str, tree: ast.AST, span: _Span) -> Iterator[Edit]:
    """Yield edits of statements and expressions."""

    def around(part: ast.expr, forms: Iterable[str], rank: int) -> Iterator[Edit]:
        first, last = span(part)
        text = code[first:last]
        for form in forms:
            yield Edit(first, last, form.format(text if "({}" in form else _bare(part, text)), rank)

    nodes = list(ast.walk(tree))
    functions = {id(node) for top in nodes if isinstance(top, _FUNCTION) for node in ast.walk(top)}
    annotations = {id(node) for top in nodes for note in _annotations(top) for node in ast.walk(note)}
    for node in nodes:
        if isinstance(node, ast.stmt):
            first, last = span(node)
            for text in _instead_of_statement(node, code[first:last], id(node) in functions):
                yield Edit(first, last, text, STATEMENT)
        for test in _tests(node):
            first, last = span(test)
            for text in _tests_of_none(test, lambda part: code[slice(*span(part))]):
                yield Edit(first, last, text, STATEMENT)
            yield from around(test, _AROUND, WHOLE)
        if isinstance(node, ast.Return) and isinstance(node.value, _KNOWN):
            yield from around(node.value, _AROUND, WHOLE)
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension):
            yield from around(node.iter, _AROUND_ITERABLE, WHOLE)
        for part in _parts(node) if id(node) not in annotations else ():
            yield from around(part, (*_AROUND_PART, "*{}") if isinstance(node, ast.Call) else _AROUND_PART, PART)
        yield from _groups(node, code, span)


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_KNOWN = (
    ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.BinOp, ast.BoolOp, ast.Compare, ast.UnaryOp, ast.List,
    ast.ListComp, ast.Set, ast.SetComp, ast.GeneratorExp, ast.IfExp, ast.Tuple, ast.Dict, ast.DictComp,
)  # fmt: skip
"""What something may be put around: no constant."""


def _annotations(node: ast.AST) -> Iterator[ast.expr]:
    for name in ("annotation", "returns"):
        if isinstance(note := getattr(node, name, None), ast.expr):
            yield note


def _bare(part: ast.expr, text: str) -> str:
    return text if isinstance(part, ast.Name | ast.Call | ast.Subscript | ast.Attribute) else f"({text})"


def _instead_of_statement(node: ast.stmt, text: str, in_function: bool) -> Iterator[str]:
    """Yield what may stand in the place of a statement of one line: a value that is used, another way to go on."""
    if isinstance(node, ast.Return) and node.value is None:
        yield from ("continue", "break")
    if not isinstance(node, ast.Expr) or not isinstance(node.value, _KNOWN) or "\n" in text:
        return
    if isinstance(node.value, ast.Call):
        called = node.value.func
        if (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) in _RETURN_NOTHING:
            return
        names = [part.id for part in node.value.args if isinstance(part, ast.Name)]
        yield from (f"{name} = {text}" for name in dict.fromkeys(names[:3]))
    else:
        yield f"print({text})"
    if in_function:
        yield f"return {text}"
    if isinstance(node.value, ast.Subscript | ast.Attribute):
        yield f"{text} = True"


def _tests(node: ast.AST) -> Sequence[ast.expr]:
    """Return what decides how code goes on."""
    if isinstance(node, ast.comprehension):
        tests = node.ifs
    else:
        tests = [test for name in ("test", "guard") if isinstance(test := getattr(node, name, None), ast.expr)]
    return [test for test in tests if isinstance(test, _KNOWN)]


def _tests_of_none(test: ast.expr, text: Callable[[ast.expr], str]) -> Iterator[str]:
    """Yield a test of None in the place of a test of truth, and the other way round."""
    match test:
        case ast.Name() | ast.Attribute():
            yield f"{text(test)} is not None"
        case ast.UnaryOp(op=ast.Not(), operand=ast.Name() | ast.Attribute() as operand):
            yield f"{text(operand)} is None"
        case ast.Compare(left=left, ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            yield text(left)
        case ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            yield f"not {_bare(left, text(left))}"


def _parts(node: ast.AST) -> Iterable[ast.expr]:
    """Return arguments, and what is assigned, compared or looked up, where it is a name or made of one."""
    parts: Sequence[ast.expr] = ()
    match node:
        case ast.Call(args=parts):
            pass
        case ast.Assign(value=part) | ast.AugAssign(value=part) | ast.Subscript(slice=part):
            parts = [part]
        case ast.Compare(left=left, comparators=others):
            parts = [left, *others]
    return [part for part in parts if isinstance(part, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.BinOp)]


def _groups(node: ast.AST, code: str, span: _Span) -> Iterator[Edit]:
    """Yield an operation grouped otherwise: with parentheses where there are none, and without those that are there."""
    groups: list[tuple[ast.expr, ast.expr, ast.expr]] = []
    grouped: ast.expr
    match node:
        case ast.BinOp(left=ast.BinOp(op=inner, right=first) as grouped, op=outer, right=last):
            groups += [] if _same(inner, outer) else [(grouped, first, last)]
        case ast.BoolOp(values=[ast.UnaryOp(op=ast.Not(), operand=first) as grouped, *_, last]):
            groups.append((grouped, first, last))
    match node:
        case ast.BinOp(left=first, op=outer, right=ast.BinOp(left=last, op=inner) as grouped):
            groups += [] if _same(inner, outer) else [(grouped, first, last)]
    for grouped, first, last in groups:
        start, stop = span(grouped)
        if code[:start].endswith("(") and code.startswith(")", stop):
            yield Edit(start - 1, stop + 1, code[start:stop], STATEMENT)
        else:
            start, stop = span(first)[0], span(last)[1]
            yield Edit(start, stop, f"({code[start:stop]})", STATEMENT)


def _same(inner: ast.operator, outer: ast.operator) -> bool:
    """Return whether grouping makes no difference."""
    return type(inner) is type(outer) and isinstance(inner, ast.Add | ast.Mult)


def _bound(tree: ast.AST) -> set[str]:
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
