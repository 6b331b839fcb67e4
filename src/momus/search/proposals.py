"""What a comment proposes, and whether a model finds the code likelier with it: the words' own fix, weighed.

A comment that names its fix ("Should be `x + 1`", "Missing `x = 1` before this") can be checked without running
anything: with what it proposes in its place, is the code likelier (`fixes.py`)? What it names may be the whole line or
an expression in it, so places in the line are tried, the whole first and larger ones before smaller ones.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from momus.critique import MISSING_CODE, PROPOSED_LINE
from momus.search.fixes import Place, measure_gains
from momus.tamper.natural.edits import parse
from momus.tamper.natural.repairs import lines_that_fit
from momus.tamper.tree import without_comment

_HEADS = ("if ", "elif ", "while ", "return ", "assert ", "raise ", "yield ")

MOST_PLACES = 24
"""Places in a line at which a proposal is tried."""
VERSION = 1
"""Counts up where another proposal is found, or another place for it."""


class Proposal(NamedTuple):
    """What a comment says about a line.

    Attributes:
        place: The line.
        text: The comment.
    """

    place: Place
    text: str


def weigh_proposals(model: Any, tokenizer: Any, proposals: Sequence[Proposal]) -> list[float | None]:
    """Return what each proposal gains, in nats, at its best place; None where a comment has none that can be tried.

    Args:
        model: A causal language model; an adapter over it is off meanwhile.
        tokenizer: Its tokenizer.
        proposals: What comments say.
    """
    options = [proposed_lines(proposal.place.code, proposal.place.line, proposal.text) for proposal in proposals]
    gains = measure_gains(model, tokenizer, [proposal.place for proposal in proposals], options)
    return [max(some, default=None) for some in gains]


def proposed_lines(code: str, line: int, text: str) -> list[str]:
    """Return what may stand in the place of a line, from 1, once a comment on it is followed: each a text that fits.

    With "Missing …" that is more lines than one. A comment at the line's end stays.
    """
    if "\r" in code.replace("\r\n", "\n"):  # which ends a line for Python's parser alone
        return []
    old = code.split("\n")[line - 1]
    options = dict.fromkeys(_replacements(code, line, old, text))
    return list(islice(lines_that_fit(code, line, options), MOST_PLACES))


def _replacements(code: str, line: int, old: str, text: str) -> Iterator[str]:
    kept = without_comment(old)
    indent, body, rest = kept[: len(kept) - len(kept.lstrip())], kept.strip(), old[len(kept) :]
    if missing := MISSING_CODE.search(text):
        more = textwrap.dedent(missing[2].strip("\n")).strip()
        step = "\t" if "\t" in indent else "    "
        if missing[3].lower() == "before":
            yield f"{textwrap.indent(more, indent)}\n{old}"
            if more.endswith(":"):
                yield f"{textwrap.indent(more, indent)}\n{step}{old}"
        else:
            inside = indent + step * body.endswith(":")
            yield f"{old}\n{textwrap.indent(more, inside)}"
    elif proposed := PROPOSED_LINE.search(text):
        new = proposed[2].strip()
        end = ":" * body.endswith(":")
        if _is_expression(body) or not _is_expression(new):  # `return x` is not meant to be `x`
            yield from (f"{indent}{new}{each}{rest}" for each in dict.fromkeys(("", end)))
        if _is_expression(new):
            yield from (f"{indent}{head}{new}{end}{rest}" for head in _HEADS if body.startswith(head))
        raw = old.encode()
        for start, stop in _parts(code, line, new):
            yield raw[:start].decode() + new + raw[stop:].decode()


def _parts(code: str, line: int, new: str) -> list[tuple[int, int]]:
    """Return where parts of a line begin and end, in bytes, that a proposal may be for, the larger ones first.

    Those are expressions for an expression, and for a named argument those of its name.
    """
    name = "" if _is_expression(new) else new.partition("=")[0].strip()
    tree = parse(code)
    nodes = [node for node in (ast.walk(tree) if tree else ()) if isinstance(node, ast.expr | ast.keyword)]
    places = {
        (node.col_offset, node.end_col_offset or 0)
        for node in nodes
        if node.lineno == node.end_lineno == line and name == ((isinstance(node, ast.keyword) and node.arg) or "")
    }
    return sorted(places, key=lambda place: (place[0] - place[1], place))


def _is_expression(code: str) -> bool:
    return parse(f"({code}\n)") is not None
