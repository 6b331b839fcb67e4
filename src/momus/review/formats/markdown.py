"""Reviews as a Markdown summary, for a pull request or a build's page.

What a critic or a file says is text: it makes no links, images, mentions, headings or HTML. Only code between backticks
stays code.
"""

from __future__ import annotations

import re
from collections import Counter

from momus.review.findings import FileReview, Finding
from momus.review.result import Outcome, Review
from momus.terminal import visible, visible_line

MOST = 50
"""Comments that are written out."""

_CODE = re.compile(r"(`[^`\n]{1,500}`)")
_SPECIAL = re.compile(r"([\\*_\[\]()!#~|>{}+.=-])")
_TITLES = {
    Outcome.CLEAN: "No problems found",
    Outcome.FINDINGS: "Comments",
    Outcome.PARTLY_READ: "No problems found in the part that was read",
    Outcome.NOT_RUN: "Nothing was reviewed",
}


def to_markdown(review: Review) -> str:
    """Return a review as Markdown."""
    shown = [(file, finding) for file in review.files for finding in file.shown]
    outside = [(file, finding) for file in review.files for finding in file.outside if not finding.hidden]
    parts = [f"## Momus: {_TITLES[review.outcome]}"]
    if review.manifest.promise:
        parts.append(f"*{escape(review.manifest.promise)}*")
    parts += [_comment(file, finding) for file, finding in shown[:MOST]]
    if len(shown) > MOST:
        parts.append(f"{len(shown) - MOST} more comments are not shown here.")
    if outside:
        items = [f"- {_place(file, finding)}: {escape(finding.text)}" for file, finding in outside[:MOST]]
        parts += ["### On lines that did not change", "\n".join(items)]
    parts.append("### What was read")
    parts.append("\n".join(_read(review)))
    return "\n\n".join(parts)


def escape(text: str) -> str:
    """Return a text as Markdown that shows it; code between backticks stays code."""
    parts = _CODE.split(" ".join(visible(text).split()))
    return "".join(part if index % 2 else _escape(part) for index, part in enumerate(parts))


def _escape(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\1", text).replace("`", "\\`").replace("&", "&amp;").replace("<", "&lt;")
    return escaped.replace("@", "&#64;").replace("://", "&#58;//").replace("www\\.", "www&#46;")


def _comment(file: FileReview, finding: Finding) -> str:
    marks = [finding.severity or "", finding.status if finding.status != "new" else "", f"`{finding.id}`"]
    quote = visible(finding.quote)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", quote)), default=0))
    title = f"{_place(file, finding)} {', '.join(filter(None, marks))}"
    return f"{title}\n\n{fence}\n{quote}\n{fence}\n\n{escape(finding.text)}"


def _place(file: FileReview, finding: Finding) -> str:
    lines = f"{finding.line}" if finding.line == finding.end_line else f"{finding.line}-{finding.end_line}"
    function = f" {escape(finding.function)}" if finding.function else ""
    return f"**{_escape(visible_line(file.name))}:{lines}**{function}"


def _read(review: Review) -> list[str]:
    manifest = review.manifest
    total = manifest.lines_read + manifest.lines_unread
    rows = [f"- {manifest.lines_read} of {total} {'changed ' if manifest.head else ''}lines"]
    if manifest.base:
        rows.append(f"- from `{_code(manifest.base[:12])}` to `{_code(manifest.head[:12])}`")
    reasons: Counter[str] = Counter()
    for file in manifest.files:
        for part in file.coverage.unread:
            reasons[part.why.value] += part.lines.last - part.lines.first + 1
    rows += [f"- not read: {number}, {reason}" for reason, number in reasons.most_common()]
    rows += [
        f"- not read: {_escape(visible_line(str(file.path)))}: {escape(file.reason)}" for file in review.skipped[:MOST]
    ]
    hidden = Counter(f.because or "no reason given" for file in review.files for f in file.findings if f.hidden)
    rows += [f"- dismissed: {number}, {escape(reason)}" for reason, number in hidden.most_common(10)]
    if review.fixed:
        rows.append(f"- fixed since the last review: {len(review.fixed)}")
    if manifest.cost:
        rows.append(f"- {escape(manifest.cost)}")
    return [*rows, *(f"- {escape(note)}" for note in manifest.notes)]


def _code(text: str) -> str:
    return text.replace("`", "")
