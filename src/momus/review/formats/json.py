"""Reviews for programs: one JSON object with a schema version.

Version 2 adds to version 1, whose fields all stay: what identifies a finding, its status and what is proposed, comments
outside of a change, and the manifest.
"""

from __future__ import annotations

import json
from typing import Any

from momus.review.files import spelled
from momus.review.findings import Coverage, FileReview, Finding, Shown
from momus.review.result import Manifest, Review

SCHEMA = "momus.review"
SCHEMA_VERSION = 2


def to_json(review: Review) -> str:
    """Return a review as one JSON object."""
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "outcome": review.outcome.name.lower(),
        "files": [_file(file) for file in review.files],
        "skipped": [{"path": spelled(file.path), "reason": file.reason} for file in review.skipped],
        "fixed": [_fixed(shown) for shown in review.fixed],
        "manifest": describe_manifest(review.manifest),
    }
    return json.dumps(document, indent=2)


def describe_manifest(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as what JSON can hold."""
    return {
        "momus": manifest.version,
        "base": manifest.base,
        "head": manifest.head,
        "critic": dict(manifest.critic),
        "setting": manifest.setting,
        "promise": manifest.promise,
        "configuration": manifest.configuration,
        "cost": manifest.cost,
        "lines_read": manifest.lines_read,
        "lines_unread": manifest.lines_unread,
        "files": [{"path": file.path, **_coverage(file.coverage)} for file in manifest.files],
        "notes": list(manifest.notes),
    }


def _file(file: FileReview) -> dict[str, Any]:
    return {
        "path": spelled(file.path),
        "name": file.name,
        "findings": [_finding(finding) for finding in file.findings],
        "units": file.units,
        "unanchored": file.unanchored,
        "omitted": file.omitted,
        "vacuous": file.vacuous,
        "unanswered": file.unanswered,
        "problems": list(file.problems),
        "unread": list(file.unread),
        "outside": [_finding(finding) for finding in file.outside],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "line": finding.line,
        "end_line": finding.end_line,
        "function": finding.function,
        "quote": finding.quote,
        "text": finding.text,
        "severity": finding.severity,
        "id": finding.id,
        "code": finding.identity.code if finding.identity else "",
        "number": finding.identity.number if finding.identity else 0,
        "nth": finding.identity.nth if finding.identity else 0,
        "status": finding.status,
        "because": finding.because,
        "confidence": finding.confidence,
        "replacement": finding.replacement,
    }


def _fixed(shown: Shown) -> dict[str, Any]:
    identity = shown.identity
    return {
        "id": identity.fingerprint,
        "path": identity.path,
        "function": identity.function,
        "code": identity.code,
        "text": shown.text,
    }


def _coverage(coverage: Coverage) -> dict[str, Any]:
    return {
        "read": [list(lines) for lines in coverage.read],
        "unread": [
            {"lines": list(part.lines), "why": part.why.name.lower(), "detail": part.detail or part.why.value}
            for part in coverage.unread
        ],
    }
