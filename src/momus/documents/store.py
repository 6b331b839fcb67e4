"""A labelled store: documents with feedback beside them, made into what `momus train` and `momus overlap` read.

A folder holds documents and, beside each, feedback as JSON (`DOC.feedback.json`, `DOC.NAME.feedback.json`), by people
or by models and decided on by people. From it come

- **demonstrations**: the question that a model is asked about a document, answered as a person wrote, or approved, it;
- **rankings**: answers to one question as one person ordered them: by grade, approved before returned, and what a
  person made of a draft before the draft;
- **reviews**: the points of every piece of feedback, to measure how far they agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from momus.documents.budget import Count
from momus.documents.document import Document
from momus.documents.drafts import read_feedback
from momus.documents.feedback import Decision, Feedback, FeedbackPoint, FeedbackSection, answer_of, question
from momus.documents.reading import SUFFIXES
from momus.documents.rubrics import Rubric
from momus.errors import UserError
from momus.match.extract import find_quote
from momus.match.reviews import Point, Review
from momus.records import Demonstration, Origin, Ranking

ENDING = ".feedback.json"

ABOUT = ("rejection", "suggestions", "weaknesses", "questions", "risks", "strengths_and_weaknesses", "limitations")
"""Sections whose points say what is wrong or missing, which is what is compared with people's."""


@dataclass(frozen=True)
class Filed:
    """Feedback, its document and its rubric."""

    feedback: Feedback
    document: Document
    rubric: Rubric


def read_store(folder: Path, read: Callable[[Path], Document], rubric_of: Callable[[str], Rubric]) -> list[Filed]:
    """Read a folder of documents with feedback.

    Args:
        folder: Where they are.
        read: Reads a document; each is read once.
        rubric_of: Reads a rubric by name.

    Raises:
        UserError: There is none, a document is missing or was changed since.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: name a folder with documents and feedback beside them")
    files = sorted(folder.rglob(f"*{ENDING}"))
    if not files:
        raise UserError(f"{folder}: no feedback in it: momus feedback DOC writes it beside a document")
    documents: dict[Path, Document] = {}
    store = []
    for file in files:
        feedback = read_feedback(file)
        path = document_of(file, feedback)
        if path not in documents:
            documents[path] = read(path)
        if documents[path].sha256 != feedback.sha256:
            raise UserError(f"{file}: {path.name} was changed since: give feedback on it again")
        store.append(Filed(feedback, documents[path], rubric_of(feedback.rubric)))
    return store


def document_of(file: Path, feedback: Feedback) -> Path:
    """Return the document beside a file of feedback.

    Raises:
        UserError: It is not there.
    """
    if not is_beside(file, feedback):
        raise UserError(f"{file}: the document {feedback.document} is not beside it")
    return file.parent / Path(feedback.document).name


def is_beside(file: Path, feedback: Feedback) -> bool:
    """Whether the document is beside a file of feedback."""
    path = file.parent / Path(feedback.document).name
    return path.suffix.casefold() in SUFFIXES and path.is_file()


def demonstrations(store: Sequence[Filed], count: Count, budget: int) -> Iterator[Demonstration]:
    """Yield what people wrote or approved."""
    for filed in store:
        feedback = filed.feedback
        if feedback.released and (feedback.kind == "person" or feedback.state == "approved"):
            prompt = question(filed.document, filed.rubric, feedback.language, count, budget)[0]
            yield Demonstration(
                prompt=prompt,
                answer=answer_of(_shown(feedback.sections, prompt), feedback.scores),
                author=feedback.author,
                origin=_origin(filed),
            )


def rankings(store: Sequence[Filed], count: Count, budget: int) -> Iterator[Ranking]:
    """Yield the order in which each person put answers to one question.

    Beside graded answers of the same decision one without a grade has no place, and is left out.
    """
    groups: dict[tuple[str, str, str, str], list[tuple[Filed, Decision]]] = defaultdict(list)
    for filed in store:
        feedback = filed.feedback
        asked = (feedback.sha256, feedback.rubric, feedback.language)
        for by in dict.fromkeys(decision.by for decision in feedback.decisions):
            last = [decision for decision in feedback.decisions if decision.by == by][-1]
            if last.digest == feedback.digest:
                groups[*asked, by].append((filed, last))
    for (*_, by), group in groups.items():
        graded = {decision.state for _, decision in group if decision.grade is not None}
        decided = [(filed, last) for filed, last in group if last.grade is not None or last.state not in graded]
        answers = [(filed.feedback, filed.feedback.sections, _good(last)) for filed, last in decided]
        filed, last = decided[0]
        before = filed.feedback.written
        if len(decided) == 1 and last.state == "approved" and before and before != filed.feedback.sections:
            draft = filed.feedback.model_copy(update={"author": f"{filed.feedback.author}, before it was edited"})
            answers.append((draft, before, _good(last) - 10))
        if len(answers) > 1:
            prompt = question(filed.document, filed.rubric, filed.feedback.language, count, budget)[0]
            goods = sorted({good for *_, good in answers}, reverse=True)
            yield Ranking(
                prompt=prompt,
                candidates=tuple(answer_of(_shown(sections, prompt), made.scores) for made, sections, _ in answers),
                ranks=tuple(goods.index(good) for *_, good in answers),
                labeler=by,
                authors=tuple(made.author for made, _, _ in answers),
                origin=_origin(filed),
            )


def reviews(store: Sequence[Filed]) -> Iterator[Review]:
    """Yield the points that say what is wrong or missing, for `momus overlap`."""
    for filed in store:
        sections = [section for section in filed.feedback.sections if section.key in ABOUT]
        points = [point for section in sections or filed.feedback.sections for point in section.points]
        yield Review(
            document=filed.feedback.document,
            reviewer=filed.feedback.author,
            kind=filed.feedback.kind,
            points=tuple(Point(text=" ".join((p.text, *p.details))) for p in points),
            strata={"rubric": filed.feedback.rubric},
        )


def _shown(sections: Sequence[FeedbackSection], prompt: str) -> tuple[FeedbackSection, ...]:
    """Strike quotes that a question within its budget does not show: a model must not learn to quote unread text."""

    def seen(point: FeedbackPoint) -> FeedbackPoint:
        return point if find_quote(point.quote, prompt) else point.model_copy(update={"quote": ""})

    return tuple(section.model_copy(update={"points": tuple(map(seen, section.points))}) for section in sections)


def _good(decision: Decision) -> int:
    return (decision.grade or 0) + 10 * (decision.state == "approved")


def _origin(filed: Filed) -> Origin:
    feedback = filed.feedback
    return Origin(format="momus feedback", id=feedback.document, group=feedback.sha256, language=feedback.language)
