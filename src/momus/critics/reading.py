"""Reading the comments that a prompted model answers: leniently in form, strictly about what is quoted and where.

A comment counts where its quote stands on the line that it names, or, where these do not agree, in one place only.
Else it is kept without a place, and so dropped and counted. Indentation aside, a quote is verbatim or nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from momus.critique import NO_PROBLEMS, Comment, Critique, Severity, Span, anchor, lines_of
from momus.lm.chats.protocol import without_thinking
from momus.lm.chats.reading import json_values

MOST_COMMENTS = 50
"""Comments read of one answer: a model that repeats itself writes more."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "comments": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "line": {"type": "integer"},
                    "quote": {"type": "string"},
                    "severity": {"type": "string", "enum": ["error", "warning", "note"]},
                    "problem": {"type": "string"},
                },
                "required": ["line", "quote", "severity", "problem"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["comments"],
    "additionalProperties": False,
}
"""The JSON that is asked for."""

_LINE = ("line", "line_number", "lineno", "line_no")
_QUOTE = ("quote", "code", "snippet", "highlight")
_TEXT = ("problem", "comment", "text", "message", "description", "issue")
_SEVERITIES: Mapping[str, Severity] = {
    **dict.fromkeys(("error", "critical", "high", "blocker", "fatal", "major"), "error"),
    **dict.fromkeys(("warning", "warn", "medium", "moderate"), "warning"),
    **dict.fromkeys(("note", "info", "low", "minor", "suggestion", "hint"), "note"),
}
_NUMBER = re.compile(r"\s*[0-9]{1,6}\s?[|:] ?")
_NOTHING = re.compile(r"\bno (problems?|issues?|bugs?|errors?)\b", re.IGNORECASE)
_UNWRITABLE = re.compile(r"`{3,}|[\x00-\x08\x0e-\x1f\x7f]")


def read_comments(text: str, answer: str) -> Critique | None:
    """Read a model's answer as a critique of `answer`; None where it is not one in any form."""
    values = list(json_values(text))
    entries = list(_entries(values))
    if entries or any(_lists_nothing(value) for value in values):
        return read_entries(entries, answer)
    words = without_thinking(text).strip()
    return Critique() if words == NO_PROBLEMS or (not values and len(words) < 200 and _NOTHING.search(words)) else None


def read_entries(entries: Sequence[Mapping[str, Any]], answer: str) -> Critique:
    """Read comments, each an object with a line, a quote and words, as a critique of an answer."""
    comments = [c for entry in entries[:MOST_COMMENTS] if (c := _read_comment(entry, answer)) is not None]
    return Critique(comments=tuple(dict.fromkeys(comments)))


def write_comments(critique: Critique, answer: str) -> str:
    """Return the JSON that a model would have answered, as `read_comments` reads it.

    Comments without a place are left out. A comment quotes the line that it starts on, whole and without its
    indentation, as models under the constraint do.
    """
    lines, entries = answer.split("\n"), []
    for comment in critique.anchored:
        assert comment.span is not None
        number = lines_of(comment.span, answer)[0]
        severity, words = comment.severity or "error", " ".join(comment.text.split())
        entries.append({"line": number + 1, "quote": lines[number].strip(), "severity": severity, "problem": words})
    return json.dumps({"comments": entries}, ensure_ascii=False)


def place_quote(quote: str, answer: str, line: int | None = None) -> Span | None:
    """Return where a quote stands in an answer, its lines' indentation aside; None where that is not clear.

    Args:
        quote: What a model gave for a part of the answer.
        answer: The answer.
        line: The number, from 1, of the line that it starts on, as the model says.
    """
    wanted = [part.strip() for part in quote.strip().split("\n")]
    lines = answer.split("\n")
    starts = [i for i in range(len(lines) - len(wanted) + 1) if _same(lines[i : i + len(wanted)], wanted)]
    if line is not None and line - 1 in starts:
        starts = [line - 1]
    if len(starts) == 1:
        return _span_of(lines, starts[0], len(wanted))
    if len(wanted) > 1 or starts:
        return None
    if line is not None:
        return anchor(wanted[0], answer, line)
    return anchor(wanted[0], answer) if answer.count(wanted[0]) == 1 else None


def move_comments(critique: Critique, shown: str, answer: str) -> Critique:
    """Return a critique of a copy as one of the answer, whose lines have the same numbers and more in them.

    A comment quotes the same of the answer, or all of its lines where they are typed otherwise there.
    """
    lines = answer.split("\n")
    return critique.model_copy(update={"comments": tuple(_move(c, shown, answer, lines) for c in critique.comments)})


def _move(comment: Comment, shown: str, answer: str, lines: list[str]) -> Comment:
    if comment.span is None:
        return comment
    numbers = lines_of(comment.span, shown)
    span = _span_of(lines, numbers.start, len(numbers))
    if len(numbers) == 1 and (place := answer.find(comment.highlight, span.start, span.end)) >= 0:
        span = Span(place, place + len(comment.highlight))
    return comment.model_copy(update={"highlight": answer[span.start : span.end], "span": span})


def _entries(values: list[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the comments in JSON values: in a list by any name, in a list alone, or one by one."""
    for value in values:
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, dict))
        elif isinstance(value, dict):
            lists = [item for item in value.values() if isinstance(item, list)]
            if _first(value, _QUOTE) is not None or _first(value, _TEXT) is not None:
                yield value
            elif lists:
                yield from _entries(lists[:1])


def _lists_nothing(value: Any) -> bool:
    return value == [] or (isinstance(value, dict) and [] in value.values())


def _read_comment(entry: Mapping[str, Any], answer: str) -> Comment | None:
    """Read one comment; None where it has no quote or no text, without a place where that is not clear."""
    quote, text, line = _first(entry, _QUOTE), _first(entry, _TEXT), _number(_first(entry, _LINE))
    if not isinstance(quote, str) or not isinstance(text, str) or not quote.strip() or not text.strip():
        return None
    span = next((s for form in _forms(quote) if (s := place_quote(form, answer, line))), None)
    severity = _SEVERITIES.get(str(entry.get("severity") or entry.get("level") or "").strip().lower())
    words = _UNWRITABLE.sub(" ", " ".join(text.split())).strip()
    try:
        if span is None:
            return Comment(highlight=_UNWRITABLE.sub(" ", quote).strip(), text=words)
        place = answer.count("\n", 0, span.start) + 1
        return Comment(highlight=answer[span.start : span.end], text=words, span=span, line=place, severity=severity)
    except ValidationError:  # nothing is left of it, or the line quoted is a fence
        return None


def _forms(quote: str) -> Iterator[str]:
    """Yield a quote as it is, then without numbers before its lines, then without backticks around it."""
    yield quote
    yield "\n".join(part[number.end() :] if (number := _NUMBER.match(part)) else part for part in quote.split("\n"))
    if (bare := quote.strip().strip("`").strip()) and bare != quote.strip():
        yield bare


def _same(lines: list[str], wanted: list[str]) -> bool:
    return all(line.strip() == part for line, part in zip(lines, wanted, strict=True))


def _span_of(lines: list[str], first: int, count: int) -> Span:
    start = sum(len(line) + 1 for line in lines[:first])
    text = "\n".join(lines[first : first + count])
    return Span(start + len(text) - len(text.lstrip()), start + len(text.rstrip()))


def _first(entry: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((entry[name] for name in names if entry.get(name) is not None), None)


def _number(value: Any) -> int | None:
    """Read the number of a line: 12, "12", "L12", "12-14"; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    match = re.match(r"\s*(?:(?:line|l)\s*)?([0-9]{1,8})\b", str(value), re.IGNORECASE)
    number = int(match[1]) if match and not isinstance(value, float) else 0
    return number or None
