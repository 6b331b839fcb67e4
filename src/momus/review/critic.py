"""The critic that ships with Momus, as the reviewer sees it."""

from __future__ import annotations

from momus.errors import UserError
from momus.review.reviewer import Critic


def shipped_critic() -> Critic:
    """Load the shipped weights.

    Raises:
        UserError: This build has none.
    """
    raise UserError("this build of Momus carries no trained critic")
