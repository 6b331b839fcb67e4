"""`momus review`: comments on source files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from momus.cli.shared.options import FLAT, AskingOptions, ReviewerOptions

_SHIPPED = ReviewerOptions()
_FREELY = AskingOptions()


def command(
    paths: Positional[list[Path]],
    json: bool = False,
    check: bool = False,
    max_comments: int | None = None,
    confidence: float | None = None,
    false_alarms: float | None = None,
    calibration: Path | None = None,
    critic: Annotated[ReviewerOptions, FLAT] = _SHIPPED,
    cost: Annotated[AskingOptions, FLAT] = _FREELY,
) -> int:
    """Review source files with the shipped critic, or with any model that chats, in this process or on a server.

    Every comment quotes the code it is about; a comment whose quote is not there is left out and counted.

    Args:
        paths: Files, and directories to search for them: Python and, for a model that chats, JavaScript, TypeScript,
            Go, Java, C, C++ and Rust.
        json: Print one JSON object instead of text.
        check: Exit with 1 when there are comments.
        max_comments: At most so many comments a file, the first ones in it.
        confidence: Comment on what at least this share of several reviews agree on, or what scores at least as much
            where there is a --score: lower misses less, higher claims less. By default 0.75.
        false_alarms: Comment as freely as can be with at most so many false comments per clean function, going by
            what was measured.
        calibration: What `momus calibrate` measured; for the shipped critic it is at hand.
        critic: Who reviews; one with a reward model is to be as it was when calibrated.
        cost: What a model that chats may cost, and whether its answers are kept.
    """
    from rich.console import Console
    from rich.progress import track

    from momus.cli.shared.costs import tell_cost, tell_estimate, tell_fallen
    from momus.errors import UserError
    from momus.review.files import read_sources
    from momus.review.formats.json import to_json
    from momus.review.formats.text import print_review, print_skipped, print_summary
    from momus.review.result import Review
    from momus.review.reviewer import leave_out_unreadable, review_sources, tasks_of
    from momus.terminal import visible

    if max_comments is not None and max_comments < 1:
        raise UserError(f"--max-comments {max_comments}: must be at least 1")
    sources, skipped = read_sources(paths, other_languages=True)
    progress = Console(stderr=True)
    print_skipped(skipped, progress)

    from momus.critics.open import open_at_setting

    asking = cost.asking()
    reviewer, setting, promise = open_at_setting(
        critic.model,
        critic.source(),
        confidence,
        false_alarms,
        calibration,
        url=critic.url,
        kind=critic.kind,
        prompted=critic.prompted(),
        device=critic.device,
        precision=critic.precision,
        asking=asking,
        refined=critic.refined(),
        pointer=critic.pointer,
    )
    sources, other = leave_out_unreadable(sources, reviewer)
    print_skipped(other, progress)
    skipped += other
    if promise:
        progress.print(visible(promise), style="dim", markup=False, soft_wrap=True)
    tell_estimate(
        asking, reviewer, lambda: [task for source in sources for task in tasks_of(source, reviewer.fits)[0]], cost
    )

    console, reviews = Console(), []
    waiting = track(sources, "Reviewing", console=progress, transient=True, disable=not progress.is_terminal)
    for review in review_sources(waiting, reviewer, setting, max_comments):
        reviews.append(review)
        if not json:
            with _going_on(check):
                print_review(review, console)
    tell_fallen(reviewer)
    tell_cost(asking)
    read = [review for review in reviews if review.units]
    if read and all(review.units == review.unanswered for review in read):
        raise UserError(f"nothing was reviewed: {read[0].problems[0] or 'the critic wrote no critique'}")
    with _going_on(check):
        if json:
            print(to_json(Review(tuple(reviews), tuple(skipped))), flush=True)
        else:
            print_summary(reviews, skipped, console)
    return int(check and any(review.findings for review in reviews))


@contextmanager
def _going_on(check: bool) -> Iterator[None]:
    """Go on where the reader of stdout has gone, if the exit code is still wanted."""
    from momus.cli import is_broken_pipe, silence_stdout

    try:
        yield
    except (BrokenPipeError, SystemExit) as error:
        if not (check and is_broken_pipe(error)):
            raise
        silence_stdout()
