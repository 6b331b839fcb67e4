"""The dial between "miss nothing" and "claim nothing false": measured on known answers, stored, set by a promise.

A critic with a dial looks at an answer once, and can then say for every setting what it would write. Measured over
answers with known bugs and clean ones, each setting has a price: false comments per clean answer, and share of bugs
caught. Who asks for at most so many false alarms gets the setting that catches most of those reached by turning the
dial up from its quietest end while the *interval* of the false alarms stays below what was asked: settings are tried
in an order that was fixed beforehand and the first failure ends it, so that choosing among many does not weaken the
promise (fixed sequence testing). It is about code like the code measured on, and says which that was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import gammaincinv

from momus.critique import Critique
from momus.errors import UserError
from momus.evaluate.critics import measure
from momus.records import Record, Tamper, Task
from momus.stats.bootstrap import LEVEL, REPLICATES, Interval

AT_ONCE = 16
SETTINGS = 33


class Look(Protocol):
    """What a critic saw in one answer."""

    def at(self, setting: float) -> Critique:
        """Return what the critic writes at a setting of its dial."""

    def turns(self) -> Iterable[float]:
        """Return settings between which, in order, the critique may change: one of each that makes a difference."""


class DialledCritic(Protocol):
    """A critic that looks once and answers for every setting of its dial."""

    def fits(self, task: Task) -> bool:
        """Whether the task and a critique of it fit the critic's context."""

    def look(self, tasks: Sequence[Task]) -> Sequence[Look]:
        """Look at every task, in order."""

    def identity(self) -> Mapping[str, Any]:
        """Return all that decides what it writes, weights by their fingerprints; what JSON can hold."""


class OperatingPoint(BaseModel):
    """One setting: false comments per clean answer, share of the bugs caught, comments per answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: float
    false_alarms: Interval
    caught: Interval
    comments: Interval


class Calibration(Record):
    """A critic's measured dial: who it is, what it was measured on, and its points from the quietest end on."""

    critic: dict[str, Any]
    data: str
    inserted: bool
    answers: int
    clean: int
    bugs: int
    points: tuple[OperatingPoint, ...]

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
        return Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}: run momus calibrate first") from error
    except ValidationError as error:
        raise UserError(f"{path}: not what momus calibrate writes") from error


def calibrate(
    critic: DialledCritic,
    tampers: Sequence[Tamper],
    data: str,
    *,
    inserted: bool,
    replicates: int = REPLICATES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Measure a critic's dial.

    Args:
        critic: Who is measured.
        tampers: Answers with their known bugs; clean ones have none.
        data: Where the answers are from, in words.
        inserted: Whether the bugs were put in on purpose.
        replicates: Bootstrap resamples of the tasks.
        progress: Told the answers done and their total.

    Raises:
        UserError: There are no clean answers, or none with a bug.
    """
    clean = sum(not tamper.bugs for tamper in tampers)
    if not clean or clean == len(tampers):
        raise UserError(f"a dial needs clean answers and answers with bugs: {clean} of {len(tampers)} are clean")
    looks: list[Look] = []
    for start in range(0, len(tampers), AT_ONCE):
        chunk = tampers[start : start + AT_ONCE]
        looks += critic.look([tamper.task.model_copy(update={"answer": tamper.answer}) for tamper in chunk])
        progress(len(looks), len(tampers))
    settings = _grid({turn for look in looks for turn in look.turns()})
    rows = measure(
        {str(setting): [look.at(setting) for look in looks] for setting in settings}, tampers, replicates=replicates
    )
    points = [
        OperatingPoint(
            setting=setting,
            false_alarms=_false_alarms(row.clean_false, clean),
            caught=row.catch,
            comments=row.comments,
        )
        for setting, row in zip(settings, rows, strict=True)
    ]
    return Calibration(
        critic=dict(critic.identity()),
        data=data,
        inserted=inserted,
        answers=len(tampers),
        clean=clean,
        bugs=sum(len(tamper.bugs) for tamper in tampers),
        points=tuple(points if points[0].comments.value <= points[-1].comments.value else reversed(points)),
    )


def _false_alarms(measured: Interval, clean: int) -> Interval:
    """Return the measured rate with an upper end to be promised by.

    Where few were seen, resampling sees still fewer kinds of luck: the end is no lower than the exact one of as many
    independent counts (Garwood, 1936).
    """
    seen = measured.value * clean
    exact = float(gammaincinv(seen + 1, (1 + LEVEL) / 2)) / clean
    return Interval(measured.value, measured.low, max(measured.high, exact))


def _grid(turns: Iterable[float]) -> list[float]:
    """Choose at most `SETTINGS` of all settings that make a difference, evenly among them, both ends included."""
    known = sorted(turns)
    count = min(SETTINGS, len(known))
    if count < 2:
        return known
    return [known[math.floor(i * (len(known) - 1) / (count - 1) + 0.5)] for i in range(count)]
