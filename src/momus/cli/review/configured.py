"""What a repository sets for its reviews, where the command line says nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from momus.cli.review.options import DialOptions
    from momus.cli.shared.options import AskingOptions, ReviewerOptions
    from momus.review.changes.change import Change
    from momus.review.configuration import Settings


def fill_in(
    settings: Settings, change: Change, dial: DialOptions, critic: ReviewerOptions, cost: AskingOptions
) -> tuple[DialOptions, ReviewerOptions, AskingOptions]:
    """Return options with what the repository sets; who names another critic or setting gets only that.

    Raises:
        UserError: A file that is set is not there.
    """
    if critic.model is None and critic.url is None and not critic.source():
        critic = replace(critic, model=settings.model, url=settings.url)
        if settings.rules is not None and critic.rules is None:
            critic = replace(critic, rules=_file(settings.rules, change))
        if critic.samples is None:
            critic = replace(critic, samples=settings.samples)
    if dial.confidence is None and dial.false_alarms is None:
        dial = replace(dial, confidence=settings.confidence, false_alarms=settings.false_alarms)
        if settings.calibration is not None and settings.false_alarms is not None and dial.calibration is None:
            dial = replace(dial, calibration=_file(settings.calibration, change))
    if dial.max_comments is None:
        dial = replace(dial, max_comments=settings.max_comments)
    if cost.budget_tokens is None and settings.budget_tokens is not None:
        cost = replace(cost, budget_tokens=settings.budget_tokens)
    return dial, critic, cost


def _file(name: str, change: Change) -> Path:
    """Return a file that is set: the working tree's, or, of a change, a copy of it as the change found it."""
    from momus.errors import UserError
    from momus.files import write_bytes
    from momus.review.configuration import FILE
    from momus.review.memory import memory_of

    data = change.trusted_file(name)
    if data is None:
        raise UserError(f"{FILE}: tool.momus: there is no {name} in {change.base[:12] or change.root}")
    if not change.base:
        return change.root / name
    copy = memory_of(change.root).with_suffix("") / Path(name).name
    write_bytes(copy, data)
    return copy
