"""Reviews as reviewdog's diagnostics (rdjsonl), which it posts to most hosts: a JSON object a line.

Places are whole lines, so that what is proposed replaces whole lines.
"""

from __future__ import annotations

import json
from typing import Any

from momus.review.findings import Finding
from momus.review.result import Review

_SEVERITIES = {"error": "ERROR", "warning": "WARNING", "note": "INFO", None: "WARNING"}


def to_rdjsonl(review: Review) -> str:
    """Return a review's comments, a line each; dismissed ones are left out."""
    lines = [json.dumps(_diagnostic(file.name, finding)) for file in review.files for finding in file.shown]
    return "\n".join(lines)


def _diagnostic(name: str, finding: Finding) -> dict[str, Any]:
    place = {"start": {"line": finding.line}, "end": {"line": finding.end_line}}
    diagnostic: dict[str, Any] = {
        "message": finding.text,
        "location": {"path": name, "range": place},
        "severity": _SEVERITIES[finding.severity],
        "source": {"name": "momus"},
        "code": {"value": finding.id},
    }
    if finding.replacement is not None:
        diagnostic["suggestions"] = [{"range": place, "text": finding.replacement}]
    return diagnostic
