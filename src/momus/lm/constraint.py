"""Constraints on what a model may write next, as pure state machines over tokens.

`VerbatimQuotes` makes the house's first promise true while a critique is being written: whatever closes as a
highlight is a verbatim line of the answer. It works on the bytes that tokens stand for, so it holds for any
tokenizer, however that one merges newlines, fences and code.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

from momus.critique import FENCE, Span, quotable
from momus.errors import UnfitInputError, UserError

State = Hashable

_TICK, _NEWLINE = b"`"[0], b"\n"[0]
_IN_LINE = -1
_CLOSE = f"\n{FENCE}\n".encode()


class Constraint(Protocol):
    """Which tokens may come next: a pure state machine, so samples can be forked and replayed."""

    def start(self) -> State:
        """Return the state before the first token."""

    def allowed(self, state: State) -> Sequence[int] | None:
        """Return the tokens allowed in a state, at least one, or None for all."""

    def choice_log_odds(self, state: State) -> Sequence[float] | None:
        """Return the logarithms of the odds of what is to be chosen before the next token; None where nothing is."""

    def choose(self, state: State, choice: int) -> State:
        """Return the state after one of those was chosen."""

    def advance(self, state: State, token: int) -> State:
        """Return the state after an allowed token."""


class Vocabulary:
    """The bytes that each token stands for; None for special tokens, which stand for no text."""

    def __init__(self, pieces: Sequence[bytes | None]) -> None:
        self.pieces = tuple(pieces)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> Vocabulary:
        """Read a fast Hugging Face tokenizer: byte-level, or like SentencePiece with ▁ for a space.

        Raises:
            UserError: The tokenizer is not a fast one.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UserError(f"{type(tokenizer).__name__} cannot constrain what is written: use a fast tokenizer")
        settings = json.loads(backend.to_str())
        byte_level = '"ByteLevel"' in json.dumps([settings["pre_tokenizer"], settings["decoder"]])
        added = tokenizer.added_tokens_decoder
        special = set(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}
        pieces: list[bytes | None] = []
        for index, name in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))):
            if index in special or name is None:
                pieces.append(None)
            elif index in added:
                pieces.append(str(added[index].content).encode())
            else:
                pieces.append(_byte_level(name) if byte_level else _sentencepiece(name))
        return cls(pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def by_piece(self) -> dict[bytes, list[int]]:
        """The tokens that stand for given bytes."""
        index: dict[bytes, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            if piece:
                index.setdefault(piece, []).append(token)
        return index

    @cached_property
    def longest(self) -> int:
        """Length of the longest piece, in bytes."""
        return max(map(len, self.by_piece), default=0)

    @cached_property
    def with_newline(self) -> tuple[tuple[bytes, int], ...]:
        """The pieces with a newline, and their tokens: the only ones that can end a quote and go on."""
        return tuple((piece, token) for token, piece in enumerate(self.pieces) if piece and b"\n" in piece)

    @cached_property
    def breaking(self) -> tuple[int, ...]:
        """The tokens with a backtick in them: the only ones that can open a fence."""
        return tuple(token for token, piece in enumerate(self.pieces) if piece and _TICK in piece)


class QuoteState(NamedTuple):
    """Where in a critique we are.

    Outside a quote `quote` is None and `ticks` counts the backticks just written: 0, 1, 2, 3 where they began
    the line, -1, -2, -3 (none, one, two) elsewhere in it. Inside, `quote` is what was written after the
    opening fence, and `target` which target it is to be, where that was chosen. `used` numbers the targets
    quoted so far.
    """

    quote: bytes | None
    ticks: int
    used: frozenset[int]
    target: int | None = None


class VerbatimQuotes:
    """A critique may quote only lines of its answer, and (by default) each only once until all have been.

    What may be quoted is each line as gold critiques quote it (`critique.quotable`): without its indentation,
    and with the lines above it where it would otherwise be taken for an earlier one. Outside quotes
    everything is allowed except three backticks that are not a line of their own: they could be taken for a
    fence.
    """

    def __init__(
        self,
        answer: str,
        vocabulary: Vocabulary,
        *,
        written: str = "",
        distinct: bool = True,
        line_log_odds: Sequence[float] | None = None,
    ) -> None:
        """Prepare for one answer.

        Args:
            answer: The text to quote from.
            vocabulary: The bytes behind the tokens.
            written: The part of the critique that is already in the prefix; it may end in an open quote.
            distinct: Never quote the same lines twice before everything has been quoted once.
            line_log_odds: The logarithm of the odds of every line of the answer, by which quotes are then drawn
                (`lm/pointer.py`); None leaves that to the model.

        Raises:
            UserError: `written` breaks the rules itself, or opens a quote when nothing can be quoted.
        """
        self._vocabulary, self._distinct = vocabulary, distinct
        first: dict[str, int] = {}
        for number, text in quotable_texts(answer):
            first.setdefault(text, number)
        self.targets = tuple(first)
        self._scores = None if line_log_odds is None else [line_log_odds[number] for number in first.values()]
        self._endings = tuple(target.encode() + _CLOSE for target in self.targets)
        start = self._read(QuoteState(None, 0, frozenset()), written.encode())
        if start is None:
            what = "quotes what is not a line of the answer" if self.targets else "quotes an answer without lines"
            raise UnfitInputError(f"a constrained critique cannot start with text that {what}: {written[-60:]!r}")
        self._start: QuoteState = start
        self._allowed = lru_cache(maxsize=4096)(self._find_allowed)

    def start(self) -> State:
        """Return the state after `written`."""
        return self._start

    def allowed(self, state: State) -> Sequence[int] | None:
        """Return the tokens that keep every quote verbatim; None where all do."""
        assert isinstance(state, QuoteState)
        return self._allowed(state)

    def choice_log_odds(self, state: State) -> Sequence[float] | None:
        """Return those of the lines that a quote just opened can become, where lines have odds."""
        assert isinstance(state, QuoteState)
        if self._scores is None or state.quote is None or state.target is not None:
            return None
        return [self._scores[i] for i in self._rests(state)]

    def choose(self, state: State, choice: int) -> State:
        """Return the state in which the quote is to become one of those lines."""
        assert isinstance(state, QuoteState)
        return state._replace(target=list(self._rests(state))[choice])

    def advance(self, state: State, token: int) -> State:
        """Return the state after a token.

        Raises:
            ValueError: The token was not allowed.
        """
        assert isinstance(state, QuoteState)
        after = self._read(state, self._vocabulary.pieces[token] or b"")
        if after is None:
            raise ValueError(f"token {token} is not allowed here")
        return after

    def _find_allowed(self, state: QuoteState) -> Sequence[int] | None:
        if state.quote is None and state.ticks < 3:
            banned = {t for t in self._vocabulary.breaking if not self._legal(state, t)}
            return [t for t in range(len(self._vocabulary)) if t not in banned] if banned else None
        rests = list(self._rests(state).values()) if state.quote is not None else [b"\n"]
        ahead = self._vocabulary.longest + 1
        inside = {rest[:size] for rest in rests for size in range(1, min(len(rest), ahead))}
        index = self._vocabulary.by_piece
        tokens = {token for piece in inside & index.keys() for token in index[piece]}
        # A piece may also end a quote (or a fence) and go on: try those that could.
        ends = tuple(rest for rest in rests if len(rest) < ahead)
        across = (token for piece, token in self._vocabulary.with_newline if piece.startswith(ends))
        tokens.update(token for token in across if self._legal(state, token))
        if not tokens:
            what = "the tokenizer has no token for a character of the answer: quotes cannot be constrained"
            raise UnfitInputError(what)
        return sorted(tokens)

    def _legal(self, state: QuoteState, token: int) -> bool:
        return self._read(state, self._vocabulary.pieces[token] or b"") is not None

    def _rests(self, state: QuoteState) -> dict[int, bytes]:
        """What may still follow inside a quote, by target, up to and with the newline after its closing fence."""
        assert state.quote is not None
        done = len(state.quote)
        return {i: self._endings[i][done:] for i in self._open(state) if self._endings[i].startswith(state.quote)}

    def _open(self, state: QuoteState) -> Sequence[int]:
        if state.target is not None:
            return [state.target]
        everything = range(len(self._endings))
        if not self._distinct:
            return everything
        return [i for i in everything if i not in state.used] or everything

    def _read(self, state: QuoteState, text: bytes) -> QuoteState | None:
        """Return the state after some bytes, or None where they break the rules."""
        quote, ticks, used, target = state
        for byte in text:
            if quote is not None:
                quote += bytes([byte])
                now = QuoteState(quote, 0, used, target)
                live = [i for i in self._open(now) if self._endings[i].startswith(quote)]
                if not live:
                    return None
                if quote == self._endings[live[0]]:
                    quote, ticks, used, target = None, 0, used | {live[0]}, None
            elif byte == _NEWLINE:
                quote, ticks = (b"", 0) if ticks == 3 else (None, 0)
            elif ticks == 3:
                return None
            elif byte == _TICK:
                ticks += 1 if ticks >= 0 else -1
                if ticks < -3 or (ticks == 3 and not self._endings):
                    return None
            else:
                ticks = _IN_LINE
        return QuoteState(quote, ticks, used, target)


def quotable_texts(answer: str) -> Iterator[tuple[int, str]]:
    """Yield every line of an answer, from 0, the way a critique quotes it, but blank lines and those with a fence."""
    offset = 0
    for number, line in enumerate(answer.split("\n")):
        if line.strip():
            span = quotable(Span(offset, offset + len(line)), answer)
            text = answer[span.start : span.end]
            if FENCE not in text:
                yield number, text
        offset += len(line) + 1


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """The characters with which byte-level BPE writes the 256 bytes: printable ones as themselves."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(rest)}


def _byte_level(name: str) -> bytes:
    alphabet = _byte_alphabet()
    return bytes(alphabet[c] for c in name) if all(c in alphabet for c in name) else name.encode()


def _sentencepiece(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace("▁", " ").encode()
