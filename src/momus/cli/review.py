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
    model: str | None = None,
    url: str | None = None,
    rules: Path | None = None,
    samples: int | None = None,
    reward: Path | None = None,
    reward_url: str | None = None,
    reward_tokenizer: str | None = None,
) -> int:
    """Review Python files with the shipped critic, or with any model that chats, in this process or on a server.

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
        model: A critic's directory; or a model that chats: its directory, GGUF file or name on the hub, with --url its
            name on the server. The shipped critic by default.
        url: A server with an OpenAI-compatible or Anthropic-style API; its key is read from MOMUS_API_KEY.
        rules: A file with the house's own rules, for a model that chats.
        samples: Reviews by a model that chats of each function: with more than one, --confidence is the share that must
            agree on a line. By default one, at temperature 0.
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

    from momus.cli.shared.prompting import read_prompting
    from momus.critics.open import open_at_setting
    from momus.search.result import RewardSource

    source = RewardSource(reward, reward_url, reward_tokenizer)
    critic, setting, promise = open_at_setting(
        model, source, confidence, false_alarms, calibration, url=url, prompted=read_prompting(rules, samples)
    )
    if promise:
        progress.print(visible(promise), style="dim", markup=False, soft_wrap=True)

    console, reviews = Console(), []
    waiting = track(sources, "Reviewing", console=progress, transient=True, disable=not progress.is_terminal)
    for review in review_sources(waiting, critic, setting, max_comments):
        reviews.append(review)
        if not json:
            with _going_on(check):
                print_review(review, console)
    read = [review for review in reviews if review.units]
    if read and all(review.units == review.unanswered for review in read):
        raise UserError(f"nothing was reviewed: {read[0].problems[0] or 'the critic wrote no critique'}")
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
