"""What a comment proposes in place of the code it is about, if it is a whole line and leaves a file that parses."""

from __future__ import annotations

import ast
import warnings
from difflib import SequenceMatcher

from momus.critique import PROPOSED_LINE
from momus.errors import UserError
from momus.review.files import Source
from momus.review.languages.outline import read_outline

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_ALIKE = 0.5
"""How much of a line a proposal must repeat, to be of all of the line and not of an expression in it."""
_ENDS = (":", ";", ",", " {")
"""What a line may end with that a proposal leaves out."""


def propose(text: str, source: Source, line: int, end_line: int) -> str | None:
    """Return the line proposed by a comment ("Should be `x += 1`."), indented as the one it replaces; None without.

    Args:
        text: The comment.
        source: The file.
        line: The first line that the comment is about, from 1.
        end_line: The last one: of several lines nothing can be proposed this way.
    """
    proposed = PROPOSED_LINE.search(text)
    if proposed is None or line != end_line:
        return None
    old = source.text.split("\n")[line - 1]
    mark = "//" if source.grammar else "#"
    (code, _), (before, comment) = (_split(line.strip(), mark) for line in (proposed[2], old))
    code += next((end for end in _ENDS if before.endswith(end) and not code.endswith(end.strip())), "")
    if code == before or SequenceMatcher(None, before, code, autojunk=False).ratio() < _ALIKE:
        return None
    if before.split("(")[0].split(" ")[0] != code.split("(")[0].split(" ")[0]:  # `return x` is not replaced by `x`
        return None
    if source.grammar is None and _is_expression(before) != _is_expression(code):  # nor `x[0] = 1` by `x[0]`
        return None
    new = old[: len(old) - len(old.lstrip())] + code + comment
    return new if _fits(new, source, line) else None


def _fits(new: str, source: Source, line: int) -> bool:
    """Return whether a file parses as well with another line; of Python only the statement around it is parsed."""
    lines = source.text.split("\n")
    if source.grammar is not None:
        try:
            text = "\n".join([*lines[: line - 1], new, *lines[line:]])
            outline = read_outline(source.grammar, text, str(source.path))
        except UserError:
            return False
        known = source.outline
        return known is not None and (outline.definitions, outline.unread) == (known.definitions, known.unread)
    first, last = _statement_around(source.tree, line)
    statement = [*lines[first - 1 : line - 1], new, *lines[line:last]]
    return _parses("\n".join(["if True:" if statement[0][:1].isspace() else "", *statement]))


def _statement_around(tree: ast.Module, line: int) -> tuple[int, int]:
    """Return the first and last line of the innermost definition that has a line, or else of the file's statement."""
    statements = [node for node in tree.body if _lines(node)[0] <= line <= _lines(node)[1]]
    definitions = [node for outer in statements for node in ast.walk(outer) if isinstance(node, _Definition)]
    around = [_lines(node) for node in (*statements, *definitions)]
    fitting = [(first, last) for first, last in around if first <= line <= last]
    return min(fitting, key=lambda lines: lines[1] - lines[0], default=(line, line))


def _lines(node: ast.stmt) -> tuple[int, int]:
    decorators = node.decorator_list if isinstance(node, _Definition) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]), node.end_lineno or node.lineno


def _split(line: str, mark: str) -> tuple[str, str]:
    """Return a line without the comment at its end, and that; one with quotes in it might be a text."""
    place = line.find(f" {mark}")
    if place < 0 or any(quote in line[place:] for quote in "'\"`"):
        return line, ""
    code = line[:place].rstrip()
    return code, line[len(code) :]


def _is_expression(code: str) -> bool:
    return _parses(f"({code}\n)")


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
