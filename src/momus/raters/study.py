"""A study with simulated contractors: sampled critiques of many answers, rated blind, the gold critique among them.

    clean answer      four samples
    tampered answer   three samples, and the critique that the author of the bugs wrote

Every contractor rates every answer, in slots of their own, but the author of an answer's bugs, who is one of them and
never rates that answer. (InstructGPT had most comparisons made by one labeler, for the cost, §5.3; simulated ones
cost nothing, and one noisy ranking of each of a few hundred answers is too little to learn from.) The contractors'
noise is calibrated on these very critiques before anything is rated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from momus.critique import format_critique
from momus.errors import UserError
from momus.raters.contractor import calibrate_noise, compare_critiques, panel
from momus.records import Comparison, Record, Tamper

GOLD = "gold"
"""The source of the critique that the author of the bugs wrote."""
SLOTS = 4


class Ratings(Record):
    """The rated comparisons, of each answer one by every contractor who may, and how their noise was set."""

    comparisons: tuple[tuple[Comparison, ...], ...]
    noise: float
    agreement: float
    reached: bool


def rate_samples(tampers: Sequence[Tamper], samples: Sequence[Sequence[str]], contractors: int, seed: int) -> Ratings:
    """Calibrate the noise of so many contractors and have each answer's critiques rated.

    Args:
        tampers: The answers, with their known bugs.
        samples: `SLOTS` critiques of each, as written.
        contractors: How many contractors there are, at least two.
        seed: Decides slots, raters and their noise.

    Raises:
        UserError: All critiques are the same, or there is nobody to rate a comparison.
    """
    first = [comparisons[0] for comparisons in _comparisons(tampers, samples, contractors, 1.0, seed)]
    noise = calibrate_noise(first, seed=seed)
    rated = _comparisons(tampers, samples, contractors, noise.noise, seed)
    return Ratings(comparisons=tuple(rated), **noise._asdict())


def _comparisons(
    tampers: Sequence[Tamper], samples: Sequence[Sequence[str]], contractors: int, noise: float, seed: int
) -> list[tuple[Comparison, ...]]:
    """Have every answer's critiques rated at one noise."""
    raters = panel(contractors, noise, seed=seed)
    if len(raters) < 2:
        raise UserError("rating needs at least two contractors: the author of an answer's bugs does not rate it")
    made = []
    for number, (tamper, written) in enumerate(zip(tampers, samples, strict=True)):
        rng = np.random.default_rng([seed, 22, number])
        critiques, sources, authors = list(written), [f"sample {i}" for i in range(SLOTS)], set[str]()
        if tamper.bugs:
            critiques[-1], sources[-1] = format_critique(tamper.gold_critique()), GOLD
            authors = {raters[number % len(raters)].name}
        may = [rater for rater in raters if rater.name not in authors]
        made.append(tuple(compare_critiques(tamper, critiques, sources, rater, rng, authors=authors) for rater in may))
    return made
