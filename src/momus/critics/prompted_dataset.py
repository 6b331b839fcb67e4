"""Critiques of a whole data set by a critic that is prompted, in this process or on a server.

It needs no torch where the model is on a server. What was answered is kept twice: whole shards in the run directory
(`run.py`), and single answers in the cache that the critic's chat may have.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from momus import __version__
from momus.critics.critic import Critic
from momus.critics.run import Progress, Shard, TaskCritiques, Written, read_input, run_shards, stop_if_spent, task_of
from momus.records import Task


def prompt_dataset(
    tasks: Path,
    out: Path,
    critic: Critic,
    *,
    model: str | None = None,
    shard_size: int = 32,
    progress: Progress = lambda done, total: None,
    before: Callable[[Sequence[Task]], None] = lambda tasks: None,
) -> Path:
    """Write critiques of every task of a file; shards that an earlier run finished are not done again.

    Args:
        tasks: JSON Lines of `Task` or `Tamper` records.
        out: The run directory.
        critic: Who writes, with what comes after it.
        model: Where a model of this process was read from: noted.
        shard_size: Tasks that are written to disk together, rounded up to whole batches of `BATCH`.
        progress: Called with the tasks done and their total.
        before: Called with the tasks that are to be asked about, before any is.

    Returns:
        The path of the critiques.

    Raises:
        BadLinesError: Lines of the input are not records.
        UserError: `out` holds a run with another input or other settings, or one that is at work, the model cannot be
            asked, or a budget of tokens is spent: what is done stays done.
    """
    given = read_input(tasks, shard_size)

    def do(shards: Sequence[Shard]) -> Generator[tuple[Shard, list[TaskCritiques]], None, None]:
        before([task for shard in shards for record in shard.tasks if critic.fits(task := task_of(record))])
        for shard in shards:
            yield shard, _critiques(critic, shard)

    settings = {**critic.identity(), **given.decides(), "momus": __version__}
    return run_shards(given, out, settings, {"tasks": tasks, "model": model}, do, progress)


def _critiques(critic: Critic, shard: Shard) -> list[TaskCritiques]:
    """Return the critiques of every task of a shard, in order."""
    tasks = [task_of(record) for record in shard.tasks]
    fitting = [index for index, task in enumerate(tasks) if critic.fits(task)]
    results = dict(zip(fitting, critic.write([tasks[index] for index in fitting]), strict=True))
    stop_if_spent(results.values())
    rows = []
    for index, task in enumerate(tasks):
        result = results.get(index)
        candidates = result.candidates if result else ()
        skipped = "" if candidates else result.problem if result else "too long: it does not fit into a prompt"
        # A server does not say how many tokens a critique has apart from the rest of its answer.
        written = tuple(
            Written(text=c.text, critique=c.critique, score=None, tokens=0, scores=c.scores) for c in candidates
        )
        rows.append(TaskCritiques(index=shard.first + index, id=task.id, critiques=written, skipped=skipped))
    return rows
