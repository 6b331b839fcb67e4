"""What a model of this process may write when it is asked for comments: the JSON that was asked for, quotes verbatim.

The model chooses the number of a line, and its text follows from that; then a severity, and words of its own. It can
end the list wherever a comment may begin. So every answer can be read, and line and quote agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from momus.critique import Severity
from momus.errors import UnfitInputError
from momus.lm.constraint import State, Vocabulary
from momus.lm.token_set import TokenSet

MOST_COMMENTS = 12
LONGEST_TEXT = 600
"""Bytes of a comment's own words; then it has to end."""

_QUOTE, _SPACE = b'"'[0], 0x20
_ESCAPE = b"\\"[0]
_MARKS = b'"\\\x7f'
"""The bytes that do not stand for themselves in words, besides those below a space: one ends them, one escapes."""
_ESCAPED = b'"\\'
"""What may be escaped."""
_LINE = b'{"line": %d, "quote": %b, "severity": "'
_OPEN, _NOTHING, _CLOSE, _NEXT = b'{"comments": [', b'{"comments": []}', b"}]}", b"}, "


class CommentState(NamedTuple):
    """Where in the JSON we are.

    In "text", and in "escape" after a backslash in it, `size` counts the bytes of words so far; elsewhere `done` is
    what was written of one of the strings that may stand there. `used` are the lines quoted so far.
    """

    part: Literal["start", "severity", "text", "escape", "next", "end"] = "start"
    done: bytes = b""
    used: frozenset[int] = frozenset()
    size: int = 0


class JsonComments:
    """A constraint (`momus.lm.constraint.Constraint`): a JSON object with a list of comments on one answer.

    Args:
        answer: The text to quote from; each of its lines is quoted once at most.
        vocabulary: The bytes behind the tokens.
        ends: The tokens that end an answer of the model.
    """

    def __init__(self, answer: str, vocabulary: Vocabulary, ends: frozenset[int]) -> None:
        self._vocabulary, self._ends = vocabulary, ends
        self._lines = {
            number: _LINE % (number, json.dumps(line.strip(), ensure_ascii=False).encode())
            for number, line in enumerate(answer.split("\n"), 1)
            if line.strip()
        }
        self._severities = tuple(f'{severity}", "problem": "'.encode() for severity in get_args(Severity))
        self._allowed = lru_cache(maxsize=1024)(self._find_allowed)
        self._rests = lru_cache(maxsize=1024)(self._find_rests)

    def start(self) -> State:
        """Return the state before the first token."""
        return CommentState()

    def choice_log_odds(self, state: State) -> Sequence[float] | None:
        """Return None: nothing is chosen but by the model."""
        return None

    def choose(self, state: State, choice: int) -> State:
        """Return the state as it is."""
        return state

    def advance(self, state: State, token: int) -> State:
        """Return the state after a token.

        Raises:
            ValueError: The token was not allowed.
        """
        assert isinstance(state, CommentState)
        if state.part == "end" and token in self._ends:
            return state
        piece = self._vocabulary.pieces[token]
        after = self._read(state, piece) if piece else None
        if after is None:
            raise ValueError(f"token {token} is not allowed here")
        return after

    def allowed(self, state: State) -> TokenSet:
        """Return the tokens that may come next."""
        assert isinstance(state, CommentState)
        size = 0 if not state.size else LONGEST_TEXT if state.size >= LONGEST_TEXT else 1  # as much as matters
        return self._allowed(state._replace(size=size))

    def _find_allowed(self, state: CommentState) -> TokenSet:
        size, pieces = len(self._vocabulary), self._vocabulary.pieces
        if state.part == "end":
            return TokenSet(self._ends, size)
        marked, silent = _marked_tokens(self._vocabulary)
        if state.part == "text" and state.size < LONGEST_TEXT:
            banned = [token for token in marked if self._read(state, pieces[token] or b"") is None]
            return TokenSet([*banned, *silent], size, excluded=True)
        rests = self._rests(state)
        short = tuple(rest for rest in rests if len(rest) < self._vocabulary.longest) or (() if rests else (b'"',))
        crossing = [token for token in marked if (pieces[token] or b"").startswith(short)] if short else []
        legal = {token for token in crossing if self._read(state, pieces[token] or b"") is not None}
        for rest in rests:
            for stop in range(1, min(len(rest), self._vocabulary.longest) + 1):
                legal.update(self._vocabulary.by_piece.get(rest[:stop], ()))
        if not legal:
            raise UnfitInputError("the tokenizer has no token for a character of the answer: it cannot be quoted")
        return TokenSet(legal, size)

    def _find_rests(self, state: CommentState) -> dict[bytes, CommentState]:
        """Return what may follow of the strings that may stand here, each with the state after it."""
        options: dict[bytes, CommentState] = {}
        if state.part == "escape":
            options = {bytes([byte]): state._replace(part="text", size=state.size + 1) for byte in _ESCAPED}
        elif state.part == "severity":
            options = {severity: CommentState("text", used=state.used) for severity in self._severities}
        elif state.part in ("start", "next"):
            before, ending = (_OPEN, _NOTHING) if state.part == "start" else (_NEXT, _CLOSE)
            options[ending] = CommentState("end")
            for number, text in self._lines.items():
                if number not in state.used and len(state.used) < MOST_COMMENTS:
                    options[before + text] = CommentState("severity", used=state.used | {number})
        done = state.done
        return {option[len(done) :]: after for option, after in options.items() if option.startswith(done)}

    def _read(self, state: CommentState, text: bytes) -> CommentState | None:
        """Return the state after some bytes, or None where they are not allowed."""
        while text:
            if state.part == "text":
                size = next((i for i, byte in enumerate(text) if byte in _MARKS or byte < _SPACE), len(text))
                state = state._replace(size=state.size + size)
                if size == len(text):
                    return state if state.size < LONGEST_TEXT + size else None
                if text[size] == _ESCAPE and state.size < LONGEST_TEXT:
                    state, text = state._replace(part="escape"), text[size + 1 :]
                    continue
                if text[size] != _QUOTE or not state.size:
                    return None
                state, text = CommentState("next", used=state.used), text[size + 1 :]
                continue
            rests = self._rests(state)
            whole = next((rest for rest in rests if text.startswith(rest)), None)
            if whole is not None:
                state, text = rests[whole], text[len(whole) :]
            elif any(rest.startswith(text) for rest in rests):
                return state._replace(done=state.done + text)
            else:
                return None
        return state


@lru_cache(maxsize=4)
def _marked_tokens(vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens that may end a string and go on or are not allowed in a text, and those that are no text."""
    marks = {*_MARKS, *b"}"}
    marked = (t for t, piece in enumerate(vocabulary.pieces) if piece and (marks & {*piece} or min(piece) < _SPACE))
    return tuple(marked), tuple(token for token, piece in enumerate(vocabulary.pieces) if not piece)
