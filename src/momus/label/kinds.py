"""The kinds of tasks: what an item of each holds, and what a labeler gives back.

Where things are shown in an order that was drawn (`arrangement["order"]`: the index of the first, of the second, …),
what is given back is in the order shown; `exporting.py` turns it around. Lines are counted from 1, as the page counts
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from momus.critique import Comment, anchor
from momus.errors import UserError
from momus.label.feedback.kind import EditedFeedback, FeedbackItem
from momus.records import Content, Origin, Scale, Tamper, Task

MAX_TEXT = 200_000
"""Characters of one text, given or shown."""

FLAGS = (
    "fails_task", "inappropriate", "hallucination", "satisfies_constraint", "sexual", "violent", "encourages_harm",
    "denigrates", "harmful_advice", "opinion", "moral_judgement",
)  # fmt: skip
"""The yes-or-no questions of InstructGPT's form (arXiv 2203.02155, table 3)."""

ADJUDICATION = "adjudication"
"""Items that decide another one: its `kind` and `payload`, and the `judgements` that disagree. Done as that kind is."""

ATTRIBUTES = ("comprehensive", "nitpick", "fake_problem", "concise", "overall")
"""What is asked once of a critique (CriticGPT, table 2); `cbi` is asked once for each known bug."""

Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Needed = Annotated[str, StringConstraints(max_length=MAX_TEXT, pattern=r"\S")]


class Part(BaseModel):
    """Base of payloads and judgements: fields are known, strings are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DemonstrationItem(Part):
    """A prompt to answer."""

    prompt: Content
    origin: Origin = Origin()


class Demonstration(Part):
    """The answer a good assistant would give."""

    answer: Needed


class PromptItem(Part):
    """What to write a prompt of: any task, one with examples, or one for a known use case (InstructGPT, A.1)."""

    style: Literal["plain", "few-shot", "user-based"] = "plain"
    about: Text = ""


class Example(Part):
    """A query and its response."""

    query: Needed
    response: Needed


class Prompt(Part):
    """A prompt, and for few-shot ones its examples."""

    prompt: Needed
    examples: tuple[Example, ...] = ()

    def fits(self, item: PromptItem) -> None:
        """Raise ValueError for a few-shot prompt without examples."""
        if item.style == "few-shot" and not self.examples:
            raise ValueError("examples: give at least one")


class RankingItem(Part):
    """Answers to one prompt; `authors` are never shown."""

    prompt: Content
    candidates: tuple[Content, ...] = Field(min_length=2, max_length=9)
    authors: tuple[str, ...] = ()
    origin: Origin = Origin()


class Card(Part):
    """One answer by itself: 1 to 7, and the eleven questions that apply."""

    overall: Scale
    flags: dict[Literal[FLAGS], bool] = {}  # type: ignore[valid-type]


class Ranking(Part):
    """Every answer by itself, then all against each other: ties are equal numbers. `all_bad` is not a tie."""

    cards: tuple[Card, ...]
    ranks: tuple[Annotated[int, Field(ge=1)], ...]
    all_bad: bool = False
    rationale: Text = ""

    def fits(self, item: RankingItem) -> None:
        """Raise ValueError unless every answer was judged."""
        for name in ("cards", "ranks"):
            if len(getattr(self, name)) != len(item.candidates):
                raise ValueError(f"{name}: {len(item.candidates)} are needed")


class EditItem(Part):
    """An answer to be made better."""

    prompt: Content
    answer: Needed
    author: str = ""
    origin: Origin = Origin()


class Edit(Part):
    """The better answer, and why."""

    answer: Needed
    why: Text = ""

    def fits(self, item: EditItem) -> None:
        """Raise ValueError where nothing was changed."""
        if self.answer == item.answer:
            raise ValueError("answer: change it, or decline the task")


class BreakItem(Part):
    """Find a prompt that the model answers badly."""

    about: Text = ""


class Break(Part):
    """The prompt, what the model answered, and why that fails."""

    prompt: Needed
    answer: Needed
    why: Needed


class Bug(Part):
    """Lines `first` to `last`, and what is wrong, as written in a review."""

    first: Annotated[int, Field(ge=1)]
    last: Annotated[int, Field(ge=1)]
    description: Needed
    severity: Literal["minor", "major", "critical"] = "major"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise ValueError("the last line comes before the first")
        return self


class TamperItem(Part):
    """An answer to put bugs in."""

    task: Task


class Tampering(Part):
    """The changed answer and its bugs, placed in it."""

    answer: Needed
    bugs: tuple[Bug, ...] = Field(min_length=1)

    def fits(self, item: TamperItem) -> None:
        """Raise ValueError where nothing was changed or a bug lies outside, on blank lines or on none that changed."""
        if self.answer == item.task.answer:
            raise ValueError("answer: nothing was changed")
        check_lines(self.answer, self.bugs)


class FoundItem(Part):
    """An answer that somebody rated low, and the reason they gave."""

    task: Task
    reason: Text = ""
    rating: float | None = None


class Found(Part):
    """The bugs in it; none is an answer, too."""

    bugs: tuple[Bug, ...] = ()
    nothing: bool = False

    def fits(self, item: FoundItem) -> None:
        """Raise ValueError unless there is either a bug or the statement that there is none."""
        if self.nothing == bool(self.bugs):
            raise ValueError("bugs: mark one, or say that there is none")
        check_lines(item.task.answer, self.bugs)


class CritiqueItem(Part):
    """An answer to criticise, and maybe what a model wrote of it, shown to a random half of the labelers."""

    task: Task
    code: bool = True
    prefill: Text = ""
    prefill_source: str = ""


class WrittenComment(Part):
    """A comment; `id` is that of the prefilled one it was made from, or empty; `line` where the quote begins."""

    id: str = ""
    highlight: Needed
    text: Needed
    line: Annotated[int, Field(ge=1)] | None = None


class Critique(Part):
    """Comments in order, or none because there is nothing to criticise."""

    comments: tuple[WrittenComment, ...] = ()
    closing: Text = ""
    nothing: bool = False

    def fits(self, item: CritiqueItem) -> None:
        """Raise ValueError for quotes that are not in the answer, or for neither comments nor "no problem"."""
        if self.nothing == bool(self.comments):
            raise ValueError("comments: write one, or say that there is no problem")
        for number, comment in enumerate(self.comments):
            if comment.highlight.strip("\n") not in item.task.answer:
                raise ValueError(f"comments.{number}.highlight: these words are not in the answer")
            if anchor(comment.highlight.strip("\n"), item.task.answer, comment.line) is None:
                raise ValueError(f"comments.{number}.line: these words do not begin on line {comment.line}")
            Comment(highlight=comment.highlight.strip("\n"), text=one_paragraph(comment.text))


class ComparisonItem(Part):
    """Critiques of one answer whose bugs are known; `sources` are never shown."""

    tamper: Tamper
    critiques: tuple[Text, ...] = Field(min_length=2, max_length=4)
    sources: tuple[str, ...] = ()
    code: bool = True


class RatedCritique(Part):
    """One column of the matrix."""

    cbi: tuple[Scale, ...]
    comprehensive: Scale
    nitpick: Scale
    fake_problem: Scale
    concise: Scale
    overall: Scale


class Comparison(Part):
    """A rating of every critique, and why."""

    ratings: tuple[RatedCritique, ...]
    rationale: Text = ""

    def fits(self, item: ComparisonItem) -> None:
        """Raise ValueError unless every critique has a value for every bug."""
        if len(self.ratings) != len(item.critiques):
            raise ValueError(f"ratings: {len(item.critiques)} are needed")
        if any(len(rating.cbi) != len(item.tamper.bugs) for rating in self.ratings):
            raise ValueError("ratings: each needs one value for every bug")


class ReviewItem(Part):
    """A submission to check: its task as it was shown, and what was given back."""

    submission: str
    kind: str
    payload: dict[str, Any]
    arrangement: dict[str, Any]
    content: dict[str, Any]


class Review(Part):
    """Whether a submission may stand."""

    verdict: Literal["approved", "returned", "rejected"]
    grade: Scale | None = None
    note: Text = ""

    def fits(self, item: ReviewItem) -> None:
        """Raise ValueError for work that is given back without a word."""
        if self.verdict != "approved" and not self.note.strip():
            raise ValueError("note: say why")


class Question(Part):
    """A question of a survey; `options` for choices (one) and checks (any)."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    text: Needed
    type: Literal["scale", "choice", "checks", "text"] = "scale"
    options: tuple[str, ...] = ()
    low: str = ""
    high: str = ""
    optional: bool = False


class SurveyItem(Part):
    """Questions about a text: to readers of feedback, to labelers about themselves, whether a text is sensitive."""

    title: Text = ""
    text: Text = ""
    questions: tuple[Question, ...] = Field(min_length=1)


class Survey(Part):
    """The answers by name."""

    values: dict[str, int | str | tuple[str, ...]]

    def fits(self, item: SurveyItem) -> None:
        """Raise ValueError for an answer that is missing or not one of those offered."""
        known = {question.name: question for question in item.questions}
        if unknown := set(self.values) - set(known):
            raise ValueError(f"values.{min(unknown)}: there is no such question")
        for name, question in known.items():
            value = self.values.get(name, "")
            good = {
                "scale": isinstance(value, int) and 1 <= value <= 7,
                "choice": value in question.options,
                "checks": isinstance(value, tuple) and set(value) <= set(question.options),
                "text": isinstance(value, str) and bool(value.strip()),
            }[question.type]
            if not good and not (question.optional and value in ("", ())):
                raise ValueError(f"values.{name}: answer this question")


class Kind(NamedTuple):
    """A kind's two models."""

    item: type[BaseModel]
    judgement: type[BaseModel]


KINDS: Mapping[str, Kind] = {
    "demonstration": Kind(DemonstrationItem, Demonstration),
    "prompt": Kind(PromptItem, Prompt),
    "ranking": Kind(RankingItem, Ranking),
    "edit": Kind(EditItem, Edit),
    "break": Kind(BreakItem, Break),
    "tamper": Kind(TamperItem, Tampering),
    "found": Kind(FoundItem, Found),
    "critique": Kind(CritiqueItem, Critique),
    "comparison": Kind(ComparisonItem, Comparison),
    "review": Kind(ReviewItem, Review),
    "survey": Kind(SurveyItem, Survey),
    "feedback": Kind(FeedbackItem, EditedFeedback),
}


def check(kind: str, payload: Any, arrangement: Mapping[str, Any], content: Any) -> dict[str, Any]:
    """Return a judgement as it is to be kept.

    Raises:
        UserError: It is incomplete or does not fit its item; the message begins with the field.
    """
    if kind == ADJUDICATION:
        return check(payload["kind"], payload["payload"], arrangement, content)
    item = KINDS[kind].item.model_validate(payload)
    try:
        judgement = KINDS[kind].judgement.model_validate(content)
        if hasattr(judgement, "fits"):
            judgement.fits(item)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "content"
        message = "this is empty" if first["type"] == "string_pattern_mismatch" else first["msg"]
        raise UserError(f"{place}: {message.removeprefix('Value error, ')}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
    return dict(judgement.model_dump(mode="json"))


def check_lines(answer: str, bugs: tuple[Bug, ...]) -> None:
    """Raise ValueError for a bug outside an answer, or on blank lines only."""
    lines = answer.split("\n")
    for number, bug in enumerate(bugs):
        if bug.last > len(lines):
            raise ValueError(f"bugs.{number}.last: the answer has {len(lines)} lines")
        if not "".join(lines[bug.first - 1 : bug.last]).strip():
            raise ValueError(f"bugs.{number}.first: these lines are blank")


def one_paragraph(text: str) -> str:
    """Return a comment as one paragraph, without blank lines and lines of fences, as critiques are stored."""
    lines = (line.rstrip() for line in text.strip().split("\n"))
    return "\n".join(line.replace("```", "'''") if line.lstrip().startswith("```") else line for line in lines if line)
