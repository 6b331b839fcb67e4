"""Constraints on what a model may write next, as pure state machines over tokens.

`VerbatimQuotes` makes the house's first promise true while a critique is being written: whatever closes as a
highlight is a verbatim line of the answer. It works on the bytes that tokens stand for, so it holds for any
tokenizer, however that one merges newlines, fences and code.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Protocol

from momus.critique import FENCE, Span, quotable
from momus.errors import UnfitInputError, UserError
from momus.lm.token_set import TokenSet

State = Hashable

_TICK, _NEWLINE = b"`"[0], b"\n"[0]
_IN_LINE = -1
_CLOSE = f"\n{FENCE}\n".encode()


class Constraint(Protocol):
    """Which tokens may come next: a pure state machine, so samples can be forked and replayed."""

    def start(self) -> State:
        """Return the state before the first token."""

    def allowed(self, state: State) -> TokenSet | None:
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
        self._outside: dict[tuple[int, bool], tuple[TokenSet | None, tuple[int, ...]]] = {}

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> Vocabulary:
        """Read a fast Hugging Face tokenizer: byte-level, or like SentencePiece with ▁ for a space.

        Raises:
            UserError: The tokenizer is not a fast one.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UserError(f"{type(tokenizer).__name__} cannot constrain what is written: use a fast tokenizer")
        parts = [part.__getstate__() for part in (backend.pre_tokenizer, backend.decoder) if part is not None]
        byte_level = any(b'"ByteLevel"' in part for part in parts)
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
        return max(map(len, filter(None, self.pieces)), default=0)

    def starting_with(self, text: bytes) -> list[tuple[bytes, int]]:
        """Return the pieces that begin with some text that ends in a newline, and their tokens."""
        pieces, tokens = self._with_newline
        places = range(bisect_left(pieces, text), bisect_left(pieces, text[:-1] + bytes([_NEWLINE + 1])))
        return [(pieces[i], tokens[i]) for i in places]

    def outside_quotes(self, ticks: int, can_quote: bool) -> tuple[TokenSet | None, tuple[int, ...]]:
        """Return what may come next outside a quote, whatever the answer; found once for all critiques.

        Args:
            ticks: The backticks just written; see `QuoteState`.
            can_quote: Whether there is anything that can be quoted.

        Returns:
            The tokens allowed, None for all, and those among them that open a quote and go on in it, which is for the
            answer to allow.
        """
        if (ticks, can_quote) not in self._outside:
            read = {token: read_outside(ticks, self.pieces[token] or b"", can_quote) for token in self._with_tick}
            banned = [token for token, after in read.items() if after is None]
            going_on = tuple(token for token, after in read.items() if after is not None and after[1])
            allowed = TokenSet(banned, len(self), excluded=True) if banned else None
            self._outside[ticks, can_quote] = allowed, going_on
        return self._outside[ticks, can_quote]

    @cached_property
    def _with_newline(self) -> tuple[list[bytes], list[int]]:
        """The pieces with a newline, sorted, and their tokens: the only ones that can end a quote and go on."""
        found = sorted((piece, token) for token, piece in enumerate(self.pieces) if piece and b"\n" in piece)
        return [piece for piece, _ in found], [token for _, token in found]

    @cached_property
    def _with_tick(self) -> tuple[int, ...]:
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
                (`lm/pointers/pointer.py`); None leaves that to the model.

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

    def allowed(self, state: State) -> TokenSet | None:
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

    def _find_allowed(self, state: QuoteState) -> TokenSet | None:
        vocabulary = self._vocabulary
        if state.quote is None and state.ticks < 3:
            allowed, going_on = vocabulary.outside_quotes(state.ticks, bool(self._endings))
            banned = [token for token in going_on if self._read(state, vocabulary.pieces[token] or b"") is None]
            if not banned:
                return allowed
            return TokenSet([*banned, *(allowed.tokens.tolist() if allowed else ())], len(vocabulary), excluded=True)
        if state.quote is None:  # a fence is open: its newline, and then a quote from its beginning
            rests = [b"\n" + rest for rest in self._rests(state._replace(quote=b"")).values()]
        else:
            rests = list(self._rests(state).values())
        ahead = vocabulary.longest + 1
        inside = {rest[:size] for rest in rests for size in range(1, min(len(rest), ahead))}
        tokens = {token for piece in inside & vocabulary.by_piece.keys() for token in vocabulary.by_piece[piece]}
        # A piece may also end a quote and go on: what then follows is read where it has a backtick.
        for rest in (rest for rest in rests if len(rest) < ahead):
            for piece, token in vocabulary.starting_with(rest):
                if _TICK not in piece[len(rest) :] or self._read(state, piece) is not None:
                    tokens.add(token)
        if not tokens:
            what = "the tokenizer has no token for a character of the answer: quotes cannot be constrained"
            raise UnfitInputError(what)
        return TokenSet(tokens, len(vocabulary))

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
        while text:
            if state.quote is None:
                after = read_outside(state.ticks, text, bool(self._endings))
                if after is None:
                    return None
                ticks, quoted = after
                state = state._replace(quote=None if quoted is None else b"", ticks=ticks)
                text = quoted or b""
                continue
            rests = self._rests(state)
            closed = next((i for i, rest in rests.items() if text.startswith(rest)), None)
            if closed is not None:
                text = text[len(rests[closed]) :]
                state = QuoteState(None, 0, state.used | {closed})
            elif any(rest.startswith(text) for rest in rests.values()):
                return state._replace(quote=(state.quote or b"") + text)
            else:
                return None
        return state


def read_outside(ticks: int, text: bytes, can_quote: bool) -> tuple[int, bytes | None] | None:
    """Read bytes outside a quote: up to their end, or up to where a quote begins.

    Args:
        ticks: The backticks just written before; see `QuoteState`.
        text: The bytes.
        can_quote: Whether a quote may begin at all.

    Returns:
        The backticks after it, and None, or the bytes that are already in a quote; None in all where there are three
        backticks that are not a line of their own.
    """
    for place, byte in enumerate(text, 1):
        if byte == _NEWLINE:
            if ticks == 3:
                return 0, text[place:]
            ticks = 0
        elif ticks == 3:
            return None
        elif byte == _TICK:
            ticks += 1 if ticks >= 0 else -1
            if ticks < -3 or (ticks == 3 and not can_quote):
                return None
        else:
            ticks = _IN_LINE
    return ticks, None


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
def _byte_alphabet() -> dict[int, int]:
    """The characters with which byte-level BPE writes the 256 bytes: printable ones as themselves.

    Other characters of the first 256 are in it as one that is no byte.
    """
    plain = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    rest = [byte for byte in range(256) if byte not in plain]
    return dict.fromkeys(rest, 0x400) | {256 + i: byte for i, byte in enumerate(rest)}


def _byte_level(name: str) -> bytes:
    try:
        return name.translate(_byte_alphabet()).encode("latin-1")
    except UnicodeEncodeError:  # not written in that alphabet
        return name.encode()


def _sentencepiece(name: str) -> bytes:
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace("▁", " ").encode()
