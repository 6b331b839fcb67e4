"""What a model of this process may write where JSON of one form is asked for: fixed strings, and texts of its own.

A form is a state machine over places. At a place some strings may stand, each leading to another place, to a text in
the model's own words, or to the end; after a text comes a place again. So every answer can be read, and whatever has to
be verbatim is one of the strings.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from momus.errors import UnfitInputError
from momus.lm.constraint import State, Vocabulary
from momus.lm.token_set import TokenSet

_QUOTE, _SPACE = b'"'[0], 0x20
_ESCAPE = b"\\"[0]
_MARKS = b'"\\\x7f'
"""The bytes that do not stand for themselves in words, besides those below a space: one ends them, one escapes."""
_ESCAPED = b'"\\'
"""What may be escaped."""


class FormState(NamedTuple):
    """Where in the JSON we are.

    In "text", and in "escape" after a backslash in it, `size` counts the bytes of words so far; in "form" `done` is
    what was written of one of the strings that may stand at the place.
    """

    place: Hashable
    part: Literal["form", "text", "escape", "end"] = "form"
    done: bytes = b""
    size: int = 0


class JsonForm:
    """A constraint (`momus.lm.constraint.Constraint`): JSON of one form; what that is, its kinds say.

    Args:
        vocabulary: The bytes behind the tokens.
        ends: The tokens that end an answer of the model.
    """

    longest_text = 600
    """Bytes of one text; then it has to end."""
    opening: frozenset[int] = frozenset()
    """The bytes that a text may begin with; any, where there are none."""

    def __init__(self, vocabulary: Vocabulary, ends: frozenset[int]) -> None:
        self._vocabulary, self._ends = vocabulary, ends
        self._allowed = lru_cache(maxsize=1024)(self._find_allowed)
        self._rests = lru_cache(maxsize=1024)(self._find_rests)

    def beginning(self) -> Hashable:
        """Return the first place."""
        raise NotImplementedError

    def options(self, place: Hashable) -> Mapping[bytes, FormState]:
        """Return the strings that may stand at a place, none the beginning of another, and the state after each."""
        raise NotImplementedError

    def after_text(self, place: Hashable) -> Hashable:
        """Return the place after a text that stood at a place, and its closing quotation mark."""
        raise NotImplementedError

    def start(self) -> State:
        """Return the state before the first token."""
        return FormState(self.beginning())

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
        assert isinstance(state, FormState)
        if state.part == "end" and token in self._ends:
            return state
        piece = self._vocabulary.pieces[token]
        after = self._read(state, piece) if piece else None
        if after is None:
            raise ValueError(f"token {token} is not allowed here")
        return after

    def allowed(self, state: State) -> TokenSet:
        """Return the tokens that may come next."""
        assert isinstance(state, FormState)
        size, longest = state.size, self.longest_text
        if size >= longest:
            size = longest
        elif size and size + _longest_marked(self._vocabulary) < longest:
            size = 1  # as much as matters: no token reaches the limit
        return self._allowed(state._replace(size=size))

    def _find_allowed(self, state: FormState) -> TokenSet:
        size, pieces = len(self._vocabulary), self._vocabulary.pieces
        if state.part == "end":
            return TokenSet(self._ends, size)
        if state.part == "text" and not state.size and self.opening:
            legal = {t for t, piece in enumerate(pieces) if piece and self._read(state, piece) is not None}
            return self._tokens(legal)
        marked, silent = _marked_tokens(self._vocabulary)
        if state.part == "text" and state.size < self.longest_text:
            banned = [token for token in marked if self._read(state, pieces[token] or b"") is None]
            return TokenSet([*banned, *silent], size, excluded=True)
        rests = self._rests(state)
        short = tuple(rest for rest in rests if len(rest) < self._vocabulary.longest) or (() if rests else (b'"',))
        crossing = [token for token in marked if (pieces[token] or b"").startswith(short)] if short else []
        legal = {token for token in crossing if self._read(state, pieces[token] or b"") is not None}
        for rest in rests:
            for stop in range(1, min(len(rest), self._vocabulary.longest) + 1):
                legal.update(self._vocabulary.by_piece.get(rest[:stop], ()))
        return self._tokens(legal)

    def _tokens(self, legal: set[int]) -> TokenSet:
        if not legal:
            raise UnfitInputError("the tokenizer has no token for a character that has to be written")
        return TokenSet(legal, len(self._vocabulary))

    def _find_rests(self, state: FormState) -> dict[bytes, FormState]:
        """Return what may follow of the strings that may stand here, each with the state after it."""
        if state.part == "escape":
            return {bytes([byte]): state._replace(part="text", size=state.size + 1) for byte in _ESCAPED}
        if state.part != "form":
            return {}
        done = state.done
        options = self.options(state.place)
        return {option[len(done) :]: after for option, after in options.items() if option.startswith(done)}

    def _read(self, state: FormState, text: bytes) -> FormState | None:
        """Return the state after some bytes, or None where they are not allowed."""
        while text:
            if state.part == "text":
                if not state.size and self.opening and text[0] not in self.opening:
                    return None
                size = next((i for i, byte in enumerate(text) if byte in _MARKS or byte < _SPACE), len(text))
                state = state._replace(size=state.size + size)
                if size == len(text):
                    return state if state.size < self.longest_text + size else None
                if text[size] == _ESCAPE and state.size < self.longest_text:
                    state, text = state._replace(part="escape"), text[size + 1 :]
                    continue
                if text[size] != _QUOTE or not state.size:
                    return None
                state, text = FormState(self.after_text(state.place)), text[size + 1 :]
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


@lru_cache(maxsize=4)
def _longest_marked(vocabulary: Vocabulary) -> int:
    """Return the length of the longest token, in bytes, that ends a text or has what is escaped."""
    return max((len(vocabulary.pieces[token] or b"") for token in _marked_tokens(vocabulary)[0]), default=0)
