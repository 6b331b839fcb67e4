"""The pretraining corpus: functions with every mutation that could be made in them, found once and kept on disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track

from momus.data.dedup import Deduplicator
from momus.data.functions import Size
from momus.data.packages import package_functions
from momus.data.stdlib import stdlib_tasks
from momus.data.variants import as_script, rename_locals, tighten
from momus.files import write_lines
from momus.tamper.edits import Edit
from momus.tamper.sites import find_edits
from momus.tiny.examples import CorpusFunction


@dataclass(frozen=True)
class CorpusConfig:
    """Which functions to learn from."""

    size: Size = field(default_factory=Size)
    per_package: int = 2500
    rename: float = 0.35
    """Share of functions whose local variables get short names."""
    script: float = 0.5
    """Share of the functions that can be turned into scripts that are."""
    tighten: float = 0.25
    """Share of functions written without spaces around operators."""
    seed: int = 0


class Corpus:
    """Functions in memory as JSON lines, decoded one at a time: a tenth of the size of the objects."""

    def __init__(self, path: Path) -> None:
        self._lines = path.read_bytes().splitlines()

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> CorpusFunction:
        question, answer, edits = json.loads(self._lines[index])
        return CorpusFunction(question, answer, tuple(Edit.from_list(edit) for edit in edits))


def build_corpus(folder: Path, config: CorpusConfig) -> dict[str, Path]:
    """Write `train.jsonl` and `valid.jsonl` into `folder`, unless they are there, and return their paths."""
    paths = {split: folder / f"{split}.jsonl" for split in ("train", "valid")}
    if all(path.exists() for path in paths.values()):
        return paths
    valid, train = _functions(config)
    for split, found in (("valid", valid), ("train", train)):
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
            rows = pool.imap(_row, found, chunksize=64)
            shown = track(rows, f"finding mutations ({split})", total=len(found), console=Console(stderr=True))
            write_lines(paths[split], filter(None, shown))
    return paths


def _functions(config: CorpusConfig) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (question, answer) pairs of the validation and the training split, the latter rewritten and shuffled.

    Packages' functions that resemble any of the standard library, held-out modules included, are left out.
    """
    tasks = stdlib_tasks(config.size)
    deduplicate = Deduplicator()
    for task in tasks:
        deduplicate.add(task.answer)
    valid = [(task.question, task.answer) for task in tasks if task.split == "valid"]
    train = [(task.question, task.answer) for task in tasks if task.split == "train"]
    train += [
        (function.question, function.answer)
        for _, function in package_functions(config.size, config.per_package, config.seed)
        if deduplicate.add(function.answer)
    ]
    rng = random.Random(config.seed)
    rng.shuffle(train)
    return valid, [(question, _rewrite(answer, config, rng)) for question, answer in train]


def _rewrite(answer: str, config: CorpusConfig, rng: random.Random) -> str:
    if rng.random() < config.script:
        answer = as_script(answer, rng) or answer
    if rng.random() < config.rename:
        answer = rename_locals(answer, rng) or answer
    if rng.random() < config.tighten:
        answer = tighten(answer) or answer
    return answer


def _row(function: tuple[str, str]) -> str:
    question, answer = function
    edits = find_edits(answer)
    return json.dumps([question, answer, [edit.to_list() for edit in edits]]) if edits else ""


def texts(corpus: Corpus, count: int) -> Iterator[str]:
    """Yield text to train a tokenizer on: `count` functions with a few comments each, as the model sees them."""
    rng = random.Random(0)
    for index in range(min(count, len(corpus))):
        function = corpus[index]
        comments = [edit.description for edit in rng.sample(function.edits, min(2, len(function.edits)))]
        yield "\n".join([f"# {function.question}", function.answer, *comments])
