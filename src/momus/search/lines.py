"""Which lines may be wrong: what a pointer says of them, and what is gained by a small edit of the likeliest.

The pointer goes by what a model's states show of every line (`lm/pointers/line_pointer.py`), edits by what code the
model finds likely (`search/fixes.py`). A line is the likelier to be wrong the more is gained by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from momus.records import Task
from momus.search.fixes import Fix, Place, find_fixes

TRIED = 4
"""Lines of a piece of code on which edits are tried."""
WEIGHT = 0.2
"""What a nat gained adds to the log-odds that a line is wrong; chosen, as what follows, on inserted bugs held out."""
LEAST_COUNTED, MOST_COUNTED = -5.0, 10.0
"""Gains beyond these count as these."""


class WeighedLines(NamedTuple):
    """What is known of the lines of a piece of code.

    Attributes:
        log_odds: That each line is wrong: the pointer's, and of those tried what edits add.
        fixes: Of the lines tried, from 1, likeliest for the pointer first, the best edit; None where there is none.
    """

    log_odds: tuple[float, ...]
    fixes: Mapping[int, Fix | None]


def weigh_lines(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    log_odds: Sequence[Sequence[float]],
    least: float,
    tried: int = TRIED,
) -> list[WeighedLines]:
    """Try edits on the likeliest lines of pieces of code.

    Args:
        model: A causal language model; an adapter over it is off meanwhile.
        tokenizer: Its tokenizer.
        tasks: The pieces.
        log_odds: The pointer's, of every line of each.
        least: A line that cannot come to such log-odds, whatever an edit gains, is not tried.
        tried: Lines of a piece that are tried, at most.
    """
    reach = least - WEIGHT * MOST_COUNTED
    chosen = [
        [n for n in sorted(range(len(odds)), key=lambda line: -odds[line])[:tried] if odds[n] >= reach]
        for odds in log_odds
    ]
    places = [
        Place(task.question, task.answer, n + 1) for task, lines in zip(tasks, chosen, strict=True) for n in lines
    ]
    found = iter(find_fixes(model, tokenizer, places))
    weighed = []
    for odds, lines in zip(log_odds, chosen, strict=True):
        fixes = {n + 1: next(found) for n in lines}
        weighed.append(WeighedLines(tuple(odd + evidence(fixes.get(n)) for n, odd in enumerate(odds, 1)), fixes))
    return weighed


def evidence(fix: Fix | None) -> float:
    """Return what the best edit of a line adds to the log-odds that it is wrong."""
    return 0.0 if fix is None else WEIGHT * counted(fix.gain)


def counted(gain: float) -> float:
    """Return what counts of nats gained."""
    return min(max(gain, LEAST_COUNTED), MOST_COUNTED)
