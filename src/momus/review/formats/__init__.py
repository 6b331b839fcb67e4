"""What a review is written as, a file for each form: for people, for programs, for the hosts of code."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Literal, cast

if TYPE_CHECKING:
    from momus.review.result import Review

Form = Literal["json", "sarif", "rdjsonl", "github", "gitlab", "markdown"]
"""Forms that are written once a review is done; text for people is printed as it goes on (`text`)."""


def write_review(review: Review, form: Form) -> str:
    """Return a review in a form."""
    write = cast("Callable[[Review], str]", getattr(import_module(f"{__name__}.{form}"), f"to_{form}"))
    return write(review)
