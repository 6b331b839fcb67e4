"""Rows of Parquet files and of directories that the `datasets` library's `save_to_disk` wrote. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from momus.errors import UserError

_BATCH = 256


def parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of a Parquet file, a few hundred rows in memory at a time."""
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in _rows(batch):
                    number += 1
                    yield f"{path.name}:row {number}", row
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # a date of the year 100,000
        raise UserError(f"{path}: damaged Parquet after row {number}: {_words(error)}") from error


def is_saved_dataset(path: Path) -> bool:
    """Whether `save_to_disk` wrote this directory: one data set, or several splits."""
    return (path / "state.json").is_file() or (path / "dataset_dict.json").is_file()


def saved_files(path: Path) -> list[Path]:
    """Return the Arrow files of a saved data set, in order, of all its splits.

    Raises:
        UserError: The lists of splits or files are damaged, or name a file that is not there.
    """
    try:
        if (path / "dataset_dict.json").is_file():
            splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
            return [file for split in splits for file in saved_files(path / split)]
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        files = [path / entry["filename"] for entry in state["_data_files"]]
        missing = [file.name for file in files if not file.is_file()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)[:300]}: damaged: save the data set again") from error
    if missing:
        raise UserError(f"{path}: state.json names {missing[0]!r}, which is not there: save the data set again")
    return files


def arrow_rows(files: Sequence[Path], root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of Arrow files; places name them relative to `root`."""
    import pyarrow

    for path in files:
        name, number = path.relative_to(root).as_posix(), 0
        try:
            with pyarrow.memory_map(str(path)) as memory:
                for batch in _batches(memory):
                    for start in range(0, batch.num_rows, _BATCH):
                        for row in _rows(batch.slice(start, _BATCH)):
                            number += 1
                            yield f"{name}:row {number}", row
        except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
            raise UserError(f"{path}: damaged Arrow file after row {number}: {_words(error)}") from error


def _batches(memory: Any) -> Iterator[Any]:
    """Yield the batches of an Arrow stream, which save_to_disk writes, or an Arrow file (Feather)."""
    import pyarrow.ipc

    if memory.read(6) == b"ARROW1":
        memory.seek(0)
        file = pyarrow.ipc.open_file(memory)
        yield from (file.get_batch(number) for number in range(file.num_record_batches))
    else:
        memory.seek(0)
        yield from pyarrow.ipc.open_stream(memory)


def _rows(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a batch whose texts are UTF-8 and whose offsets lie in it.

    Raises:
        ValueError: Two columns have one name, or a value is none that Python has.
        pyarrow.ArrowException: The batch is damaged.
    """
    names = batch.schema.names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns are called {twice[0][:60]!r}")
    batch.validate(full=True)  # else wrong offsets are memory of others, or none
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


def _words(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
