"""Critiques for a whole data set: cut into shards, done in this process or elsewhere, continued after an interruption.

A run is one directory::

    config.json        everything that decides the result, with its hash, and where it was read from
    shards/00012.jsonl the critiques of one shard, written when it is done and then whole
    critiques.jsonl    all shards joined, in the order of the input, once none is missing

All randomness is named by the seed and a task's place in the input, and batches are cut by that place too
(`search/shard.py`), so `critiques.jsonl` is the same to the byte whatever the size of a shard, wherever shards are
done, and however often the run was interrupted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from momus import __version__
from momus.critics.shard import BATCH, CritiqueConfig, Shard, ShardCritic, TaskCritiques
from momus.errors import UserError
from momus.files import CONFIG, DirectoryLock, JsonError, changed, open_run_directory, parse_json, plain
from momus.lm.codec import Codec, read_tokenizer
from momus.lm.models import identify_model
from momus.records import Tamper, Task, is_whole, join_jsonl, write_jsonl
from momus.search.reward import identify_reward, load_reward_function

Runner = Callable[[CritiqueConfig, Sequence[Shard]], Generator[tuple[Shard, list[TaskCritiques]], None, None]]
"""Does shards in any order, yielding each with its critiques when it is done."""

RESULT = "critiques.jsonl"

Progress = Callable[[int, int], None]
"""Called with the tasks done so far and their total."""

_FIX = {"missing": "missing: add it", "extra_forbidden": "unknown: remove it"}


class BadLinesError(UserError):
    """Lines of the input are not records; `problems` has one line of text for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more bad lines)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)


def critique_dataset(
    tasks: Path,
    out: Path,
    config: CritiqueConfig,
    *,
    shard_size: int = 32,
    runner: Runner | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write critiques of every task of a file; shards that an earlier run finished are not done again.

    Args:
        tasks: JSON Lines of `Task` or `Tamper` records.
        out: The run directory.
        config: How critiques are written.
        shard_size: Tasks that are written to disk together, rounded up to whole batches of `BATCH`.
        runner: Does the shards; in this process by default.
        progress: Called with the tasks done and their total.

    Returns:
        The path of the critiques.

    Raises:
        BadLinesError: Lines of the input are not records.
        UserError: `out` holds a run with another input or other settings, or one that is at work.
    """
    if shard_size < 1:
        raise UserError(f"--shard {shard_size}: must be at least 1")
    data = tasks.read_bytes()
    records = read_records(tasks, data)
    size = -(-shard_size // BATCH) * BATCH
    shards = cut(records, size)
    settings = _settings(config, hashlib.sha256(data).hexdigest(), size)
    files = {"tasks": tasks, "model": config.model, "reward": config.reward}
    with _opened(out, settings, {name: str(Path(path).resolve()) for name, path in files.items() if path}):
        joined = out / RESULT
        if not is_whole(joined, TaskCritiques, len(records)):
            missing = [shard for shard in shards if not _is_done(out, shard)]
            done = len(records) - sum(len(shard.tasks) for shard in missing)
            progress(done, len(records))
            if missing:
                with closing((runner or in_process)(config, missing)) as finished:
                    for shard, critiques in finished:
                        write_jsonl(_file(out, shard), critiques)
                        done += len(critiques)
                        progress(done, len(records))
            join_jsonl([_file(out, shard) for shard in shards], joined)
    return joined


def in_process(
    config: CritiqueConfig, shards: Sequence[Shard]
) -> Generator[tuple[Shard, list[TaskCritiques]], None, None]:
    """Do shards one after another in this process."""
    threads = torch.get_num_threads()
    try:
        critic = ShardCritic(config)
        for shard in shards:
            yield shard, critic(shard)
    finally:
        torch.set_num_threads(threads)


def cut(records: Sequence[Task | Tamper], size: int) -> list[Shard]:
    """Cut the input into shards of `size` tasks, a multiple of `BATCH`."""
    return [
        Shard(number, first, tuple(records[first : first + size]))
        for number, first in enumerate(range(0, len(records), size))
    ]


def read_records(path: Path, data: bytes) -> list[Task | Tamper]:
    """Read the records in `data`, one a line; those with a field `task` are tampers.

    Raises:
        BadLinesError: Lines are not records; each message names `path`, the line and the field.
        UserError: There are no records.
    """
    records: list[Task | Tamper] = []
    problems: list[str] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                records.append(_record(line))
            except ValueError as error:
                problems.append(f"{path}:{number}: {error}")
    if problems:
        raise BadLinesError(problems)
    if not records:
        raise UserError(f"{path} holds no tasks: write one Task record a line, such as {_EXAMPLE}")
    return records


_EXAMPLE = '{"id": "f", "question": "", "answer": "def f(): …"}'


def _record(line: bytes) -> Task | Tamper:
    """Read one line; the message of a ValueError says what to mend."""
    try:
        value = parse_json(line)
    except JsonError as error:
        advice = f": write one record a line, such as {_EXAMPLE}" if str(error).startswith("not JSON") else ""
        raise ValueError(f"{error}{advice}") from None
    if not isinstance(value, dict):
        raise ValueError(f"not a record: write one a line, such as {_EXAMPLE}")
    try:
        return Tamper.model_validate(value) if "task" in value else Task.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "record"
        raise ValueError(f"{field}: {_FIX.get(first['type'], first['msg'])}") from None


def _settings(config: CritiqueConfig, input_sha256: str, size: int) -> dict[str, Any]:
    """Everything that decides what the files of a run hold: contents, not paths; of a server's model its name."""
    served = (
        load_reward_function(config.source, Codec(read_tokenizer(config.model)))
        if config.reward_url is not None
        else None
    )
    if not Path(config.model).exists():
        read_tokenizer(config.model)  # refuses what is no name on the hub either, before anything is written
    models = {"model": identify_model(config.model), "reward": identify_reward(config.source, served)}
    settings = {**asdict(replace(config, n=config.samples)), **models}
    del settings["device"]
    if config.precision == "fp32":  # as in every run from before there was another
        del settings["precision"]
    return {**settings, "input": input_sha256, "batch": BATCH, "shard": size, "momus": __version__}


def _opened(out: Path, settings: Mapping[str, Any], files: Mapping[str, str]) -> DirectoryLock:
    """Hold the run directory, new or of the very same run, for this process alone."""
    settings = plain(settings)

    def check(stored: Any) -> None:
        if stored is None:
            if (out / RESULT).exists():
                raise UserError(f"{out / RESULT} is there, but no {CONFIG} that says what it is: name another --out")
        elif not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
            raise UserError(f"{out} is not a run of momus critique, or its {CONFIG} is damaged: name another --out")
        else:
            _refuse_other(out, stored["config"], settings)

    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return open_run_directory(out, {"hash": digest, "config": settings, "files": files}, check)


def _refuse_other(out: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    ways_out = "use the same, name another --out, or remove this one"
    if old.get("input") != new["input"]:
        raise UserError(f"{out} was started with another input, or the file has changed since: {ways_out}")
    if others := [key for key in ("model", "reward") if old.get(key) != new[key]]:
        raise UserError(f"{out} was started with another --{' and --'.join(others)} (other files in it): {ways_out}")
    if differences := changed(old, new):
        raise UserError(f"{out} was started with other settings ({differences}): {ways_out}")


def _file(out: Path, shard: Shard) -> Path:
    return out / "shards" / f"{shard.number:05}.jsonl"


def _is_done(out: Path, shard: Shard) -> bool:
    """Whether a shard's file is there and whole."""
    return is_whole(_file(out, shard), TaskCritiques, len(shard.tasks))
