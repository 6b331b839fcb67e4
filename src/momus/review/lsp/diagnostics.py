"""Findings as diagnostics and code actions; columns are counted as the client counts them, in UTF-16 by default."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types
from pygls.workspace import PositionCodec

from momus.review.findings import Finding

SOURCE = "momus"

REASON = "not a problem"
"""The reason that a dismissal is given: the place to write a better one."""

_SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "note": types.DiagnosticSeverity.Information,
    None: types.DiagnosticSeverity.Warning,
}


def diagnostic_of(finding: Finding, lines: Sequence[str], codec: PositionCodec) -> types.Diagnostic:
    """Return a finding as a diagnostic.

    Args:
        finding: What was found.
        lines: Of the file.
        codec: How the client counts columns.
    """
    return types.Diagnostic(
        range=range_of(finding.line, finding.end_line, lines, codec),
        message=finding.text,
        severity=_SEVERITIES[finding.severity],
        source=SOURCE,
        code=finding.id or None,
    )


def range_of(first: int, last: int, lines: Sequence[str], codec: PositionCodec) -> types.Range:
    """Return lines `first` to `last`, from 1, from the first's text to the end of the last's, in the client's units."""
    start, end = lines[first - 1], lines[last - 1].rstrip()
    indent = start[: len(start) - len(start.lstrip())]
    return types.Range(
        types.Position(first - 1, codec.client_num_units(indent)), types.Position(last - 1, codec.client_num_units(end))
    )


def actions_for(
    finding: Finding, read: Sequence[str], now: Sequence[str], uri: str, codec: PositionCodec, leader: str
) -> list[types.CodeAction]:
    """Return what can be done about a finding; nothing where its lines have changed since they were read.

    Args:
        finding: What was found.
        read: Lines of the file as it was reviewed.
        now: Lines of the document as it is.
        uri: Of the document.
        codec: How the client counts columns.
        leader: What a comment begins with in the file's language.
    """
    here = slice(finding.line - 1, finding.end_line)
    if not read[here] or list(read[here]) != list(now[here]):
        return []
    diagnostic, actions = diagnostic_of(finding, now, codec), list[types.CodeAction]()
    if finding.replacement is not None:
        whole = types.Range(
            types.Position(finding.line - 1, 0),
            types.Position(finding.end_line - 1, codec.client_num_units(now[finding.end_line - 1])),
        )
        proposal = " ".join(finding.replacement.split())[:60]
        actions.append(_action(f"Replace by: {proposal}", whole, finding.replacement, uri, diagnostic, preferred=True))
    line = now[finding.line - 1]
    indent = line[: len(line) - len(line.lstrip())]
    above = types.Range(types.Position(finding.line - 1, 0), types.Position(finding.line - 1, 0))
    ignore = f"{indent}{leader} momus: ignore[{REASON}]\n"
    actions.append(_action("Dismiss this comment of Momus", above, ignore, uri, diagnostic))
    return actions


def _action(
    title: str, where: types.Range, text: str, uri: str, diagnostic: types.Diagnostic, *, preferred: bool = False
) -> types.CodeAction:
    return types.CodeAction(
        title=title,
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[diagnostic],
        edit=types.WorkspaceEdit(changes={uri: [types.TextEdit(where, text)]}),
        is_preferred=preferred or None,
    )
