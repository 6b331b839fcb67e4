"""Judgements become decisions on the drafts: in an export, on a page to print, and beside the documents."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from momus.documents.document import Document
from momus.documents.drafts import approve, give_back, read_feedback
from momus.documents.feedback import Feedback, checked, entries_of
from momus.documents.rubrics import Rubric
from momus.documents.store import ENDING
from momus.errors import UserError
from momus.label.database import Database, Row, Transaction
from momus.label.feedback.kind import EditedFeedback, FeedbackItem
from momus.label.rules import standing


@dataclass(frozen=True)
class Decided:
    """Feedback that was decided on in the workbench, and where it is kept."""

    path: Path
    feedback: Feedback
    rubric: Rubric
    document: Document


def decided(item: FeedbackItem, content: Mapping[str, Any], by: str, at: datetime) -> Feedback:
    """Return an item's feedback as somebody has edited it, with their decision; what was first written is kept."""
    edited = EditedFeedback.model_validate(content)
    feedback = item.feedback
    entries = {
        section.key: [
            entries_of({"point": point.text, "details": point.details, "quote": point.quote})
            for point in section.points
        ]
        for section in edited.sections
    }
    sections, _ = checked(entries, item.rubric, item.document, feedback.language)
    feedback = feedback.model_copy(
        update={"sections": sections, "scores": dict(edited.scores), "written": feedback.written or feedback.sections}
    )
    decide = approve if edited.verdict == "approved" else give_back
    return decide(feedback, by, at, edited.note, edited.grade)


def collect(database: Database, folder: Path) -> tuple[list[Decided], list[str]]:
    """Return what the workbench decided on drafts of a folder, by the names of those who did; nothing is written.

    Drafts are recognised by what they said when they were imported. A draft that somebody else has decided on in the
    meantime is left as it is.

    Returns:
        The feedback with its place, where it says something new, and a line for every draft that was left out.

    Raises:
        UserError: The folder has no feedback.
    """
    files = sorted(folder.rglob(f"*{ENDING}"))
    if not files:
        raise UserError(f"{folder}: no feedback in it (momus feedback {folder})")
    known = database.read(_decisions)
    found, left = [], []
    for path in files:
        feedback = read_feedback(path)
        item, rows = known.get(_draft_of(feedback), (None, []))
        if item is None or not rows:
            continue
        names = {row["name"] or row["person"] for row in rows}
        if any(decision.by not in names for decision in feedback.decisions):
            left.append(f"{path}: decided on by {feedback.decisions[-1].by}, and left as it is")
            continue
        last = item.feedback
        for row in rows:  # several teachers: each decides on what the ones before made of it
            at = datetime.fromtimestamp(row["submitted"], UTC)
            edited = item.model_copy(update={"feedback": last})
            last = decided(edited, json.loads(row["content"]), row["name"] or row["person"], at)
        if last != feedback:
            found.append(Decided(path, last, item.rubric, item.document))
    return found, left


def _draft_of(feedback: Feedback) -> tuple[str, str, str, str]:
    """Return what stays the same of feedback whatever is decided on it."""
    written = feedback.written or feedback.sections
    content = json.dumps([section.model_dump(mode="json") for section in written], sort_keys=True)
    return feedback.sha256, feedback.rubric, feedback.author, content


def _decisions(transaction: Transaction) -> dict[tuple[str, str, str, str], tuple[FeedbackItem, list[Row]]]:
    names = {row["id"]: row["name"] for row in transaction.rows("SELECT id, name FROM person")}
    known: dict[tuple[str, str, str, str], tuple[FeedbackItem, list[Row]]] = {}
    by_draft: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for item, rows in feedback_items(transaction):
        key = _draft_of(item.feedback)
        by_draft[key] += [{**row, "name": names.get(row["person"], "")} for row in rows]
        known[key] = (item, sorted(by_draft[key], key=lambda row: row["submitted"]))
    return known


def feedback_items(transaction: Transaction) -> Iterator[tuple[FeedbackItem, Sequence[Row]]]:
    """Yield the items of this kind, each with the judgements that count."""
    for row in transaction.rows("SELECT number, payload FROM item WHERE kind = 'feedback' ORDER BY number"):
        yield FeedbackItem.model_validate_json(row["payload"]), standing(transaction, row["number"])
