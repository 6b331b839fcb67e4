"""What a change is for: a commit's message or a pull request's text, as a critic that is prompted gets it.

Whoever wrote it may be a stranger: it goes into the prompt as data, between marks that do not occur in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from momus.critics.critic import Critic, innermost
from momus.errors import UserError
from momus.review.context.gather import MAX_INTENT
from momus.review.context.snippets import Context
from momus.review.reviewer import Target

COMMITS, EVENT, INPUT = "@commits", "@event", "@-"
MAX_BYTES = 10_000_000
"""Of a file: GitHub's events are smaller."""


class _Described(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    title: str = ""
    body: str | None = None


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    pull_request: _Described | None = None


def read_about(about: str, commits: str) -> str:
    """Return what a change is for.

    Args:
        about: The text; or `@FILE`, `@-` for standard input, `@commits` for what the change's commits say, or `@event`
            for the title and text of the pull request in the event of a workflow on GitHub, "" where it is of none.
        commits: What the commits say.

    Raises:
        UserError: It cannot be read.
    """
    if about == COMMITS:
        return commits.strip()
    if about == EVENT:
        return _read_event()
    if not about.startswith("@"):
        return about.strip()
    return _read(sys.stdin.buffer.read(MAX_BYTES + 1) if about == INPUT else Path(about[1:]))


def add_about(targets: Sequence[Target], critic: Critic, about: str) -> tuple[list[Target], str]:
    """Return targets whose functions are asked about with what their change is for, and a line that says so.

    Those that have context get it there. The trained critics know functions by themselves only: they get none of it.
    """
    if not about:
        return list(targets), ""
    from momus.critics.prompted import PromptedCritic

    if not isinstance(innermost(critic), PromptedCritic):
        return list(targets), "what the change is for was not read: this critic reads functions by themselves only"
    described = [
        replace(target, context=replace(target.context, intent=about[:MAX_INTENT]) if target.context else _only(about))
        for target in targets
    ]
    part = f"the first {MAX_INTENT} of {len(about)}" if len(about) > MAX_INTENT else str(len(about))
    return described, f"what the change is for, {part} characters, was read with every function that it fitted"


def _only(about: str) -> Context:
    return Context(about[:MAX_INTENT], {}, 0, len)


def _read_event() -> str:
    place = os.environ.get("GITHUB_EVENT_PATH", "")
    if not place:
        raise UserError(f"--about {EVENT}: GITHUB_EVENT_PATH is not set: this runs in a workflow on GitHub")
    try:
        event = _Event.model_validate_json(_read(Path(place)))
    except ValidationError as error:
        raise UserError(f"{place}: not the event of a workflow") from error
    described = event.pull_request or _Described()
    return "\n\n".join(filter(None, (described.title.strip(), (described.body or "").strip())))


def _read(source: Path | bytes) -> str:
    name = "standard input" if isinstance(source, bytes) else str(source)
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        else:
            data = source
        if len(data) > MAX_BYTES:
            raise UserError(f"--about {name}: larger than {MAX_BYTES / 1e6:.0f} MB")
        return data.decode("utf-8").strip()
    except OSError as error:
        raise UserError(f"--about {name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--about {name}: not UTF-8") from error
