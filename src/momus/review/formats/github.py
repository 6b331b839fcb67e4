"""Reviews as GitHub's workflow commands, which become annotations: of each kind GitHub shows ten a step.

So the worst and surest come first, and how many are left is said in the log.
"""

from __future__ import annotations

from collections import Counter

from momus.review.findings import Finding
from momus.review.result import Review
from momus.terminal import visible, visible_line

MOST = 10
"""Annotations of one kind that a step shows."""

_KINDS = {"error": "error", "warning": "warning", "note": "notice", None: "warning"}


def to_github(review: Review) -> str:
    """Return a review as workflow commands, a line each; dismissed comments are left out."""
    findings = [(file.name, finding) for file in review.files for finding in file.shown]
    findings.sort(key=lambda pair: -(pair[1].confidence or 0.0))
    counts: Counter[str] = Counter()
    lines = []
    for name, finding in findings:
        kind = _KINDS[finding.severity]
        counts[kind] += 1
        if counts[kind] <= MOST:
            lines.append(_command(kind, name, finding))
    if left := sum(max(0, count - MOST) for count in counts.values()):
        lines.append(f"{left} more comments are not annotated: GitHub shows {MOST} of a kind a step")
    return "\n".join(lines)


def _command(kind: str, name: str, finding: Finding) -> str:
    fields = {"file": name, "line": finding.line, "endLine": finding.end_line, "title": f"Momus {finding.id}"}
    written = ",".join(f"{key}={_escape_field(visible_line(str(value)))}" for key, value in fields.items())
    return f"::{kind} {written}::{_escape(visible(finding.text))}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_field(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
