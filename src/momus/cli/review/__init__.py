"""`momus review`: comments on source files, or on what changed in them, and what people decide about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from momus.cli.review.decide import decide, export
from momus.cli.review.options import ChangeOptions, DialOptions, KnownOptions, OutputOptions
from momus.cli.review.post import post
from momus.cli.shared.options import FLAT, AskingOptions, ReviewerOptions

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
    from momus.cli.review.run import review

    return review(paths, change, dial, context, critic, cost, known, output)


def command_for(arguments: Sequence[str]) -> Callable[..., int]:
    """Return what the first word asks for: a decision about a comment, the decisions as data, or else a review."""
    words: dict[str, Callable[..., int]] = {"dismiss": decide, "accept": decide, "export": export, "post": post}
    return words.get(arguments[0], command) if arguments else command
