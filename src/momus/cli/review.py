"""`momus review`: comments on Python files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tyro.conf import Positional


def command(
    paths: Positional[list[Path]],
    json: bool = False,
    check: bool = False,
    max_comments: int | None = None,
    confidence: float | None = None,
    false_alarms: float | None = None,
    calibration: Path | None = None,
    model: Path | None = None,
    reward: Path | None = None,
    reward_url: str | None = None,
    reward_tokenizer: str | None = None,
) -> int:
    """Review Python files with the trained critic.

    Every comment quotes the code it is about; a comment whose quote is not there is left out and counted.

    Args:
        paths: Python files, and directories to search for them.
        json: Print one JSON object instead of text.
        check: Exit with 1 when there are comments.
        max_comments: At most so many comments a file, the first ones in it.
        confidence: Comment on what at least this share of several reviews agree on: lower misses less, higher
            claims less. By default 0.75.
        false_alarms: Comment as freely as can be with at most so many false comments per clean function, going by
            what was measured.
        calibration: What `momus calibrate` measured; for the shipped critic it is at hand.
        model: Directory of a critic; the shipped one by default.
        reward: Directory of a reward model: the critic then searches, as it was when calibrated.
        reward_url: The base URL of a server with a reward model, in its place.
        reward_tokenizer: Directory or name of that model's tokenizer, if it does not read the critic's tokens.
    """
    from rich.console import Console
    from rich.progress import track

    from momus.errors import UserError
    from momus.review.files import read_sources
    from momus.review.render import print_review, print_skipped, print_summary, to_json
    from momus.review.reviewer import review_sources
    from momus.terminal import visible

    if max_comments is not None and max_comments < 1:
        raise UserError(f"--max-comments {max_comments}: must be at least 1")
    sources, skipped = read_sources(paths)
    progress = Console(stderr=True)
    print_skipped(skipped, progress)

    from momus.critics.open import open_at_setting
    from momus.search.result import RewardSource

    source = RewardSource(reward, reward_url, reward_tokenizer)
    critic, setting, promise = open_at_setting(model, source, confidence, false_alarms, calibration)
    if promise:
        progress.print(visible(promise), style="dim", markup=False, soft_wrap=True)

    console, reviews = Console(), []
    waiting = track(sources, "Reviewing", console=progress, transient=True, disable=not progress.is_terminal)
    for review in review_sources(waiting, critic, setting, max_comments):
        reviews.append(review)
        if not json:
            with _going_on(check):
                print_review(review, console)
    with _going_on(check):
        if json:
            print(to_json(reviews, skipped), flush=True)
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
