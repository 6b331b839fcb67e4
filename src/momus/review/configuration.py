"""`[tool.momus]` in pyproject.toml: the settings of reviews that a repository keeps.

    [tool.momus]
    url = "http://localhost:8000/v1"
    model = "qwen2.5-coder"
    rules = "RULES.md"
    false-alarms = 0.2
    calibration = "calibration.json"
    exclude = ["docs/*", "tests/data"]

Where a change is reviewed, they and the files that they name are read from the revision that the change starts from:
whoever proposes a change does not decide how it is reviewed.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any

from momus.errors import UserError
from momus.review.changes.change import PATCH, Change

FILE = "pyproject.toml"


@dataclass(frozen=True)
class Settings:
    """What a repository sets; None or empty where it says nothing. They are the options of `momus review`.

    Attributes:
        model: The critic.
        url: A server that runs it.
        rules: A file with the house's rules, from the root of the repository.
        samples: Reviews of each function by a model that chats.
        confidence: Where the dial stands.
        false_alarms: How many false comments per clean function are promised.
        calibration: A file that `momus calibrate` wrote, from the root of the repository.
        max_comments: Comments a file, at most.
        budget_tokens: Tokens that a review may take, at most.
        baseline: The file of decisions, from the root of the repository.
        exclude: Patterns of paths that are not reviewed.
        source: Where the settings are from.
    """

    model: str | None = None
    url: str | None = None
    rules: str | None = None
    samples: int | None = None
    confidence: float | None = None
    false_alarms: float | None = None
    calibration: str | None = None
    max_comments: int | None = None
    budget_tokens: int | None = None
    baseline: str | None = None
    exclude: tuple[str, ...] = ()
    source: str = ""


_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,), "url": (str,), "rules": (str,), "samples": (int,), "confidence": (int, float),
    "false_alarms": (int, float), "calibration": (str,), "max_comments": (int,), "budget_tokens": (int,),
    "baseline": (str,), "exclude": (list,),
}  # fmt: skip
_PATHS = ("rules", "calibration", "baseline")


def read_settings(change: Change) -> Settings:
    """Return the settings that hold for a change, or for whole files.

    Raises:
        UserError: They cannot be read, or one is unknown or of the wrong type.
    """
    data = change.trusted_file(FILE)
    where = f"{FILE} of {change.base[:12]}" if change.base else FILE
    settings = parse_settings(data, where)
    if change.head and change.touches(FILE):
        why = "the change alters it: its own settings do not count" if change.head != PATCH else "the patch alters it"
        change.notes.append(f"settings: {where}; {why}")
        if change.head == PATCH:
            return Settings(source="none: the patch alters pyproject.toml")
    return settings


def parse_settings(data: bytes | None, where: str) -> Settings:
    """Return the settings in a pyproject.toml; `where` names it.

    Raises:
        UserError: It is not TOML, or a setting is unknown or of the wrong type.
    """
    if data is None:
        return Settings()
    try:
        table = tomllib.loads(data.decode("utf-8")).get("tool", {}).get("momus")
    except (ValueError, RecursionError, AttributeError) as error:
        raise UserError(f"{where}: not TOML that can be read: {error}") from error
    if table is None:
        return Settings()
    if not isinstance(table, dict):
        raise UserError(f"{where}: tool.momus: must be a table")
    return replace(Settings(source=where), **dict(_setting(key, value, where) for key, value in table.items()))


def _setting(key: str, value: Any, where: str) -> tuple[str, Any]:
    name = key.replace("-", "_")
    if name not in _TYPES or "_" in key:
        known = [field.name.replace("_", "-") for field in fields(Settings) if field.name in _TYPES]
        close = difflib.get_close_matches(key.replace("_", "-"), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        raise UserError(f"{where}: tool.momus has no setting {key!r}: {hint}")
    wrong = not isinstance(value, _TYPES[name]) or isinstance(value, bool)
    if wrong or (name == "exclude" and not all(isinstance(pattern, str) for pattern in value)):
        kind = "a list of strings" if name == "exclude" else " or ".join(kind.__name__ for kind in _TYPES[name])
        raise UserError(f"{where}: tool.momus.{key}: must be {kind}")
    if name in _PATHS and (value.startswith("/") or ".." in PurePosixPath(value).parts):
        raise UserError(f"{where}: tool.momus.{key}: must be a path inside of the repository")
    return name, tuple(value) if name == "exclude" else value
