"""Reviews as SARIF 2.1.0 (OASIS), which hosts of code and editors show.

What is dismissed stays in it, as a suppression: a result that is left out would be a new alert when it comes back. What
was fixed is in it as absent. Paths are relative to the root of the repository. Comments outside of a change are not.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from momus.review.findings import FileReview, Finding, Shown
from momus.review.formats.json import describe_manifest
from momus.review.result import Outcome, Review

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

MOST = 25_000
"""Results that GitHub takes of a run."""

_RULE = "comment"
_FINGERPRINT = "momusIdentity/v1"
_STATES = {"new": "new", "open": "unchanged", "accepted": "unchanged", "dismissed": "unchanged"}


def to_sarif(review: Review) -> str:
    """Return a review as one SARIF log."""
    results = [_result(file, finding) for file in review.files for finding in file.findings]
    results += [_absent(shown) for shown in review.fixed]
    failures = [f"{file.path}: {file.reason}" for file in review.skipped]
    if len(results) > MOST:
        failures.append(f"{len(results) - MOST} more comments are left out: a run has at most {MOST:,}")
    run = {
        "tool": {
            "driver": {
                "name": "Momus",
                "version": review.manifest.version,
                "rules": [_rule(review)],
            }
        },
        "automationDetails": {"id": "momus/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": review.outcome is not Outcome.NOT_RUN,
                "toolExecutionNotifications": [{"level": "error", "message": {"text": text}} for text in failures],
            }
        ],
        "results": results[:MOST],
        "properties": {"manifest": describe_manifest(review.manifest)},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1)


def _rule(review: Review) -> dict[str, Any]:
    """Return the one rule; hosts show its help beside each comment."""
    promise = review.manifest.promise or "What share of its comments is wrong was not measured at this setting."
    helped = "A model read the code and may be wrong. Dismiss the comment with momus review dismiss ID --because …"
    return {
        "id": _RULE,
        "shortDescription": {"text": "A comment of the reviewing critic"},
        "fullDescription": {"text": f"A comment that a critic made while it read the code. {promise}"},
        "help": {"text": f"{helped} {promise}"},
        "defaultConfiguration": {"level": "warning"},
    }


def _result(file: FileReview, finding: Finding) -> dict[str, Any]:
    region = {"startLine": finding.line, "endLine": finding.end_line}
    place = _artifact(file.name)
    location: dict[str, Any] = {
        "physicalLocation": {"artifactLocation": place, "region": {**region, "snippet": {"text": finding.quote}}}
    }
    result: dict[str, Any] = {
        "ruleId": _RULE,
        "ruleIndex": 0,
        "level": finding.severity or "warning",
        "message": {"text": finding.text},
        "locations": [location | _function(finding.function)],
        "baselineState": _STATES[finding.status],
    }
    if finding.id:
        result["partialFingerprints"] = {_FINGERPRINT: finding.id}
    if finding.confidence is not None:
        result["rank"] = round(100 * finding.confidence, 1)
    if finding.status == "dismissed":
        kind = "inSource" if finding.in_source else "external"
        result["suppressions"] = [{"kind": kind, "status": "accepted", "justification": finding.because}]
    if finding.replacement is not None:
        change = {"deletedRegion": region, "insertedContent": {"text": finding.replacement}}
        result["fixes"] = [{"artifactChanges": [{"artifactLocation": place, "replacements": [change]}]}]
    return result


def _absent(shown: Shown) -> dict[str, Any]:
    identity = shown.identity
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": _artifact(identity.path)}}
    return {
        "ruleId": _RULE,
        "ruleIndex": 0,
        "level": "note",
        "message": {"text": shown.text},
        "locations": [location | _function(identity.function)],
        "baselineState": "absent",
        "partialFingerprints": {_FINGERPRINT: identity.fingerprint},
    }


def _function(name: str) -> dict[str, Any]:
    return {"logicalLocations": [{"fullyQualifiedName": name, "kind": "function"}]} if name else {}


def _artifact(name: str) -> dict[str, str]:
    """Return where a file is: from the root, or, outside of it, as the whole path says."""
    return {"uri": f"file://{quote(name)}"} if name.startswith("/") else {"uri": quote(name), "uriBaseId": "%SRCROOT%"}
