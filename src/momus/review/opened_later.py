"""A critic of this process that is opened when it has to read, and known before: so that nothing new costs nothing.

What a critic is (`Critic.identity`) takes loading it to say. So it is kept by the options it was opened with and the
sizes and times of its files, which change when the files do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from momus.critics.critic import AgreementDial, Critic, Dial, LengthDial
from momus.files import stamps
from momus.records import Task
from momus.review.cache import Kept, KeptCritic, digest
from momus.search.result import SearchResult

_TRAINED, _POINTED = ("voting", "search"), "pointed"
"""Kinds of critics, by their identity."""

Opened = tuple[Critic, float, str]
"""A critic, the setting of its dial, and what that promises."""


def open_later(
    open_now: Callable[[], Opened], options: str, files: Sequence[Path], kept: Kept, pointed: bool = False
) -> Opened:
    """Return a critic that is opened when it has to read, and writes about nothing twice.

    It is opened at once where it is not known yet. A model that is prompted is returned as it is: it keeps its answers
    by itself.

    Args:
        open_now: Opens it.
        options: All that it is opened with, as text.
        files: The files and folders that decide what it is.
        kept: Where what it is is kept.
        pointed: Whether a model with a pointer is kept too: where it is asked nothing but what it says of the code.
    """
    key = digest("critic", options, pointed, [[str(path.resolve()), stamps(path)] for path in files])
    if text := kept.get([key]).get(key):
        known = json.loads(text)
        later = _OpenedLater(lambda: open_now()[0], known["identity"], known["languages"])
        return KeptCritic(later, kept), known["setting"], known["promise"]
    critic, setting, promise = open_now()
    kind = critic.identity().get("kind")
    if kind not in _TRAINED and not (pointed and kind == _POINTED):
        return critic, setting, promise
    known = {"identity": dict(critic.identity()), "languages": getattr(critic, "languages", None)}
    kept.put({key: json.dumps({**known, "setting": setting, "promise": promise})})
    return KeptCritic(critic, kept), setting, promise


class _OpenedLater:
    def __init__(
        self, open_now: Callable[[], Critic], identity: Mapping[str, Any], languages: Sequence[str] | None
    ) -> None:
        self._open, self._identity = open_now, identity
        if languages is not None:
            self.languages = languages
        self._critic: Critic | None = None

    @property
    def dial(self) -> Dial:
        if self._identity["kind"] == _POINTED:
            from momus.critics.scores.critic import ScoreDial  # heavy

            return ScoreDial()
        return AgreementDial() if self._identity["kind"] == "voting" else LengthDial()

    def fits(self, task: Task) -> bool:
        return self._opened().fits(task)

    def write(self, tasks: Sequence[Task]) -> Sequence[SearchResult]:
        return self._opened().write(tasks)

    def identity(self) -> Mapping[str, Any]:
        return self._identity

    def _opened(self) -> Critic:
        if self._critic is None:
            self._critic = self._open()
        return self._critic
