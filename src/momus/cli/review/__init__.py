"""`momus review`: comments on source files, or on what changed in them, and what people decide about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from momus.cli.review.decide import decide, export
from momus.cli.review.options import ChangeOptions, DialOptions, KnownOptions, OutputOptions
from momus.cli.review.post import post
from momus.cli.shared.options import FLAT, AskingOptions, ReviewerOptions

if TYPE_CHECKING:
    from momus.review.result import Review

_SHIPPED = ReviewerOptions()
_FREELY = AskingOptions()
_FILES = ChangeOptions()
_USUAL = DialOptions()
_KNOWN = KnownOptions()
_TEXT = OutputOptions()


def command(
    paths: Positional[list[Path]],
    change: Annotated[ChangeOptions, FLAT] = _FILES,
    dial: Annotated[DialOptions, FLAT] = _USUAL,
    context: int | None = None,
    critic: Annotated[ReviewerOptions, FLAT] = _SHIPPED,
    cost: Annotated[AskingOptions, FLAT] = _FREELY,
    known: Annotated[KnownOptions, FLAT] = _KNOWN,
    output: Annotated[OutputOptions, FLAT] = _TEXT,
) -> int:
    """Review source files, or a change, with the shipped critic, or with any model that chats.

    Every comment quotes the code it is about; a comment whose quote is not there is left out and counted. Of a change
    the functions that it touches are read, what is most likely to be wrong first, and comments are on changed lines.
    `momus review dismiss ID --because …` and `momus review accept ID` decide about a comment.

    Exit codes: 0 nothing found, 1 comments (with --check), 2 bad input, 3 only a part could be read, 4 nothing was.

    Args:
        paths: Files, and directories to search for them: Python and, for a model that chats, JavaScript, TypeScript,
            Go, Java, C, C++ and Rust. Of a change, what it is limited to.
        change: What changed, in place of whole files.
        dial: How much is said.
        context: For a model that chats: tokens of other code of the repository that it gets with a function, such as
            what it calls, its callers and its tests. By default none.
        critic: Who reviews; one with a reward model is to be as it was when calibrated.
        cost: What a model that chats may cost, and whether its answers are kept.
        known: What is known of earlier reviews.
        output: What is printed, and the exit code.
    """
    from rich.console import Console
    from rich.progress import track

    from momus.cli.review.configured import fill_in
    from momus.cli.review.opening import open_reviewer
    from momus.cli.shared.costs import tell_cost, tell_estimate, tell_fallen
    from momus.cli.shared.output import check_file
    from momus.errors import UserError
    from momus.lm.chats.cache import AnswerCache, default_path
    from momus.review.cache import Kept, review_kept
    from momus.review.configuration import read_settings
    from momus.review.context.gather import add_context, list_context
    from momus.review.formats.text import print_review, print_skipped
    from momus.review.interactive import Keyboard, Session, check_terminal
    from momus.review.known import Known, baseline_of
    from momus.review.result import Manifest, Review, collect
    from momus.review.reviewer import tasks_of_target
    from momus.review.scope import exclude, leave_out_unread
    from momus.terminal import visible

    if context is not None and context < 1:
        raise UserError(f"--context {context}: must be at least 1")
    if output.manifest is not None:
        check_file(output.manifest, "--manifest")
    if output.html is not None:
        check_file(output.html, "--html")
    if output.interactive:
        check_terminal()
    kept = None if cost.no_cache else Kept(AnswerCache(default_path()))
    scope = change.read(paths)
    settings = read_settings(scope)
    exclude(scope, settings.exclude)
    progress = Console(stderr=True)
    print_skipped(scope.skipped, progress)
    for note in scope.notes:
        progress.print(visible(note), style="dim", markup=False, highlight=False, soft_wrap=True)
    if not scope.targets:
        manifest = Manifest(base=scope.base, head=scope.head, files=tuple(scope.unread), notes=tuple(scope.notes))
        return _finish(Review((), tuple(scope.skipped), manifest), output)

    dial, critic, cost = fill_in(settings, scope, dial, critic, cost)
    asking = cost.asking()
    reviewer, setting, promise = open_reviewer(critic, dial, asking, kept, change.is_asked)
    print_skipped(leave_out_unread(scope, reviewer), progress)
    if promise:
        progress.print(visible(promise), style="dim", markup=False, soft_wrap=True)
    if context is not None:
        scope.targets = add_context(scope.targets, reviewer, context)
    tell_estimate(
        asking,
        reviewer,
        lambda: [task for target in scope.targets for task in tasks_of_target(target, reviewer.fits)],
        cost,
    )

    baseline = known.baseline or (scope.root / settings.baseline if settings.baseline else None)
    earlier = Known(scope, reviewer.identity(), setting, baseline, known.previous, trusted=not known.untrusted)
    console, reviews = Console(), []
    by_risk = change.is_asked or cost.budget_tokens is not None
    reading = review_kept(scope.targets, reviewer, setting, dial.max_comments, kept, by_risk=by_risk)
    title, total = "Reviewing", len(scope.targets)
    for review in track(reading, title, total, console=progress, transient=True, disable=not progress.is_terminal):
        reviews.append(earlier.apply(review))
        if output.form == "text" and not output.interactive:
            with _going_on(output):
                print_review(reviews[-1], console)
    if output.form == "text":
        with _going_on(output):
            for line in list_context(scope.targets):
                console.print(visible(line), style="dim", markup=False, highlight=False, soft_wrap=True)
    tell_fallen(reviewer)
    tell_cost(asking)
    manifest = Manifest(
        critic=reviewer.identity(),
        setting=setting,
        promise=promise,
        base=scope.base,
        head=scope.head,
        configuration=settings.source,
        cost=asking.told_after(),
        notes=(*scope.notes, *earlier.notes(), *list_context(scope.targets)),
    )
    whole = collect(reviews, scope.skipped, scope.unread, manifest, earlier.settle(reviews))
    if output.html is not None:
        from momus.report.review import write_review

        write_review(whole, {target.source.path: target.source for target in scope.targets}, output.html)
    code = _finish(whole, output)
    if output.interactive:
        sources = {target.name: target.source for target in scope.targets}
        decisions = baseline or baseline_of(scope.root)
        with Keyboard() as keys:
            Session(
                whole, sources, scope.root, reviewer, setting, decisions, console, keys.read_key, keys.read_line
            ).run()
    return code


def command_for(arguments: Sequence[str]) -> Callable[..., int]:
    """Return what the first word asks for: a decision about a comment, the decisions as data, or else a review."""
    words: dict[str, Callable[..., int]] = {"dismiss": decide, "accept": decide, "export": export, "post": post}
    return words.get(arguments[0], command) if arguments else command


def _finish(review: Review, output: OutputOptions) -> int:
    """Print what is printed at the end, and return the exit code."""
    from rich.console import Console

    from momus.cli.shared.output import say
    from momus.files import write_json
    from momus.review.formats import write_review
    from momus.review.formats.json import describe_manifest
    from momus.review.formats.text import print_summary
    from momus.review.result import Outcome
    from momus.terminal import visible_line

    if output.manifest is not None:
        write_json(output.manifest, describe_manifest(review.manifest), indent=1)
    with _going_on(output):
        if output.form == "text":
            print_summary(review, Console())
        elif written := write_review(review, output.form):
            print(written, flush=True)
    if review.outcome is Outcome.NOT_RUN:
        problems = [problem for file in review.files for problem in file.problems if problem]
        say(visible_line(f"momus: error: nothing was reviewed: {(problems or ['the critic wrote no critique'])[0]}"))
    return 0 if output.advisory else review.exit_code(output.check)


@contextmanager
def _going_on(output: OutputOptions) -> Iterator[None]:
    """Go on where the reader of stdout has gone, if the exit code is still wanted."""
    from momus.cli import is_broken_pipe, silence_stdout

    try:
        yield
    except (BrokenPipeError, SystemExit) as error:
        if not (output.check and is_broken_pipe(error)):
            raise
        silence_stdout()
