"""The same function as other people would write it: short names, a script, tight spacing.

Library code and the code people submit for review differ in manner. Training on rewritten functions as well
keeps a small critic from mistaking manner for substance. Every rewriting is a pure function of the source and
returns None where it does not apply.
"""

from __future__ import annotations

import ast
import io
import keyword
import random
import textwrap
import tokenize

_SHORT = [
    *"abcdefghijklmnpqrstuvwxyz",
    "ans",
    "res",
    "cnt",
    "ret",
    "tmp",
    "arr",
    "lst",
    "num",
    "cur",
    "val",
    "nxt",
]


def rename_locals(source: str, rng: random.Random) -> str | None:
    """Give most parameters and local variables of a function short names."""
    tree = ast.parse(source)
    if any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree)):
        return None  # before Python 3.12 names inside f-strings have no usable positions
    local: set[str] = set()
    kept: set[str] = {"self", "cls"}
    places: list[tuple[int, int, str]] = []
    for node in ast.walk(tree):
        match node:
            case ast.arg(arg=name):
                local.add(name)
                places.append((node.lineno, node.col_offset, name))
            case ast.Name(id=name):
                places.append((node.lineno, node.col_offset, name))
                if isinstance(node.ctx, ast.Store):
                    local.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                kept.update(names)
            case ast.ExceptHandler(name=str(name)) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                kept.add(name)
            case ast.alias():
                kept.add(node.asname or node.name.split(".")[0])
            case ast.MatchAs() | ast.MatchStar() | ast.MatchMapping() | ast.AsyncFunctionDef():
                return None
    used = {name for _, _, name in places} | kept
    free = [name for name in _SHORT if name not in used]
    rng.shuffle(free)
    new = {name: free.pop() for name in sorted(local - kept) if free and rng.random() < 0.9}
    if not new:
        return None
    lines = source.split("\n")
    for row, column, name in sorted(places, reverse=True):
        if name in new:
            line = lines[row - 1]
            lines[row - 1] = line[:column] + new[name] + line[column + len(name) :]
    return "\n".join(lines)


def as_script(source: str, rng: random.Random) -> str | None:
    """Turn a function that returns once, at its end, into a script that reads its input and prints."""
    tree = ast.parse(source)
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or function.decorator_list or len(function.body) < 2:
        return None
    last = function.body[-1]
    returns = [node for node in ast.walk(function) if isinstance(node, ast.Return)]
    names = [a.arg for a in function.args.args]
    plain = not (function.args.vararg or function.args.kwarg or function.args.kwonlyargs or function.args.posonlyargs)
    unfit = (ast.Yield, ast.YieldFrom, ast.Await, ast.Nonlocal, ast.Global, ast.FunctionDef, ast.Lambda)
    if not plain or not names or names[0] in ("self", "cls") or returns != [last] or len(names) > 4:
        return None
    if any(isinstance(node, unfit) for statement in function.body for node in ast.walk(statement)):
        return None
    assert isinstance(last, ast.Return)
    if last.value is None or function.body[0].lineno == function.lineno:
        return None
    lines = source.split("\n")[function.body[0].lineno - 1 :]
    row = last.lineno - function.body[0].lineno
    value = "\n".join(lines[row:])[last.col_offset + len("return ") :].strip()
    body = textwrap.dedent("\n".join(lines[:row]))
    if len(names) == 1:
        reader = rng.choice(["int(input())", "input()", "list(map(int, input().split()))"])
    else:
        reader = rng.choice(["map(int, input().split())", "input().split()"])
    script = f"{', '.join(names)} = {reader}\n{body}\nprint({value})"
    return script if _parses(script) else None


def tighten(source: str) -> str | None:
    """Take out the spaces around operators and after commas, as in code written in a hurry."""
    lines = source.split("\n")
    previous: tokenize.TokenInfo | None = None
    cuts: list[tuple[int, int, int]] = []
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, IndentationError):
        return None
    for token in tokens:
        if (
            previous is not None
            and previous.end[0] == token.start[0]
            and previous.end[1] < token.start[1]
            and tokenize.OP in (previous.type, token.type)
            and tokenize.COMMENT not in (previous.type, token.type)
            and not keyword.iskeyword(previous.string)
            and not keyword.iskeyword(token.string)
        ):
            cuts.append((token.start[0], previous.end[1], token.start[1]))
        previous = token
    for row, start, stop in reversed(cuts):
        lines[row - 1] = lines[row - 1][:start] + lines[row - 1][stop:]
    tight = "\n".join(lines)
    return tight if cuts and _parses(tight) and ast.dump(ast.parse(tight)) == ast.dump(ast.parse(source)) else None


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True
