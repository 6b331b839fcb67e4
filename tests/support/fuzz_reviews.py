"""Readers of what reviews are made of: patches, decisions, settings, artifacts, events, other languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

COMMENT: dict[str, Any] = {
    "line": 3, "end_line": 3, "function": "f", "quote": "return x", "text": "Falsch: é.", "severity": "error",
    "id": "0123456789abcdef", "code": "return x", "number": 0, "nth": 0, "status": "new", "because": "",
    "confidence": 0.5, "replacement": "    return y",
}  # fmt: skip
REVIEW: dict[str, Any] = {
    "schema": "momus.review", "schema_version": 2, "outcome": "findings",
    "files": [{"path": "a.py", "name": "a.py", "findings": [COMMENT], "outside": [], "units": 1}],
    "skipped": [], "fixed": [],
    "manifest": {"momus": "1", "base": "", "head": "", "critic": {"kind": "voting"}, "setting": 0.5, "promise": "",
                 "configuration": "", "cost": "", "lines_read": 3, "lines_unread": 0, "files": [], "notes": []},
}  # fmt: skip
DECISION = {
    "schema_version": 1, "path": "a.py", "function": "f", "code": "return x", "decision": "dismissed",
    "because": "no", "quote": "return x", "text": "Wrong.", "answer": "def f(x):\n    return x",
}  # fmt: skip
SETTINGS = (
    '[tool.momus]\nmodel = "m"\nurl = "http://localhost:8000"\nsamples = 3\nfalse-alarms = 0.2\nexclude = ["d/*"]\n'
)
EVENT = {
    "repository": {"full_name": "acme/tools"},
    "workflow_run": {
        "head_sha": "a" * 40, "head_branch": "b", "pull_requests": [],
        "head_repository": {"owner": {"login": "someone"}},
    },
}  # fmt: skip
GO = 'package a\n\n// F is é.\nfunc (s *S) F(x int) int {\n\treturn x / 0\n}\nvar g = func() { F("}") }\n'
TYPESCRIPT = "export class A<T> {\n  @dec()\n  f = async (a?: T) => { return `${a}` };\n}\nit('x', () => { y(); });\n"
CPP = "#define M(x) x+1\nnamespace n { template <class T> struct A { int f() const { return M(1); } }; }\n"
PATCH = (
    "diff --git a/a.py b/a.py\nindex 1..2 100644\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@ def f():\n a\n-b\n+c\n+d\n"
    "\\ No newline at end of file\ndiff --git a/b.py b/c.py\nsimilarity index 100%\nrename from b.py\nrename to c.py\n"
)


class _OnePullRequest:
    """A client whose repository has one pull request."""

    def get(self, path: str) -> dict[str, Any]:
        return {"head": {"sha": "a" * 40}, "state": "open"}

    def pages(self, path: str) -> list[Any]:
        return [{"number": 7}]


def read_other_source(path: Path) -> None:
    from momus.review.files import read_source
    from momus.review.units import units

    source = read_source(path, other_languages=True)
    lines = source.text.split("\n")
    for unit in units(source):
        assert all(lines[n - 1].strip() == t.strip() for n, t in zip(unit.lines, unit.text.split("\n"), strict=True))


def read_patch(path: Path) -> None:
    from momus.review.changes.patch import parse_patch

    parse_patch(path.read_bytes())


def read_decisions(path: Path) -> None:
    from momus.review.decisions import read_decisions

    for decision in read_decisions(path):
        decision.model_dump_json()


def read_settings(path: Path) -> None:
    from momus.review.lsp.settings import read_settings

    (path.parent / "pyproject.toml").write_bytes(path.read_bytes())
    read_settings(path.parent)


def read_shown(path: Path) -> None:
    from momus.review.memory import read_shown

    for shown in read_shown(path):
        assert shown.identity.fingerprint


def read_artifact(path: Path) -> None:
    from momus.review.github.artifact import read_artifact
    from momus.review.github.post import write_comment

    for _, comment, _ in read_artifact(path).comments():
        write_comment(comment).encode()


def read_event(path: Path) -> None:
    from momus.review.github.pull_request import find_pull_request

    find_pull_request(path, _OnePullRequest())  # type: ignore[arg-type]


TEXTS = {
    "other languages": (read_other_source, {"a.go": GO, "a.ts": TYPESCRIPT, "a.cpp": CPP}),
    "patch": (read_patch, {"a.diff": PATCH}),
    "review decisions": (read_decisions, {"d.jsonl": json.dumps(DECISION) + "\n"}),
    "review settings": (read_settings, {"settings.toml": SETTINGS}),
    "earlier review": (read_shown, {"review.json": json.dumps(REVIEW)}),
    "review artifact": (read_artifact, {"review.json": json.dumps(REVIEW)}),
    "GitHub event": (read_event, {"event.json": json.dumps(EVENT)}),
}
"""The readers, each with whole files for it."""
