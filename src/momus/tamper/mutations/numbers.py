"""Off by one: bounds, indexes, constants and first values."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._shared import context, integer, place, shown
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_INDEX_NAMES = {
    "idx", "index", "pos", "start", "end", "stop", "left", "right", "lo", "hi", "mid", "low", "high", "cur", "count", "size",
}  # fmt: skip


def _more(node: cst.BaseExpression, tree: Tree) -> str:
    return _plus(node, tree, 1)


def _plus(node: cst.BaseExpression, tree: Tree, step: int) -> str:
    """Return the text of `node + step`, folding what is already added."""
    value = integer(node)
    if value is not None:
        return str(value + step)
    if isinstance(node, cst.BinaryOperation) and not node.lpar:
        added = integer(node.right)
        sign = {cst.Add: 1, cst.Subtract: -1}.get(type(node.operator), 0)
        if added is not None and sign:
            total = sign * added + step
            left = tree.code(node.left)
            return left if total == 0 else f"{left} {'+' if total > 0 else '-'} {abs(total)}"
    text = tree.code(node)
    loose = isinstance(node, cst.IfExp | cst.Comparison | cst.BooleanOperation | cst.Lambda | cst.NamedExpr)
    text = f"({text})" if loose and not node.lpar else text
    return f"{text} {'+' if step > 0 else '-'} 1"


def _arithmetic(node: cst.BaseExpression) -> bool:
    """Whether `node` looks like a whole number."""
    if isinstance(node, cst.Name):
        return node.value not in ("None", "True", "False")
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Name) and node.func.value in ("len", "int", "min", "max", "abs")
    if isinstance(node, cst.BinaryOperation):
        return isinstance(node.operator, cst.Add | cst.Subtract | cst.FloorDivide | cst.Multiply)
    return integer(node) is not None


@mutation("range_bound", cst.Call)
def range_bound(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """A range that starts or stops one too early or too late, or runs with another step."""
    if not isinstance(node.func, cst.Name) or node.func.value != "range" or not 1 <= len(node.args) <= 3:
        return
    if any(arg.star or arg.keyword for arg in node.args):
        return
    values = [arg.value for arg in node.args]
    text, where = tree.code(node), tree.span(node)
    down = len(values) == 3 and (integer(values[2]) or 1) < 0
    stop = values[-1] if len(values) == 1 else values[1]
    if _arithmetic(stop):
        early, late = "the last value is left out", "it goes one step too far"
        for step, why in ((-1, late if down else early), (1, early if down else late)):
            if integer(stop) == -step and len(values) == 1:
                continue  # range(0) would be trivial
            yield Draft(tree.outer(stop), _plus(stop, tree, step), should_be(text, why), where)
    if len(values) == 1:
        at = tree.outer(values[0]).start
        yield Draft(Where(at, at), "1, ", should_be(text, "the first value is left out"), where)
    else:
        start = values[0]
        known = integer(start)
        for step in (-1, 1):
            if _arithmetic(start) and not (known == 0 and step < 0):
                why = "the first value is left out" if (step > 0) != down else "it starts one too early"
                yield Draft(tree.outer(start), _plus(start, tree, step), should_be(text, why), where)
        if len(values) == 2 and known != 0:
            gap = Where(tree.outer(start).start, tree.outer(values[1]).start)
            yield Draft(gap, "", should_be(text, "it must not start at 0"), where)
    if len(values) == 3:
        gap = Where(tree.outer(values[1]).stop, tree.outer(values[2]).stop)
        yield Draft(gap, "", should_be(text, "the step is lost"), where)


@mutation("slice_bound", cst.Slice)
def slice_bound(node: cst.Slice, tree: Tree) -> Iterator[Draft]:
    """A slice that takes one item too many or too few."""
    whole = context(node, tree, 60)
    text, where = tree.code(whole), tree.span(whole)
    for bound, first in ((node.lower, True), (node.upper, False)):
        if bound is None:
            continue
        value = integer(bound)
        for step in (-1, 1):
            if not _arithmetic(bound) or (value is not None and value + step == 0 and not first):
                continue
            if value is not None and (value < 0) != (value + step < 0):
                continue
            why = "one item too few" if (step > 0) == first else "one item too many"
            yield Draft(tree.outer(bound), _plus(bound, tree, step), should_be(text, why), where)
        lost = "the start is ignored" if first else "the end is not cut off"
        if not (first and value == 0):
            yield Draft(tree.outer(bound), "", should_be(text, lost), where)
    if node.lower is None and node.upper is not None and _arithmetic(node.upper) and node.step is None:
        span = tree.span(node)
        if span.start < tree.outer(node.upper).start:
            wrong = f"{tree.code(node.upper)}:"
            yield Draft(span, wrong, should_be(text, "it takes the wrong end"), where)


@mutation("index_off_by_one", cst.Index)
def index_off_by_one(node: cst.Index, tree: Tree) -> Iterator[Draft]:
    """The neighbour of the item that is meant."""
    value = node.value
    known = integer(value)
    if isinstance(value, cst.Name) and not (len(value.value) == 1 or value.value in _INDEX_NAMES):
        return
    if not _arithmetic(value) or isinstance(value, cst.Call):
        return
    # An annotation-like subscript (`list[int]`) never gets here; a call's result may be any container.
    for step in (-1, 1) if known is None else ((1,) if known == 0 else (-1,)):
        wrong = _plus(value, tree, step)
        why = "the wrong item is taken" if known is not None else "the index is off by one"
        yield Draft(tree.outer(value), wrong, should_be(shown(node, tree), why), place(node, tree))
    if known == -1:
        yield Draft(
            tree.outer(value), "0", should_be(shown(node, tree), "the last item is meant"), place(node, tree)
        )
    if known == 0:
        yield Draft(
            tree.outer(value),
            "-1",
            should_be(shown(node, tree), "the first item is meant"),
            place(node, tree),
        )


@mutation("constant_off_by_one", cst.Integer)
def constant_off_by_one(node: cst.Integer, tree: Tree) -> Iterator[Draft]:
    """A number one away from the right one, in a comparison, a sum or an argument."""
    value = integer(node)
    above = tree.parent(node)
    usual = cst.ComparisonTarget | cst.Comparison | cst.BinaryOperation | cst.Arg | cst.Return | cst.AugAssign
    if value is None or not isinstance(above, usual):
        return
    if isinstance(above, cst.Arg) and "range(" in tree.code(tree.parent(above))[:6]:
        return
    wrongs = [value + 1] if value == 0 else [value - 1, value + 1]
    trivial = isinstance(above, cst.BinaryOperation | cst.AugAssign)
    for wrong in wrongs:
        if trivial and (
            wrong == 0
            or (
                wrong == 1
                and not isinstance(
                    above.operator, cst.Add | cst.Subtract | cst.AddAssign | cst.SubtractAssign
                )
            )
        ):  # type: ignore[attr-defined]
            continue
        yield Draft(
            tree.span(node),
            str(wrong),
            should_be(shown(node, tree), "the number is wrong"),
            place(node, tree),
        )


@mutation("plus_one_dropped", cst.BinaryOperation)
def plus_one_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`n` for `n + 1`."""
    if isinstance(node.operator, cst.Add | cst.Subtract) and (integer(node.right) or 0) > 0 and not node.lpar:
        stop = tree.outer(node.left).stop
        sign = "+" if isinstance(node.operator, cst.Add) else "-"
        why = f"the `{sign} {tree.code(node.right)}` is missing"
        kept = Where(tree.span(node).start, stop)
        yield Draft(Where(stop, tree.span(node).stop), "", should_be(tree.code(node), why), kept)


@mutation("plus_one_added", cst.Return, cst.Assign, cst.Arg)
def plus_one_added(node: cst.Return | cst.Assign | cst.Arg, tree: Tree) -> Iterator[Draft]:
    """`n + 1` for `n`, where a count or a length is used."""
    value = node.value
    if isinstance(value, cst.Call) and isinstance(value.func, cst.Name) and value.func.value == "len":
        good = True
    else:
        good = isinstance(value, cst.BinaryOperation) and isinstance(
            value.operator, cst.Subtract | cst.FloorDivide
        )
    if good and value is not None and not value.lpar and not (isinstance(node, cst.Arg) and node.star):
        for step, why in ((1, "the result is one too large"), (-1, "the result is one too small")):
            wrong = _plus(value, tree, step)
            yield Draft(tree.outer(value), wrong, should_be(tree.code(value), why))


@mutation("initial_value", cst.Assign, cst.Param)
def initial_value(node: cst.Assign | cst.Param, tree: Tree) -> Iterator[Draft]:
    """A variable that starts from the wrong value."""
    value = node.value if isinstance(node, cst.Assign) else node.default
    if value is None:
        return
    text = tree.code(node).rstrip(", ")
    known = integer(value)
    if known is not None:
        wrongs = {0: ["1", "-1"], 1: ["0"], -1: ["0"]}.get(known, [str(known - 1), str(known + 1)])
        why = "it starts from the wrong value" if isinstance(node, cst.Assign) else "the default is wrong"
        for wrong in wrongs:
            yield Draft(tree.outer(value), wrong, should_be(text, why), tree.span(node))
    elif isinstance(value, cst.Float) and value.value.endswith(".0"):
        wrong = "1.0" if value.value == "0.0" else "0.0"
        yield Draft(tree.outer(value), wrong, should_be(text, "the value is wrong"), tree.span(node))
    elif tree.code(value) in ('float("inf")', "float('inf')", "math.inf", "inf", "INF"):
        sign = f"-{tree.code(value)}"
        for wrong in (sign, "0"):
            yield Draft(
                tree.outer(value), wrong, should_be(text, "the first minimum is wrong"), tree.span(node)
            )


@mutation("minus_dropped", cst.UnaryOperation)
def minus_dropped(node: cst.UnaryOperation, tree: Tree) -> Iterator[Draft]:
    """`1` for `-1`, `x` for `-x`."""
    if isinstance(node.operator, cst.Minus):
        span = Where(tree.span(node).start, tree.outer(node.expression).start)
        whole = context(node, tree)
        where = tree.span(whole) if whole is not node else tree.outer(node.expression)
        yield Draft(span, "", should_be(tree.code(whole), "the sign is lost"), where)
