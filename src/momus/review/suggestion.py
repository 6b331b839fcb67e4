"""What a comment proposes in place of the code it is about, if it is a whole line and leaves a file that parses."""

from __future__ import annotations

import ast
import re
import warnings
from difflib import SequenceMatcher

_PROPOSED = re.compile(
    r"\b(?:should|must) be(?: changed to| replaced (?:by|with))?:?\s+(`{1,8}+)([^`\n]+)\1(?!`)", re.IGNORECASE
)
_ALIKE = 0.5
"""How much of a line a proposal must repeat, to be of all of the line and not of an expression in it."""


def propose(text: str, source: str, line: int, end_line: int) -> str | None:
    """Return the line proposed by a comment ("Should be `x += 1`."), indented as the one it replaces; None without.

    Args:
        text: The comment.
        source: The file, Python.
        line: The first line that the comment is about, from 1.
        end_line: The last one: of several lines nothing can be proposed this way.
    """
    proposed = _PROPOSED.search(text)
    if proposed is None or line != end_line:
        return None
    lines = source.split("\n")
    old = lines[line - 1]
    code, before = proposed[2].strip(), old.strip()
    if before.endswith(":") and not code.endswith(":"):
        code += ":"
    if code == before or SequenceMatcher(None, before, code, autojunk=False).ratio() < _ALIKE:
        return None
    if before.split("(")[0].split(" ")[0] != code.split("(")[0].split(" ")[0]:  # `return x` is not replaced by `x`
        return None
    new = old[: len(old) - len(old.lstrip())] + code
    return new if _parses("\n".join([*lines[: line - 1], new, *lines[line:]])) else None


def _parses(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
