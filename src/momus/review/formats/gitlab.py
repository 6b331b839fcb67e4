"""Reviews as GitLab's code quality report: one JSON array."""

from __future__ import annotations

import json

from momus.review.result import Review

_SEVERITIES = {"error": "major", "warning": "minor", "note": "info", None: "minor"}


def to_gitlab(review: Review) -> str:
    """Return a review's comments; dismissed ones are left out."""
    issues = [
        {
            "description": finding.text,
            "check_name": "momus",
            "fingerprint": finding.id,
            "severity": _SEVERITIES[finding.severity],
            "location": {"path": file.name, "lines": {"begin": finding.line, "end": finding.end_line}},
        }
        for file in review.files
        for finding in file.shown
    ]
    return json.dumps(issues, indent=1)
