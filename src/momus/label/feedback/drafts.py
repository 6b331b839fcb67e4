"""Drafts that `momus feedback` left in a folder become items, one a document."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from momus.documents.reading import read_document
from momus.documents.rubrics import read_rubric
from momus.documents.store import read_store
from momus.errors import UserError
from momus.label.feedback.kind import FeedbackItem
from momus.label.rules import NewItem


def read_drafts(folder: Path, want: int) -> list[NewItem]:
    """Return an item for every piece of feedback in a folder, in any depth, that nobody has decided on.

    Args:
        folder: Documents, and beside them what `momus feedback` wrote.
        want: How many people decide on each.

    Raises:
        UserError: There is none left to decide on, or a document is missing or was changed since.
    """
    store = read_store(folder, read_document, lru_cache(read_rubric))
    items = [
        FeedbackItem(document=filed.document, feedback=filed.feedback, rubric=filed.rubric)
        for filed in store
        if not filed.feedback.decisions
    ]
    if not items:
        raise UserError(f"{folder}: all feedback in it is decided on")
    return [NewItem("feedback", item.model_dump(mode="json"), want) for item in items]
