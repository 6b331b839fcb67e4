"""What the evaluation commands share: a bar and lines on stderr, numbers as JSON, the name of a model's weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from momus.errors import UserError

if TYPE_CHECKING:
    from momus.data.convert import BadRowsError

_STDERR = Console(stderr=True)
_WIDTH = 132


def say(line: str) -> None:
    """Print a line on stderr, as it is."""
    _STDERR.print(line, markup=False, highlight=False, soft_wrap=True)


def show(*parts: Any) -> None:
    """Print tables and lines on stdout, as wide as the terminal, or wide enough for a table where there is none."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for part in parts:
        console.print(part, markup=False, highlight=False)


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar where somebody is looking; yields what to call with the number done and the total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_STDERR, transient=True, disable=not _STDERR.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def check_file(out: Path, option: str = "--out") -> None:
    """Refuse a file that cannot be written, before any work is done for it."""
    if out.is_dir():
        raise UserError(f"{option} {out}: it is a directory: name a file")
    real = Path(os.path.realpath(out))  # a link is followed, a pipe or a device written into
    place = out if out.exists() and not out.is_file() else next(p for p in real.parents if p.exists())
    if not os.access(place, os.W_OK) or (place != out and not place.is_dir()):
        raise UserError(f"{option} {out}: nothing can be written in {place}")


def bad_rows(error: BadRowsError) -> int:
    """Print which rows cannot be used, and how to go on; returns the exit code."""
    from momus.terminal import visible

    for problem in error.problems:
        say(f"momus: error: {visible(' '.join(str(problem).split()))}")
    say(f"momus: error: {error.count} bad rows: mend them, or leave them out with momus data convert --skip-bad")
    return error.exit_code


def weights_of(model: str) -> str:
    """Return what names a model's weights wherever they lie: their SHA-256, or its name on the hub or a server."""
    from momus.lm.models import identify_model

    return identify_model(model)
