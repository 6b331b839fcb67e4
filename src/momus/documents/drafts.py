"""Feedback as text that people read, edit and decide on.

Markdown and back: what a person edits in a draft is read again, and feedback that a person wrote by hand is read the
same way. Feedback that needs approval stays a draft until somebody approves it, and becomes one again when what it says
is changed. The command line and the workbench both go through `approve` and `give_back`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from momus.documents.document import Document, Language
from momus.documents.feedback import (
    Decision,
    Feedback,
    checked,
    entries_of,
    read_answer,
)
from momus.documents.rubrics import Rubric
from momus.errors import UserError
from momus.lm.chats.reading import json_values
from momus.records import read_model

STATES: Mapping[str, Mapping[Language, str]] = {
    "draft": {"en": "Draft: not for passing on before it is approved", "ko": "초안: 승인 전에는 전달하지 않습니다"},
    "returned": {"en": "Returned: not for passing on", "ko": "반려됨: 전달하지 않습니다"},
}
"""What stands above feedback that is not to be passed on."""

_PAGE: Mapping[Language, str] = {"en": "page {}", "ko": "{}쪽"}

_SECTION, _POINT = re.compile(r"#{2,}\s++(.+)"), re.compile(r"(?:[-*•]|\d{1,2}[.)])\s+(.*)")
_DETAIL, _QUOTE = re.compile(r"\s+(?:[-*•]|\d{1,2}[.)])\s+(.*)"), re.compile(r"\s*>\s?(.*)")
_CITED = re.compile(r"(?<!\s)\s*[—–]\s*(?:page \d+|\d+쪽)\s*$")
_SCORE = re.compile(r"\|([^|]+)\|\s*(\d{1,9})\b.*\|\s*$")


def approve(feedback: Feedback, by: str, at: datetime, note: str = "", grade: int | None = None) -> Feedback:
    """Approve feedback as it stands: from now on it may be passed on."""
    return _decided(feedback, "approved", by, at, note, grade)


def give_back(feedback: Feedback, by: str, at: datetime, note: str = "", grade: int | None = None) -> Feedback:
    """Return feedback: it may not be passed on, whether it was approved before or not."""
    return _decided(feedback, "returned", by, at, note, grade)


def to_markdown(feedback: Feedback, rubric: Rubric) -> str:
    """Return feedback as Markdown; `read_given` reads it again."""
    lines = [f"# {rubric.title.in_language(feedback.language)}: {_line(feedback.title or feedback.document)}", ""]
    if not feedback.released:
        lines += [f"**{STATES[feedback.state][feedback.language]}**", ""]
    if scores := [score for score in rubric.scores if score.key in feedback.scores]:
        lines += ["| | |", "|---|---|"]
        titles = [(score.title.in_language(feedback.language), score) for score in scores]
        lines += [f"| {title} | {feedback.scores[score.key]} / {score.high} |" for title, score in titles] + [""]
    for section in feedback.sections:
        lines += [f"## {section.title}", ""]
        for number, point in enumerate(section.points, 1):
            lines.append(f"{number}. {_line(point.text)}")
            lines += [f"   - {_line(detail)}" for detail in point.details]
            if point.quote:
                cited = f" — {_PAGE[feedback.language].format(point.page)}" if point.page else ""
                lines.append(f"   > {_line(point.quote)}{cited}")
        lines.append("")
    return "\n".join(lines)


def read_given(
    path: Path, document: Document, rubric: Rubric, language: Language
) -> tuple[dict[str, list[Any]], dict[str, int]]:
    """Read feedback that a person wrote or edited: Markdown with the rubric's sections, or JSON as models write it.

    Returns:
        The entries of every section by key, to be checked against the document, and the scores.

    Raises:
        UserError: It is neither, or lacks a section that the rubric needs.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text") from error
    values = list(json_values(text)) if path.suffix == ".json" else [_from_markdown(text, rubric)]
    answer = next((read for value in values if (read := read_answer(value, rubric, language))), None)
    if answer is None:
        titles = ", ".join(
            f"{section.title.in_language(language)!r}" for section in rubric.sections if section.points[0]
        )
        scores = ", ".join(f"{score.key} {score.low} to {score.high}" for score in rubric.scores)
        raise UserError(
            f"{path}: not feedback of the rubric {rubric.name!r} in the language {language!r}: it needs points under "
            f"'## ' headings {titles}" + (f", and a table of scores: {scores}" if scores else "")
        )
    return answer


def edited(feedback: Feedback, path: Path, document: Document, rubric: Rubric) -> Feedback:
    """Return feedback as a person has edited it; what was first written is kept.

    Raises:
        UserError: The edited text cannot be read, or quotes what is not in the document.
    """
    entries, scores = read_given(path, document, rubric, feedback.language)
    sections, struck = checked(entries, rubric, document, feedback.language)
    if struck:
        raise UserError(f"{path}: quotes what is not in {document.name}: {struck[0].quote[:80]!r}")
    return feedback.model_copy(
        update={"sections": sections, "scores": scores, "written": feedback.written or feedback.sections}
    )


def read_feedback(path: Path) -> Feedback:
    """Read feedback as JSON.

    Raises:
        UserError: There is none, or it is something else.
    """
    try:
        return read_model(path, Feedback, "not a .feedback.json file")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error


def _decided(
    feedback: Feedback, state: Literal["approved", "returned"], by: str, at: datetime, note: str, grade: int | None
) -> Feedback:
    if not by.strip():
        raise UserError("a decision needs a name: who made it")
    if grade is not None and not 1 <= grade <= 7:
        raise UserError(f"a grade is 1 to 7, not {grade}")
    decision = Decision(state=state, by=by.strip(), at=at, digest=feedback.digest, note=note, grade=grade)
    return feedback.model_copy(update={"decisions": (*feedback.decisions, decision)})


def _from_markdown(text: str, rubric: Rubric) -> dict[str, Any]:
    """Read headings as sections, items as points, items inside of them as details, and quotes."""
    sections: dict[str, list[dict[str, Any]]] = {}
    scores: dict[str, int] = {}
    keys = {name: score.key for score in rubric.scores for name in (score.key, score.title.en, score.title.ko)}
    points: list[dict[str, Any]] = []
    for line in text.splitlines():
        if heading := _SECTION.match(line):
            title = heading.group(1).rstrip()
            points = sections.setdefault(title.rstrip("#").rstrip() or "#", [])
        elif (score := _SCORE.match(line)) and score.group(1).strip() in keys:
            scores[keys[score.group(1).strip()]] = int(score.group(2))
        elif quote := _QUOTE.match(line):
            if points:
                quoted = _CITED.sub("", quote.group(1))
                points[-1]["quote"] = f"{points[-1]['quote']} {quoted}".strip()
        elif detail := _DETAIL.match(line):
            if points:
                points[-1]["details"].append(detail.group(1))
        elif line.strip() and sections and not line.startswith(("|", "**")):
            item = _POINT.match(line)
            if item or not points or not line.startswith(" "):
                points.append({"point": item.group(1) if item else line.strip(), "details": [], "quote": ""})
            else:
                points[-1]["point"] += " " + line.strip()
    entries = {
        key: [entries_of(entry).model_dump() for entry in entries if entry["point"]]
        for key, entries in sections.items()
    }
    return {"sections": entries, "scores": scores}


def _line(text: str) -> str:
    return " ".join(text.split())
