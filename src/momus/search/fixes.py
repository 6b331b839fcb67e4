"""A fix by search: of the small edits of a line, the one after which a model finds the code likeliest.

A small code model that cannot say in words what is wrong with a line still knows which code is likely: that is what it
was trained on. So the small edits of the line are tried (`tamper/natural/edits.py`: another operator, number, name or
argument, and what undoes a mutation). What an edit gains is by how much it makes the line and the tokens after it
likelier, less what edits of its kind cost: the rarer they are, the more. What it leaves out would count in its favour,
so each token is worth the same. Where no edit gains much, the line is likelier to be right, so the gains say where to
look, too. There is no paper to follow here; `benchmarks/pointed_words.py` measures it.

All edits of a piece of code are one token tree: they share what stands before a line, and how an edited line begins.
Two rounds: by the line alone, and the best of these by what follows as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
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
from momus.tamper.natural import edits
from momus.tamper.natural.repairs import MOST_EDITS, line_repairs
from momus.tamper.tree import without_comment

WINDOW = 40
"""Tokens after a line that an edit of it must suit."""
KEPT = 4
"""Edits of a line that are tried with what follows it."""
LEAST_ALONE = -2.0
"""Nats that such an edit must gain by the line alone: it may lose a little there."""
TOKEN = 1.5
"""Nats that are taken for what a token costs: else to leave something out would always gain."""
FLOOR = -6.0
"""A token's log-probability where it is less: a name that nobody could foresee is no fault."""
AFTER = 2.0
"""How much a nat counts in what follows the line."""
MOST_TOKENS = 3072
"""Tokens of all edits of a line together; of a longer line fewer are tried."""
AT_ONCE = 4
"""Lines whose proposals are read together."""
COSTS = {
    edits.TOKEN: 0.0,
    edits.NAME: 0.0,
    edits.STATEMENT: 1.0,
    edits.WHOLE: 1.0,
    edits.MUTATION: 1.0,
    edits.PART: 3.0,
}
"""Nats that are taken off what an edit gains, by its rank."""
SETTINGS = (edits.VERSION, *COSTS.values(), WINDOW, KEPT, LEAST_ALONE, TOKEN, FLOOR, AFTER, MOST_TOKENS, MOST_EDITS)
"""The numbers that decide which fix is found."""


class Fix(NamedTuple):
    """What a line should be, and what is gained by it.

    Attributes:
        line: The whole line, its indentation left out.
        gain: Log-probability of the line and, `AFTER` times, of what follows it, with `TOKEN` added for each token and
            none below `FLOOR`, less that of the code as it is and `COSTS`, in nats; of the line alone where too little
            is gained by it.
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
        alone = _try(model, tokenizer, places, options, 0)
        kept = [
            {fix.line: some[fix.line] for fix in tried[:KEPT] if fix.gain > LEAST_ALONE}
            for tried, some in zip(alone, options, strict=True)
        ]
        followed = _try(model, tokenizer, places, kept, WINDOW)
    best = [(some or first)[:1] for some, first in zip(followed, alone, strict=True)]
    return [Fix(some[0].line.strip(), some[0].gain) if some else None for some in best]


def measure_gains(
    model: Any, tokenizer: Any, places: Sequence[Place], options: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Return what options in the place of lines gain, as in `Fix`, but with what follows always and without `COSTS`.

    Of a line's options those are left out that go beyond `MOST_TOKENS`; there is none where `find_fixes` has none.

    Args:
        model: A causal language model; an adapter over it is off meanwhile.
        tokenizer: Its tokenizer.
        places: The lines.
        options: Of each line what may stand there, of one line or several.
    """
    if _problem(model):
        return [[] for _ in places]
    count = Encoder(tokenizer).count
    sizes = [[count(f"{text}\n") + WINDOW for text in some] for some in options]
    kept = [
        {text: edits.TOKEN for text, used in zip(some, accumulate(size), strict=True) if used <= MOST_TOKENS}
        for some, size in zip(options, sizes, strict=True)
    ]
    found: list[list[Fix]] = []
    with without_adapter(model):
        for start in range(0, len(places), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            found += _try(model, tokenizer, places[part], kept[part], WINDOW)
    gains = [dict(tried) for tried in found]
    return [[known[text] for text in some if text in known] for known, some in zip(gains, kept, strict=True)]


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


def _try(
    model: Any, tokenizer: Any, places: Sequence[Place], options: Sequence[Mapping[str, int]], window: int
) -> list[list[Fix]]:
    """Return what each option in the place of a line, by its rank, gains there and in what follows it, best first."""
    longest = context_length(backbone_of(model).config)
    pieces: dict[tuple[str, str], list[int]] = {}
    rows = dict[int, _Rows]()
    for number, (place, some) in enumerate(zip(places, options, strict=True)):
        if some and (laid := _lay_out(tokenizer, place, list(some), window, longest)):
            rows[number] = laid
            pieces.setdefault((place.question, place.code), []).append(number)
    with torch.no_grad():
        trees = [_tree([rows[number] for number in some]) for some in pieces.values()]
        scored = branch_logprobs(model, trees) if trees else []
    found: list[list[Fix]] = [[] for _ in places]
    for numbers, branches in zip(pieces.values(), scored, strict=True):
        rest = iter(branches)
        for number in numbers:
            was, *would = (_value(next(rest), len(line)) for line in rows[number].lines)
            gains = [each - was - COSTS[rank] for each, rank in zip(would, options[number].values(), strict=True)]
            found[number] = sorted(map(Fix, options[number], gains), key=lambda fix: -fix.gain)
    return found


class _Rows(NamedTuple):
    """The tokens before a line, of the line as it is and as it may be, and after it."""

    before: list[int]
    lines: list[list[int]]
    after: list[int]


def _lay_out(tokenizer: Any, place: Place, options: Sequence[str], window: int, longest: int | None) -> _Rows | None:
    """Return what is read of a line's options; None where one of them goes beyond the longest text the model reads."""
    encoder, lines = Encoder(tokenizer), place.code.split("\n")
    before = encoder.encode("".join(f"{line}\n" for line in (f"# {place.question}", *lines[: place.line - 1])))
    own = [encoder.encode(f"{text}\n") for text in (lines[place.line - 1], *options)]
    after = encoder.encode("".join(f"{line}\n" for line in lines[place.line :]))
    # As much after each of them: a shorter line would gain by another token that it leaves room for.
    room = window if longest is None else min(window, longest - len(before) - max(map(len, own)))
    return None if room < 0 else _Rows(before, own, after[:room])


def _tree(rows: Sequence[_Rows]) -> TokenTree:
    """Lay out lines of one piece of code, each as it is and as it may be, after what stands before it."""
    prefixes = [each.before for each in rows for _ in each.lines]
    return TokenTree.from_prefixes(prefixes, [[*line, *each.after] for each in rows for line in each.lines])


def _value(logprobs: torch.Tensor, size: int) -> float:
    """Return what a line, of so many tokens, and what follows it are worth."""
    worth = logprobs.clamp(min=FLOOR) + TOKEN
    return float(worth[:size].sum() + AFTER * worth[size:].sum())
