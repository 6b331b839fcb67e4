"""`momus critique`: critiques for a whole data set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, CriticOptions
from momus.cli.shared.seed import Seed

_SHIPPED = CriticOptions()

_SHOWN = 20


def command(
    tasks: Positional[Path],
    out: Path,
    critic: Annotated[CriticOptions, FLAT] = _SHIPPED,
    method: Literal["sample", "fsbs", "best-of-n"] = "sample",
    n: int | None = None,
    modifier: float = 0.0,
    max_tokens: int = 120,
    paper: bool = False,
    seed: Seed = 0,
    shard: int = 32,
    threads: int = 1,
    ray: bool = False,
    workers: int | None = None,
) -> int:
    """Write critiques of every task of a data set, in this process or on Ray.

    Interrupted and started again with the same options, it continues where it was. The critiques do not depend on
    --shard, --ray or --workers.

    Args:
        tasks: JSON Lines of Task or Tamper records.
        out: The run directory; the critiques are its critiques.jsonl.
        critic: Who writes; fsbs and best-of-n need a reward model, in a folder or on a server.
        method: Keep n samples, or search: Force Sampling Beam Search or the best of n by reward.
        n: Samples of each answer (by default 1, of best-of-n 28), or from each beam of fsbs (4).
        modifier: What each highlight adds to a score when the best critique is chosen: higher misses less, lower
            claims less.
        max_tokens: Length limit of one sample.
        paper: Do not keep quotes to lines of the answer: the paper only forces a quote to begin.
        seed: Everything random follows from it.
        shard: Tasks written to disk together, rounded up to a multiple of 8.
        threads: Threads of each process; other numbers may change the last digits of a score.
        ray: Share the work out on Ray: the cluster RAY_ADDRESS names or that runs here, else a local one.
        workers: Processes on Ray; by default as many as it has CPUs for.
    """
    from functools import partial

    from momus.errors import UserError
    from momus.lm.tiny import TINY

    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: must be at least 1")
    if workers is not None and not ray:
        raise UserError("--workers is for Ray: give --ray with it")

    from momus.critics.dataset import BadLinesError, critique_dataset, in_process
    from momus.critics.on_ray import on_ray
    from momus.critics.shard import CritiqueConfig

    config = CritiqueConfig(
        model=critic.model or TINY,
        reward=critic.reward,
        reward_url=critic.reward_url,
        reward_tokenizer=critic.reward_tokenizer,
        method=method,
        n=n,
        modifier=modifier,
        max_tokens=max_tokens,
        verbatim=not paper,
        seed=seed,
        threads=threads,
        device=critic.device,
        precision=critic.precision or "fp32",
    )
    runner = partial(on_ray, workers=workers) if ray else in_process
    try:
        with _progress() as progress:
            path = critique_dataset(tasks, out, config, shard_size=shard, runner=runner, progress=progress)
    except BadLinesError as error:
        for problem in error.problems[:_SHOWN]:
            print("momus: error:", problem, file=sys.stderr)
        if len(error.problems) > _SHOWN:
            print(f"momus: error: {len(error.problems) - _SHOWN} more bad lines in {tasks}", file=sys.stderr)
        return error.exit_code
    _print_outcome(path)
    return 0


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while the work goes on; yields what to call with the tasks done and their total."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("Critiques", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _print_outcome(path: Path) -> None:
    """Print where the critiques are, and how many tasks have none and why."""
    from momus.critics.shard import TaskCritiques
    from momus.records import read_jsonl

    skipped = [task for task in read_jsonl(path, TaskCritiques) if task.skipped]
    if skipped:
        first = skipped[0]
        print(f"{len(skipped)} tasks have no critique; the first, {first.id!r}: {first.skipped}", file=sys.stderr)
    print(f"The critiques are {path}", file=sys.stderr)
