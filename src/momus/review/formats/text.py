"""Reviews for people, at a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import indent

from rich.console import Console, Group
from rich.padding import Padding
from rich.text import Text

from momus.review.files import Skipped
from momus.review.findings import FileReview, Finding, Why
from momus.review.result import Outcome, Review
from momus.terminal import visible, visible_line


def print_review(review: FileReview, console: Console) -> None:
    """Print one file's findings: where, the quote, the comment; and what was left out. Of a clean file nothing."""
    path = visible_line(str(review.path))
    for finding in review.shown:
        _print_finding(path, finding, console)
    for note in _notes(review):
        console.print(Text(f"{path}  {note}", style="dim"), soft_wrap=True)


def print_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    """Print the files that were passed over, and why."""
    for file in skipped:
        console.print(visible_line(f"skipped {file.path}: {file.reason}"), style="dim", markup=False, soft_wrap=True)


def print_summary(review: Review, console: Console) -> None:
    """Print the end of a review: comments outside of a change, what was not read, and how much was read and found."""
    if outside := [(file, finding) for file in review.files for finding in file.outside if not finding.hidden]:
        console.print(Text(f"{_count(len(outside), 'comment')} on lines that did not change:", style="dim"))
        for file, finding in outside:
            place = visible_line(f"{file.path}:{finding.line}")
            console.print(Text(f"  {place}  {visible_line(finding.text)}", style="dim"), soft_wrap=True)
    if review.manifest.head and review.manifest.files:
        console.print(Text(_describe_lines(review), style="dim"), soft_wrap=True)
    hidden = [finding for file in review.files for finding in file.findings if finding.hidden]
    if hidden:
        reasons = Counter(finding.because or "no reason given" for finding in hidden)
        why = "; ".join(f"{reason} ({number})" for reason, number in reasons.most_common(5))
        console.print(Text(f"{len(hidden)} dismissed: {visible_line(why)}", style="dim"), soft_wrap=True)
    if review.fixed:
        places = ", ".join(
            f"{i.path} ({i.function or 'script'})" for i in (shown.identity for shown in review.fixed[:5])
        )
        console.print(Text(f"{len(review.fixed)} fixed: {visible_line(places)}", style="dim"), soft_wrap=True)
    parts = [_verdict(review)]
    for thing, is_directory in (("file", False), ("folder", True)):
        if number := sum(file.is_directory == is_directory for file in review.skipped):
            parts.append(f"{_count(number, thing)} skipped")
    console.print(Text("; ".join(parts) + ".", style="bold"), soft_wrap=True)


def _verdict(review: Review) -> str:
    """Say in one line what was found, and in how much."""
    read = [file for file in review.files if file.units]
    where = f"{_count(sum(file.units for file in read), 'function')} in {_count(len(read), 'file')}"
    if review.outcome is Outcome.PARTLY_READ:
        return f"No problems found in the part that was read: {where}"
    if review.outcome is Outcome.NOT_RUN:
        return f"Nothing was reviewed of {_count(len(read), 'file')}"
    if review.outcome is not Outcome.CLEAN:
        return f"{_count(len(review.shown), 'comment')} on {where}"
    if not read:
        return f"Nothing to review: {_why_nothing(review)}"
    return f"No problems found in {where}"


def _why_nothing(review: Review) -> str:
    if review.files:
        return "no code but definitions that do nothing yet"
    return _count_unread(review) or ("no line was added or changed" if review.manifest.head else "no code")


def _count_unread(review: Review) -> str:
    reasons: Counter[str] = Counter()
    for file in review.manifest.files:
        for part in file.coverage.unread:
            reasons[part.why.value] += part.lines.last - part.lines.first + 1
    return "; ".join(f"{number} {reason}" for reason, number in reasons.most_common())


def _describe_lines(review: Review) -> str:
    """Say how many of a change's lines were read, and why others were not."""
    manifest = review.manifest
    total = manifest.lines_read + manifest.lines_unread
    why = _count_unread(review)
    base = f"{manifest.base[:12]} to {manifest.head[:12]}" if manifest.base else manifest.head
    return f"{base}: read {manifest.lines_read} of {_count(total, 'changed line')}" + (
        f"; not read: {why}" if why else ""
    )


def _print_finding(path: str, finding: Finding, console: Console) -> None:
    place = f"{path}:{finding.line}"
    where = f"  {finding.function}" if finding.function else ""
    marks = "  ".join(filter(None, (finding.id, finding.status if finding.status != "new" else "")))
    severity = f"  {finding.severity}" if finding.severity else ""
    if not console.is_terminal:  # a file or a program: whole lines, and in a hundredth of the time
        parts = (indent(visible(finding.quote), "    "), indent(visible(finding.text), "  "), "")
        print(f"{place}{severity}{f'{where}  {marks}'.rstrip()}", *parts, sep="\n", file=console.file)
        return
    head = Text.assemble((place, "bold"), severity, (f"{where}  {marks}".rstrip(), "dim"))
    head.no_wrap, head.overflow = True, "ignore"
    quote = Padding(Text(visible(finding.quote), style="reverse"), (0, 0, 0, 4), expand=False)
    console.print(Group(head, quote, Padding(Text(visible(finding.text)), (0, 0, 0, 2), expand=False), ""), crop=False)


def _notes(review: FileReview) -> list[str]:
    notes = []
    if review.unanchored:
        comments = _count(review.unanchored, "comment")
        notes.append(f"{comments} left out: the quote is not in the code, or not in that place")
    if review.unanswered:
        problems = "; ".join(filter(None, review.problems)) or "the critic wrote none"
        notes.append(f"{_count(review.unanswered, 'function')} without a critique: {visible_line(problems)}")
    if review.vacuous:
        notes.append(
            f"{_count(review.vacuous, 'comment')} left out: saying nothing, or proposing what already stands there"
        )
    if review.omitted:
        notes.append(f"{_count(review.omitted, 'more comment')} not shown")
    if review.unread:
        notes.append(f"{_count(len(review.unread), 'line')} too long to read: {', '.join(map(str, review.unread[:5]))}")
    if broken := [part.lines for part in review.coverage.unread if part.why is Why.BROKEN]:
        size = sum(last - first + 1 for first, last in broken)
        where = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in broken[:5])
        notes.append(f"{_count(size, 'line')} not read because of syntax errors: {where}{', …' * (len(broken) > 5)}")
    return notes


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
