"""What was expected of the embedded loop before it was run, beside what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import isfinite, isnan, nan

from momus.evaluate.critics.lineup import PERCENTILES, RL, SFT, fsbs_name
from momus.evaluate.critics.measure import CriticRow
from momus.report.data import Expectation
from momus.stats.bootstrap import Interval
from momus.stats.text import NOT_DETERMINED, interval_text


def expectations(
    rows: Mapping[str, CriticRow],
    *,
    forced: Interval,
    chance: Interval,
    wins: Interval,
    reward_accuracy: float,
    tampered_training: bool,
) -> tuple[Expectation, ...]:
    """Compare what was expected of the loop with what came of it.

    Args:
        rows: Every critic's measurements, by its name.
        forced: How often the shipped critic, a quote forced, finds the line of an only bug.
        chance: The same of a random line.
        wins: How often the contractors prefer RL to SFT, several samples each.
        reward_accuracy: Share of held-back pairs that the reward model orders right.
        tampered_training: Whether tampered answers took part in the training.
    """
    curve = [rows[fsbs_name(p)] for p in PERCENTILES]
    catches, false = [r.catch.value for r in curve], [r.clean_false.value for r in curve]
    rising = all(a <= b for values in (catches, false) for a, b in pairwise(values))
    verbatim = min((r.verbatim.value for r in curve if not isnan(r.verbatim.value)), default=nan)
    times = forced.value / chance.value if chance.value else float("nan")
    return (
        Expectation(
            "a quote forced, the shipped critic finds the tampered line in at least 37% of held-out one-bug functions",
            interval_text(forced, ".1f", scale=100, unit="%"),
            forced.value >= 0.37,
            "Their card has the same measurement on more functions, 41.6% (37.2 to 46.1), and what they find without "
            "their pointer.",
        ),
        Expectation(
            "and at least 2.5 times as often as a random line",
            f"{times:.2f} times" if isfinite(times) else NOT_DETERMINED,
            times >= 2.5,
            f"For the same reason; a random line is right in {chance.value:.1%} of these functions.",
        ),
        Expectation(
            "the contractors prefer RL to SFT in at least 60% of decided comparisons",
            interval_text(wins, ".1f", scale=100, unit="%"),
            wins.value >= 0.6,
            "Without tampered answers the reward knows no bugs, and RL learns to say nothing."
            if not tampered_training
            else f"The reward model orders only {reward_accuracy:.0%} of held-back pairs right, and RL learns from it "
            f"mainly to say less: {rows[RL].comments.value:.2f} comments a critique where SFT makes "
            f"{rows[SFT].comments.value:.2f}. The contractors' noise pulls every preference towards one half besides.",
        ),
        Expectation(
            "FSBS trades false comments for caught bugs monotonically along its four modifiers",
            " → ".join(f"{c:.0%} at {f:.2f}" for c, f in zip(catches, false, strict=True)),
            rising,
            "Steps between neighbouring modifiers are smaller than the sampling error of this many answers.",
        ),
        Expectation(
            "every constrained quote is verbatim",
            "nothing was quoted" if isnan(verbatim) else f"{verbatim:.1%}",
            verbatim == 1.0,
            "No critic of the search commented." if isnan(verbatim) else "This would be a defect.",
        ),
    )
