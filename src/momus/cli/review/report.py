"""The end of a review: what is printed and written, and the exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from momus.cli.review.options import OutputOptions
from momus.cli.shared.output import say
from momus.files import write_json
from momus.review.changes.change import Change
from momus.review.context.gather import list_context
from momus.review.formats import write_review
from momus.review.formats.json import describe_manifest
from momus.review.formats.text import print_summary
from momus.review.result import Outcome, Review
from momus.terminal import visible, visible_line


def report(review: Review, scope: Change, output: OutputOptions) -> int:
    """Write the files that are asked for, print what is printed at the end, and return the exit code."""
    if output.html is not None:
        from momus.report.review import write_review as write_page

        write_page(review, {target.source.path: target.source for target in scope.targets}, output.html)
    if output.manifest is not None:
        write_json(output.manifest, describe_manifest(review.manifest), indent=1)
    with keep_going(output):
        if output.form == "text":
            print_summary(review, Console())
        elif written := write_review(review, output.form):
            print(written, flush=True)
    if review.outcome is Outcome.NOT_RUN:
        problems = [problem for file in review.files for problem in file.problems if problem]
        say(visible_line(f"momus: error: nothing was reviewed: {(problems or ['the critic wrote no critique'])[0]}"))
    return 0 if output.advisory else review.exit_code(output.check)


def print_context(scope: Change, output: OutputOptions) -> None:
    """Print which functions were read with other code, where text is asked for."""
    if output.form == "text":
        console = Console()
        with keep_going(output):
            for line in list_context(scope.targets):
                console.print(visible(line), style="dim", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def keep_going(output: OutputOptions) -> Iterator[None]:
    """Go on where the reader of stdout has gone, if the exit code is still wanted."""
    from momus.cli import is_broken_pipe, silence_stdout

    try:
        yield
    except (BrokenPipeError, SystemExit) as error:
        if not (output.check and is_broken_pipe(error)):
            raise
        silence_stdout()
