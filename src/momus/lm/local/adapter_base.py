"""What the folder of an adapter says it belongs to; read without loading anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from momus.errors import UserError

CONFIG_FILE = "adapter_config.json"


def is_adapter(path: str | Path) -> bool:
    """Return whether a folder holds an adapter."""
    return (Path(path) / CONFIG_FILE).is_file()


def base_name(path: Path) -> tuple[str, str | None]:
    """Return the name of the model that an adapter was made for, and its revision on the hub where one is stated.

    Raises:
        UserError: The folder does not say.
    """
    config = read_json_object(path / CONFIG_FILE)
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not name or not isinstance(name, str):
        raise UserError(
            f"{path} does not say what its adapter belongs to: set base_model_name_or_path in {CONFIG_FILE}"
        )
    try:
        is_folder = Path(name).exists()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the base of its adapter is no name of a model: {name[:80]!r}") from error
    if is_adapter(name):
        raise UserError(f"{path}: the base of its adapter, {name}, is itself an adapter: merge that first")
    return name, None if revision is None or is_folder else str(revision)


def base_path(model: str | Path) -> str:
    """Return the model whose weights a model has: an adapter's base, and any other itself.

    Raises:
        UserError: It holds an adapter that does not say what it belongs to.
    """
    return base_name(Path(model))[0] if is_adapter(model) else str(model)


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        UserError: It does not.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise UserError(f"cannot read {file}: it holds no JSON object")
    return content
