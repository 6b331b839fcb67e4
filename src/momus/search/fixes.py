"""A fix by search: of the small edits of a line, the one after which a model finds the code likeliest.

A small code model that cannot say in words what is wrong with a line still knows which code is likely: that is what it
was trained on. So the small edits of the line are tried (`tamper/natural/repairs.py`: another operator, number, name or
argument, and what undoes a mutation). What an edit gains is by how much it makes the line and the tokens after it
likelier; what it leaves out would count in its favour, so each token is worth the same. Where no edit gains much, the
line is likelier to be right, so the gains say where to look, too. There is no paper to follow here;
`benchmarks/pointed_words.py` measures it.

All edits of a piece of code are one token tree: they share what stands before a line, and how an edited line begins.
Two rounds: by the line alone, and the best of these by what follows as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from momus.critique import Comment, Span
from momus.errors import UserError
from momus.lm.context_length import context_length
from momus.lm.forward import backbone_of, branch_logprobs, tree_problem
from momus.lm.local.adapters import without_adapter
from momus.lm.text.encode import Encoder
from momus.lm.tree import TokenTree
from momus.lm.vocabulary_head import logit_transform
from momus.tamper.natural.repairs import MOST_EDITS, line_repairs
from momus.tamper.tree import without_comment

WINDOW = 40
"""Tokens after a line that an edit of it must suit."""
KEPT = 8
"""Edits of a line that are tried with what follows it."""
TOKEN = 2.0
"""Nats that are taken for what a token costs: else to leave something out would always gain."""
MOST_TOKENS = 4096
"""Tokens of all edits of a line together; of a longer line fewer are tried."""


class Fix(NamedTuple):
    """What a line should be, and what is gained by it.

    Attributes:
        line: The whole line, its indentation left out.
        gain: Log-probability of the line and what follows it, less that of the code as it is, and `TOKEN` for each
            token that the line has more, in nats.
    """

    line: str
    gain: float


class Place(NamedTuple):
    """A line that may be wrong.

    Attributes:
        question: What the code is for.
        code: All of it.
        line: The line's number, from 1.
    """

    question: str
    code: str
    line: int


def find_fixes(model: Any, tokenizer: Any, places: Sequence[Place]) -> list[Fix | None]:
    """Return the likeliest edit of every line; None where there is none, as in what is no Python.

    Nor is there one where the model takes no token trees, which would read everything before a line once for each edit,
    or changes its logits in an unknown way.

    Args:
        model: A causal language model; an adapter over it is off meanwhile.
        tokenizer: Its tokenizer.
        places: The lines.
    """
    if _problem(model):
        return [None] * len(places)
    options = [line_repairs(place.code, place.line, _affordable(tokenizer, place)) for place in places]
    with without_adapter(model):
        alone = _gains(model, tokenizer, places, options, 0)
        options = [_best(*each)[:KEPT] for each in zip(options, alone, strict=True)]
        gains = _gains(model, tokenizer, places, options, WINDOW)
    fixes = []
    for some, values in zip(options, gains, strict=True):
        best = max(zip(values, some, strict=True), default=None)
        fixes.append(None if best is None else Fix(best[1].strip(), best[0]))
    return fixes


def _problem(model: Any) -> str:
    try:
        logit_transform(model)
    except UserError as error:
        return str(error)
    return tree_problem(backbone_of(model))


def _affordable(tokenizer: Any, place: Place) -> int:
    line = place.code.split("\n")[place.line - 1]
    return min(MOST_EDITS, MOST_TOKENS // max(1, Encoder(tokenizer).count(f"{line}\n")))


def propose_line(code: str, line: int, fix: str) -> Comment | None:
    """Return a comment on a line, from 1, that proposes another; None where that cannot be written as one."""
    fix = without_comment(fix)
    lines = code.split("\n")
    start = sum(len(text) + 1 for text in lines[: line - 1]) + len(lines[line - 1]) - len(lines[line - 1].lstrip())
    span = Span(start, start + len(lines[line - 1].strip()))
    if "`" in fix:
        return None
    return Comment(highlight=code[span.start : span.end], text=f"Should be `{fix}`.", span=span, line=line)


def _best(options: Sequence[str], gains: Sequence[float]) -> list[str]:
    return [options[i] for i in sorted(range(len(options)), key=lambda i: -gains[i])]


def _gains(
    model: Any, tokenizer: Any, places: Sequence[Place], options: Sequence[Sequence[str]], window: int
) -> list[list[float]]:
    """Return by how much each option in the place of a line makes it, and so many tokens after it, likelier."""
    pieces: dict[tuple[str, str], list[int]] = {}
    for number, place in enumerate(places):
        if options[number]:
            pieces.setdefault((place.question, place.code), []).append(number)
    longest = context_length(backbone_of(model).config)
    trees = [
        _tree(tokenizer, [(places[n], options[n]) for n in numbers], window, longest) for numbers in pieces.values()
    ]
    found: list[list[float]] = [[] for _ in places]
    with torch.no_grad():
        scored = branch_logprobs(model, trees) if trees else []
    for numbers, branches in zip(pieces.values(), scored, strict=True):
        values = iter([float(branch.sum()) + TOKEN * len(branch) for branch in branches])
        for number in numbers:
            was = next(values)
            found[number] = [next(values) - was for _ in options[number]]
    return found


def _tree(
    tokenizer: Any, edits: Sequence[tuple[Place, Sequence[str]]], window: int, longest: int | None = None
) -> TokenTree:
    """Lay out lines of one piece of code, each as it is and as it may be, after what stands before it.

    What goes beyond the longest text that the model reads is cut off.
    """
    encoder = Encoder(tokenizer)
    prefixes, branches = [], []
    for place, options in edits:
        lines = place.code.split("\n")
        before = encoder.encode("".join(f"{line}\n" for line in (f"# {place.question}", *lines[: place.line - 1])))
        after = encoder.encode("".join(f"{line}\n" for line in lines[place.line :]))[:window]
        for text in (lines[place.line - 1], *options):
            prefixes.append(before)
            branch = encoder.encode(f"{text}\n") + after
            branches.append(branch if longest is None else branch[: longest - len(before)])
    return TokenTree.from_prefixes(prefixes, branches)
