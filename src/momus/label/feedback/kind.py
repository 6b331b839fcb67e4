"""What an item of the kind "feedback" holds, and what a teacher gives back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from momus.documents.document import Document
from momus.documents.feedback import Feedback
from momus.documents.rubrics import Rubric, read_rubric
from momus.match.extract import find_support

_LONGEST = 20_000
_Text = Annotated[str, StringConstraints(max_length=_LONGEST)]
_Needed = Annotated[str, StringConstraints(max_length=_LONGEST, pattern=r"\S")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FeedbackItem(_Part):
    """A document, feedback on it that nobody has decided on, and its rubric (or the name of one that ships)."""

    document: Document
    feedback: Feedback
    rubric: Rubric

    @field_validator("rubric", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return read_rubric(value) if isinstance(value, str) else value


class EditedPoint(_Part):
    """A point as a teacher leaves it."""

    text: _Needed
    details: tuple[_Needed, ...] = ()
    quote: _Text = ""


class EditedSection(_Part):
    """The points of one section of the rubric."""

    key: str
    points: tuple[EditedPoint, ...] = ()


class EditedFeedback(_Part):
    """Feedback as a teacher leaves it, and whether it may be passed on. `grade` is how good the draft was."""

    sections: tuple[EditedSection, ...]
    scores: dict[str, int] = {}
    verdict: Literal["approved", "returned"]
    grade: Annotated[int, Field(ge=1, le=7)] | None = None
    note: _Text = ""

    def fits(self, item: FeedbackItem) -> None:
        """Raise ValueError unless the sections and scores are the rubric's and every quote is in the document."""
        if self.verdict == "returned" and not self.note.strip():
            raise ValueError("note: say why")
        if [section.key for section in self.sections] != [section.key for section in item.rubric.sections]:
            raise ValueError("sections: the rubric's are needed")
        for asked, section in zip(item.rubric.sections, self.sections, strict=True):
            if asked.points[0] and not section.points and self.verdict == "approved":
                raise ValueError(f"sections.{section.key}: at least one point is needed")
            for number, point in enumerate(section.points):
                place = f"sections.{section.key}.{number}.quote"
                if point.quote.strip() and asked.quote == "no":
                    raise ValueError(f"{place}: this section has no quotes")
                if point.quote.strip() and not find_support(point.quote, item.document.text):
                    raise ValueError(f"{place}: these words are not in the document (eight letters at least)")
                if not point.quote.strip() and asked.quote == "must":
                    raise ValueError(f"{place}: this section needs a quote")
        ranges = {score.key: score for score in item.rubric.scores}
        if set(self.scores) != set(ranges):
            raise ValueError("scores: the rubric's are needed")
        for key, value in self.scores.items():
            if not ranges[key].low <= value <= ranges[key].high:
                raise ValueError(f"scores.{key}: {ranges[key].low} to {ranges[key].high}")
