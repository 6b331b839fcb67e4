"""Run directories: configuration, metrics and checkpoints, so that a killed run continues bit for bit.

A run is one directory::

    config.json       the resolved configuration and its hash
    lock              held by the process that writes, as long as it has a `Run`, so that a second command is refused
    metrics.jsonl     one line per logged step, cut back to the checkpoint on resuming
    checkpoint-N/     modules, optimizers (safetensors and JSON), random states, and MANIFEST.json
    latest            the name of the newest checkpoint
    rollouts/N/       PPO only: what was sampled in iteration N, since the oldest checkpoint kept
    first-gap/        PPO with rollouts from a server: how near its first batch's log-probabilities were

A checkpoint is written under another name, flushed to disk and renamed, its manifest of SHA-256 sums last; one that
does not match its manifest is put aside, as `checkpoint-N.damaged-1`, for the one before it. Of a model with an adapter
it holds what is trained, and which base that belongs to. Of several processes the first writes and all read: a
checkpoint is whole, and any number of processes can go on from it. All of them have to make a `Run`, and to call
`save`, `restore` and `get`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from momus.errors import UserError
from momus.files import (
    CONFIG,
    JsonError,
    Log,
    atomic_directory,
    changed,
    fill_json,
    open_run_directory,
    parse_json,
    restore_directory,
    write_text,
)
from momus.runtime.adapters import base_of
from momus.runtime.processes import is_main_process, on_main_process
from momus.runtime.states import load_module_state, load_optimizer_state, module_state, optimizer_state

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after every step with the steps done, their total and the step's metrics."""

FREE = {"token_budget", "gradient_checkpointing", "save_every"}
"""Settings that a run may go on with others of: memory and when checkpoints are made, not what is computed."""

ADDED = {"keep": "last"}
"""Settings that runs of before 2026-11-29 may lack, and what these did."""

_MANIFEST = "MANIFEST.json"
_TENSOR = "__tensor__"
_PAIRS = "__pairs__"


class Run:
    """One run directory; opening it again with the same configuration continues it.

    Args:
        path: The directory, created if need be.
        config: A frozen dataclass or a mapping that JSON can hold: everything that decides the result, and `FREE`.
        keep: How many checkpoints stay, the newest. One is enough as long as none is ever damaged.

    Raises:
        UserError: The directory holds a run with another configuration; the message names the keys. Or it holds
            something else that a run would overwrite, or another process is at work in it.
    """

    def __init__(self, path: Path, config: Any, keep: int = 2) -> None:
        if keep < 1:
            raise UserError(f"{keep} checkpoints cannot be kept: at least 1")
        self.path, self._keep = Path(path), keep
        self.config = _resolved(config)
        self._metrics = Log(self.path / "metrics.jsonl")
        on_main_process(self._open)

    def _open(self) -> None:
        stored = {"hash": _digest(self.config), "config": self.config}
        self._lock = open_run_directory(self.path, stored, self._check, shared=True)

    def log(self, step: int, **metrics: float) -> None:
        """Append one line of metrics."""
        if is_main_process():
            self._metrics.add(json.dumps({"step": step, **metrics}))

    def history(self) -> list[dict[str, Any]]:
        """Return all logged lines; a line that a kill cut short, or that is damaged, is left out."""
        logged, damaged = [], 0
        for line in self._metrics.lines():
            try:
                logged.append(dict(parse_json(line, any_number=True)))
            except (JsonError, TypeError, ValueError):
                damaged += 1
        if damaged:
            warnings.warn(f"{self.path / 'metrics.jsonl'}: {damaged} damaged lines are left out", stacklevel=2)
        return logged

    def save(
        self,
        step: int,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write checkpoint `step` completely or not at all, then drop all but the newest `keep`.

        Args:
            step: Steps done so far.
            modules: What to restore parameters and buffers of, by name.
            optimizers: Likewise.
            state: Anything else that JSON can hold: data cursor, running averages.

        Raises:
            UserError: The disk is full.
        """
        folder = self.path / f"checkpoint-{step}"
        with atomic_directory(folder) if is_main_process() else nullcontext() as partial:
            for name, module in modules.items():
                tensors = module_state(module)
                if partial:
                    save_file(tensors, str(partial / f"{name}.safetensors"))
            for name, optimizer in (optimizers or {}).items():
                tree = optimizer_state(optimizer)
                if partial:
                    _save_tree(partial, f"{name}.optimizer", tree)
            if partial:
                _save_tree(partial, "rng", _rng_state())
                saved = {"step": step, "metrics_bytes": self._metrics.sync(), "state": state or {}}
                bases = {name: base_of(module) for name, module in modules.items() if base_of(module)}
                fill_json(partial / "state.json", {**saved, **({"bases": bases} if bases else {})})
                self._seal(partial)
        on_main_process(self._settle)
        return folder

    def restore(
        self,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
    ) -> tuple[int, dict[str, Any]] | None:
        """Load the newest whole checkpoint in place, random states included, and cut the metrics back to it.

        An optimizer's state comes back in its parameters' type, as PyTorch loads it. A damaged checkpoint is
        put aside with a warning.

        Returns:
            The step and the extra state that were saved, or None where there is no checkpoint.

        Raises:
            UserError: A checkpoint cannot be read at present, or is of another model.
        """
        name_of_newest = on_main_process(self._newest_whole)
        if name_of_newest is None:
            return None
        folder = self.path / name_of_newest
        saved = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        for name, module in modules.items():
            if saved.get("bases", {}).get(name, "") != base_of(module):
                raise UserError(
                    f"{folder} holds an adapter of another base model for the {name}: start from that model, or in "
                    "another directory"
                )
            load_module_state(module, load_file(str(folder / f"{name}.safetensors")))
        for name, optimizer in (optimizers or {}).items():
            load_optimizer_state(optimizer, _load_tree(folder, f"{name}.optimizer"))
        _set_rng_state(_load_tree(folder, "rng"))
        return saved["step"], saved["state"]

    def _newest_whole(self) -> str | None:
        """Return the name of the newest whole checkpoint, damaged ones put aside, and cut the metrics back to it."""
        for _, folder in self.checkpoints():
            if problem := _damage(folder):
                aside = _put_aside(folder)
                warnings.warn(f"{aside} is damaged ({problem}): going back to the one before", stacklevel=2)
                continue
            saved = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            self._metrics.cut(saved["metrics_bytes"])
            self._settle()  # a kill may have come before it
            return folder.name
        self._metrics.cut(0)
        return None

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Return the steps and folders of all checkpoints, newest first."""
        named = [(p.name.removeprefix("checkpoint-"), p) for p in self.path.glob("checkpoint-*")]
        return sorted(((int(step), path) for step, path in named if step.isdigit()), reverse=True)

    def put(self, name: str, value: Any) -> None:
        """Write nested dicts and lists, tensors among them, as the folder `name`: completely or not at all.

        Raises:
            UserError: The disk is full.
        """
        if not is_main_process():
            return
        with atomic_directory(self.path / name) as partial:
            _save_tree(partial, "value", value)
            self._seal(partial)

    def get(self, name: str) -> Any:
        """Read what `put` wrote, tuples as lists; None where there is nothing, or it is damaged."""
        folder = self.path / name

        def is_there() -> bool:
            restore_directory(folder)
            return folder.exists() and not _damage(folder)

        return _load_tree(folder, "value") if on_main_process(is_there) else None

    def _settle(self) -> None:
        """Name the newest checkpoint as such and drop those too many."""
        (_, newest), *others = self.checkpoints()
        write_text(self.path / "latest", newest.name + "\n")
        for _, old in others[self._keep - 1 :]:
            shutil.rmtree(old, ignore_errors=True)

    def _seal(self, folder: Path) -> None:
        """Write the manifest of a folder that is otherwise complete."""
        sums = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
        fill_json(folder / _MANIFEST, {"version": 1, "config": _digest(self.config), "sha256": sums})

    def _check(self, stored: Any) -> None:
        """Refuse a directory that holds a run with another configuration, or something else."""
        if stored is not None:
            try:
                old = dict(stored["config"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self.path / CONFIG} is not that of a run, but of something else: name another directory"
                ) from error
            if differences := changed(old, self.config, FREE, ADDED):
                raise UserError(
                    f"{self.path} holds a run with other settings ({differences}): "
                    "use the same settings, another directory, or remove it"
                )
        for _, folder in self.checkpoints():
            if stored is None or not (folder / _MANIFEST).exists():
                raise UserError(f"{folder} is no checkpoint of a run of Momus: move it away, or name another directory")


def _resolved(config: Any) -> dict[str, Any]:
    """Return the configuration as what comes back from JSON."""
    plain = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else dict(config)  # type: ignore[arg-type]
    result: dict[str, Any] = json.loads(json.dumps(plain, default=str, sort_keys=True))
    return result


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _damage(folder: Path) -> str:
    """Say what is wrong with a checkpoint; empty when it is whole.

    Raises:
        UserError: It cannot be read at present.
    """
    try:
        sums = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["sha256"]
        return ", ".join(name for name, expected in sums.items() if _sha256(folder / name) != expected)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    except OSError as error:
        raise UserError(
            f"cannot read {folder} ({error.strerror}): run again when it can be, or move it away to go on without it"
        ) from error


def _put_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint, so that it is no longer one but nothing is lost; returns where it is now."""
    for number in itertools.count(1):
        aside = folder.with_name(f"{folder.name}.damaged-{number}")
        if not aside.exists():
            break
    return folder.rename(aside)


def _save_tree(folder: Path, name: str, value: Any) -> None:
    """Write nested dicts and lists with tensors in them as name.safetensors and name.json."""
    tensors: dict[str, torch.Tensor] = {}

    def pack(item: Any) -> Any:
        if isinstance(item, torch.Tensor):
            key = str(len(tensors))
            tensors[key] = item.detach().cpu().contiguous().clone()
            return {_TENSOR: key}
        if isinstance(item, Mapping):
            return {_PAIRS: [[key, pack(inner)] for key, inner in item.items()]}
        return [pack(inner) for inner in item] if isinstance(item, list | tuple) else item

    fill_json(folder / f"{name}.json", pack(value))
    save_file(tensors, str(folder / f"{name}.safetensors"))


def _load_tree(folder: Path, name: str) -> Any:
    """Read what `_save_tree` wrote; tuples come back as lists."""
    tensors = load_file(str(folder / f"{name}.safetensors"))

    def unpack(item: Any) -> Any:
        if isinstance(item, dict):
            if _TENSOR in item:
                return tensors[item[_TENSOR]]
            return {key: unpack(inner) for key, inner in item[_PAIRS]}
        return [unpack(inner) for inner in item] if isinstance(item, list) else item

    return unpack(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def _rng_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "python": random.getstate(),
    }


def _set_rng_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
