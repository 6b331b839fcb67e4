"""`momus critique`: critiques for a whole data set."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, CriticOptions
from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.critics.dataset import BadLinesError, Runner
    from momus.critics.shard import CritiqueConfig

_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """How critiques are written."""

    method: Literal["sample", "fsbs", "best-of-n"] = "sample"
    """Keep n samples, or search: Force Sampling Beam Search or the best of n by reward."""
    n: int | None = None
    """Samples of each answer (by default 1, of best-of-n 28), or from each beam of fsbs (4)."""
    modifier: float = 0.0
    """What each highlight adds to a score when the best critique is chosen: higher misses less, lower claims less."""
    max_tokens: int = 120
    """Length limit of one sample."""
    paper: bool = False
    """Do not keep quotes to lines of the answer: the paper only forces a quote to begin."""

    def config(self, critic: CriticOptions, seed: int, threads: int) -> CritiqueConfig:
        """Return everything that decides the critiques.

        Raises:
            UserError: The options do not go together.
        """
        from momus.critics.shard import CritiqueConfig
        from momus.lm.tiny import TINY

        return CritiqueConfig(
            model=critic.model or TINY,
            reward=critic.reward,
            reward_url=critic.reward_url,
            reward_tokenizer=critic.reward_tokenizer,
            method=self.method,
            n=self.n,
            modifier=self.modifier,
            max_tokens=self.max_tokens,
            verbatim=not self.paper,
            seed=seed,
            threads=threads,
            device=critic.device,
            precision=critic.precision or "fp32",
        )


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """How the work is cut up and where it runs.

    Raises:
        UserError: The options do not go together.
    """

    shard: int = 32
    """Tasks written to disk together, rounded up to a multiple of 8."""
    threads: int = 1
    """Threads of each process; other numbers may change the last digits of a score."""
    ray: bool = False
    """Share the work out on Ray: the cluster RAY_ADDRESS names or that runs here, else a local one."""
    workers: int | None = None
    """Processes on Ray; by default as many as it has CPUs for."""

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: must be at least 1")
        if self.workers is not None and not self.ray:
            raise UserError("--workers is for Ray: give --ray with it")

    def runner(self) -> Runner:
        """Return what runs shards: this process, or Ray."""
        from momus.critics.dataset import in_process
        from momus.critics.on_ray import on_ray

        return partial(on_ray, workers=self.workers) if self.ray else in_process


_SHIPPED, _ONE_SAMPLE, _HERE = CriticOptions(), MethodOptions(), WorkOptions()


def command(
    tasks: Positional[Path],
    out: Path,
    critic: Annotated[CriticOptions, FLAT] = _SHIPPED,
    how: Annotated[MethodOptions, FLAT] = _ONE_SAMPLE,
    seed: Seed = 0,
    work: Annotated[WorkOptions, FLAT] = _HERE,
) -> int:
    """Write critiques of every task of a data set, in this process or on Ray.

    Interrupted and started again with the same options, it continues where it was. The critiques do not depend on
    --shard, --ray or --workers.

    Args:
        tasks: JSON Lines of Task or Tamper records.
        out: The run directory; the critiques are its critiques.jsonl.
        critic: Who writes; fsbs and best-of-n need a reward model, in a folder or on a server.
        how: How critiques are written.
        seed: Everything random follows from it.
        work: How the work is cut up and where it runs.
    """
    from momus.cli.shared.output import bar
    from momus.critics.dataset import BadLinesError, critique_dataset

    config, runner = how.config(critic, seed, work.threads), work.runner()
    try:
        with bar("Critiques") as progress:
            path = critique_dataset(tasks, out, config, shard_size=work.shard, runner=runner, progress=progress)
    except BadLinesError as error:
        return _print_bad_lines(error, tasks)
    _print_outcome(path)
    return 0


def _print_bad_lines(error: BadLinesError, tasks: Path) -> int:
    """Print which lines cannot be read; returns the exit code."""
    for problem in error.problems[:_SHOWN]:
        print("momus: error:", problem, file=sys.stderr)
    if len(error.problems) > _SHOWN:
        print(f"momus: error: {len(error.problems) - _SHOWN} more bad lines in {tasks}", file=sys.stderr)
    return error.exit_code


def _print_outcome(path: Path) -> None:
    """Print where the critiques are, and how many tasks have none and why."""
    from momus.critics.shard import TaskCritiques
    from momus.records import read_jsonl

    skipped = [task for task in read_jsonl(path, TaskCritiques) if task.skipped]
    if skipped:
        first = skipped[0]
        print(f"{len(skipped)} tasks have no critique; the first, {first.id!r}: {first.skipped}", file=sys.stderr)
    print(f"The critiques are {path}", file=sys.stderr)
