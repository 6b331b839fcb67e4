"""A run over a data set: cut into shards, each written when it is done, continued after an interruption.

A run is one directory::

    config.json        everything that decides the result, with its hash, and where it was read from
    shards/00012.jsonl the critiques of one shard, written when it is done and then whole
    critiques.jsonl    all shards joined, in the order of the input, once none is missing

Who writes the critiques is the caller's: a trained critic (`dataset`) or a prompted one (`prompted_dataset`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from momus.critique import Critique
from momus.errors import UserError
from momus.files import CONFIG, DirectoryLock, JsonError, changed, open_run_directory, parse_json, plain
from momus.lm.chats.costs import OVER_BUDGET, SPENT
from momus.records import Record, Tamper, Task, is_whole, join_jsonl, write_jsonl
from momus.search.result import SearchResult

BATCH = 8
"""Answers searched in lockstep: shards are whole numbers of these."""

RESULT = "critiques.jsonl"

Progress = Callable[[int, int], None]
"""Called with the tasks done so far and their total."""

_FIX = {"missing": "missing: add it", "extra_forbidden": "unknown: remove it"}


@dataclass(frozen=True)
class Shard:
    """Consecutive tasks of the input, the first at place `first`: a whole number of batches but for the last shard."""

    number: int
    first: int
    tasks: tuple[Task | Tamper, ...]


class Written(BaseModel):
    """One critique: what the critic wrote, as read, the reward (None where nothing rates critiques) and the length.

    `tokens` counts the critique's tokens, the one that ends it included. `scores` says of each comment how far it can
    be believed, from 0 to 1, where comments were scored (`momus.critics.scores`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    critique: Critique
    score: float | None
    tokens: int
    scores: tuple[float, ...] = ()


class TaskCritiques(Record):
    """All critiques of one task: n of "sample", else the best. Where there are none, `skipped` says why.

    `index` is the task's place in the input, from 0, blank lines not counted.
    """

    index: int
    id: str
    critiques: tuple[Written, ...] = ()
    skipped: str = ""


class BadLinesError(UserError):
    """Lines of the input are not records; `problems` has one line of text for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more bad lines)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)


@dataclass(frozen=True)
class Input:
    """What is to be criticised: the file, the SHA-256 of its bytes, its records, and the shards they are cut into."""

    path: Path
    sha256: str
    records: tuple[Task | Tamper, ...]
    size: int
    shards: tuple[Shard, ...]

    def decides(self) -> dict[str, Any]:
        """Return what of it decides the files of a run."""
        return {"input": self.sha256, "batch": BATCH, "shard": self.size}


DoShards = Callable[[Sequence[Shard]], Generator[tuple[Shard, list[TaskCritiques]], None, None]]
"""Does shards in any order, yielding each with its critiques when it is done."""


def read_input(tasks: Path, shard_size: int) -> Input:
    """Read JSON Lines of `Task` or `Tamper` records.

    Args:
        tasks: The file.
        shard_size: Tasks that are written to disk together, rounded up to whole batches of `BATCH`.

    Raises:
        BadLinesError: Lines of the input are not records.
        UserError: There are none, or the size is no size.
    """
    if shard_size < 1:
        raise UserError(f"--shard {shard_size}: must be at least 1")
    data = tasks.read_bytes()
    records = read_records(tasks, data)
    size = -(-shard_size // BATCH) * BATCH
    return Input(tasks, hashlib.sha256(data).hexdigest(), tuple(records), size, tuple(cut(records, size)))


def run_shards(
    given: Input,
    out: Path,
    settings: Mapping[str, Any],
    files: Mapping[str, Path | str | None],
    do: DoShards,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write critiques of every task; shards that an earlier run finished are not done again.

    Args:
        given: The tasks.
        out: The run directory.
        settings: Everything that decides what its files hold: contents, not paths; of a server's model its name.
        files: Where it was read from: noted, and nothing is decided by it.
        do: Does the shards that are missing.
        progress: Called with the tasks done and their total.

    Returns:
        The path of the critiques.

    Raises:
        UserError: `out` holds a run with another input or other settings, or one that is at work.
    """
    total = len(given.records)
    with _opened(out, settings, {name: str(Path(path).resolve()) for name, path in files.items() if path}):
        joined = out / RESULT
        if not is_whole(joined, TaskCritiques, total):
            missing = [shard for shard in given.shards if not _is_done(out, shard)]
            done = total - sum(len(shard.tasks) for shard in missing)
            progress(done, total)
            if missing:
                with closing(do(missing)) as finished:
                    for shard, critiques in finished:
                        write_jsonl(_file(out, shard), critiques)
                        done += len(critiques)
                        progress(done, total)
            join_jsonl([_file(out, shard) for shard in given.shards], joined)
    return joined


def stop_if_spent(results: Iterable[SearchResult]) -> None:
    """End a run whose budget of tokens did not reach all of a shard.

    Raises:
        UserError: It did not.
    """
    if any(result.problem == OVER_BUDGET for result in results):
        raise UserError(SPENT)


def task_of(record: Task | Tamper) -> Task:
    """Return the task of judging an answer: of a tamper, the answer with the bugs."""
    return record.task.model_copy(update={"answer": record.answer}) if isinstance(record, Tamper) else record


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
    if others := [key for key in ("model", "reward") if old.get(key) != new.get(key)]:
        raise UserError(f"{out} was started with another --{' and --'.join(others)} (other files in it): {ways_out}")
    if differences := changed(old, new):
        raise UserError(f"{out} was started with other settings ({differences}): {ways_out}")


def _file(out: Path, shard: Shard) -> Path:
    return out / "shards" / f"{shard.number:05}.jsonl"


def _is_done(out: Path, shard: Shard) -> bool:
    """Whether a shard's file is there and whole."""
    return is_whole(_file(out, shard), TaskCritiques, len(shard.tasks))
