"""What `momus train` prints on stderr, from one process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from rich.console import Console
from rich.text import Text

from momus.runtime.monitor import Monitor
from momus.runtime.processes import is_main_process
from momus.runtime.runs import Progress, Run
from momus.runtime.sinks import check_sinks
from momus.train.stages import SUMMARY
from momus.train.texts import Gathered

ItemT = TypeVar("ItemT")

_SHOWN = 8


class Report:
    """Prints on stderr, from one process."""

    def __init__(self, track: tuple[str, ...]) -> None:
        check_sinks(track)
        self._console, self._track = Console(stderr=True, quiet=not is_main_process()), track

    def say(self, text: str | Text) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def example(self, title: str, text: Text) -> None:
        """Print an example under a title."""
        self._console.rule(title, align="left")
        self.say(text)
        self._console.rule()

    def read(self, kind: str, work: Callable[[], Gathered[ItemT]]) -> Gathered[ItemT]:
        """Read files while a spinner turns, and say what is kept and what is left out and why."""
        with self._console.status(f"Reading {kind}"):
            gathered = work()
        about = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in gathered.about.items())
        self.say(f"{kind}: {len(gathered.train)} to train on, {len(gathered.held_out)} held out; {about}")
        for reason, count in gathered.dropped.most_common(_SHOWN):
            self.say(f"  left out: {count} {reason}")
        if len(gathered.dropped) > _SHOWN:
            self.say(f"  left out for {len(gathered.dropped) - _SHOWN} more reasons: see {SUMMARY}")
        if gathered.problems.count:
            self.say(f"  bad rows: {gathered.problems.count}, the first {gathered.problems.first[0]}")
        return gathered

    def watch(self, title: str, run: Run) -> AbstractContextManager[Progress]:
        """Show the metrics as they come."""
        return Monitor(title, run, self._track, self._console)


def _shown(value: Any) -> str:
    return ", ".join(f"{number} of {k}" for k, number in value.items()) if isinstance(value, dict) else str(value)
