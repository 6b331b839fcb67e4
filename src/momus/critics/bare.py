"""Code without what is only said about it: no comments, no docstrings, no characters that cannot be seen.

Whoever wrote the code under review may have written to the reviewer in it. A review of a bare copy cannot be talked to
there; names and strings stay, for they are part of what the code does. Lines keep their numbers.
"""

from __future__ import annotations

import ast
import re
import unicodedata

_STRING_OR_COMMENT = re.compile(
    r"""('''(?:[^\\']|\\.|'(?!''))*+(?:'''|$)|\"\"\"(?:[^\\"]|\\.|"(?!""))*+(?:\"\"\"|$)"""
    r"""|'(?:[^'\\\n]|\\.)*+'?|"(?:[^"\\\n]|\\.)*+"?)|\#[^\n]*""",
    re.DOTALL,
)
_UNSEEN = ("Cf", "Co", "Cn")
"""Categories of characters that show nothing: tags, joiners, marks of direction; and those that mean nothing."""


def bare(code: str) -> str:
    """Return Python code without comments, docstrings and unseen characters, line by line.

    Of code that does not parse, such as a part of a function, strings that stand alone are left.
    """
    seen = "".join(c for c in code if c.isascii() or unicodedata.category(c) not in _UNSEEN)
    uncommented = _STRING_OR_COMMENT.sub(lambda match: match[1] or "", _without_docstrings(seen))
    return "\n".join(line.rstrip() for line in uncommented.split("\n"))


def _without_docstrings(code: str) -> str:
    """Return code with nothing where an expression is only a string."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code
    lines = [line.encode() for line in code.split("\n")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            start, stop = node.col_offset, node.end_col_offset or 0
            after = lines[last][stop:]
            if last > first:
                lines[first + 1 : last + 1] = [b""] * (last - first)
                lines[first] = lines[first][:start]
                lines[last] += after
            else:
                # Spaces, so that what comes after keeps its column.
                lines[first] = lines[first][:start] + b" " * (stop - start) + after
    return b"\n".join(lines).decode()
