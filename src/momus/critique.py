"""Critiques: the text format, both ways, anchored to the answer.

A critique is an ordered list of comments on one answer, each a *highlight* (a verbatim quote in a fence) and
a text, and optionally a closing remark (CriticGPT, arXiv 2407.00215, section 2.1)::

    ```
    for i in range(n):
    ```
    This should be `range(1, n)`: the first row is a header.

    Everything else looks right.

Beside the opening fence may stand the line that the quote starts on, counted from 1, and how bad the problem is:
```` ```L12-error ````. The same text is what people write, what models generate and what the reward model reads. Rules
that make parsing and formatting inverse of each other:

* a highlight is any non-blank text that does not start or end with a newline; its fence is as long as it
  needs to be (three backticks, or one more than the longest run inside);
* a comment's text is one non-blank paragraph (no blank line, no line that looks like a fence);
* paragraphs after the last comment's first one are the closing remark.

A highlight is anchored to where it stands on the line named; without one to where it first is whole lines of the
answer, or else to its first occurrence. One that does not occur there is kept, without a span, as *unanchored*: it is
counted and shown, never guessed at.

Where no line is named, a line that occurs earlier can be quoted with the lines above it (`quotable`), as gold critiques
and the shipped critic do. Such a comment is about its last line; `focus` returns it on that line alone.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple, cast

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from momus.normalise import find_all

FENCE = "```"
NO_PROBLEMS = "No problems found."

_OPENING = re.compile(r"\s*(`{3,})([\w+-]*)\s*")
_PLACE = re.compile(r"L([1-9][0-9]{0,8})(?:-(error|warning|note))?")

Severity = Literal["error", "warning", "note"]
"""How bad a problem is: the levels of SARIF."""
_BLANK_LINES = re.compile(r"\n[ \t]*\n")

SHOULD_BE = r"\b(?:should|must) be(?: changed to| replaced (?:by|with))?:?\s+(`{1,8}+)"
"""A pattern of how a comment begins to propose code, up to the marks around it."""
PROPOSED_LINE = re.compile(rf"{SHOULD_BE}([^`\n]+)\1(?!`)", re.IGNORECASE)
"""What a comment proposes in place of a line, wherever it says so."""
MISSING_CODE = re.compile(
    r"\bmissing\s+(`{1,8}+)((?:(?!\1).)++)\1(?!`)\s+(before|after) this", re.IGNORECASE | re.DOTALL
)
"""What a comment says is missing beside a line."""


class Span(NamedTuple):
    """A half-open range `[start, end)` of character offsets into an answer."""

    start: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """Whether the two ranges share at least one character."""
        return self.start < other.end and other.start < self.end


class Comment(BaseModel):
    """One highlight and a text about it.

    `span` is where the highlight stands in the answer, or None when it does not occur there (unanchored) or
    when no answer was given to anchor to. `line` is the number of the line it starts on, from 1, as written; None
    where none was. `severity` can only be written beside a line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    highlight: str
    text: str
    span: Span | None = None
    line: Annotated[int, Field(ge=1, lt=10**9)] | None = None
    severity: Severity | None = None

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        return {name: value for name, value in fields.items() if name == "span" or value is not None}

    @model_validator(mode="after")
    def _legal(self) -> Comment:
        if not self.highlight.strip():
            raise ValueError("a highlight must not be blank")
        if self.highlight.startswith("\n") or self.highlight.endswith("\n"):
            raise ValueError("a highlight must not start or end with a newline")
        if self.severity is not None and self.line is None:
            raise ValueError("a comment with a severity needs a line")
        if not _is_paragraph(self.text):
            raise ValueError("a comment's text must be one paragraph without fences")
        return self


class Critique(BaseModel):
    """An ordered list of comments on one answer and an optional closing remark.

    A critique with neither is the first-class "no problems found" and carries those words as its closing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    comments: tuple[Comment, ...] = ()
    closing: str = ""

    @model_validator(mode="before")
    @classmethod
    def _nothing_found(cls, data: object) -> object:
        if isinstance(data, dict) and not data.get("comments") and not data.get("closing"):
            return {**data, "closing": NO_PROBLEMS}
        return data

    @model_validator(mode="after")
    def _legal(self) -> Critique:
        if self.closing and not all(map(_is_paragraph, self.closing.split("\n\n"))):
            raise ValueError("a closing remark must be paragraphs without fences, a blank line between them")
        return self

    @property
    def anchored(self) -> tuple[Comment, ...]:
        """The comments whose highlight occurs in the answer."""
        return tuple(c for c in self.comments if c.span is not None)

    @property
    def unanchored(self) -> tuple[Comment, ...]:
        """The comments whose highlight does not occur in the answer."""
        return tuple(c for c in self.comments if c.span is None)


def anchor(highlight: str, answer: str, line: int | None = None) -> Span | None:
    """Return where `highlight` stands in `answer`, or None.

    It has to stand there verbatim, or else as `momus.normalise` compares texts, case and white space kept.

    Whole lines, indentation and trailing spaces aside, go before a part of one; of two alike the first is returned.

    Args:
        highlight: The quote.
        answer: The text it is from.
        line: The number of the line it starts on, from 1; it then has to stand there, or in one place only.
    """
    if highlight not in answer:
        return _anchor_typed_otherwise(highlight, answer, line)
    if line is not None:
        start = _find_on_line(highlight, answer, line)
    else:
        whole = re.search(rf"^[^\S\n]*({re.escape(highlight)})[^\S\n]*$", answer, re.MULTILINE)
        start = whole.start(1) if whole else answer.find(highlight)
    return None if start < 0 else Span(start, start + len(highlight))


def _anchor_typed_otherwise(highlight: str, answer: str, line: int | None) -> Span | None:
    """Return where the answer says the same in other characters: other quotation marks, spaces, composed letters."""
    if highlight.isascii() and answer.isascii():
        return None
    spans = [Span(*place) for place in find_all(highlight, answer, case=True, spaces=True)]
    if line is not None:
        on_line = [span for span in spans if answer.count("\n", 0, span.start) + 1 == line]
        return on_line[0] if on_line else spans[0] if len(spans) == 1 else None
    whole = [span for span in spans if _is_whole_lines(span, answer)]
    return next(iter(whole + spans), None)


def _is_whole_lines(span: Span, answer: str) -> bool:
    before, after = answer[: span.start].rpartition("\n")[2], answer[span.end :].partition("\n")[0]
    return not before.strip() and not after.strip()


def focus(critique: Critique, answer: str) -> Critique:
    """Return a critique whose comments with quotes that `quotable` grew are on the last line of the quote alone.

    Such a comment names its line where the quote stands elsewhere too. All others are as they were.
    """
    return critique.model_copy(update={"comments": tuple(_focus(comment, answer) for comment in critique.comments)})


def _focus(comment: Comment, answer: str) -> Comment:
    if comment.span is None or comment.line is not None or "\n" not in comment.highlight:
        return comment
    last = comment.span.end - 1
    if answer[last].isspace() or quotable(Span(last, last + 1), answer) != comment.span:
        return comment
    start = answer.rfind("\n", 0, last) + 1
    highlight = answer[start : last + 1].lstrip()
    span = Span(last + 1 - len(highlight), last + 1)
    line = None if anchor(highlight, answer) == span else answer.count("\n", 0, span.start) + 1
    return comment.model_copy(update={"highlight": highlight, "span": span, "line": line})


def quotable(span: Span, answer: str) -> Span:
    """Grow `span` to whole lines, without the indentation of the first and trailing spaces of the last.

    When the quoted text occurs earlier in the answer, lines are added above until it is unambiguous, because
    a highlight is anchored to its first occurrence.
    """
    start = answer.rfind("\n", 0, span.start) + 1
    stop = answer.find("\n", max(span.start, span.end - 1))
    stop = len(answer) if stop < 0 else stop
    while True:
        text = answer[start:stop]
        first = start + len(text) - len(text.lstrip())
        last = stop - (len(text) - len(text.rstrip()))
        if first >= last:
            raise ValueError("a blank span cannot be quoted")
        if answer.find(answer[first:last]) == first or start == 0:
            return Span(first, last)
        start = answer.rfind("\n", 0, start - 1) + 1


def format_critique(critique: Critique) -> str:
    """Write a critique as text; `parse_critique` is its inverse."""
    blocks = []
    for comment in critique.comments:
        fence = fence_for(comment.highlight)
        place = "" if comment.line is None else f"L{comment.line}"
        place += "" if comment.severity is None else f"-{comment.severity}"
        blocks.append(f"{fence}{place}\n{comment.highlight}\n{fence}\n{comment.text}")
    if critique.closing:
        blocks.append(critique.closing)
    return "\n\n".join(blocks)


def parse_critique(text: str, answer: str) -> Critique:
    """Read a critique written by a person or a model, anchored to `answer`.

    Nothing that was written is lost silently: text before the first highlight joins the closing remark; a
    highlight without any text gets an empty-looking dash; a fence that is never closed is a highlight to the
    end. Blank highlights say nothing about the answer and are dropped.

    Args:
        text: The critique as written.
        answer: The answer it is about, to which highlights are anchored.
    """
    comments: list[Comment] = []
    closing: list[str] = []
    sections = _sections(text)
    for section in sections:
        paragraphs = _paragraphs(section.prose)
        highlight, place = section.highlight, _PLACE.fullmatch(section.label)
        if highlight is None or not highlight.strip():
            closing += paragraphs
            continue
        size = 1 if section is sections[-1] else len(paragraphs)
        closing += paragraphs[size:]
        text = "\n".join(paragraphs[:size]) or "-"
        line = int(place[1]) if place else None
        span, severity = anchor(highlight, answer, line), cast("Severity | None", place and place[2])
        comments.append(Comment(highlight=highlight, text=text, span=span, line=line, severity=severity))
    return Critique(comments=tuple(comments), closing="\n\n".join(closing))


def strip_closing(text: str) -> str:
    """Drop the last paragraph if it holds no highlight: the closing remark (CriticGPT, appendix 7.1)."""
    sections = _sections(text)
    if not sections or sections[-1].highlight is None:
        return ""
    prose = sections[-1].prose
    paragraphs = _paragraphs(prose)
    if len(paragraphs) < 2:
        return text.rstrip()
    return text[: text.rindex(prose)].rstrip("\n") + "\n" + "\n\n".join(paragraphs[:-1])


def lines_of(span: Span, answer: str) -> range:
    """Return the zero-based numbers of the lines that `span` touches in `answer`."""
    first = answer.count("\n", 0, span.start)
    last = answer.count("\n", 0, max(span.start, span.end - 1))
    return range(first, last + 1)


class _Section(NamedTuple):
    """A highlight, what stood beside its opening fence, and the prose after it; before the first there is none."""

    highlight: str | None
    label: str
    prose: str


def _sections(text: str) -> list[_Section]:
    """Cut a critique into sections; the one without a highlight is left out if blank."""
    quotes: list[tuple[str | None, str]] = [(None, "")]
    proses: list[list[str]] = [[]]
    fence: re.Match[str] | None = None
    quote: list[str] = []
    for line in [*text.split("\n"), None]:
        if fence is not None and (line is None or line.strip() == fence[1]):
            quotes.append((_trim_newlines(quote), fence[2]))
            proses.append([])
            fence, quote = None, []
        elif line is None:
            break
        elif fence is not None:
            quote.append(line)
        elif opening := _OPENING.fullmatch(line):
            fence = opening
        else:
            proses[-1].append(line)
    sections = [_Section(*quote, "\n".join(prose)) for quote, prose in zip(quotes, proses, strict=True)]
    return sections if sections[0].prose.strip() else sections[1:]


def _trim_newlines(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n")


def fence_for(text: str) -> str:
    """Return a fence that a text does not end itself."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return "`" * max(3, longest + 1)


def _paragraphs(prose: str) -> list[str]:
    return [paragraph.strip() for paragraph in _BLANK_LINES.split(prose) if paragraph.strip()]


def _find_on_line(highlight: str, answer: str, line: int) -> int:
    """Return where a highlight starts on a line, from 1, or else where it stands if that is one place; else -1."""
    lines = answer.split("\n")
    if line <= len(lines):
        start = sum(len(before) + 1 for before in lines[: line - 1])
        if (place := answer.find(highlight, start, start + len(lines[line - 1]) + len(highlight))) >= 0:
            return place
    first = answer.find(highlight)
    return first if answer.find(highlight, first + 1) < 0 else -1


def _is_paragraph(text: str) -> bool:
    return (
        bool(text)
        and text == text.strip()
        and not _BLANK_LINES.search(text)
        and not any(_OPENING.fullmatch(line) for line in text.split("\n"))
    )
