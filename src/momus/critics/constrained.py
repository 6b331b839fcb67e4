"""What a model of this process may write when it is asked for comments: the JSON that was asked for, quotes verbatim.

The model, or a pointer where there is one, chooses the number of a line, and its text follows from that; then a
severity, and words of its own. It can end the list wherever a comment may begin. So every answer can be read, and line
and quote agree.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from momus.critics.reading import read_entries
from momus.critique import Critique, Severity
from momus.errors import UnfitInputError
from momus.lm.constraint import Constraint, State, Vocabulary
from momus.lm.json_form import FormState, JsonForm
from momus.search.result import EncodedTask

MOST_COMMENTS = 12

_LINE = b'{"line": %d, "quote": %b, "severity": "'
_PROBLEM = b'", "problem": "'
_OPEN, _NOTHING, _CLOSE, _NEXT = b'{"comments": [', b'{"comments": []}', b"}]}", b"}, "
"""What ends a comment or the list comes after the quotation mark that ends its words."""


class CommentPlace(NamedTuple):
    """Where in the list we are.

    Attributes:
        part: What comes next: the list, a severity, words, or another comment or the end.
        used: The lines quoted so far.
        forced: Whether a comment must come next.
        chosen: The line that it must quote, where that was chosen.
    """

    part: Literal["start", "severity", "text", "next"] = "start"
    used: frozenset[int] = frozenset()
    forced: bool = False
    chosen: int | None = None


class JsonComments(JsonForm):
    """A constraint (`momus.lm.constraint.Constraint`): a JSON object with a list of comments on one answer.

    Args:
        answer: The text to quote from; each of its lines is quoted once at most, unless all were and one is forced.
        vocabulary: The bytes behind the tokens.
        ends: The tokens that end an answer of the model.
        after: The lines quoted by comments that are already in the prefix, which ends in a comma; None where the object
            is yet to begin.
        forced: Whether a comment must come next; after others one must in any case.
        line_log_odds: The logarithm of the odds of every line of the answer, by which lines are then drawn; None leaves
            that to the model.

    Raises:
        UnfitInputError: A comment is forced, and there is no line.
    """

    def __init__(
        self,
        answer: str,
        vocabulary: Vocabulary,
        ends: frozenset[int],
        *,
        after: Sequence[int] | None = None,
        forced: bool = False,
        line_log_odds: Sequence[float] | None = None,
    ) -> None:
        super().__init__(vocabulary, ends)
        self._lines, self._log_odds = _beginnings(answer), line_log_odds
        self._severities = tuple(severity.encode() + _PROBLEM for severity in get_args(Severity))
        if (forced or after is not None) and not self._lines:
            raise UnfitInputError("no comment can be forced on an answer without lines")
        self._start = FormState(CommentPlace(forced=forced))
        if after is not None:
            self._start = FormState(CommentPlace("next", frozenset(after), forced=True), done=_NEXT.rstrip())

    def start(self) -> State:
        """Return the state after what is in the prefix."""
        return self._start

    def beginning(self) -> Hashable:
        """Return the place before the list."""
        return CommentPlace()

    def options(self, place: Hashable) -> Mapping[bytes, FormState]:
        """Return what may stand at a place: the end of the list, or a comment on a line not quoted yet."""
        assert isinstance(place, CommentPlace)
        if place.part == "severity":
            return {severity: FormState(place._replace(part="text"), "text") for severity in self._severities}
        before, ending = _around(place)
        options = {} if place.forced else {ending: FormState(place, "end")}
        for number in self._open(place):
            options[before + self._lines[number]] = FormState(CommentPlace("severity", place.used | {number}))
        return options

    def choice_log_odds(self, state: State) -> Sequence[float] | None:
        """Return those of the lines that a comment which has begun can quote, where lines have odds."""
        numbers = self._choices(state)
        return None if self._log_odds is None or not numbers else [self._log_odds[number - 1] for number in numbers]

    def choose(self, state: State, choice: int) -> State:
        """Return the state in which the comment is to quote one of those lines."""
        assert isinstance(state, FormState) and isinstance(state.place, CommentPlace)
        return state._replace(place=state.place._replace(chosen=self._choices(state)[choice]))

    def _choices(self, state: State) -> list[int]:
        """Return the lines that a comment can still quote; none where it has not begun, or that is chosen."""
        assert isinstance(state, FormState) and isinstance(state.place, CommentPlace)
        place = state.place
        if state.part != "form" or place.part == "severity" or place.chosen is not None:
            return []
        before, ending = _around(place)
        if not place.forced and ending.startswith(state.done):
            return []
        return [number for number in self._open(place) if (before + self._lines[number]).startswith(state.done)]

    def _open(self, place: CommentPlace) -> Sequence[int]:
        """Return the lines that a comment may be about."""
        if place.chosen is not None:
            return [place.chosen]
        unused = [number for number in self._lines if number not in place.used]
        if place.forced:
            return unused or list(self._lines)
        return unused if len(place.used) < MOST_COMMENTS else []

    def after_text(self, place: Hashable) -> Hashable:
        """Return the place after a comment."""
        assert isinstance(place, CommentPlace)
        return place._replace(part="next")


def _around(place: CommentPlace) -> tuple[bytes, bytes]:
    """Return what stands before a comment that begins at a place, and what ends the object there."""
    return (_OPEN, _NOTHING) if place.part == "start" else (_NEXT, _CLOSE)


class JsonCritiques:
    """How models that chat write critiques (`momus.search.form.CritiqueForm`): as the JSON that they are asked for.

    Args:
        ends: The tokens that end an answer of the model.
    """

    nothing = _NOTHING.decode()

    def __init__(self, ends: frozenset[int]) -> None:
        self._ends, self.stop_tokens = ends, tuple(sorted(ends))

    def force_highlight(self, critique: str) -> str:
        """Append the comma after which a comment follows; the first one is for the constraint to force."""
        return f"{critique}," if critique else ""

    def strip_end(self, critique: str) -> str:
        """Strip what ends the list, and a comment that the length limit left unfinished."""
        return critique[: _whole_comments(critique)[1]]

    def constrain(
        self, task: EncodedTask, vocabulary: Vocabulary, written: str = "", highlight: bool = False
    ) -> Constraint:
        """Keep to the form, quotes verbatim, and force a comment where one must come next."""
        comments, end = _whole_comments(written)
        return JsonComments(
            task.answer,
            vocabulary,
            self._ends,
            after=[comment["line"] for comment in comments] if end else None,
            forced=highlight,
            line_log_odds=task.line_log_odds,
        )

    def read(self, text: str, answer: str) -> Critique:
        """Read comments; of what was cut off, those that are whole."""
        return read_entries(_whole_comments(text)[0], answer)


def _whole_comments(critique: str) -> tuple[list[dict[str, Any]], int]:
    """Return the comments that are written to their ends, and where the last of them ends; 0 without any."""
    comments: list[dict[str, Any]] = []
    end, place = 0, len(_OPEN)
    while True:
        try:
            comment, end = json.JSONDecoder().raw_decode(critique, place)
        except ValueError:
            return comments, end
        comments.append(comment)
        place = end + len(_NEXT) - 1


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
