"""A study with simulated contractors: sampled critiques of many answers, rated blind, the gold critique among them.

    clean answer      four samples
    tampered answer   three samples, and the critique that the author of the bugs wrote

The author of an answer's bugs is one of the contractors and never rates that answer. The contractors' noise is
calibrated on these very critiques before anything is rated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from momus.critique import format_critique
from momus.raters.contractor import assign, calibrate, compare, panel
from momus.records import Comparison, Record, Tamper

GOLD = "gold"
"""The source of the critique that the author of the bugs wrote."""
SLOTS = 4


class Ratings(Record):
    """The rated comparisons, one an answer, and how the contractors' noise was set (`Calibration`)."""

    comparisons: tuple[Comparison, ...]
    noise: float
    agreement: float
    reached: bool


def rate_samples(tampers: Sequence[Tamper], samples: Sequence[Sequence[str]], contractors: int, seed: int) -> Ratings:
    """Calibrate the noise of so many contractors and have each answer's critiques rated once.

    Args:
        tampers: The answers, with their known bugs.
        samples: `SLOTS` critiques of each, as written.
        contractors: How many contractors there are, at least two.
        seed: Decides slots, raters and their noise.

    Raises:
        UserError: All critiques are the same, or there is nobody to rate a comparison.
    """
    noise = calibrate(_comparisons(tampers, samples, contractors, 1.0, seed), seed=seed)
    rated = _comparisons(tampers, samples, contractors, noise.noise, seed)
    return Ratings(comparisons=tuple(rated), **noise._asdict())


def _comparisons(
    tampers: Sequence[Tamper], samples: Sequence[Sequence[str]], contractors: int, noise: float, seed: int
) -> list[Comparison]:
    """Have every answer's critiques rated at one noise."""
    raters = panel(contractors, noise, seed=seed)
    made = []
    for number, (tamper, written) in enumerate(zip(tampers, samples, strict=True)):
        rng = np.random.default_rng([seed, 22, number])
        critiques, sources, authors = list(written), [f"sample {i}" for i in range(SLOTS)], set[str]()
        if tamper.bugs:
            critiques[-1], sources[-1] = format_critique(tamper.gold_critique()), GOLD
            authors = {raters[number % len(raters)].name}
        rater = assign(raters, rng, authors=authors)
        made.append(compare(tamper, critiques, sources, rater, rng, authors=authors))
    return made
