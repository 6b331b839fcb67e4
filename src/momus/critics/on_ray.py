"""Shards on Ray: workers that each hold the models, started again and given their shard again when they are killed."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from typing import Any

from momus.critics.run import Shard, TaskCritiques
from momus.critics.shard import CritiqueConfig, ShardCritic
from momus.errors import UserError

RETRIES = 3
"""How often a shard is tried again after a worker died on it."""


class Worker:
    """One process of the cluster. The models are loaded with the first shard, so that its retries cover loading."""

    def __init__(self, config: CritiqueConfig) -> None:
        self._config = config
        self._critic: ShardCritic | None = None

    def critiques(self, shard: Shard) -> list[TaskCritiques]:
        """Return the critiques of every task of a shard."""
        if self._critic is None:
            self._critic = ShardCritic(self._config)
        return self._critic(shard)


def on_ray(
    config: CritiqueConfig, shards: Sequence[Shard], workers: int | None = None
) -> Generator[tuple[Shard, list[TaskCritiques]], None, None]:
    """Yield every shard with its critiques, in the order they are finished.

    Joins the cluster that the environment variable RAY_ADDRESS names or that runs on this machine; without one it
    starts Ray here, and ends it afterwards. Ray's own usage reports are off unless RAY_USAGE_STATS_ENABLED says
    otherwise.

    Args:
        config: How critiques are written; its directories must exist on every machine of the cluster.
        shards: What to do.
        workers: Processes of `config.threads` CPUs each; by default as many as the cluster has CPUs for.

    Raises:
        UserError: Ray is not installed or cannot be reached, the cluster has too few CPUs, or a shard's
            worker died every time.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError("--ray needs Ray: pip install 'momus[ray]'") from error
    started_here = not ray.is_initialized()
    if started_here:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises the bare type where a machine is too slow to start it
            raise UserError(f"cannot reach or start Ray: {error}") from error
    try:
        count = min(_count_workers(int(ray.cluster_resources().get("CPU", 0)), config.threads, workers), len(shards))
        remote = ray.remote(num_cpus=config.threads, max_restarts=-1, max_task_retries=RETRIES)(Worker)
        yield from _share_out([remote.remote(config) for _ in range(count)], shards)
    finally:
        if started_here:
            ray.shutdown()


def _count_workers(cpus: int, threads: int, workers: int | None) -> int:
    """Return how many workers to start."""
    most = cpus // threads
    if not most or (workers or 0) > most:
        wanted = f"--workers {workers or 1} of --threads {threads}"
        raise UserError(f"{wanted} need {(workers or 1) * threads} CPUs, and the Ray cluster has {cpus}: ask for fewer")
    return workers or most


def _share_out(
    actors: Sequence[Any], shards: Sequence[Shard]
) -> Generator[tuple[Shard, list[TaskCritiques]], None, None]:
    """Keep every worker at one shard at a time."""
    import ray

    waiting = iter(shards)
    running = {actor.critiques.remote(shard): (actor, shard) for actor, shard in zip(actors, waiting, strict=False)}
    while running:
        done, _ = ray.wait(list(running), num_returns=1)
        actor, shard = running.pop(done[0])
        critiques = _result(done[0], shard)
        following = next(waiting, None)
        if following is not None:
            running[actor.critiques.remote(following)] = (actor, following)
        yield shard, critiques


def _result(reference: Any, shard: Shard) -> list[TaskCritiques]:
    import ray

    try:
        critiques: list[TaskCritiques] = ray.get(reference)
        return critiques
    except ray.exceptions.RayTaskError as error:
        # The cause alone: Ray's own error carries the worker's traceback in its text.
        raise error.cause if isinstance(error.cause, UserError) else error from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"the worker of shard {shard.number} died {RETRIES + 1} times (out of memory? try fewer --workers), or "
            f"the cluster went away ({type(error).__name__}): run the same command again to continue"
        ) from error
