"""Requests to one model on a server, and its replies as tokens. What to ask for is decided elsewhere."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from momus.lm.codec import ServerCodec
from momus.lm.remote.probe import FORCE, Capabilities, lacks
from momus.lm.remote.server import Server
from momus.lm.remote.wire import Reply, Request
from momus.lm.stop import StopStrings

STOPS = 4
"""Stop strings that the OpenAI API takes at most."""


class Token(NamedTuple):
    """A token that came back; its log-probability is nan where the server does not give the model's."""

    token: int
    logprob: float


@dataclass(frozen=True)
class Settings:
    """How a continuation is sampled, and what ends it besides the model's own end."""

    max_tokens: int
    temperature: float
    top_p: float
    ends: tuple[int, ...]
    stops: StopStrings


class ModelClient:
    """One model on a server, and what it can do.

    Attributes:
        server: The connection.
        codec: The model's own tokenizer.
        can: What the server showed it can do.
        chat: Whether every prompt is sent as a user's message.
        tokens_passed: Tokens sent and received so far.
    """

    def __init__(self, server: Server, codec: ServerCodec, can: Capabilities, chat: bool) -> None:
        self.server, self.codec, self.can, self.chat = server, codec, can, chat
        self.tokens_passed = 0

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests, many at once, and return the replies in order; see `Server.ask`."""
        return self.server.run([self.reply(request) for request in requests])

    async def reply(self, request: Request) -> Reply:
        """Send one request; see `Server.reply`."""
        reply = await self.server.reply(request)
        sent = reply.prompt_tokens
        if sent is None:
            prompt = request.prompt
            sent = len(self.codec.encode(prompt, bos=False) if isinstance(prompt, str) else prompt)
        self.tokens_passed += sent + max(len(reply.pieces), 1)
        return reply

    async def request_tokens(
        self,
        prompt: Sequence[int],
        size: int,
        key: tuple[int, ...],
        only: Collection[int] | None,
        settings: Settings,
    ) -> tuple[list[Token], bool]:
        """Ask for some tokens, of which `only` are allowed next; returns them, and whether the last is an end."""
        can, extra = self.can, self.can.extra
        request = self.request(
            prompt,
            size,
            seed=seed_of(key, again=only is not None),
            temperature=settings.temperature,
            top_p=settings.top_p,
            logprobs=1 if can.logprobs else None,
            bias=self.bias(only) if only is not None else {},
            # Unknown to a server, they do no harm: what follows a stop token or string is dropped here.
            stop=settings.stops.strings[:STOPS] if can.stop else (),
            extra={**extra, "stop_token_ids": list(settings.ends)} if extra and settings.ends else extra,
        )
        reply = await self.reply(request)
        tokens = self.tokens(reply)
        if not can.raw_logprobs and (settings.temperature != 1 or settings.top_p < 1 or only is not None):
            tokens = [Token(token, math.nan) for token, _ in tokens]
        return tokens[:size], reply.stopped and len(tokens) <= size

    def tokens(self, reply: Reply) -> list[Token]:
        """Return the tokens of a reply, with the one that ended it."""
        pieces, end = reply.pieces, Token(self.codec.end, math.nan)
        if reply.stopped and pieces and pieces[-1].token is None and not pieces[-1].text:  # the end, unnamed
            pieces, end = pieces[:-1], Token(end.token, known(pieces[-1].logprob))
        numbers = self.codec.identify(pieces) if reply.pieces else None
        if numbers is not None:
            tokens = [Token(number, known(piece.logprob)) for number, piece in zip(numbers, pieces, strict=True)]
        else:  # the text is known, its tokens are not; half a character at its end is better asked for again
            text = reply.text if reply.stopped else reply.text.rstrip("\N{REPLACEMENT CHARACTER}")
            tokens = [Token(token, math.nan) for token in self.codec.encode(text, bos=False)]
        if reply.stopped and not (tokens and self.codec.is_special(tokens[-1].token)):
            tokens.append(end)
        return tokens

    def named(self, reply: Reply) -> dict[int, float]:
        """Return the log-probabilities of the first token that a reply names."""
        pieces = (*reply.pieces[0].top, reply.pieces[0]) if reply.pieces else ()
        named = [(self.codec.token_of(piece), piece.logprob) for piece in pieces]
        return {token: logprob for token, logprob in named if token is not None and logprob is not None}

    def request(self, prompt: Sequence[int], size: int, **fields: Any) -> Request:
        """Make a request; the prompt goes as tokens where the server takes them, else as text."""
        sent: str | Sequence[int] = prompt
        if self.chat or not self.can.token_prompts:
            text = self.codec.as_text(prompt)
            if text is None:
                raise lacks(self.server.url, "token_prompts", "a prefix with special tokens in it")
            sent = text
        return Request(sent, size, chat=self.chat, **{"extra": self.can.extra, **fields})

    def bias(self, only: Collection[int]) -> dict[int, float]:
        """Return the smaller bias that leaves only some tokens: on them, or against all others."""
        if 2 * len(only) <= len(self.codec.vocabulary):
            return dict.fromkeys(only, FORCE)
        kept = set(only)
        return {token: -FORCE for token in range(len(self.codec.vocabulary)) if token not in kept}


def seed_of(key: Sequence[int], again: bool) -> int:
    """Return the seed of one request: 31 bits, which every server takes."""
    return int(np.random.SeedSequence([len(key), *key, int(again)]).generate_state(1)[0] >> 1)


def known(logprob: float | None) -> float:
    """Return a log-probability, nan for None."""
    return math.nan if logprob is None else logprob
