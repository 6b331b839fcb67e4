"""Feedback as it is shown: the task with the document left and the points right, and the page to print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from momus.documents.document import READ
from momus.documents.passages import FeedbackPage
from momus.label.database import Database, Transaction
from momus.label.feedback.deciding import decided
from momus.label.feedback.kind import FeedbackItem
from momus.label.rules import RefusedError
from momus.label.texts import Words

View = dict[str, Any]


def feedback_view(item: FeedbackItem, arrangement: Mapping[str, Any], words: Words) -> View:
    """Return the document, the draft's points to edit, and the decision."""
    feedback, rubric = item.feedback, item.rubric
    pieces = [
        {"kind": piece.kind, "text": piece.text, "page": piece.pages[0]}
        for piece in item.document.pieces
        if piece.kind in READ
    ]
    written = {section.key: section for section in feedback.sections}
    sections = [
        {
            "key": section.key, "title": section.title.in_language(feedback.language), "ask": section.ask,
            "quote": section.quote, "needed": section.points[0] > 0, "details": section.details > 0,
            "points": [{"text": point.text, "details": list(point.details), "quote": point.quote}
                       for point in (written[section.key].points if section.key in written else ())],
        }
        for section in rubric.sections
    ]  # fmt: skip
    scores = [
        {"key": score.key, "title": score.title.in_language(feedback.language), "low": score.low, "high": score.high,
         "value": feedback.scores.get(score.key, score.low)}
        for score in rubric.scores
    ]  # fmt: skip
    struck = words["feedback.struck"].format(len(feedback.struck)) if feedback.struck else ""
    options = [{"value": value, "label": words[f"feedback.{value}"]} for value in ("approved", "returned")]
    grade = {"name": "grade", "label": words["feedback.grade"], "low": words["low.grade"], "high": words["high.grade"]}
    note = {"type": "text", "name": "note", "label": words["feedback.note"], "needed": False, "rows": 2, "initial": ""}
    return {
        "panels": [
            {"type": "document", "id": "document", "label": feedback.title or feedback.document, "pieces": pieces},
        ],
        "fields": [
            {"type": "points", "name": "sections", "label": rubric.title.in_language(feedback.language),
             "target": "document", "sections": sections, "avoid": list(rubric.avoid), "hint": struck},
            *([{"type": "scores", "name": "scores", "label": words["feedback.scores"], "scores": scores}] if scores
              else []),
            {"type": "choice", "name": "verdict", "label": words["feedback.verdict"], "options": options},
            {"type": "scale", "needed": False, **grade},
            note,
        ],
    }  # fmt: skip


def printed(database: Database, submission: str, person: str, owner: bool) -> FeedbackPage:
    """Return feedback as somebody decided on it, under their name.

    Raises:
        RefusedError: There is no such submission, or it is somebody else's and they do not own the workbench (404).
    """

    def work(transaction: Transaction) -> FeedbackPage:
        row = transaction.row(
            "SELECT payload, content, submission.person, submitted, person.name FROM submission "
            "JOIN item ON item.number = submission.item JOIN person ON person.id = submission.person "
            "WHERE submission.id = ? AND kind = 'feedback'",
            submission,
        )
        if row is None or (row["person"] != person and not owner):
            raise RefusedError(404, "no such submission")
        item = FeedbackItem.model_validate_json(row["payload"])
        at = datetime.fromtimestamp(row["submitted"], UTC)
        feedback = decided(item, json.loads(row["content"]), row["name"] or row["person"], at)
        return FeedbackPage(feedback, item.rubric, item.document)

    return database.read(work)
