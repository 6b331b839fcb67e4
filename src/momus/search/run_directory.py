"""What a run directory was started with: its `config.json`, read before anything is written there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from momus.errors import UserError

CONFIG = "config.json"


def started_with(out: Path, command: str, result: str, field: str, kind: type) -> dict[str, Any] | None:
    """Return the configuration in a run directory; None where no run has been started there.

    Args:
        out: The directory.
        command: The command whose run it must be.
        result: The file that the run ends with.
        field: A field that this command's configuration has, and others' have not.
        kind: What it holds.

    Raises:
        UserError: The directory holds another command's run, a damaged one, or a result that no run is known to have
            written.
    """
    config = out / CONFIG
    if not config.exists():
        if (out / result).exists():
            raise UserError(f"{out / result} is there, but no {CONFIG} that says what it is: name another --out")
        return None
    try:
        known = json.loads(config.read_text(encoding="utf-8"))
    except ValueError:
        known = None
    if not isinstance(known, dict) or not isinstance(known.get(field), kind):
        raise UserError(f"{out} is not a run of momus {command}, or its {CONFIG} is damaged: name another --out")
    return known
