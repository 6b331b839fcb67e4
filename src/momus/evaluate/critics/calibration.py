"""Measure a critic's dial (`momus.critics.critic`) on answers with known bugs and clean ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from scipy.special import gammaincinv

from momus.critics.calibration import Calibration, OperatingPoint
from momus.critics.critic import Critic
from momus.critics.vacuous import drop_vacuous
from momus.errors import UserError
from momus.evaluate.critics.changes import on_lines
from momus.evaluate.critics.measure import measure
from momus.lm.chats.costs import OVER_BUDGET, SPENT
from momus.records import Tamper
from momus.search.result import SearchResult
from momus.stats.bootstrap import LEVEL, REPLICATES, Interval

AT_ONCE = 16
SETTINGS = 33


def calibrate(
    critic: Critic,
    tampers: Sequence[Tamper],
    data: str,
    *,
    inserted: bool,
    changed: Sequence[frozenset[int]] | None = None,
    replicates: int = REPLICATES,
    progress: Callable[[int, int], None] = lambda done, total: None,
    unanswered: Callable[[str], None] = lambda problem: None,
) -> Calibration:
    """Measure a critic's dial.

    Args:
        critic: Who is measured.
        tampers: Answers with their known bugs; clean ones have none.
        data: Where the answers are from, in words.
        inserted: Whether the bugs were put in on purpose.
        changed: Where the answers are what changes left: the indices of each one's changed lines, whose comments alone
            count.
        replicates: Bootstrap resamples of the tasks.
        progress: Called with the answers done and their total.
        unanswered: Called with the reason why an answer has no critique; it counts as one nothing was found in.

    Raises:
        UserError: There are no clean answers, or none with a bug, or a budget does not reach them all.
    """
    clean = sum(not tamper.bugs for tamper in tampers)
    if not clean or clean == len(tampers):
        raise UserError(f"a dial needs clean answers and answers with bugs: {clean} of {len(tampers)} are clean")
    results: list[SearchResult] = []
    for start in range(0, len(tampers), AT_ONCE):
        chunk = tampers[start : start + AT_ONCE]
        written = critic.write([tamper.task.model_copy(update={"answer": tamper.answer}) for tamper in chunk])
        for result in written:
            if result.problem == OVER_BUDGET:
                raise UserError(SPENT)
            if not result.candidates:
                unanswered(result.problem)
        results += [drop_vacuous(result, tamper.answer) for result, tamper in zip(written, chunk, strict=True)]
        progress(len(results), len(tampers))
    settings = _choose_settings({setting for result in results for setting in critic.dial.settings(result)})
    shown = changed or [frozenset(range(tamper.answer.count("\n") + 1)) for tamper in tampers]
    critiques = {
        str(setting): [
            on_lines(critic.dial.choose(result, tamper.answer, setting), tamper.answer, lines)
            for result, tamper, lines in zip(results, tampers, shown, strict=True)
        ]
        for setting in settings
    }
    rows = measure(critiques, tampers, replicates=replicates)
    points = [
        OperatingPoint(
            setting=setting,
            false_alarms=_bound_false_alarms(row.clean_false, clean),
            caught=row.catch,
            comments=row.comments,
        )
        for setting, row in zip(settings, rows, strict=True)
    ]
    return Calibration(
        critic=dict(critic.identity()),
        data=data,
        inserted=inserted,
        changes=changed is not None,
        answers=len(tampers),
        clean=clean,
        bugs=sum(len(tamper.bugs) for tamper in tampers),
        points=tuple(points if points[0].comments.value <= points[-1].comments.value else reversed(points)),
    )


def _bound_false_alarms(measured: Interval, clean: int) -> Interval:
    """Return the measured rate with an upper end that can be promised.

    Where few were seen, resampling sees still fewer kinds of luck: the end is no lower than the exact one of as many
    independent counts (Garwood, 1936).
    """
    seen = measured.value * clean
    exact = float(gammaincinv(seen + 1, (1 + LEVEL) / 2)) / clean
    return Interval(measured.value, measured.low, max(measured.high, exact))


def _choose_settings(settings: Iterable[float]) -> list[float]:
    """Choose at most `SETTINGS` of all settings that make a difference: evenly among them, and ever finer to both ends.

    One end is the quiet one, at which promises are made, and a step of one in 32 would be many comments there.
    """
    known = sorted(settings)
    last = len(known) - 1
    if last < SETTINGS:
        return known
    steps = {2**power - 1 for power in range(9) if 2**power <= last // 2}
    chosen = {*steps, *(last - step for step in steps)}
    others, free = [place for place in range(last) if place not in chosen], SETTINGS - len(chosen)
    chosen |= {others[math.floor((i + 0.5) * len(others) / free)] for i in range(free)}
    return [known[place] for place in sorted(chosen)]
