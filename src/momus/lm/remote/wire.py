"""What is said to an OpenAI-compatible server, and what it answers, as plain values.

Servers write log-probabilities in two shapes: the completions API's parallel lists, and the chat API's list of
objects (which llama-server uses for both). They name tokens by text, by bytes, or by number: "token_id:17" where
`return_tokens_as_token_ids` is understood (vLLM), an `id` field (llama-server), a list of `token_ids` (vLLM, SGLang).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from momus.errors import UserError

_BY_NUMBER = "token_id:"
_ENDS = ("stop", "eos", "eos_token")


@dataclass(frozen=True)
class Request:
    """One request for one continuation.

    `logprobs` is how many likeliest tokens to name at every place, None for no log-probabilities; `bias` is added to
    tokens' logits; `stop` are strings that end it; `extra` are fields outside the OpenAI API.
    """

    prompt: str | Sequence[int]
    max_tokens: int
    chat: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: int | None = None
    echo: bool = False
    bias: Mapping[int, float] = field(default_factory=dict)
    stop: Sequence[str] = ()
    extra: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it is sent, after the base URL."""
        return "/chat/completions" if self.chat else "/completions"

    def body(self, model: str) -> dict[str, object]:
        """Return the JSON object to send; chat takes the prompt as the user's message."""
        body: dict[str, object] = {
            "model": model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            **self.extra,
        }
        if self.chat:
            body["messages"] = [{"role": "user", "content": self.prompt}]
        else:
            body["prompt"] = self.prompt if isinstance(self.prompt, str) else list(self.prompt)
        if self.seed is not None:
            body["seed"] = self.seed
        if self.echo:
            body["echo"] = True
        if self.stop:
            body["stop"] = list(self.stop)
        if self.bias:
            body["logit_bias"] = {str(token): bias for token, bias in self.bias.items()}
        if self.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": self.logprobs} if self.chat else {"logprobs": self.logprobs}
        return body


@dataclass(frozen=True)
class ServerToken:
    """One token as a server names it; what it does not say is None.

    `top` are the likeliest tokens at its place, itself possibly among them.
    """

    text: str
    data: bytes | None = None
    token: int | None = None
    logprob: float | None = None
    top: tuple[ServerToken, ...] = ()


@dataclass(frozen=True)
class Reply:
    """One continuation.

    `pieces` is empty where the server gives no log-probabilities; `stopped` is False when the length limit cut it
    short, or a stop string did and the server says so.
    """

    text: str
    pieces: tuple[ServerToken, ...]
    stopped: bool
    prompt_tokens: int | None


def read_reply(body: object) -> Reply:
    """Read the JSON a server answered.

    Raises:
        UserError: It is not an answer of the OpenAI API, or it ended for another reason than its own end or the
            length limit, such as a filter.
    """
    try:
        if not isinstance(body, Mapping):
            raise TypeError("no JSON object")
        choice = body["choices"][0]
        text = joined_texts(choice["message"].get("content") if "message" in choice else choice["text"])
        pieces = _pieces(choice.get("logprobs") or {})
        ids = choice.get("token_ids")
        if ids and len(ids) == len(pieces):
            pieces = [ServerToken(p.text, p.data, int(i), p.logprob, p.top) for p, i in zip(pieces, ids, strict=True)]
        count = count_of(body.get("usage") or {}, "prompt_tokens") or None
        stopped = _stopped(choice)
        return Reply(text, tuple(pieces), stopped, count)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        shown = " ".join(repr(body).split())[:120]
        raise UserError(f"the server does not answer as the OpenAI API does: {shown}") from error


def joined_texts(content: Any) -> str:
    """Return a message's text: a string, nothing, or parts of which some are texts.

    Raises:
        TypeError: It is something else.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TypeError("content of another kind")
    parts = [part.get("text") or "" for part in content if part.get("type") in ("text", "output_text")]
    return "".join(parts)


def count_of(usage: Mapping[str, Any], name: str) -> int:
    """Return a count that a server says, 0 where it is missing or makes no sense."""
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else 0


def _stopped(choice: Mapping[str, Any]) -> bool:
    """Whether a choice came to its own end, as far as the server says."""
    reason = choice.get("finish_reason")
    if reason == "length":
        return False
    if reason not in _ENDS:
        why = "does not say why it ended a reply" if reason is None else f"ended a reply by {str(reason)[:60]!r}"
        raise UserError(f"the server {why}: what it wrote may not be whole")
    # How vLLM and SGLang name the stop string that ended it; of a token they give the number.
    return not isinstance(choice.get("stop_reason", choice.get("matched_stop")), str)


def _pieces(logprobs: Mapping[str, Any]) -> list[ServerToken]:
    if logprobs.get("content") is not None:
        return [_piece(entry, entry.get("top_logprobs") or ()) for entry in logprobs["content"]]
    names = logprobs.get("tokens") or []
    values = logprobs.get("token_logprobs") or [None] * len(names)
    tops = logprobs.get("top_logprobs") or [None] * len(names)
    return [
        _named(name, value, [_named(other, p) for other, p in (top or {}).items()])
        for name, value, top in zip(names, values, tops, strict=True)
    ]


def _piece(entry: Mapping[str, Any], top: Sequence[Mapping[str, Any]]) -> ServerToken:
    named = _named(entry["token"], entry.get("logprob"), [_piece(other, ()) for other in top])
    data, token = entry.get("bytes"), entry.get("id", named.token)
    return ServerToken(named.text, bytes(data) if data is not None else named.data, token, named.logprob, named.top)


def _named(name: str, logprob: float | None, top: Sequence[ServerToken] = ()) -> ServerToken:
    if logprob is not None and not logprob <= 1e-4:  # rounding may leave a certain token a hair above 0
        raise ValueError(f"a log-probability of {logprob}")
    value = None if logprob is None or math.isinf(logprob) else min(float(logprob), 0.0)
    if name.startswith(_BY_NUMBER):
        return ServerToken("", None, int(name.removeprefix(_BY_NUMBER)), value, tuple(top))
    data = None if "\N{REPLACEMENT CHARACTER}" in name else name.encode()
    return ServerToken(name, data, None, value, tuple(top))
