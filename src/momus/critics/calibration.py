"""What was measured of a critic's dial: stored, and set by a promise.

Measured over answers with known bugs and clean ones, each setting of a dial (`momus.critics.critic`) has a price: false
comments per clean answer, and share of bugs caught. Who asks for at most so many false alarms gets the setting that
catches most of those reached by turning the dial up from its quietest end while the *interval* of the false alarms
stays below what was asked: settings are tried in an order that was fixed beforehand and the first failure ends it, so
that choosing among many does not weaken the promise (fixed sequence testing). It is about code like the code measured
on, and says which that was.

What people say of comments that they were shown may take the loosest settings away (`without_disliked`): then the dial
stands at the same setting or a quieter one, and every promise that held holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from math import comb
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from momus.errors import UserError
from momus.records import Record, read_model
from momus.stats.bootstrap import Interval
from momus.terminal import visible_line


class OperatingPoint(BaseModel):
    """One setting: false comments per clean answer, share of the bugs caught, comments per answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: float
    false_alarms: Interval
    caught: Interval
    comments: Interval


class Calibration(Record):
    """A critic's measured dial: who it is, what it was measured on, and its points from the quietest end on.

    With `changes` the answers are what changes left, and comments on changed lines alone were counted.
    `fingerprints` is what the servers of its models said of themselves, by the models' names.
    """

    critic: dict[str, Any]
    fingerprints: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    data: str
    inserted: bool
    changes: bool = False
    answers: int
    clean: int
    bugs: int
    points: tuple[OperatingPoint, ...] = Field(min_length=1)

    def promise(self, false_alarms: float) -> OperatingPoint:
        """Return the point that catches most of those from the quietest end on that keep to so many false alarms.

        Raises:
            UserError: There is none; the message names the least that can be promised.
        """
        if not false_alarms >= 0:
            raise UserError(f"--false-alarms {false_alarms}: must be at least 0")
        kept = list(takewhile(lambda point: point.false_alarms.high <= false_alarms, self.points))
        if not kept:
            least = self.points[0].false_alarms.high
            raise UserError(f"--false-alarms {false_alarms}: the least this critic can promise is {least:.3f}")
        return max(kept, key=lambda point: (point.caught.value, -point.false_alarms.value))


def read_calibration(path: Path) -> Calibration:
    """Read what `momus calibrate` wrote.

    Raises:
        UserError: It is missing or something else.
    """
    try:
        return read_model(path, Calibration, "not what momus calibrate writes")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: run momus calibrate first") from error


def without_disliked(calibration: Calibration, shown: Sequence[tuple[float, bool]]) -> Calibration:
    """Return a dial without the settings that people dislike: it is never set looser by what they say.

    Settings are tried from the quietest end on, and the first at which most comments are dismissed ends the dial, where
    that is more than chance: of the decisions about comments that are made there, so many dismissals would come in at
    most one of 40 cases (an exact sign test) if half of such comments were good. The quietest setting stays.

    Args:
        calibration: What was measured.
        shown: Of comments that people decided about, the highest setting at which each is made, and whether it was
            accepted. Comments that were not shown are not known: so acceptances only weigh against dismissals.
    """
    kept = [calibration.points[0]]
    for point in calibration.points[1:]:
        accepted = [good for highest, good in shown if highest >= point.setting]
        if _mostly_bad(len(accepted) - sum(accepted), len(accepted)):
            break
        kept.append(point)
    return calibration.model_copy(update={"points": tuple(kept)})


def _mostly_bad(dismissed: int, decided: int) -> bool:
    """Return whether more than half are dismissed: P(X >= dismissed) <= 0.025 if it were half."""
    as_many = sum(comb(decided, count) for count in range(dismissed, decided + 1))
    return 40 * as_many <= 1 << decided


def describe_promise(calibration: Calibration, point: OperatingPoint, asked: float) -> str:
    """Say in one line what was promised, and on which data."""
    bugs = "inserted bugs" if calibration.inserted else "bugs"
    per, clean = ("change", "clean changes") if calibration.changes else ("function", "clean answers")
    return (
        f"at most {asked:g} false comments per clean {per}: measured {format_interval(point.false_alarms)} on "
        f"{calibration.clean} {clean}, {bugs} caught {format_interval(point.caught)} "
        f"({visible_line(calibration.data)}); dial at {point.setting:.3g}"
    )


def format_interval(interval: Interval) -> str:
    """Write a value with its 95 % interval, two digits each."""
    return f"{interval.value:.2f} ({interval.low:.2f}-{interval.high:.2f})"
