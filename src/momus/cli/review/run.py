"""A review from start to end: open what is read and who reads it, read it, report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import track

from momus.cli.review.configured import fill_in
from momus.cli.review.opening import open_reviewer
from momus.cli.review.options import ChangeOptions, DialOptions, KnownOptions, OutputOptions
from momus.cli.review.report import keep_going, print_context, report
from momus.cli.shared.costs import print_cost, print_estimate, print_fallen
from momus.cli.shared.options import AskingOptions, ReviewerOptions
from momus.cli.shared.output import check_file
from momus.critics.critic import Critic
from momus.errors import UserError
from momus.lm.chats.cache import AnswerCache, default_path
from momus.review.cache import Kept, KeptChecks, review_kept
from momus.review.changes.change import Change
from momus.review.configuration import Settings, read_settings
from momus.review.context.about import COMMITS, INPUT, add_about, read_about
from momus.review.context.gather import add_context, list_context
from momus.review.findings import FileReview
from momus.review.formats.text import print_review, print_skipped
from momus.review.known import Known, baseline_of
from momus.review.result import Manifest, Review, collect
from momus.review.reviewer import tasks_of_target
from momus.review.scope import exclude, leave_out_unread, not_read
from momus.terminal import visible


def review(
    paths: list[Path],
    change: ChangeOptions,
    dial: DialOptions,
    context: int | None,
    critic: ReviewerOptions,
    cost: AskingOptions,
    known: KnownOptions,
    output: OutputOptions,
) -> int:
    """Review, print, and return the exit code; see `momus.cli.review.command`.

    Raises:
        UserError: An option is wrong, or something cannot be read.
    """
    _check(context, change, output)
    progress = Console(stderr=True)
    kept = None if cost.no_cache else Kept(AnswerCache(default_path()))
    scope, settings = _open_scope(paths, change, KeptChecks(kept), progress)
    about = "" if change.about is None else read_about(change.about, scope.message)
    if not scope.targets:
        manifest = Manifest(base=scope.base, head=scope.head, files=tuple(scope.unread), notes=tuple(scope.notes))
        return report(Review((), tuple(scope.skipped), manifest), scope, output)

    dial, critic, cost = fill_in(settings, scope, dial, critic, cost)
    asking = cost.asking()
    try:
        alone = context is None and not about and not cost.has_limits and not output.interactive
        reviewer, setting, promise = open_reviewer(critic, dial, asking, kept, change.is_asked, alone)
    except UserError as error:
        if not _is_away(error):
            raise
        manifest = Manifest(base=scope.base, head=scope.head, configuration=settings.source, notes=tuple(scope.notes))
        unread = not_read(scope, str(error))
        return report(collect(unread, scope.skipped, scope.unread, manifest), scope, output)
    _prepare(scope, reviewer, promise, context, about, progress)
    print_estimate(
        asking, reviewer, lambda: [t for each in scope.targets for t in tasks_of_target(each, reviewer.fits)], cost
    )

    baseline = known.baseline or (scope.root / settings.baseline if settings.baseline else None)
    earlier = Known(scope, reviewer.identity(), setting, baseline, known.previous, trusted=not known.untrusted)
    by_risk = change.is_asked or cost.budget_tokens is not None
    printer = _Printer(output, earlier)
    tell = printer.tell if dial.max_comments is None else None
    reading = review_kept(scope.targets, reviewer, setting, dial.max_comments, kept, by_risk=by_risk, tell=tell)
    reviews = _read(map(earlier.apply, reading), len(scope.targets), printer, progress)

    print_context(scope, output)
    print_fallen(reviewer)
    print_cost(asking)
    manifest = Manifest(
        critic=reviewer.identity(),
        setting=setting,
        promise=promise,
        base=scope.base,
        head=scope.head,
        configuration=settings.source,
        cost=asking.describe_usage(),
        notes=(*scope.notes, *earlier.notes(), *list_context(scope.targets)),
    )
    whole = collect(reviews, scope.skipped, scope.unread, manifest, earlier.settle(reviews))
    code = report(whole, scope, output)
    if output.interactive:
        _go_through(whole, scope, reviewer, setting, baseline or baseline_of(scope.root))
    return code


def _is_away(error: UserError) -> bool:
    """Return whether an error says that a server cannot be asked now, and not that something asked for is wrong."""
    from momus.lm.remote.connection import RefusedError, UnreachableError

    if isinstance(error, RefusedError):
        return error.status in (401, 402, 403, 429) or error.status >= 500
    return isinstance(error, UnreachableError)


def _check(context: int | None, change: ChangeOptions, output: OutputOptions) -> None:
    """Refuse what cannot be done before anything is read.

    Raises:
        UserError: A number is out of range, a file cannot be written, or there is no terminal.
    """
    if context is not None and context < 1:
        raise UserError(f"--context {context}: must be at least 1")
    if change.about == INPUT and str(change.patch) == "-":
        raise UserError("--about @- and --patch - both read standard input")
    if change.about == COMMITS and change.diff is None:
        raise UserError("--about @commits: --diff has the commits: --staged, --patch and whole files have none")
    if output.manifest is not None:
        check_file(output.manifest, "--manifest")
    if output.html is not None:
        check_file(output.html, "--html")
    if output.interactive:
        from momus.review.interactive import check_terminal

        check_terminal()


def _open_scope(
    paths: list[Path], change: ChangeOptions, checks: KeptChecks, progress: Console
) -> tuple[Change, Settings]:
    """Return what is to be reviewed, and what the repository sets for that; say what is left out."""
    scope = change.read(paths, checks.check)
    settings = read_settings(scope)
    exclude(scope, settings.exclude)
    print_skipped(scope.skipped, progress)
    for note in scope.notes:
        _print_note(note, progress)
    return scope, settings


def _prepare(scope: Change, reviewer: Critic, promise: str, context: int | None, about: str, progress: Console) -> None:
    """Leave out what the critic does not read, and add to the rest what it gets beside the code."""
    print_skipped(leave_out_unread(scope, reviewer), progress)
    if promise:
        _print_note(promise, progress)
    if context is not None:
        scope.targets = add_context(scope.targets, reviewer, context)
    scope.targets, note = add_about(scope.targets, reviewer, about)
    if note:
        scope.notes.append(note)
        _print_note(note, progress)


class _Printer:
    """Prints findings once, as soon as their part of a file is read, where text is asked for."""

    def __init__(self, output: OutputOptions, earlier: Known) -> None:
        self._output, self._earlier, self._told = output, earlier, set[str]()
        self._console = Console() if output.form == "text" and not output.interactive else None

    def tell(self, part: FileReview) -> None:
        """Print what was found in a part of a file."""
        self.end(self._earlier.apply(part))
        self._told.update(finding.id for finding in part.findings)

    def end(self, review: FileReview) -> None:
        """Print the rest of a file's review."""
        if self._console is not None:
            rest = tuple(finding for finding in review.findings if finding.id not in self._told)
            with keep_going(self._output):
                print_review(replace(review, findings=rest), self._console)


def _read(reading: Iterable[FileReview], total: int, printer: _Printer, progress: Console) -> list[FileReview]:
    """Return the reviews of all files; print each as soon as it is done."""
    reviews, hidden = [], not progress.is_terminal
    for file in track(reading, "Reviewing", total, console=progress, transient=True, disable=hidden):
        reviews.append(file)
        printer.end(file)
    return reviews


def _go_through(whole: Review, scope: Change, reviewer: Critic, setting: float, baseline: Path) -> None:
    """Go through the comments one by one, at the terminal."""
    from momus.review.interactive import Keyboard, Session

    sources = {target.name: target.source for target in scope.targets}
    with Keyboard() as keys:
        read_key, read_line = keys.read_key, keys.read_line
        Session(whole, sources, scope.root, reviewer, setting, baseline, Console(), read_key, read_line).run()


def _print_note(note: str, progress: Console) -> None:
    progress.print(visible(note), style="dim", markup=False, highlight=False, soft_wrap=True)
