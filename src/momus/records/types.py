"""The kinds of records, from tasks and bugs to rankings and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from momus.critique import Comment, Critique, Span, quotable
from momus.files import JsonError, parse_json

SCHEMA_VERSION: Literal[1] = 1

Split = Literal["train", "valid", "test"]
Scale = Annotated[int, Field(ge=1, le=7)]


class Record(BaseModel):
    """Base of all records: immutable, versioned, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = SCHEMA_VERSION


class Task(Record):
    """A question and the answer to judge; `module` is the dotted name of where the answer came from."""

    id: str
    question: str
    answer: str
    module: str = ""
    split: Split = "train"


class Bug(Record):
    """A bug in an answer: where it is, and a description written as a reviewer would.

    `spans` are ranges of the *tampered* answer, never empty: for something removed they cover the code that
    now runs without it. `original` and `replacement` are the text before and after; either may be empty.
    """

    kind: str
    spans: tuple[Span, ...] = Field(min_length=1)
    description: str
    original: str
    replacement: str


class Tamper(Record):
    """An answer with bugs put in, the original kept in `task`. No bugs means a clean control."""

    task: Task
    answer: str
    bugs: tuple[Bug, ...] = ()

    def gold_critique(self) -> Critique:
        """Return the critique the author of the bugs would write: each bug's first line and description."""
        comments = []
        for bug in sorted(self.bugs, key=lambda bug: bug.spans[0]):
            start, end = bug.spans[0]
            start += len(self.answer[start:end]) - len(self.answer[start:end].lstrip())
            span = quotable(Span(start, start + 1), self.answer)
            comments.append(Comment(highlight=self.answer[span.start : span.end], text=bug.description, span=span))
        return Critique(comments=tuple(comments))


class Rating(Record):
    """One labeler's judgement of one critique, each attribute 1-7 with 4 = "I'm unsure" (table 2).

    `cbi` holds one rating per known bug, 1 = missed … 7 = included. For `nitpick` and `fake_problem` 7 means
    the critique surely contains one; for the others 7 is best.
    """

    cbi: tuple[Scale, ...]
    comprehensive: Scale
    nitpick: Scale
    fake_problem: Scale
    concise: Scale
    overall: Scale


CommentOrigin = Literal["model", "edited", "human"]
"""Who wrote a comment: a model, a model and then a person who changed it, or a person."""


class Labeling(BaseModel):
    """How a judgement was collected: what cannot be reconstructed later.

    Attributes:
        rationale: Why, in the labeler's words.
        order: The items in the order in which they were shown: `order[0]` is the index of the first.
        shown_at: When they were first shown, by the store's clock.
        submitted_at: When the judgement was accepted.
        active_seconds: How long the page was in use, as the page measured it.
        origins: For each item, in the record's order, who wrote each of its comments; empty where unknown.
        gold: Whether this was a check whose right result is known; such judgements are not training data.
        revision: 0 for a first judgement, and one more each time the labeler corrected it.
        final: Whether an adjudicator decided this where labelers disagreed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rationale: str = ""
    order: tuple[int, ...] = ()
    shown_at: datetime | None = None
    submitted_at: datetime | None = None
    active_seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    origins: tuple[tuple[CommentOrigin, ...], ...] = ()
    gold: bool = False
    revision: int = Field(default=0, ge=0)
    final: bool = False

    @model_serializer(mode="wrap")
    def _as_before_unless_final(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        if not self.final:
            fields.pop("final", None)
        return fields


class Labeled(Record):
    """A record that may say how it was collected; version 2 where it does, else version 1, written as it always was."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION  # type: ignore[assignment]
    labeling: Labeling | None = None

    @model_validator(mode="before")
    @classmethod
    def _version_of_what_is_given(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("labeling") is not None:
            return {"schema_version": 2, **data}
        return data

    @model_validator(mode="after")
    def _labeling_needs_version_2(self) -> Self:
        if self.labeling is not None and self.schema_version == 1:
            raise ValueError("labeling needs schema_version 2")
        return self

    def _check_labeling(self, count: int) -> None:
        """Raise ValueError unless order and origins fit the number of items."""
        if self.labeling is None:
            return
        if self.labeling.order and sorted(self.labeling.order) != list(range(count)):
            raise ValueError(f"order {self.labeling.order} is not one of {count} items")
        if self.labeling.origins and len(self.labeling.origins) != count:
            raise ValueError(f"origins of {len(self.labeling.origins)} of {count} items")

    @model_serializer(mode="wrap")
    def _without_empty_labeling(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        if fields.get("labeling") is None:
            fields.pop("labeling", None)
        return fields


class Comparison(Labeled):
    """Up to four critiques of one answer, blind, rated side by side by one labeler.

    `sources` names who wrote each critique; it is for the analysis only and never shown to the labeler.
    """

    tamper: Tamper
    critiques: tuple[str, ...] = Field(min_length=2, max_length=4)
    sources: tuple[str, ...]
    labeler: str
    simulated: bool
    ratings: tuple[Rating, ...]

    @model_validator(mode="after")
    def _labeling_fits(self) -> Comparison:
        self._check_labeling(len(self.critiques))
        return self


def _json_object(text: str) -> str:
    """Refuse a text that is no JSON object which comes back as it was: a chat template is given what it says."""
    try:
        value = parse_json(text)
    except JsonError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError("is not an object written as JSON")
    return text


class ToolCall(BaseModel):
    """One call of a tool by the assistant; `arguments` is a JSON object as text, `id` what its result refers to."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    arguments: Annotated[str, AfterValidator(_json_object)] = "{}"
    id: str = ""


class Message(BaseModel):
    """One turn of a conversation. Fields that say nothing are not written.

    Attributes:
        role: Who speaks.
        content: The text; "" (and not written) where the turn is only tool calls.
        name: The speaker's or the tool's name.
        reasoning: What the assistant thought before it answered.
        tool_calls: The tools the assistant calls in this turn.
        tool_call_id: The call that a tool's turn answers.
        tools: The tools at hand from this turn on, each a JSON schema as text; on the first turn only.
        train: Whether this turn may be learned from; False is what other formats write as `weight: 0`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    name: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    tools: tuple[Annotated[str, AfterValidator(_json_object)], ...] = ()
    train: bool = True

    def texts(self) -> tuple[str, ...]:
        """Return everything that was written: content, reasoning, name, tools, and each call's name and arguments."""
        calls = (text for call in self.tool_calls for text in (call.name, call.arguments))
        return (self.content, self.reasoning, self.name, *self.tools, *calls)

    def with_texts(self, texts: Sequence[str]) -> Message:
        """Return the same message with other texts, in the order of `texts`."""
        content, reasoning, name, *rest = texts
        tools, calls = rest[: len(self.tools)], rest[len(self.tools) :]
        pairs = zip(self.tool_calls, calls[::2], calls[1::2], strict=True)
        return self.model_copy(
            update={
                "content": content,
                "reasoning": reasoning,
                "name": name,
                "tools": tuple(tools),
                "tool_calls": tuple(
                    call.model_copy(update={"name": name, "arguments": arguments}) for call, name, arguments in pairs
                ),
            }
        )

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, data: object) -> object:
        if isinstance(data, dict) and "content" not in data and not data.get("tool_calls"):
            raise ValueError("a message needs content or tool_calls")
        return data

    @model_serializer(mode="wrap")
    def _without_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in serialize(self).items()
            if (name == "content" and not self.tool_calls)
            or fields[name].is_required()
            or getattr(self, name) != fields[name].default
        }


Content = str | tuple[Message, ...]
"""Plain text, or turns of a conversation, which a chat format has yet to lay out."""


class Origin(BaseModel):
    """Where a record came from, as its source says; empty where it says nothing.

    `place` is the file and line, `dataset` the collection within the source, `group` what must not be spread over
    splits (a conversation tree, a problem), `user` whoever wrote the prompt, `split` the source's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: str = ""
    place: str = ""
    dataset: str = ""
    id: str = ""
    group: str = ""
    user: str = ""
    language: str = ""
    licence: str = ""
    split: str = ""


class Prompt(Record):
    """A prompt without an answer; `split` is where the rules for prompts put it."""

    prompt: Content
    split: Split = "train"
    origin: Origin = Origin()


class Demonstration(Record):
    """An answer to a prompt; `author` is the person or model that wrote it, as the source names them."""

    prompt: Content
    answer: Content
    author: str = ""
    origin: Origin = Origin()


class Judgement(Record):
    """One labeler's judgement of one answer by itself: a value on each of the source's own scales."""

    prompt: Content
    answer: Content
    values: dict[str, float] = Field(min_length=1)
    author: str = ""
    labeler: str = ""
    origin: Origin = Origin()


class Ranking(Labeled):
    """K answers to one prompt ordered by one labeler: `ranks[i]` is the place of candidate i, ties equal.

    Where the source has them: `scores` that the ranks were made from (higher is better), `authors` of the
    candidates, how sure the labeler was, in the source's own scale, what he or she wrote of the whole, and `critiques`,
    what was written of each candidate.
    """

    prompt: Content
    candidates: tuple[Content, ...] = Field(min_length=2)
    ranks: tuple[int, ...]
    labeler: str = ""
    scores: tuple[float, ...] = ()
    authors: tuple[str, ...] = ()
    confidence: float | None = None
    comment: str = ""
    critiques: tuple[str, ...] = ()
    origin: Origin = Origin()

    @model_validator(mode="after")
    def _one_of_each_per_candidate(self) -> Ranking:
        for name in ("ranks", "scores", "authors", "critiques"):
            values = getattr(self, name)
            if len(values) != len(self.candidates) and (values or name == "ranks"):
                raise ValueError(f"{len(values)} {name} for {len(self.candidates)} candidates")
        self._check_labeling(len(self.candidates))
        return self
