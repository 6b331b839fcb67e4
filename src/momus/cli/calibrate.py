"""`momus calibrate`: measure a critic's dial on code of the user's choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, AskingOptions, ReviewerOptions
from momus.cli.shared.seed import Seed

if TYPE_CHECKING:
    from rich.console import Console

    from momus.critics.calibration import Calibration
    from momus.critics.critic import Critic
    from momus.evaluate.critics.changes import ChangedAnswer
    from momus.records import Tamper

_SHIPPED = ReviewerOptions()
_FREELY = AskingOptions()

_Gathered = tuple[Sequence["Tamper"], "Sequence[frozenset[int]] | None", str]
"""Answers to measure on, of changes the indices of the changed lines of each, and what they are."""


def command(
    paths: Positional[list[Path]],
    out: Path = Path("calibration.json"),
    tampers: Path | None = None,
    changes: bool = False,
    commits: str | None = None,
    feedback: Path | None = None,
    measured: Path | None = None,
    critic: Annotated[ReviewerOptions, FLAT] = _SHIPPED,
    cost: Annotated[AskingOptions, FLAT] = _FREELY,
    answers: int = 300,
    seed: Seed = 0,
) -> int:
    """Measure what a critic's dial promises: false comments per clean answer against bugs caught, at every setting.

    The result is for `momus review --calibration FILE --false-alarms 0.2`, which then comments as freely as it can
    while keeping to at most so many false comments per clean function on code like that measured on. With
    --second-opinion two dials are printed, without it and with it, and the second is what the file promises.

    Args:
        paths: Python files and directories taken to be free of bugs: half of their functions get some. By default
            the standard library's modules that the shipped critic never saw.
        out: Where the operating points go.
        tampers: JSON Lines of Tamper records with known bugs, and clean ones, in place of inserting any.
        changes: Measure on changes: of half of the functions the change that puts a bug in, of the others the one that
            takes it out. Comments on changed lines alone count, as a review of a change shows no others.
        commits: Measure on what a repository's commits changed, a range such as main~200..main: the functions under the
            paths that they touched, taken to be right, and every second with a bug on a line that the commit wrote.
        feedback: A file of decisions about comments that were shown (momus-baseline.jsonl): the loosest settings, at
            which most were dismissed, are taken away. It never makes a dial looser.
        measured: What was measured before; with --feedback nothing is measured again.
        critic: Who reviews. With a reward model its dial is the length modifier, without one the share of several
            reviews that must agree.
        cost: What a model that chats may cost, and whether its answers are kept, so that what was interrupted goes on.
        answers: How many answers to measure on, at most.
        seed: Decides which answers and bugs.
    """
    from rich.console import Console

    from momus.cli.shared.costs import print_cost, print_estimate, print_fallen
    from momus.cli.shared.output import check_file
    from momus.critics.refine import contenders
    from momus.errors import UserError
    from momus.files import write_text
    from momus.review.answers import task_to_read

    if answers < 2:
        raise UserError(f"--answers {answers}: must be at least 2")
    check_file(out)
    if measured is not None:
        return _raise_measured(measured, feedback, out)
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no directory {out.parent}")
    asking = cost.asking()
    refined, opened = critic.refined(), critic.open(asking)
    critics = contenders(opened, refined, asking) if refined else [opened]
    console = Console(stderr=True)
    if commits is None:
        known, changed, data = _gather(paths, tampers, changes, opened, answers, seed, console)
    elif tampers is None:
        known, changed, data = _gather_from_commits(paths, commits, opened, answers, seed)
    else:
        raise UserError("--commits are measured on with bugs of our own: leave out --tampers")
    print_estimate(asking, critics[-1], lambda: list(map(task_to_read, known)), cost)
    curves, unanswered = _measure(critics, known, data, inserted=tampers is None, changed=changed, console=console)
    print_fallen(critics[-1])
    print_cost(asking)
    _say_unanswered(unanswered, len(known))
    curves[-1] = curves[-1].model_copy(update={"fingerprints": asking.fingerprints.seen()})
    if feedback is not None:
        curves[-1] = _raised(curves[-1], feedback)
    write_text(out, curves[-1].model_dump_json(indent=1) + "\n")
    if len(curves) > 1:
        _print(curves[0], Console(), "Without the second opinion: ")
    _print(curves[-1], Console(), "With it: " if len(curves) > 1 else "")
    console.print(f"The operating points are in {out}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _gather(
    paths: list[Path],
    tampers: Path | None,
    changes: bool,
    critic: Critic,
    answers: int,
    seed: int,
    console: Console,
) -> _Gathered:
    """Gather functions with and without a bug; print which files were left out.

    Raises:
        UserError: There is too little to measure on.
    """
    from momus.evaluate.critics.changes import changes_of
    from momus.review.answers import ALL_WITH_A_BUG, SHARES
    from momus.review.answers import answers as gather
    from momus.review.formats.text import print_skipped

    known, data, skipped = gather(paths, tampers, critic, answers, seed, ALL_WITH_A_BUG if changes else SHARES)
    print_skipped(skipped, console)
    return _as_changes(changes_of(known), data) if changes else (known, None, data)


def _gather_from_commits(paths: list[Path], commits: str, critic: Critic, answers: int, seed: int) -> _Gathered:
    """Gather functions as commits left them, every second one with a bug on a line that its commit wrote.

    Raises:
        UserError: There is no such range, or too little in it.
    """
    from momus.review.changes.history import changes_of_commits
    from momus.terminal import visible_line

    made, used = changes_of_commits(Path(), commits, paths, critic.fits, answers, seed)
    return _as_changes(made, f"{used} commits of {visible_line(commits)}, bugs inserted")


def _as_changes(made: Sequence[ChangedAnswer], data: str) -> _Gathered:
    return [change.after for change in made], [change.changed for change in made], f"{data}, as changes"


def _raise_measured(measured: Path, feedback: Path | None, out: Path) -> int:
    """Take away settings of a dial that was measured before, and print it.

    Raises:
        UserError: A file cannot be read, or there is no feedback.
    """
    from rich.console import Console

    from momus.cli.shared.output import say
    from momus.critics.calibration import read_calibration
    from momus.errors import UserError
    from momus.files import write_text

    if feedback is None:
        raise UserError(f"--measured {measured}: name the decisions with --feedback")
    curve = _raised(read_calibration(measured), feedback)
    write_text(out, curve.model_dump_json(indent=1) + "\n")
    _print(curve, Console())
    say(f"The operating points are in {out}")
    return 0


def _raised(curve: Calibration, feedback: Path) -> Calibration:
    """Return a dial without the settings at which most of what the same kind of critic showed was dismissed."""
    from momus.cli.shared.output import say
    from momus.critics.calibration import without_disliked
    from momus.errors import UserError
    from momus.review.decisions import read_decisions

    if not feedback.exists():
        raise UserError(f"--feedback {feedback}: there is no such file")
    kind = curve.critic.get("kind")
    decisions = [d for d in read_decisions(feedback) if d.critic == kind and d.confidence is not None]
    shown = [(float(d.confidence or 0), d.decision == "accepted") for d in decisions]
    raised = without_disliked(curve, shown)
    dismissed = sum(not accepted for _, accepted in shown)
    gone = len(curve.points) - len(raised.points)
    what = f"{gone} of {len(curve.points)} settings are taken away" if gone else "no setting is taken away"
    say(f"{len(shown)} decisions about this kind of critic's comments, {dismissed} dismissed: {what}")
    return raised


def _measure(
    critics: Sequence[Critic],
    tampers: Sequence[Tamper],
    data: str,
    *,
    inserted: bool,
    changed: Sequence[frozenset[int]] | None,
    console: Console,
) -> tuple[list[Calibration], list[str]]:
    """Measure critics one after another behind a bar; see `calibrate`.

    Returns:
        What was measured of each, and why answers have no critique by the last one.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from momus.evaluate.critics.calibration import calibrate

    curves: list[Calibration] = []
    unanswered: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("Answers", total=len(tampers))
        for critic in critics:
            unanswered.clear()
            curves.append(
                calibrate(
                    critic,
                    tampers,
                    data,
                    inserted=inserted,
                    changed=changed,
                    progress=lambda done, total: bars.update(bar, completed=done, total=total),
                    unanswered=unanswered.append,
                )
            )
    return curves, unanswered


def _say_unanswered(unanswered: Sequence[str], answers: int) -> None:
    """Say how many answers have no critique, and why the first has none.

    Raises:
        UserError: None of them has one.
    """
    from momus.cli.shared.output import say
    from momus.errors import UserError

    if len(unanswered) == answers:
        raise UserError(f"none of {answers} answers has a critique: there is nothing to measure: {unanswered[0]}")
    if unanswered:
        say(
            f"{len(unanswered)} of {answers} answers have no critique and count as answers nothing was found in; "
            f"the first: {unanswered[0]}"
        )


def _print(calibration: Calibration, console: Console, which: str = "") -> None:
    """Print a dial's operating points, one for each number of false alarms; 95% intervals from resampling tasks.

    Args:
        calibration: What was measured.
        console: Where.
        which: What begins the title, of several.
    """
    from rich.table import Table

    from momus.critics.calibration import format_interval
    from momus.terminal import visible_line

    bugs = "inserted bugs" if calibration.inserted else "bugs"
    what = "change" if calibration.changes else "answer"
    answers, inserted = calibration.answers, calibration.bugs
    table = Table(
        title=f"{which}{answers} {what}{'s' * (answers != 1)}, {calibration.clean} clean, "
        f"{inserted} bug{'s' * (inserted != 1)}",
        caption=f"Measured on {visible_line(calibration.data)}. In parentheses 95% intervals.",
    )
    for name in ("setting", f"false comments per clean {what}", f"{bugs} caught", f"comments per {what}"):
        table.add_column(name, justify="right")
    for point in calibration.points:
        table.add_row(f"{point.setting:.3g}", *map(format_interval, (point.false_alarms, point.caught, point.comments)))
    console.print(table)
