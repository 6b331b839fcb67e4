"""Why a file does not parse: a mistake in it, Python 2, or syntax newer than the interpreter that runs Momus."""

from __future__ import annotations

import ast
import re
import sys
import warnings

# What Python 3 says of Python 2's most common lines, and how the others look.
_PYTHON_2_MESSAGES = (
    "Missing parentheses in call to",
    "multiple exception types must be",
    "leading zeros in decimal",
)
_PYTHON_2_LINE = re.compile(
    r"^\s*(print|exec)\s+[^\s=(]|^\s*raise\s+[\w.]+\s*,|^\s*except\s[^,]+,\s*\w+\s*:|<>|`\w+`|\bur['\"]"
)

# Syntax that came after 3.11: the version, its proposal, and a line that has it.
_EXCEPT = re.compile(r"^(\s*except\*?\s++)([^():#,]*+,[^():#]*+)(:)")
_NEWER = (
    ((3, 14), "PEP 758", _EXCEPT),
    ((3, 14), "PEP 750", re.compile(r"(?<!\w)([tT][rR]?|[rR][tT])(?=['\"])")),
    ((3, 12), "PEP 695", re.compile(r"^\s*type\s+\w+\s*+(\[.*\]\s*+)?=|^\s*(async\s+)?(def|class)\s+\w+\s*\[")),
)
_F_STRING = re.compile(r"(?<!\w)([fF][rR]?|[rR][fF])['\"]")


def explain(error: SyntaxError, text: str) -> str:
    """Say in one line why `text` does not parse.

    Args:
        error: What `ast.parse` raised.
        text: The source.
    """
    lines = text.split("\n")
    line = lines[error.lineno - 1] if error.lineno and error.lineno <= len(lines) else ""
    if newer := _newer(error, line, lines):
        (major, minor), proposal = newer
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"needs Python {major}.{minor} ({proposal}), and this is {here}: run Momus with {major}.{minor} or newer"
    if error.msg.startswith(_PYTHON_2_MESSAGES) or _PYTHON_2_LINE.search(line):
        return f"this looks like Python 2 ({error.msg}); only Python 3 can be reviewed"
    return f"syntax error: {error.msg}"


def _newer(error: SyntaxError, line: str, lines: list[str]) -> tuple[tuple[int, int], str] | None:
    """Return the version that a line's syntax needs and the proposal that brought it, where this one is older."""
    for version, proposal, form in _NEWER:
        if sys.version_info < version and form.search(line):
            if form is _EXCEPT and _is_python_2_handler(error, lines):
                continue
            return version, proposal
    if sys.version_info < (3, 12) and ("f-string" in error.msg or _parses_without_fields(line)):
        return (3, 12), "PEP 701"
    return None


def _is_python_2_handler(error: SyntaxError, lines: list[str]) -> bool:
    """Whether `except A, e:` binds e: a lower-case name that the handler's body uses, or that one gives to errors."""
    start = (error.lineno or 1) - 1
    matched = _EXCEPT.match(lines[start])
    names = [name.strip() for name in matched[2].split(",")] if matched else []
    if len(names) != 2 or not names[1].isidentifier() or not names[1].islower():
        return False
    if names[1] in ("e", "ex", "exc", "err", "error"):
        return True
    indent = len(lines[start]) - len(lines[start].lstrip())
    for line in lines[start + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            return False
        if re.search(rf"\b{names[1]}\b", line):
            return True
    return False


def _parses_without_fields(line: str) -> bool:
    """Whether a line has an f-string, and parses with its fields taken out, which may hold any quotes since PEP 701."""
    first = _F_STRING.search(line)
    if first is None:
        return False
    emptied, depth = [line[: first.end()]], 0
    for character in line[first.end() :]:
        depth += (character == "{") - (character == "}" and depth > 0)
        if not depth and character != "}":
            emptied.append(character)
    statement = "".join(emptied).strip()
    return any(_parses(text) for text in (statement, f"def _():\n {statement}", f"{statement}\n pass"))


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
