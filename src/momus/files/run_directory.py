"""Run directories: one command writes one, and the same command with the same settings continues it.

What a run was started with stands in its `config.json`. It is looked at before anything is written, and looked at
again, or written, once the directory is locked, so that two commands never start a run in one place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from momus.files.locks import DirectoryLock
from momus.files.writing import disk_errors, write_text

CONFIG = "config.json"

_SHOWN, _LONGEST = 5, 60


def open_run_directory(
    path: Path, config: Mapping[str, Any], check: Callable[[Any], None], shared: bool = False
) -> DirectoryLock:
    """Hold a run directory that is new, or was started alike.

    Args:
        path: The directory, created if need be.
        config: What its `config.json` holds from now on, if it is new.
        check: Is given what `config.json` holds, None where there is none, and raises a UserError to refuse it.
        shared: The same process may open it again.

    Raises:
        UserError: It was refused, is damaged, or is in use by another command, or the disk is full.
    """
    with disk_errors(path):
        check(_stored(path))  # before anything is written there
        path.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock.shared(path) if shared else DirectoryLock(path)
        try:
            stored = _stored(path)
            check(stored)
            if stored is None:
                write_text(path / CONFIG, json.dumps(config, indent=1) + "\n")
        except BaseException:
            if not shared:
                lock.close()
            raise
    return lock


def plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they come back from JSON, what JSON does not know as its string."""
    result: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return result


def changed(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    free: Collection[str] = (),
    added: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Say which settings differ, such as "seed 0 -> 1, data.split 'a' -> 'b'"; "" where none does.

    Args:
        old: Settings, nested or not.
        new: Likewise.
        free: Last parts of names that may differ.
        added: Last parts of names that `old` may lack, for it is older than they are, and what they then were.
    """
    old, new = _flat(old), _flat(new)
    compared = [key for key in old.keys() | new.keys() if key.rpartition(".")[2] not in free]
    missing = object()
    old |= {key: added[name] for key in new.keys() - old.keys() if (name := key.rpartition(".")[2]) in added}
    keys = sorted(key for key in compared if old.get(key, missing) != new.get(key, missing))
    shown = ", ".join(f"{_cut(key)} {_short(old.get(key))} -> {_short(new.get(key))}" for key in keys[:_SHOWN])
    return f"{shown} and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else shown


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in settings.items():
        nested = isinstance(value, Mapping) and value
        result |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return result


def _short(value: Any) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _stored(path: Path) -> Any:
    """Return what a directory's configuration holds, "" where it cannot be read, None where there is none."""
    try:
        stored = json.loads((path / CONFIG).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError):
        return ""
    return "" if stored is None else stored
