"""Whole lines: how statements are cut out, moved and shown."""

from __future__ import annotations

import libcst as cst

from momus.tamper.tree import Draft, Tree, Where, missing

LEAVES = (cst.Return, cst.Raise, cst.Continue, cst.Break)


def small(node: cst.CSTNode) -> cst.BaseSmallStatement | None:
    """Return the only small statement of a line, or None."""
    if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1:
        return node.body[0]
    return None


def leaves(node: cst.CSTNode) -> bool:
    """Whether control never goes past this statement (as far as its last line tells)."""
    if isinstance(node, cst.SimpleStatementLine):
        return isinstance(node.body[-1], LEAVES)
    if isinstance(node, cst.If):
        return node.orelse is not None and ends(node.body) and leaves_suite(node.orelse)
    return False


def leaves_suite(node: cst.If | cst.Else) -> bool:
    """Whether control never goes past an `elif` chain or an `else`."""
    return leaves(node) if isinstance(node, cst.If) else ends(node.body)


def ends(suite: cst.BaseSuite) -> bool:
    """Whether the last statement of a suite leaves it."""
    last = suite.body[-1] if suite.body else None
    if isinstance(suite, cst.SimpleStatementSuite):
        return isinstance(last, LEAVES)
    return last is not None and leaves(last)


def block(suite: cst.CSTNode) -> list[cst.CSTNode]:
    """Return the statements of an indented block, or nothing for one on the header's line."""
    return list(suite.body) if isinstance(suite, cst.IndentedBlock | cst.Module) else []


def headline(node: cst.CSTNode, tree: Tree) -> str:
    """Return the first line of a statement, with the only statement of a two-line `if` joined to it."""
    if isinstance(node, cst.If) and node.orelse is None and len(block(node.body)) == 1:
        whole = " ".join(tree.code(node).split())
        if "#" not in whole and len(whole) <= 60:
            return whole
    return head(node, tree)


def cut(node: cst.CSTNode, tree: Tree) -> Where:
    """Return the lines to take out with a statement, so that no hole is left: the lines above it go with it."""
    start, stop = tree.outer(node)
    siblings = tree.siblings(node)
    number = siblings.index(node)
    if number == 0:
        start = tree.line_start(tree.span(node).start)
        if len(siblings) > 1:
            following = tree.line_start(tree.span(siblings[1]).start)
            while 0 < (line := tree.source.find("\n", stop) + 1) <= following and not tree.source[stop:line].strip():
                stop = line
    if stop == len(tree.source) and not tree.source.endswith("\n"):
        start -= len(tree.newline)
    return Where(start, stop)


def removed(node: cst.CSTNode, tree: Tree, why: str, text: str | None = None) -> Draft | None:
    """Take a statement out of its block; None when nothing would be left of the block."""
    siblings = [s for s in tree.siblings(node) if not _is_docstring(s)]
    if len(siblings) < 2 or node not in siblings:
        return None
    number = siblings.index(node)
    if number + 1 < len(siblings):
        where, position = tree.first_line(siblings[number + 1]), "before this"
    else:
        where, position = tree.first_line(siblings[number - 1]), "after this"
    return Draft(cut(node, tree), "", missing(text or headline(node, tree), position, why), where)


def _is_docstring(node: cst.CSTNode) -> bool:
    only = small(node)
    return only is not None and Tree.is_text(only)


def lines(node: cst.CSTNode, tree: Tree) -> Where:
    """Return the characters of a statement from the start of its first line to the end of its last code."""
    start, stop = tree.span(node)
    while tree.source[stop - 1] in "\r\n":
        stop -= 1
    end = tree.source.find("\n", stop)
    end = len(tree.source) if end < 0 else end
    end -= tree.source[end - 1] == "\r"
    return Where(tree.line_start(start), end)


def head(node: cst.CSTNode, tree: Tree) -> str:
    """Return the first line of a statement."""
    where = tree.first_line(node)
    return tree.source[where.start : where.stop]


def moved(body: list[cst.CSTNode], indent: str, tree: Tree) -> str | None:
    """Return the lines of a block with another indentation, or None where that would change a string."""
    start, stop = tree.line_start(tree.span(body[0]).start), lines(body[-1], tree).stop
    text, old = tree.source[start:stop], tree.indentation(body[0])
    if any(mark in text for mark in ('"""', "'''", "\\\n")) or old.strip():
        return None
    return "\n".join(indent + line[len(old) :] if line.startswith(old) else line for line in text.split("\n"))
