"""Critiques of a whole data set by a critic that is searched with or was trained, in this process or elsewhere.

All randomness is named by the seed and a task's place in the input, and batches are cut by that place too
(`shard.py`), so `critiques.jsonl` is the same to the byte whatever the size of a shard, wherever shards are done, and
however often the run (`run.py`) was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from momus import __version__
from momus.critics.pointed import find_pointer
from momus.critics.refine import Refiner
from momus.critics.run import Input, Progress, Shard, TaskCritiques, read_input, run_shards
from momus.critics.shard import CritiqueConfig, ShardCritic
from momus.critics.trained import describe_chat_writer
from momus.lm.codec import Codec, read_tokenizer
from momus.lm.models import identify_model
from momus.search.reward import identify_reward, load_reward_function

Runner = Callable[[CritiqueConfig, Sequence[Shard]], Generator[tuple[Shard, list[TaskCritiques]], None, None]]
"""Does shards in any order, yielding each with its critiques when it is done."""


def critique_dataset(
    tasks: Path,
    out: Path,
    config: CritiqueConfig,
    *,
    shard_size: int = 32,
    refiner: Refiner | None = None,
    runner: Runner | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write critiques of every task of a file; shards that an earlier run finished are not done again.

    Args:
        tasks: JSON Lines of `Task` or `Tamper` records.
        out: The run directory.
        config: How critiques are written.
        shard_size: Tasks that are written to disk together, rounded up to whole batches of `BATCH`.
        refiner: What comes after a critic wrote; it is of this process, and so are then the shards.
        runner: Does the shards; in this process by default.
        progress: Called with the tasks done and their total.

    Returns:
        The path of the critiques.

    Raises:
        BadLinesError: Lines of the input are not records.
        UserError: `out` holds a run with another input or other settings, or one that is at work.
    """
    given = read_input(tasks, shard_size)
    files = {"tasks": tasks, "model": config.model, "reward": config.reward}
    settings = _settings(config, given)
    if refiner is not None:
        settings["refined"] = dict(refiner.identity())
        runner = partial(in_process, refiner=refiner)
    return run_shards(given, out, settings, files, partial(runner or in_process, config), progress=progress)


def in_process(
    config: CritiqueConfig, shards: Sequence[Shard], refiner: Refiner | None = None
) -> Generator[tuple[Shard, list[TaskCritiques]], None, None]:
    """Do shards one after another in this process."""
    threads = torch.get_num_threads()
    try:
        critic = ShardCritic(config, refiner)
        for shard in shards:
            yield shard, critic(shard)
    finally:
        torch.set_num_threads(threads)


def _settings(config: CritiqueConfig, given: Input) -> dict[str, Any]:
    """Return all that decides what the files of a run hold: contents, not paths; of a server's model its name."""
    served = (
        load_reward_function(config.source, Codec(read_tokenizer(config.model)))
        if config.reward_url is not None
        else None
    )
    if not Path(config.model).exists():
        read_tokenizer(config.model)  # refuses what is no name on the hub either, before anything is written
    models = {"model": identify_model(config.model), "reward": identify_reward(config.source, served)}
    settings = {**asdict(replace(config, n=config.samples)), **models}
    del settings["device"], settings["scored"], settings["prompted"]  # what scores says for itself
    if config.prompted is not None:
        settings["chat"] = describe_chat_writer(config.prompted, find_pointer(str(config.model), None))
    if config.precision == "fp32":  # as in every run from before there was another
        del settings["precision"]
    return {**settings, **given.decides(), "momus": __version__}
