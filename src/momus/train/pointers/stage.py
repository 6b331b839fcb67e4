"""`momus train pointer`: from a base and files to a pointer in a run directory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from momus.errors import UserError
from momus.files import read_json
from momus.lm.local.load import Precision, choose_device, choose_precision, load_local_engine
from momus.lm.models import identify_model
from momus.lm.out_of_memory import is_out_of_memory
from momus.lm.pointers import LINE_POINTER_FILE
from momus.lm.pointers.line_pointer import BaseIdentity
from momus.lm.pointers.line_states import LineReader, Reads, spread_layers
from momus.records import Tamper
from momus.runtime.runs import Run
from momus.train.pointers.data import gather_tampers
from momus.train.pointers.pointer import Say, kept_bytes, train_pointer
from momus.train.pointers.settings import PointerConfig, PointerData
from momus.train.stages import SUMMARY, as_dict, write_summary
from momus.train.texts import digest

POINTER = "pointer"
"""The folder of a run with the pointer that came out of it."""


@dataclass(frozen=True)
class PointerSource:
    """A base, and what a pointer for it is trained on.

    Attributes:
        model: The base: a folder, a name on the hub or a GGUF file.
        files: Python files and directories.
        records: In their place, files with Tamper records.
        data: Which answers are made of the files, and how many.
        device: Where the base runs; by default on a GPU if there is one.
        precision: What it is held and computed in; by default bf16 where that is faster and loses nothing.
        most_gib: How much may be kept of what was read, on disk and in memory.
        twice: Whether answers are read a second time, in which every line follows on the whole answer.
    """

    model: str
    files: Sequence[Path] = ()
    records: Sequence[Path] = ()
    data: PointerData = field(default_factory=PointerData)
    device: str | None = None
    precision: Precision | None = None
    most_gib: float = 4.0
    twice: bool = False


def run_pointer(source: PointerSource, config: PointerConfig, out: Path, say: Say) -> dict[str, Any]:
    """Train a pointer in the run directory `out`, and return its summary.

    Raises:
        UserError: Something is missing or does not fit, or memory runs out.
    """
    train, held_out = gather_tampers(source.files, source.records, source.data)
    device = choose_device(source.device)
    precision = source.precision or choose_precision(source.model, device)
    readings = (0, 1) if source.twice else (0,)
    start = {"start": identify_model(source.model), "precision": precision, "readings": readings}
    data = [digest([t.model_dump() for t in some]) for some in (train, held_out)]
    run = Run(out, {"stage": "pointer", **start, "data": data, "config": asdict(config)})
    if (out / SUMMARY).is_file():
        shutil.rmtree(out / "states", ignore_errors=True)
        done: dict[str, Any] = read_json(out / SUMMARY, any_number=True)
        return done
    engine = load_local_engine(source.model, device, precision, cache_bytes=0)
    if not engine.tokenizer.is_fast:
        raise UserError(f"{source.model}: its tokenizer does not say where tokens stand: a fast one is needed")
    reads = Reads(spread_layers(engine.model), readings)
    reader = LineReader(engine.model, engine.tokenizer, reads)
    train = [t for t in train if _fits(reader, t, config.pairs)]
    held_out = [t for t in held_out if _fits(reader, t, False)]
    if not train:
        raise UserError(f"{source.model} reads none of the answers to learn from: they are too long for it")
    base = BaseIdentity.of(Path(source.model).name, engine.model.config, engine.tokenizer)
    read = [t.answer for t in (*train, *held_out)]
    if config.pairs:
        read += [t.task.answer for t in train if t.bugs]
    _check_size(kept_bytes(read, reads, base.hidden) / 2**30, len(train) + len(held_out), source.most_gib)
    try:
        trained = train_pointer(reader, base, train, held_out, config, run, say)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError("out of memory: take --precision bf16, or fewer --functions, in another --out") from error
    trained.pointer.save(out / POINTER / LINE_POINTER_FILE)
    chosen = trained.pointer.shape.reads._asdict()
    result = {
        "answers": {"train": len(train), "held_out": len(held_out)},
        "held_out_line_first": as_dict(trained.accuracy),
        "held_out_chance": round(trained.chance, 4),
        "reads": chosen,
        "trials": trained.trials,
    }
    summary = {"stage": "pointer", "started_from": source.model, "pointer": str(out / POINTER), "result": result}
    write_summary(out, {**summary, "config": asdict(config), "data": asdict(source.data)})
    shutil.rmtree(out / "states", ignore_errors=True)  # the large part, of no more use
    return summary


def _fits(reader: LineReader, tamper: Tamper, pairs: bool) -> bool:
    """Return whether the base can read an answer, and the same without its bugs."""
    answers = (tamper.answer, tamper.task.answer) if pairs else (tamper.answer,)
    return not any(reader.problem(tamper.task.question, answer) for answer in answers)


def _check_size(size: float, tampers: int, most_gib: float) -> None:
    """Refuse, before anything is read, to keep more than was allowed.

    Raises:
        UserError: What is read of the answers would be larger.
    """
    if size > most_gib:
        fewer = int(tampers * most_gib / size)
        raise UserError(
            f"what is read of {tampers:,} answers takes {size:.1f} GiB, more than --most-gib {most_gib:g}: take "
            f"about {fewer:,} --functions, or allow more"
        )
