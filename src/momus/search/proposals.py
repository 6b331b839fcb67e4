"""What a comment proposes, and whether a model finds the code likelier with it: the words' own fix, weighed.

A comment that names its fix ("Should be `x + 1`", "Missing `x = 1` before this") can be checked without running
anything: with what it proposes in its place, is the code likelier (`fixes.py`)? What it names may be the whole line or
an expression in it, so all places in the line are tried where the code still parses.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from momus.critique import MISSING_CODE, PROPOSED_LINE
from momus.search.fixes import Place, gains_of
from momus.tamper.natural.edits import parse

_HEADS = ("if ", "elif ", "while ", "return ", "assert ", "raise ", "yield ")

MOST_PLACES = 24
"""Places in a line at which a proposed expression is tried."""


class Proposal(NamedTuple):
    """What a comment says about a line.

    Attributes:
        place: The line.
        text: The comment.
    """

    place: Place
    text: str


def weigh_proposals(model: Any, tokenizer: Any, proposals: Sequence[Proposal]) -> list[float | None]:
    """Return what each proposal gains, in nats as in `Fix`; None where a comment proposes nothing that can be tried.

    Args:
        model: A causal language model; an adapter over it is off meanwhile.
        tokenizer: Its tokenizer.
        proposals: What comments say.
    """
    options = [proposed_lines(proposal.place.code, proposal.place.line, proposal.text) for proposal in proposals]
    gains = gains_of(model, tokenizer, [proposal.place for proposal in proposals], options)
    return [max(some) if some else None for some in gains]


def proposed_lines(code: str, line: int, text: str) -> list[str]:
    """Return what may stand in the place of a line, from 1, once a comment on it is followed: each a text that parses.

    Of "Missing …" that is two lines.
    """
    lines = code.split("\n")
    old = lines[line - 1]
    before, after = lines[: line - 1], lines[line:]
    found = [
        new
        for new in dict.fromkeys(_replacements(code, line, old, text))
        if new != old and parse("\n".join([*before, new, *after])) is not None
    ]
    return found[:MOST_PLACES]


def _replacements(code: str, line: int, old: str, text: str) -> Iterator[str]:
    body = old.strip()
    indent = old[: len(old) - len(old.lstrip())]
    if missing := MISSING_CODE.search(text):
        more = indent + missing[2].strip()
        if missing[3].lower() == "before":
            yield f"{more}\n{old}"
            if more.endswith(":"):
                yield f"{more}\n    {old}"
        else:
            yield f"{old}\n    {more}" if body.endswith(":") else f"{old}\n{more}"
    elif proposed := PROPOSED_LINE.search(text):
        new = proposed[2].strip()
        yield indent + new
        if body.endswith(":"):
            yield f"{indent}{new}:"
        for head in _HEADS:
            if body.startswith(head):
                yield indent + head + new + (":" if body.endswith(":") else "")
        raw = old.encode()
        for start, stop in _expressions(code, line):
            yield raw[:start].decode() + new + raw[stop:].decode()


def _expressions(code: str, line: int) -> list[tuple[int, int]]:
    """Return where expressions of a line begin and end, in bytes, the larger ones first."""
    tree = parse(code)
    places = {
        (node.col_offset, node.end_col_offset or 0)
        for node in (ast.walk(tree) if tree else ())
        if isinstance(node, ast.expr | ast.keyword) and node.lineno == node.end_lineno == line
    }
    return sorted(places, key=lambda place: (place[0] - place[1], place))
