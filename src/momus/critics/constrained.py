"""What a model of this process may write when it is asked for comments: the JSON that was asked for, quotes verbatim.

The model chooses the number of a line, and its text follows from that; then a severity, and words of its own. It can
end the list wherever a comment may begin. So every answer can be read, and line and quote agree.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Literal, NamedTuple, get_args

from momus.critique import Severity
from momus.lm.constraint import Vocabulary
from momus.lm.json_form import FormState, JsonForm

MOST_COMMENTS = 12

_LINE = b'{"line": %d, "quote": %b, "severity": "'
_PROBLEM = b'", "problem": "'
_OPEN, _NOTHING, _CLOSE, _NEXT = b'{"comments": [', b'{"comments": []}', b"}]}", b"}, "
"""What ends a comment or the list comes after the quotation mark that ends its words."""


class CommentPlace(NamedTuple):
    """Where in the list we are; `used` are the lines quoted so far."""

    part: Literal["start", "severity", "text", "next"] = "start"
    used: frozenset[int] = frozenset()


class JsonComments(JsonForm):
    """A constraint (`momus.lm.constraint.Constraint`): a JSON object with a list of comments on one answer.

    Args:
        answer: The text to quote from; each of its lines is quoted once at most.
        vocabulary: The bytes behind the tokens.
        ends: The tokens that end an answer of the model.
    """

    def __init__(self, answer: str, vocabulary: Vocabulary, ends: frozenset[int]) -> None:
        super().__init__(vocabulary, ends)
        self._lines = _beginnings(answer)
        self._severities = tuple(severity.encode() + _PROBLEM for severity in get_args(Severity))

    def beginning(self) -> Hashable:
        """Return the place before the list."""
        return CommentPlace()

    def options(self, place: Hashable) -> Mapping[bytes, FormState]:
        """Return what may stand at a place: the end of the list, or a comment on a line not quoted yet."""
        assert isinstance(place, CommentPlace)
        if place.part == "severity":
            return {severity: FormState(place._replace(part="text"), "text") for severity in self._severities}
        before, ending = (_OPEN, _NOTHING) if place.part == "start" else (_NEXT, _CLOSE)
        options = {ending: FormState(place, "end")}
        for number, text in self._lines.items():
            if number not in place.used and len(place.used) < MOST_COMMENTS:
                options[before + text] = FormState(CommentPlace("severity", place.used | {number}))
        return options

    def after_text(self, place: Hashable) -> Hashable:
        """Return the place after a comment."""
        assert isinstance(place, CommentPlace)
        return place._replace(part="next")


def comments_grammar(answer: str) -> str:
    """Return a grammar in llama.cpp's form (GBNF) of what `JsonComments` allows, for servers that keep to one.

    That a line is quoted once at most no grammar of this size can say, and it counts characters where that one counts
    bytes.
    """
    lines = [*map(_literal, _beginnings(answer).values())]
    nothing, opened, closed, following = map(_literal, (_NOTHING, _OPEN, b'"' + _CLOSE, b'"' + _NEXT))
    if not lines:
        return f"root ::= {nothing}"
    rules = {
        "root": f"{nothing} | {opened} comment ({following} comment){{0,{MOST_COMMENTS - 1}}} {closed}",
        "comment": f"line severity {_literal(_PROBLEM)} text",
        "line": " | ".join(lines),
        "severity": " | ".join(_literal(severity.encode()) for severity in get_args(Severity)),
        "text": f"character{{1,{JsonComments.longest_text}}}",
        "character": r"""[^"\\\x7F\x00-\x1F] | "\\" ["\\]""",
    }
    return "\n".join(f"{name} ::= {rule}" for name, rule in rules.items())


def _beginnings(answer: str) -> dict[int, bytes]:
    """Return how a comment on a line begins, by the line's number; lines of white space have none."""
    return {
        number: _LINE % (number, json.dumps(line.strip(), ensure_ascii=False).encode())
        for number, line in enumerate(answer.split("\n"), 1)
        if line.strip()
    }


def _literal(text: bytes) -> str:
    """Return a text as it stands in a grammar."""
    return '"' + text.decode().replace("\\", r"\\").replace('"', r"\"") + '"'
