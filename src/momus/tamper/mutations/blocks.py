"""Bugs in control flow: guards, branches and loops."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._lines import LEAVES, block, ends, headline, leaves, lines, removed, small
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, missing, should_be


@mutation("guard_removed", cst.If)
def guard_removed(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """A whole `if …: return/raise/continue/break` is gone."""
    if node.orelse is None and ends(node.body) and not _is_elif(node, tree):
        body = node.body.body[-1]
        last = body.body[-1] if isinstance(body, cst.SimpleStatementLine) else body
        why = {
            cst.Return: "this case is not handled",
            cst.Raise: "bad input is not refused",
            cst.Continue: "these items are not skipped",
            cst.Break: "the loop does not stop",
        }.get(type(last), "this case is not handled")
        draft = removed(node, tree, why)
        if draft and not (isinstance(last, cst.Break) and _endless(node, tree)):
            yield draft


@mutation("condition_removed", cst.If)
def condition_removed(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The `if` is gone and its body always runs."""
    body = block(node.body)
    if node.orelse is None and not _is_elif(node, tree) and body and not ends(node.body):
        first = tree.line_start(tree.span(node).start)
        start = tree.line_start(tree.span(body[0]).start)
        text = tree.source[start : lines(body[-1], tree).stop]
        if _plain(text) and not tree.source[start : tree.span(body[0]).start].strip():
            moved = _shift(text, tree.indentation(body[0]), tree.indentation(node))
            why = "this must not always run"
            yield Draft(
                Where(first, lines(body[-1], tree).stop),
                moved,
                missing(_head(node, tree), "before this", why),
            )


@mutation("if_removed", cst.If)
def if_removed(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """A whole `if` that does some work is gone."""
    if (
        node.orelse is None
        and not ends(node.body)
        and not _is_elif(node, tree)
        and tree.code(node).count("\n") <= 6
    ):
        draft = removed(node, tree, "this case is not handled")
        if draft:
            yield draft


@mutation("else_dropped", cst.If)
def else_dropped(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The last `else` is gone."""
    orelse = node.orelse
    if isinstance(orelse, cst.Else) and not ends(node.body) and block(orelse.body):
        start, stop = _clause(orelse, tree)
        body = block(orelse.body)
        text = f"else: {headline(body[0], tree)}"
        where = tree.first_line(node)
        yield Draft(
            Where(start, stop),
            "",
            missing(text, "after this", "the other case is not handled"),
            _last_line(node.body, tree) or where,
        )


@mutation("elif_dropped", cst.If)
def elif_dropped(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """One `elif` branch is gone."""
    other = node.orelse
    if isinstance(other, cst.If) and block(other.body):
        start = tree.outer(other).start
        stop = tree.outer(other.orelse).start if other.orelse is not None else tree.outer(other).stop
        stop = min(stop, len(tree.source))
        text = f"elif {tree.code(other.test)}:"
        why = "this case is not handled"
        yield Draft(
            Where(start, stop),
            "",
            missing(text, "after this", why),
            _last_line(node.body, tree) or tree.first_line(node),
        )


@mutation("elif_to_if", cst.If)
def elif_to_if(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """`if` for `elif`, so that two branches may run."""
    if _is_elif(node, tree):
        above = tree.parent(node)
        if (
            isinstance(above, cst.If)
            and not ends(above.body)
            and not (node.orelse is None and ends(node.body))
        ):
            start = tree.span(node).start
            text = f"elif {tree.code(node.test)}:"
            yield Draft(
                Where(start, start + 4), "if", should_be(text, "both branches may run"), tree.first_line(node)
            )


@mutation("if_to_elif", cst.If)
def if_to_elif(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """`elif` for a second `if`, so that only one branch runs."""
    siblings = tree.siblings(node)
    if _is_elif(node, tree) or node not in siblings or siblings.index(node) == 0:
        return
    above = siblings[siblings.index(node) - 1]
    if isinstance(above, cst.If) and not ends(above.body) and above.orelse is None and not node.leading_lines:
        start = tree.span(node).start
        text = f"if {tree.code(node.test)}:"
        if tree.line_start(start) == tree.outer(above).stop:
            yield Draft(
                Where(start, start + 2),
                "elif",
                should_be(text, "both tests must be made"),
                tree.first_line(node),
            )


@mutation("else_unindented", cst.If)
def else_unindented(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The body of `else` runs in both cases."""
    orelse = node.orelse
    if not isinstance(orelse, cst.Else) or ends(node.body):
        return
    body = block(orelse.body)
    if body and not ends(orelse.body):
        start = _clause(orelse, tree).start
        first = tree.line_start(tree.span(body[0]).start)
        stop = lines(body[-1], tree).stop
        text = tree.source[first:stop]
        indent = tree.source[tree.line_start(tree.span(orelse).start) : tree.span(orelse).start]
        if _plain(text) and not indent.strip():
            moved = _shift(text, tree.indentation(body[0]), indent)
            yield Draft(Where(start, stop), moved, missing("else:", "before this", "it runs in both cases"))


@mutation("branches_swapped", cst.If)
def branches_swapped(node: cst.If, tree: Tree) -> Iterator[Draft]:
    """The bodies of `if` and `else` are exchanged."""
    if not isinstance(node.orelse, cst.Else) or _is_elif(node, tree):
        return
    first, second = block(node.body), block(node.orelse.body)
    if first and second and not any(_is_pass(s) for s in first + second):
        one = Where(lines(first[0], tree).start, lines(first[-1], tree).stop)
        two = Where(lines(second[0], tree).start, lines(second[-1], tree).stop)
        upper, lower = tree.source[one.start : one.stop], tree.source[two.start : two.stop]
        if (
            tree.indentation(first[0]) == tree.indentation(second[0])
            and upper != lower
            and len(upper + lower) < 600
        ):
            middle = tree.source[one.stop : two.start]
            text = headline(first[0], tree)
            why = (
                f"this belongs under `{_test(node, tree)}`"
                if len(_test(node, tree)) < 30
                else "the branches are swapped"
            )
            yield Draft(Where(one.start, two.stop), f"{lower}{middle}{upper}", should_be(text, why))


@mutation("choices_swapped", cst.IfExp)
def choices_swapped(node: cst.IfExp, tree: Tree) -> Iterator[Draft]:
    """`b if c else a` for `a if c else b`."""
    first, second = tree.outer(node.body), tree.outer(node.orelse)
    one, two = tree.code(node.body), tree.code(node.orelse)
    if one != two and not isinstance(node.orelse, cst.IfExp):
        middle = tree.source[first.stop : second.start]
        text = tree.code(node)
        text = text if len(text) <= 60 else f"{one} if"
        yield Draft(
            Where(first.start, second.stop), f"{two}{middle}{one}", should_be(text, "the choices are swapped")
        )


@mutation("break_continue", cst.Break, cst.Continue)
def break_continue(node: cst.Break | cst.Continue, tree: Tree) -> Iterator[Draft]:
    """`break` for `continue`."""
    if isinstance(node, cst.Break):
        loop = next((up for up in tree.above(node) if isinstance(up, cst.For | cst.While)), None)
        if isinstance(loop, cst.While):
            return
        yield Draft(tree.span(node), "continue", should_be("break", "the loop must stop here"))
    else:
        yield Draft(tree.span(node), "break", should_be("continue", "later items are never reached"))


@mutation("break_to_return", cst.Break, cst.Continue)
def break_to_return(node: cst.Break | cst.Continue, tree: Tree) -> Iterator[Draft]:
    """`return` for `break` or `continue`."""
    if isinstance(tree.scope(node), cst.FunctionDef) and not tree.enclosing(node, cst.ClassDef):
        word = "break" if isinstance(node, cst.Break) else "continue"
        why = "the code after the loop must run" if word == "break" else "only this item is skipped"
        yield Draft(tree.span(node), "return", should_be(word, why))


@mutation("return_to_continue", cst.Return)
def return_to_continue(node: cst.Return, tree: Tree) -> Iterator[Draft]:
    """`break` or `continue` for `return` in a loop."""
    if any(isinstance(up, cst.With | cst.Try) for up in tree.above(node)):
        return
    if tree.enclosing(node, cst.For) and isinstance(tree.parent(tree.parent(tree.parent(node))), cst.If):
        text = tree.code(node)
        yield Draft(tree.span(node), "continue", should_be(text, "the search is over here"))
        yield Draft(tree.span(node), "break", should_be(text, "the function must end here"))


@mutation("while_to_if", cst.While)
def while_to_if(node: cst.While, tree: Tree) -> Iterator[Draft]:
    """`if` for `while`."""
    code = tree.code(node)
    constant = tree.code(node.test) in ("True", "1")
    if "break" not in code and "continue" not in code and node.orelse is None and not constant:
        start = tree.span(node).start
        text = f"while {tree.code(node.test)}:"
        yield Draft(
            Where(start, start + 5), "if", should_be(text, "it must be repeated"), tree.first_line(node)
        )


@mutation("finally_dropped", cst.Try)
def finally_dropped(node: cst.Try, tree: Tree) -> Iterator[Draft]:
    """The clean-up after `try` is gone."""
    final = node.finalbody
    if final is not None and node.handlers and block(final.body):
        start, stop = tree.outer(final)
        body = block(final.body)
        text = f"finally: {headline(body[0], tree)}"
        where = tree.first_line(node.handlers[-1])
        yield Draft(
            Where(start, min(stop, len(tree.source))),
            "",
            missing(text, "after this", "it is not cleaned up"),
            where,
        )


@mutation("with_removed", cst.With)
def with_removed(node: cst.With, tree: Tree) -> Iterator[Draft]:
    """The body runs without the lock."""
    body = block(node.body)
    if (
        body
        and len(node.items) == 1
        and node.items[0].asname is None
        and "lock" in tree.code(node.items[0].item).lower()
    ):
        first = tree.line_start(tree.span(node).start)
        start, stop = tree.line_start(tree.span(body[0]).start), lines(body[-1], tree).stop
        text = tree.source[start:stop]
        if _plain(text):
            moved = _shift(text, tree.indentation(body[0]), tree.indentation(node))
            yield Draft(
                Where(first, stop), moved, missing(_head(node, tree), "before this", "the lock is not held")
            )


def _is_elif(node: cst.If, tree: Tree) -> bool:
    return isinstance(tree.parent(node), cst.If)


def _endless(node: cst.CSTNode, tree: Tree) -> bool:
    loop = next((up for up in tree.above(node) if isinstance(up, cst.For | cst.While)), None)
    return isinstance(loop, cst.While) and tree.code(loop.test) in ("True", "1")


def _clause(node: cst.Else, tree: Tree) -> Where:
    start, stop = tree.outer(node)
    return Where(start, min(stop, len(tree.source)))


def _last_line(suite: cst.BaseSuite, tree: Tree) -> Where | None:
    body = block(suite)
    return tree.first_line(body[-1]) if body else None


def _head(node: cst.CSTNode, tree: Tree) -> str:
    where = tree.first_line(node)
    return tree.source[where.start : where.stop]


def _test(node: cst.If, tree: Tree) -> str:
    return f"if {tree.code(node.test)}"


def _is_pass(node: cst.CSTNode) -> bool:
    return isinstance(small(node), cst.Pass)


def _plain(text: str) -> bool:
    """Whether lines can be indented anew: no string or comment may run over their ends."""
    return '"""' not in text and "'''" not in text and "\\\n" not in text


def _shift(text: str, old: str, new: str) -> str:
    return "\n".join(new + line[len(old) :] if line.startswith(old) else line for line in text.split("\n"))
