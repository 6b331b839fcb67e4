"""Off by one: bounds, indexes, constants and first values."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from momus.tamper.mutations._equivalent import (
    is_asked_for_its_type,
    is_one_item,
    is_whole_length,
    takes_one_part,
)
from momus.tamper.mutations._shared import callee, context, cut_after, instead, integer
from momus.tamper.registry import mutation
from momus.tamper.tree import Draft, Tree, Where, should_be

_INDEX_NAMES = {
    "idx", "index", "pos", "start", "end", "stop", "left", "right", "lo", "hi", "mid", "low", "high", "cur", "count",
}  # fmt: skip
_FAR = {'float("inf")', "float('inf')", "math.inf", "inf", "INF"}
_COUNTED = cst.ComparisonTarget | cst.Comparison | cst.BinaryOperation | cst.Arg | cst.Return | cst.AugAssign


@mutation("range_bound", cst.Call)
def range_bound(node: cst.Call, tree: Tree) -> Iterator[Draft]:
    """A range that starts or stops one too early or too late, or runs with another step."""
    plain = not any(arg.star or arg.keyword for arg in node.args)
    if not isinstance(node.func, cst.Name) or node.func.value != "range" or not plain or not node.args:
        return
    values = [arg.value for arg in node.args]
    down = len(values) == 3 and (integer(values[2]) or 1) < 0
    text, where = tree.code(node), tree.span(node)
    stop = values[0] if len(values) == 1 else values[1]
    for step in (-1, 1) if _countable(stop) else ():
        why = "it goes one step too far" if (step > 0) != down else "the last value is left out"
        yield Draft(tree.outer(stop), plus(stop, tree, step), should_be(text, why), where)
    if len(values) == 1:
        at = tree.outer(stop).start
        yield Draft(Where(at, at), f"1,{tree.space}", should_be(text, "the first value is left out"), where)
        return
    start = values[0]
    for step in (-1, 1) if _countable(start) else ():
        if not (integer(start) == 0 and step < 0):
            why = "the first value is left out" if (step > 0) != down else "it starts one too early"
            yield Draft(tree.outer(start), plus(start, tree, step), should_be(text, why), where)
    if len(values) == 2 and integer(start) != 0:
        gap = Where(tree.outer(start).start, tree.outer(stop).start)
        yield Draft(gap, "", should_be(text, "it must not start at 0"), where)
    if len(values) == 3:
        gap = Where(tree.outer(stop).stop, tree.outer(values[2]).stop)
        yield Draft(gap, "", should_be(text, "the step is lost"), where)


@mutation("slice_bound", cst.Slice)
def slice_bound(node: cst.Slice, tree: Tree) -> Iterator[Draft]:
    """A slice that takes one item too many or too few, or all from or up to an end."""
    whole = context(node, tree, 60)
    text, where = tree.code(whole), tree.span(whole)
    for bound, first in ((node.lower, True), (node.upper, False)):
        if bound is None:
            continue
        value, to_the_end = integer(bound), not first and is_whole_length(bound, node, tree)
        for step in (-1, 1) if _countable(bound) else ():
            if to_the_end and step > 0:
                continue
            if value is not None and ((value < 0) != (value + step < 0) or (value + step == 0 and not first)):
                continue
            why = "one item too few" if (step > 0) == first else "one item too many"
            yield Draft(tree.outer(bound), plus(bound, tree, step), should_be(text, why), where)
        if not (first and value == 0) and not to_the_end:
            why = "the start is ignored" if first else "the end is not cut off"
            yield Draft(tree.outer(bound), "", should_be(text, why), where)
    if node.lower is None and node.upper is not None and node.step is None and integer(node.upper) is not None:
        yield Draft(tree.span(node), f"{tree.code(node.upper)}:", should_be(text, "it takes the wrong end"), where)


@mutation("slice_to_index", cst.Slice)
def slice_to_index(node: cst.Slice, tree: Tree) -> Iterator[Draft]:
    """`s[-2]` for `s[-2:]`."""
    bound = node.lower or node.upper
    if node.step is None and bound is not None and (node.lower is None or node.upper is None):
        whole = context(node, tree, 60)
        why = should_be(tree.code(whole), "one item only is taken")
        yield Draft(tree.span(node), tree.code(bound), why, tree.span(whole))


@mutation("index_off_by_one", cst.Index)
def index_off_by_one(node: cst.Index, tree: Tree) -> Iterator[Draft]:
    """The neighbour of the item that is meant."""
    value = node.value
    known = integer(value)
    whole = tree.parent(tree.parent(node))
    if is_asked_for_its_type(whole, tree):
        return
    if isinstance(value, cst.Name) and not (len(value.value) == 1 or value.value in _INDEX_NAMES):
        return
    if not _countable(value) or isinstance(value, cst.Call):
        return
    if known is None:
        for step in (-1, 1):
            yield instead(value, plus(value, tree, step), tree, "the index is off by one")
        return
    for wrong, why in ((known + 1, "the wrong item is taken"), (known - 1, "the wrong item is taken")):
        if (wrong < 0) == (known < 0):
            yield instead(value, str(wrong), tree, why)
    if known in (0, -1) and not (isinstance(whole, cst.Subscript) and is_one_item(whole.value, tree)):
        why = "the last item is meant" if known else "the first item is meant"
        yield instead(value, "0" if known else "-1", tree, why)


@mutation("constant_off_by_one", cst.Integer)
def constant_off_by_one(node: cst.Integer, tree: Tree) -> Iterator[Draft]:
    """A number one away from the right one, in a comparison, a sum or an argument."""
    value, above = integer(node), tree.parent(node)
    if value is None or not isinstance(above, _COUNTED) or _is_range(tree.parent(above)):
        return
    one_part = takes_one_part(above, tree)
    scaled = isinstance(above, cst.BinaryOperation | cst.AugAssign)
    additive = cst.Add | cst.Subtract | cst.AddAssign | cst.SubtractAssign
    smallest = 0
    if isinstance(above, cst.BinaryOperation | cst.AugAssign):
        smallest = 1 if isinstance(above.operator, additive) else 2
    for wrong in (value - 1, value + 1):
        if wrong >= smallest and (scaled or value or wrong) and not (one_part and wrong > value >= 1):
            yield instead(node, str(wrong), tree, "the number is wrong")


@mutation("constant_mistyped", cst.Integer)
def constant_mistyped(node: cst.Integer, tree: Tree) -> Iterator[Draft]:
    """A digit too few or too many, or two exchanged, in a long number."""
    text = node.value
    if text.isdecimal() and len(text) >= 3:
        middle = len(text) // 2
        exchanged = text[: middle - 1] + text[middle] + text[middle - 1] + text[middle + 1 :]
        for wrong in sorted({text[:-1], exchanged, f"{text[:middle]}{text[middle - 1 :]}"} - {text}):
            yield instead(node, wrong, tree, "the number is mistyped")


@mutation("plus_one_dropped", cst.BinaryOperation)
def plus_one_dropped(node: cst.BinaryOperation, tree: Tree) -> Iterator[Draft]:
    """`n` for `n + 1`."""
    if isinstance(node.operator, cst.Add | cst.Subtract) and (integer(node.right) or 0) > 0:
        sign = "+" if isinstance(node.operator, cst.Add) else "-"
        yield cut_after(node, tree, f"the `{sign} {tree.code(node.right)}` is missing")


@mutation("plus_one_added", cst.Return, cst.Assign, cst.Arg)
def plus_one_added(node: cst.Return | cst.Assign | cst.Arg, tree: Tree) -> Iterator[Draft]:
    """`n + 1` for `n`, where a count or a length is used."""
    value = node.value
    length = isinstance(value, cst.Call) and callee(value) == "len"
    counted = isinstance(value, cst.BinaryOperation) and isinstance(value.operator, cst.Subtract | cst.FloorDivide)
    if (length or counted) and value is not None and not value.lpar and not _is_range(tree.parent(node)):
        for step, why in ((1, "the result is one too large"), (-1, "the result is one too small")):
            yield Draft(tree.outer(value), plus(value, tree, step), should_be(tree.code(value), why))


@mutation("initial_value", cst.Assign, cst.Param)
def initial_value(node: cst.Assign | cst.Param, tree: Tree) -> Iterator[Draft]:
    """A variable that starts from the wrong value."""
    value = node.value if isinstance(node, cst.Assign) else node.default
    if value is None:
        return
    known, code = integer(value), tree.code(value)
    why = "it starts from the wrong value" if isinstance(node, cst.Assign) else "the default is wrong"
    if known is not None:
        wrongs = {0: ["1", "-1"], 1: ["0"], -1: ["0"]}.get(known, [str(known - 1), str(known + 1)])
    elif isinstance(value, cst.Float) and code.endswith(".0"):
        wrongs = ["1.0" if code == "0.0" else "0.0"]
    elif code in _FAR:
        wrongs = [f"-{code}", "0"]
    else:
        return
    text = tree.code(node)
    for wrong in wrongs:
        yield Draft(tree.outer(value), wrong, should_be(text, why), tree.span(node))


@mutation("minus_dropped", cst.UnaryOperation)
def minus_dropped(node: cst.UnaryOperation, tree: Tree) -> Iterator[Draft]:
    """`1` for `-1`, `x` for `-x`."""
    if isinstance(node.operator, cst.Minus):
        inner, whole = tree.outer(node.expression), context(node, tree)
        where = inner if whole is node else tree.span(whole)
        why = should_be(tree.code(whole), "the sign is lost")
        yield Draft(Where(tree.span(node).start, inner.start), "", why, where)


@mutation("minus_one_zero", cst.UnaryOperation)
def minus_one_zero(node: cst.UnaryOperation, tree: Tree) -> Iterator[Draft]:
    """`0` for the `-1` that says "none"."""
    above = tree.parent(node)
    marks = isinstance(above, cst.Return | cst.Arg | cst.ComparisonTarget) and not _is_range(tree.parent(above))
    if integer(node) == -1 and marks:
        yield instead(node, "0", tree, "-1 is the mark here")


def plus(node: cst.BaseExpression, tree: Tree, step: int) -> str:
    """Return the text of `node + step` for a step of 1 or -1, folding what is already added."""
    value, text = integer(node), tree.code(node)
    if value is not None:
        return str(value + step)
    if isinstance(node, cst.BinaryOperation) and not node.lpar:
        added = integer(node.right)
        sign = {cst.Add: 1, cst.Subtract: -1}.get(type(node.operator), 0)
        if added is not None and sign:
            total = sign * added + step
            left = tree.code(node.left)
            return f"{left}{tree.signed(total)}" if total else left
    return f"{text}{tree.signed(step)}"


def _countable(node: cst.BaseExpression) -> bool:
    """Whether `node` looks like a whole number."""
    if isinstance(node, cst.Name):
        return node.value not in ("None", "True", "False")
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Name) and node.func.value in ("len", "int", "min", "max", "abs")
    if isinstance(node, cst.BinaryOperation):
        return isinstance(node.operator, cst.Add | cst.Subtract | cst.FloorDivide | cst.Multiply)
    return integer(node) is not None


def _is_range(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Call) and callee(node) == "range"
