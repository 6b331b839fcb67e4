"""Reviews for people, at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from momus.critics.calibration import Calibration, format_interval
from momus.critique import NO_PROBLEMS
from momus.review.files import Skipped
from momus.review.findings import FileReview, Finding, Why
from momus.terminal import visible, visible_line


def print_review(review: FileReview, console: Console) -> None:
    """Print one file's findings: where, the quote, the comment; or that no problems were found."""
    path = visible_line(str(review.path))
    if not review.units:
        nothing = "Nothing in it to review: no code but definitions that do nothing yet."
        console.print(Text.assemble((path, "bold"), f"  {nothing}"), soft_wrap=True)
    elif not review.findings and review.unanswered < review.units:
        console.print(Text.assemble((path, "bold"), f"  {NO_PROBLEMS}"), soft_wrap=True)
    for finding in review.findings:
        _print_finding(path, finding, console)
    for note in _notes(review):
        console.print(Text(f"{path}  {note}", style="dim"), soft_wrap=True)


def print_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    """Print the files that were passed over, and why."""
    for file in skipped:
        console.print(visible_line(f"skipped {file.path}: {file.reason}"), style="dim", markup=False, soft_wrap=True)


def print_summary(reviews: Sequence[FileReview], skipped: Sequence[Skipped], console: Console) -> None:
    """Print the last line: how much was read and found."""
    findings = sum(len(review.findings) for review in reviews)
    pieces = sum(review.units for review in reviews)
    parts = [f"{_count(findings, 'comment')} on {_count(pieces, 'function')} in {_count(len(reviews), 'file')}"]
    for thing, is_directory in (("file", False), ("folder", True)):
        if number := sum(file.is_directory == is_directory for file in skipped):
            parts.append(f"{_count(number, thing)} skipped")
    console.print(Text("; ".join(parts) + ".", style="bold"))


def print_calibration(calibration: Calibration, console: Console, which: str = "") -> None:
    """Print a dial's operating points, one for each number of false alarms; 95% intervals from resampling tasks.

    Args:
        calibration: What was measured.
        console: Where.
        which: What begins the title, of several.
    """
    bugs = "inserted bugs" if calibration.inserted else "bugs"
    what = "change" if calibration.changes else "answer"
    table = Table(
        title=f"{which}{_count(calibration.answers, what)}, {calibration.clean} clean, "
        f"{_count(calibration.bugs, 'bug')}",
        caption=f"Measured on {visible_line(calibration.data)}. In parentheses 95% intervals.",
    )
    for name in ("setting", f"false comments per clean {what}", f"{bugs} caught", f"comments per {what}"):
        table.add_column(name, justify="right")
    for point in calibration.points:
        table.add_row(f"{point.setting:.3g}", *map(format_interval, (point.false_alarms, point.caught, point.comments)))
    console.print(table)


def _print_finding(path: str, finding: Finding, console: Console) -> None:
    place = f"{path}:{finding.line}"
    where = f"  {finding.function}" if finding.function else ""
    severity = f"  {finding.severity}" if finding.severity else ""
    console.print(Text.assemble((place, "bold"), severity, (where, "dim")), soft_wrap=True)
    console.print(Padding(Text(visible(finding.quote), style="reverse"), (0, 0, 0, 4), expand=False))
    console.print(Padding(Text(visible(finding.text)), (0, 0, 0, 2)))
    console.print()


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
