"""Critiques: the text format, both ways, anchored to the answer.

A critique is an ordered list of comments on one answer, each a *highlight* (a verbatim quote in a fence) and
a text, and optionally a closing remark (CriticGPT, arXiv 2407.00215, section 2.1)::

    ```
    for i in range(n):
    ```
    This should be `range(1, n)`: the first row is a header.

    Everything else looks right.

The same text is what people write, what models generate and what the reward model reads. Rules that make
parsing and formatting inverse of each other:

* a highlight is any non-blank text that does not start or end with a newline; its fence is as long as it
  needs to be (three backticks, or one more than the longest run inside);
* a comment's text is one non-blank paragraph (no blank line, no line that looks like a fence);
* paragraphs after the last comment's first one are the closing remark.

A highlight is anchored to its first occurrence in the answer. One that does not occur there is kept, without
a span, as *unanchored*: it is counted and shown, never guessed at.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

FENCE = "```"
NO_PROBLEMS = "No problems found."

_OPENING = re.compile(r"\s*(`{3,})[\w+-]*\s*")
_BLANK_LINES = re.compile(r"\n[ \t]*\n")


class Span(NamedTuple):
    """A half-open range `[start, end)` of character offsets into an answer."""

    start: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """Whether the two ranges share at least one character."""
        return self.start < other.end and other.start < self.end


class Comment(BaseModel):
    """One highlight and what is said about it.

    `span` is where the highlight stands in the answer, or None when it does not occur there (unanchored) or
    when no answer was given to anchor to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    highlight: str
    text: str
    span: Span | None = None

    @model_validator(mode="after")
    def _legal(self) -> Comment:
        if not self.highlight.strip():
            raise ValueError("a highlight must not be blank")
        if self.highlight.startswith("\n") or self.highlight.endswith("\n"):
            raise ValueError("a highlight must not start or end with a newline")
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


def anchor(highlight: str, answer: str) -> Span | None:
    """Return the first place where `highlight` stands verbatim in `answer`, or None."""
    start = answer.find(highlight)
    return None if start < 0 else Span(start, start + len(highlight))


def format_critique(critique: Critique) -> str:
    """Write a critique as text; `parse_critique` is its inverse."""
    blocks = []
    for comment in critique.comments:
        fence = _fence_for(comment.highlight)
        blocks.append(f"{fence}\n{comment.highlight}\n{fence}\n{comment.text}")
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
    for number, (highlight, prose) in enumerate(sections):
        paragraphs = [p for p in map(_clean, _BLANK_LINES.split(prose)) if p]
        if highlight is None or not highlight.strip():
            closing += paragraphs
            continue
        if number == len(sections) - 1:
            said, rest = paragraphs[:1], paragraphs[1:]
        else:
            said, rest = paragraphs, []
        closing += rest
        comments.append(Comment(highlight=highlight, text="\n".join(said) or "-", span=anchor(highlight, answer)))
    return Critique(comments=tuple(comments), closing="\n\n".join(closing))


def strip_closing(text: str) -> str:
    """Drop the last paragraph if it holds no highlight: the closing remark (CriticGPT, appendix 7.1)."""
    sections = _sections(text)
    if not sections or sections[-1][0] is None:
        return ""
    prose = sections[-1][1]
    paragraphs = [p for p in map(_clean, _BLANK_LINES.split(prose)) if p]
    if len(paragraphs) < 2:
        return text.rstrip()
    return text[: text.rindex(prose)].rstrip("\n") + "\n" + "\n\n".join(paragraphs[:-1])


def lines_of(span: Span, answer: str) -> range:
    """Return the zero-based numbers of the lines that `span` touches in `answer`."""
    first = answer.count("\n", 0, span.start)
    last = answer.count("\n", 0, max(span.start, span.end - 1))
    return range(first, last + 1)


def _sections(text: str) -> list[tuple[str | None, str]]:
    """Cut a critique into (highlight, prose after it); the first has none and is left out if blank."""
    sections: list[tuple[str | None, list[str]]] = [(None, [])]
    fence: str | None = None
    quote: list[str] = []
    for line in text.split("\n"):
        if fence is not None:
            if line.strip() == fence:
                sections.append((_trim_newlines(quote), []))
                fence, quote = None, []
            else:
                quote.append(line)
        elif opening := _OPENING.fullmatch(line):
            fence = opening[1]
        else:
            sections[-1][1].append(line)
    if fence is not None:
        sections.append((_trim_newlines(quote), []))
    cut = [(highlight, "\n".join(prose)) for highlight, prose in sections]
    return cut if cut[0][1].strip() else cut[1:]


def _trim_newlines(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n")


def _fence_for(highlight: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", highlight)), default=0)
    return "`" * max(3, longest + 1)


def _clean(paragraph: str) -> str:
    return paragraph.strip()


def _is_paragraph(text: str) -> bool:
    return (
        bool(text)
        and text == text.strip()
        and not _BLANK_LINES.search(text)
        and not any(_OPENING.fullmatch(line) for line in text.split("\n"))
    )
