"""What is known of earlier reviews, applied to a new one: decisions, comments in the code, what was shown before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from momus.errors import UserError
from momus.review.changes.change import Change
from momus.review.decisions import (
    BASELINE,
    Decision,
    apply_decisions,
    apply_ignores,
    find_unit,
    is_expired,
    read_decisions,
)
from momus.review.files import read_source
from momus.review.findings import FileReview, Shown
from momus.review.identity import ByFile
from momus.review.memory import (
    digest_of,
    mark_open,
    memory_of,
    read_shown,
    recall,
    remember,
    settle,
    shown_in,
)

SHORTEST = 4
"""Digits of an id that are enough to name a comment."""


class Known:
    """What is known of earlier reviews of the same files.

    Args:
        scope: What is reviewed.
        critic: Who reviews (`Critic.identity`).
        setting: Where the dial stands.
        baseline: The file of decisions; by default that of the repository.
        previous: An earlier review's JSON; by default what is remembered of the last review here.
        trusted: Whether decisions in the tree that is reviewed count.

    Raises:
        UserError: A file cannot be read.
    """

    def __init__(
        self,
        scope: Change,
        critic: Mapping[str, Any],
        setting: float,
        baseline: Path | None = None,
        previous: Path | None = None,
        trusted: bool = True,
    ) -> None:
        self._scope, self._critic, self._setting, self._trusted = scope, critic, setting, trusted
        self._decisions = read_decisions(baseline or baseline_of(scope.root)) if trusted or baseline else []
        self._memory = memory_of(scope.root) if previous is None else None
        shown = read_shown(previous) if previous is not None else recall(memory_of(scope.root))
        self._before = [each for each in shown if each.critic == digest_of(critic)]
        self._sources = {target.name: target.source for target in scope.targets}
        self._exists = cache(lambda name: os.path.lexists(scope.root / name))
        self._decided = ByFile(self._decisions, lambda decision: decision.identity, scope.renamed, self._exists)
        self._shown = ByFile(self._before, lambda shown: shown.identity, scope.renamed, self._exists)

    def apply(self, review: FileReview) -> FileReview:
        """Return a file's review whose findings have their status, so far as it can be known before all are done."""
        decisions = self._decided.that_may_be_in(review.name)
        (decided,) = apply_decisions([review], decisions, self._scope.renamed, self._exists)
        if self._trusted and review.name in self._sources:
            decided = apply_ignores(decided, self._sources[review.name])
        return mark_open(decided, self._shown.that_may_be_in(review.name), self._scope.renamed, self._exists)

    def settle(self, reviews: Sequence[FileReview]) -> tuple[Shown, ...]:
        """Remember what was shown; return what is fixed."""
        scope = self._scope
        fixed, kept = settle(reviews, self._setting, self._before, scope.targets, scope.renamed, self._exists)
        if self._memory is not None:
            remember(self._memory, [*kept, *shown_in(reviews, self._critic, self._setting)])
        decided = {decision.identity for decision in self._decisions}
        return tuple(shown for shown in fixed if shown.identity not in decided)

    def notes(self) -> list[str]:
        """Return what is to be said about decisions: those that expired."""
        expired = [d for d in self._decisions if d.path in self._sources and is_expired(d, self._sources[d.path])]
        if not expired:
            return []
        places = ", ".join(dict.fromkeys(f"{d.path} ({d.function or 'script'})" for d in expired[:3]))
        count = f"{len(expired)} decision{'s' * (len(expired) > 1)}"
        return [f"{count} expired, for the code has changed: {places}{', …' * (len(expired) > 3)}"]


def baseline_of(root: Path) -> Path:
    """Return the repository's file of decisions."""
    return root / BASELINE


def decide_about(
    id: str, shown: Sequence[Shown], root: Path, decision: Literal["dismissed", "accepted"], because: str, by: str
) -> Decision:
    """Return a decision about a comment that was shown.

    Raises:
        UserError: No comment, or several, have this id; or its code has changed.
    """
    if decision == "dismissed" and not because.strip():
        raise UserError("--because: say why the comment is dismissed")
    fitting = {each.identity: each for each in shown if each.identity.fingerprint.startswith(id)}
    if len(id) < SHORTEST or not fitting:
        raise UserError(
            f"{id}: no comment that was shown here has this id: run momus review, or name one with --review"
        )
    if len(fitting) > 1:
        raise UserError(f"{id}: {len(fitting)} comments have ids that start so: give more digits")
    ((identity, comment),) = fitting.items()
    unit = find_unit(identity, read_source(root / identity.path, other_languages=True))
    if unit is None:
        raise UserError(f"{id}: its code has changed since: review {identity.path} again")
    return Decision(
        path=identity.path,
        function=identity.function,
        code=identity.code,
        number=identity.number,
        nth=identity.nth,
        decision=decision,
        because=because.strip(),
        by=by,
        quote=comment.quote,
        text=comment.text,
        question=unit.question,
        answer=unit.text,
        critic=comment.kind,
        setting=comment.setting,
        confidence=comment.confidence,
    )
