"""`momus review post`: a review that another step made, posted on its pull request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def post(word: Positional[Literal["post"]], artifact: Positional[Path], event: Path | None = None) -> int:
    """Post a review on GitHub: new comments, threads of before updated, and resolved when fixed.

    The artifact is taken for hostile, and no code is needed. The pull request and the revision come from the workflow's
    event. GITHUB_TOKEN needs `pull-requests: write`, and `contents: write` to resolve threads.

    Args:
        word: This command's name.
        artifact: What `momus review --format json` wrote in another step.
        event: The workflow's event; by default the file that GITHUB_EVENT_PATH names.
    """
    from momus.cli.shared.output import say
    from momus.errors import UserError
    from momus.review.github.artifact import read_artifact
    from momus.review.github.client import Client
    from momus.review.github.post import post as post_review
    from momus.review.github.pull_request import find_pull_request

    place = event or Path(os.environ.get("GITHUB_EVENT_PATH", ""))
    if str(place) == ".":
        raise UserError("--event: GITHUB_EVENT_PATH is not set: this runs in a workflow, or with its event")
    review = read_artifact(artifact)
    client = Client.from_environment()
    pull = find_pull_request(place, client)
    say(f"{pull.repository}#{pull.number}: {post_review(review, pull, client)}")
    return 0
