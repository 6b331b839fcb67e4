"""Functions out of Python source as tasks: the docstring becomes the question, the rest the answer."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """One function or method: `question` from its signature and docstring, `answer` its source without it."""

    name: str
    question: str
    answer: str


@dataclass(frozen=True)
class Size:
    """Which functions to take: bounds on non-blank lines and on characters, both inclusive."""

    min_lines: int = 3
    max_lines: int = 30
    max_chars: int = 1000


def functions(source: str, size: Size) -> Iterator[Function]:
    """Yield the functions and methods of a module that are not nested in another function.

    Functions outside `size`, and those that are nothing but a docstring, are passed over.

    Raises:
        SyntaxError: The source is not Python of this interpreter's version.
    """
    source = source.replace("\r\n", "\n").replace(
        "\r", "\n"
    )  # nothing else ends a line for Python, as it does for splitlines
    lines = source.split("\n")
    for name, node in _definitions(ast.parse(source)):
        answer = _without_docstring(node, lines)
        if answer is None or not _fits(answer, size):
            continue
        yield Function(name, question_of(node), answer)


def question_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Ask for a function in words: its name, its parameters and the first sentence of its docstring."""
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    names = [name for name in names if name not in ("self", "cls")]
    question = f"Write {node.name}({', '.join(names)})."
    docstring = ast.get_docstring(node) or ""
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?]) ", paragraph)[0][:160].strip()
    return f"{question} {sentence}" if sentence else question


def _definitions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try):
            yield from _definitions(node, prefix)


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str | None:
    """Return the dedented source of a function without its docstring, or None if nothing is left."""
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
    assert node.end_lineno is not None
    text = lines[first : node.end_lineno]
    if ast.get_docstring(node, clean=False) is not None:
        docstring = node.body[0]
        assert docstring.end_lineno is not None
        if len(node.body) == 1 or node.body[1].lineno <= docstring.end_lineno or docstring.lineno == node.lineno:
            return None
        after = docstring.end_lineno - first
        while after < len(text) and not text[after].strip():
            after += 1
        text = text[: docstring.lineno - 1 - first] + text[after:]
    # A later one-line sibling ("def f(): pass; x = 1") or a continuation would not dedent to valid source.
    answer = textwrap.dedent("\n".join(text)).rstrip()
    try:
        ast.parse(answer)
    except SyntaxError:
        return None
    return answer


def _fits(answer: str, size: Size) -> bool:
    count = sum(bool(line.strip()) for line in answer.split("\n"))
    return (
        size.min_lines <= count <= size.max_lines
        and len(answer) <= size.max_chars
        and answer.isascii()
        and "\t" not in answer
        and "```" not in answer
    )
