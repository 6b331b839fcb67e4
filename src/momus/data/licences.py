"""The licence a data set states about itself, beside its files."""

from __future__ import annotations

import json
import re
from pathlib import Path

_FRONT = re.compile(r"\A---[^\S\n]*\n(.*?)\n---[^\S\n]*$", re.DOTALL | re.MULTILINE)
_LICENCE = re.compile(r"^license:[ \t]*(?:\n?[ \t]*-[ \t]*)?([^\n#]+)", re.MULTILINE)


def licence_beside(directory: Path) -> str:
    """Return the licence named by a data card (README.md with a header) or by dataset_info.json, or ""."""
    try:
        card = (directory / "README.md").read_text(encoding="utf-8")
        header = _FRONT.match(card)
        match = _LICENCE.search(header[1]) if header else None
        if match:
            return match[1].strip(" '\"[]")
    except (OSError, UnicodeDecodeError):
        pass
    for info in (directory / "dataset_info.json", *sorted(directory.glob("*/dataset_info.json"))):
        try:
            licence = json.loads(info.read_text(encoding="utf-8")).get("license")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(licence, str) and licence:
            return licence
    return ""


def is_non_commercial(licence: str) -> bool:
    """Whether a licence's name says that it allows no commercial use."""
    return bool(re.search(r"\bnc\b|non-?commercial", licence.lower()))
