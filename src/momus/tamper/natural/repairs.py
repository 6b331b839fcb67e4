"""The smallest change that makes a wrong answer pass its tests.

Two sources of changes. A bug may be a mutation of right code, and most mutations undo another: so every edit of
`tamper/mutations` is tried, and the small edits of `token_edits`, which put another operator, number, name or call
where one stands. Else a model is asked, and of its changes the fewest lines that are needed are kept.
"""

from __future__ import annotations

import ast
import difflib
import io
import itertools
import re
import tokenize
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from momus.errors import UserError
from momus.lm.chats.protocol import Question
from momus.tamper.natural.answers import code_of
from momus.tamper.natural.problems import Problem
from momus.tamper.sites import find_edits

MOST_EDITS = 256
"""Changes of one answer that are tried."""

_MOST_NAMES = 12
"""Variables that are tried for each other."""

_MOST_LINES = 4
"""Lines that a repair may change, and at most half of all: more is another answer, not a repair."""

_INSTEAD = {
    "+": ("-", "*", "//"), "-": ("+", "*", "//"), "*": ("+", "**", "//"), "/": ("//", "*", "%"), "//": ("/", "*", "%"),
    "%": ("//", "/"), "**": ("*",), "<": ("<=", ">", ">=", "=="), "<=": ("<", ">", ">="), ">": (">=", "<", "<="),
    ">=": (">", "<", "<="), "==": ("!=", "<", ">", "<=", ">="), "!=": ("==",), "+=": ("-=", "*="), "-=": ("+=",),
    "*=": ("+=",), "&": ("|", "^"), "|": ("&", "^"), "^": ("&", "|"), "and": ("or",), "or": ("and",),
    "True": ("False", "None"), "False": ("True", "None"), "None": ("False", "0"), "in": ("not in",), "not": ("",),
    "min": ("max",), "max": ("min",), "any": ("all",), "all": ("any",), "append": ("extend",), "extend": ("append",),
    "sum": ("len",), "len": ("sum",), "upper": ("lower",), "lower": ("upper",), "break": ("continue",),
    "continue": ("break",), "search": ("match", "fullmatch"), "match": ("search", "fullmatch"),
}  # fmt: skip
"""What may stand instead of a token."""

_AROUND = (
    "{} + 1", "{} - 1", "abs({})", "len({})", "list({})", "tuple({})", "sorted({})", "set({})", "str({})", "int({})",
    "not {}", "-{}", "{} // 2", "{}[0]", "{}[-1]", "{}[1:]", "{}[::-1]", "{} * 2", "round({}, 2)", "bool({})",
)  # fmt: skip
"""What may be made of what is returned, or of what an `if` or a loop goes by."""


Hunk = tuple[str, int, int, int, int]
"""What `difflib` says of a change: its kind, the lines before and the lines after."""

Passes = Callable[[Sequence[str]], list[bool]]
"""Says of each of some codes whether it passes the tests."""


def repair_by_edit(code: str, passes: Passes) -> str | None:
    """Try small edits, those that change least first; return the first of them that passes."""
    candidates = list(itertools.islice(dict.fromkeys(_edited(code)), MOST_EDITS))
    for start in range(0, len(candidates), 64):
        batch = candidates[start : start + 64]
        for candidate, passed in zip(batch, passes(batch), strict=True):
            if passed:
                return candidate
    return None


def repair_question(problem: Problem, code: str, complaint: str) -> Question:
    """Return the question that asks a model to repair an answer."""
    text = (
        f"{problem.text}\n\nThis answer is wrong:\n```python\n{code}```\nA test fails:\n```python\n{complaint}\n```\n"
        "Repair it. Change as little as possible, and keep everything else as it is, names and comments too. "
        "Answer with the whole repaired code in one block and nothing else."
    )
    return Question.of(text, max_tokens=512)


def repair_by_model(code: str, answer: str, passes: Passes) -> str | None:
    """Return the fewest of a model's changes that pass, None where none do or they are too many lines."""
    before, after = code.splitlines(True), code_of(answer).splitlines(True)
    hunks = [hunk for hunk in difflib.SequenceMatcher(None, before, after, False).get_opcodes() if hunk[0] != "equal"]
    if not hunks or len(hunks) > 6:
        return None
    chosen = [subset for size in range(1, len(hunks) + 1) for subset in itertools.combinations(hunks, size)][:64]
    codes = ["".join(_apply(before, after, subset)) for subset in chosen]
    for candidate, subset, passed in zip(codes, chosen, passes(codes), strict=True):
        if passed:
            lines = sum(max(hunk[2] - hunk[1], hunk[4] - hunk[3]) for hunk in subset)
            return candidate if lines <= min(_MOST_LINES, len(before) // 2) else None
    return None


def _apply(before: Sequence[str], after: Sequence[str], hunks: Sequence[Hunk]) -> Iterator[str]:
    read = 0
    for _, start, stop, first, last in hunks:
        yield from before[read:start]
        yield from after[first:last]
        read = stop
    yield from before[read:]


def _edited(code: str) -> Iterator[str]:
    """Yield changed codes: tokens first, then what is returned or tested, then mutations."""
    for start, stop, replacement in _small_edits(code):
        if _parses(changed := code[:start] + replacement + code[stop:]):
            yield changed


@lru_cache(maxsize=4)  # its lines are asked about one after another
def _small_edits(code: str) -> tuple[tuple[int, int, str], ...]:
    """Return edits as (start, stop, replacement): of tokens and expressions, then mutations, the smallest first."""
    try:
        mutations = find_edits(code)
    except (UserError, RecursionError, MemoryError):
        mutations = []
    mutations.sort(key=lambda edit: edit.stop - edit.start + len(edit.replacement))
    return *token_edits(code), *((edit.start, edit.stop, edit.replacement) for edit in mutations)


def line_repairs(code: str, line: int, most: int = MOST_EDITS) -> list[str]:
    """Return what a line, from 1, may be in place of what it is: one small edit away, and the code still parses.

    No test, call or difference in which something stands twice (`a or a`, `f(a, a)`, `a - a`): that is likely and
    seldom meant. Where there are more edits than `most`, every so many of them.
    """
    lines = code.split("\n")
    was = lines[line - 1]
    first = sum(len(text) + 1 for text in lines[: line - 1])
    last = first + len(was)
    inside = [
        code[first:start] + replacement + code[stop:last]
        for start, stop, replacement in _small_edits(code)
        if first <= start and stop <= last and "\n" not in replacement
    ]
    found = [text for text in dict.fromkeys(inside) if text.strip() not in ("", was.strip())]
    found = found[:: -(-len(found) // max(1, most)) or 1]
    trees = [_parse(code[:first] + text + code[last:]) for text in found]
    before = _repeats(_parse(code))
    return [text for text, tree in zip(found, trees, strict=True) if tree is not None and _repeats(tree) <= before]


def token_edits(code: str) -> list[tuple[int, int, str]]:
    """Return edits of single tokens, and of expressions that are returned or tested: start, stop, replacement."""
    lines = io.StringIO(code).readlines()  # as the tokenizer: a form feed or U+2028 ends no line
    starts = [0, *itertools.accumulate(map(len, lines))]
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if (tree := _parse(code)) is None:
        return []
    if "\r" in code.replace("\r\n", "\n"):  # which ends a line for Python's parser alone
        return []
    variables = sorted(_bound(tree))[:_MOST_NAMES]
    edits = []
    before = ""
    for token in tokens:
        start, stop = starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1]
        after = stop + len(code[stop:]) - len(code[stop:].lstrip(" "))  # nothing leaves no space behind
        edits += [(start, stop if text else after, text) for text in _instead_of(token, before, variables)]
        before = token.string
    for part in _decisive(tree):
        first, last = (
            starts[line - 1] + len(lines[line - 1].encode()[:column].decode(errors="replace"))
            for line, column in ((part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0))
        )
        text = code[first:last]
        bare = text if isinstance(part, ast.Name | ast.Call | ast.Constant | ast.Subscript) else f"({text})"
        edits += [(first, last, form.format(bare)) for form in _AROUND]
    return edits


def _instead_of(token: tokenize.TokenInfo, before: str, variables: Sequence[str]) -> Iterator[str]:
    """Yield what may stand instead of a token, given the token before it."""
    text = token.string
    yield from _INSTEAD.get(text, ())
    if (before, text) == ("[", ":"):
        yield "::"
    if before == "**" and token.type == tokenize.NUMBER and text != "0.5":
        yield "0.5"
    if token.type == tokenize.NUMBER and re.fullmatch(r"\d{1,9}", text):
        yield from (str(other) for other in (int(text) + 1, int(text) - 1, 0, 1, 2) if other not in (int(text), -1))
    if token.type == tokenize.NAME and text in variables:
        yield from (f"{text} + 1", f"{text} - 1", *(name for name in variables if name != text))


def _decisive(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield what is returned, tested or gone through."""
    for node in ast.walk(tree):
        names = ("value",) if isinstance(node, ast.Return) else ("test", "iter")
        yield from (part for name in names if isinstance(part := getattr(node, name, None), ast.expr))


def _bound(tree: ast.AST) -> set[str]:
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _parses(code: str) -> bool:
    return _parse(code) is not None


def _parse(code: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _repeats(tree: ast.AST | None) -> int:
    """Count what stands twice in a test, an operation but a sum or product, a call, an f-string or among parameters."""
    return sum(_twice(_parts(node)) for node in ast.walk(tree)) if tree else 0


def _parts(node: ast.AST) -> Sequence[ast.expr | ast.arg]:
    """Return what should not stand in a piece of code twice, constants aside."""
    match node:
        case ast.BoolOp(values=parts) | ast.Call(args=parts) | ast.arguments(args=parts):
            return [part for part in parts if not isinstance(part, ast.Constant)]
        case ast.JoinedStr(values=parts):
            return [part for part in parts if isinstance(part, ast.FormattedValue)]
        case ast.Compare(left=left, comparators=others):
            return [part for part in (left, *others) if not isinstance(part, ast.Constant)]
        case ast.BinOp(left=left, op=op, right=right) if not isinstance(op, ast.Add | ast.Mult):
            return [part for part in (left, right) if not isinstance(part, ast.Constant)]
    return ()


def _twice(parts: Sequence[ast.expr | ast.arg]) -> int:
    """Count what is another part again; only parts as long as another are compared, for they may be deep."""
    sizes = [((part.end_lineno or 0) - part.lineno, (part.end_col_offset or 0) - part.col_offset) for part in parts]
    alike = [part for part, size in zip(parts, sizes, strict=True) if sizes.count(size) > 1]
    try:
        return len(alike) - len({ast.dump(part) for part in alike})
    except RecursionError:
        return 0
