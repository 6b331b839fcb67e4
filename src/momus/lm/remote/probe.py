"""Find what a server can do by asking it: only what a small request shows is believed.

Servers that call themselves OpenAI-compatible differ in what they leave out, and some leave it out silently: echoed
prompts without log-probabilities were read as certain ones elsewhere. So every capability is tried once, with a
question whose right answer is known.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from momus.errors import UserError
from momus.lm.remote.server import NO_PENALTY, RefusedError, Server
from momus.lm.remote.wire import Reply, Request

FORCE = 100.0
"""The largest `logit_bias` of the OpenAI API: enough that nothing else is ever drawn."""

_PROMPT = "The first line of the program is"
_TOKENS = (300, 301)  # ordinary tokens in any vocabulary: past the special tokens and single bytes of most
_KS = (20, 5, 1)  # what vLLM and chat APIs allow at most, what the completions API does, and the least

_PLAIN = {"min_p": 0.0, **NO_PENALTY}
_NUMBERS = {"return_tokens_as_token_ids": True, "return_token_ids": True}
_DIALECTS: tuple[Mapping[str, object], ...] = (
    # Servers add what the model's makers recommend (top-k, penalties) unless a request overrides it; -1 is "all" for
    # vLLM and SGLang, 0 for llama-cpp-python, and other servers refuse fields they do not know.
    {"top_k": -1, **_PLAIN, **_NUMBERS},
    {"top_k": 0, **_PLAIN, **_NUMBERS},
    {},
)
_STRUCTURED: tuple[tuple[str, object], ...] = (
    ("structured_outputs", {"choice": ["zq", "qz"]}),
    ("grammar", 'root ::= "zq" | "qz"'),
    ("regex", "(zq|qz)"),
    (
        "response_format",  # hosted models want an object at the root, with all its properties required
        {
            "type": "json_schema",
            "json_schema": {
                "name": "word",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"word": {"type": "string", "enum": ["zq", "qz"]}},
                    "required": ["word"],
                    "additionalProperties": False,
                },
            },
        },
    ),
)


_WORDS = [form % word for form in ("%s", '"%s"', '{"word":"%s"}') for word in ("zq", "qz")]
_THOUGHT = 2000
"""Tokens for a model that thinks before it answers with one word."""


class Capability(NamedTuple):
    """What a capability is called, what Momus needs it for, and which servers are documented to have it."""

    title: str
    purpose: str
    found_in: str


CAPABILITIES = {
    "completions": Capability(
        "text completions", "continuing a text: sampling, search, A/B judgements", "vLLM, SGLang, llama.cpp"
    ),
    "chat": Capability("chat completions", "whole replies where text completions are missing", "nearly all"),
    "token_prompts": Capability(
        "prompts as tokens", "prefixes exactly as searched: FSBS, RAIN, quotes", "vLLM, SGLang, llama-server"
    ),
    "token_ids": Capability("tokens by number", "no guessing which token a piece of text was", "vLLM, llama-server"),
    "logprobs": Capability(
        "log-probabilities", "probabilities of samples: RAIN's priors, A/B judgements", "vLLM, SGLang, llama.cpp"
    ),
    "top_logprobs": Capability(
        "likeliest next tokens", "A/B judgements: RAIN self-evaluation, review", "vLLM, SGLang, llama.cpp"
    ),
    "raw_logprobs": Capability(
        "unaltered log-probabilities", "those of the model itself at any temperature, quotes", "vLLM, llama-server"
    ),
    "echo": Capability("log-probabilities of given text", "scoring texts that exist already", "vLLM, llama-cpp-python"),
    "logit_bias": Capability("bias on tokens", "verbatim quotes: FSBS, review", "vLLM, llama.cpp"),
    "stop": Capability(
        "stop strings, their tokens shown", "ending a sample at a text without writing past it", "vLLM, SGLang"
    ),
    "temperature": Capability(
        "a temperature", "the likeliest answer, and answers that differ", "all but thinking ones"
    ),
    "seeds": Capability("seeds", "the same run twice", "vLLM, llama.cpp"),
    "structured": Capability(
        "structured outputs", "answers in JSON that cannot fail to be read", "vLLM, SGLang, llama.cpp, hosted ones"
    ),
    "several": Capability("several samples a request", "a prompt paid once for n samples", "vLLM, SGLang, OpenAI"),
}

USES = {
    "answers to messages (matching, feedback, prompted critics)": ("chat",),
    "sampling": ("completions",),
    "verbatim quotes (FSBS, best of n, review)": ("completions", "token_prompts", "logprobs", "logit_bias"),
    "A/B judgements (RAIN self-evaluation)": ("completions", "top_logprobs"),
    "writing branches (RAIN's search; 20 likeliest tokens)": (
        *("completions", "token_prompts", "logprobs", "top_logprobs", "token_ids"),
    ),
    "scoring given text": ("completions", "echo"),
}
"""What each use of a server needs."""


@dataclass(frozen=True)
class Capabilities:
    """What a server showed it can do, through the API named by `asked`.

    `top_logprobs` is how many it may be asked for; `structured` is the request field that worked, "" for none;
    `extra` are the fields to send with every request; `latency` is the median time to one token, in seconds.
    """

    asked: str = "completions"
    completions: bool = False
    chat: bool = False
    token_prompts: bool = False
    token_ids: bool = False
    logprobs: bool = False
    top_logprobs: int = 0
    raw_logprobs: bool = False
    echo: bool = False
    logit_bias: bool = False
    stop: bool = False
    temperature: bool = True
    seeds: bool = False
    structured: str = ""
    several: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)
    latency: float = 0.0

    def missing(self, use: str) -> list[str]:
        """Return the titles of what one of `USES` needs and the server lacks."""
        return [CAPABILITIES[name].title for name in USES[use] if not getattr(self, name)]


def lacks(url: str, name: str, need: str) -> UserError:
    """Return the error for a capability that is needed and not there."""
    title, _, found_in = CAPABILITIES[name]
    return UserError(f"{need} needs {title}, which {url} does not offer; documented for: {found_in}")


def probe(server: Server, chat: bool = False) -> Capabilities:
    """Ask a server about twenty short questions.

    Args:
        server: The server.
        chat: Probe the chat API even where text completions exist.

    Raises:
        UserError: It cannot be reached, or answers neither API.
    """
    capabilities, refusal = Capabilities(), None
    for api in ("chat", "completions"):
        for extra in _DIALECTS:
            answer = _answer(server, Request(_PROMPT, 1, chat=api == "chat", temperature=0.0, extra=extra))
            if isinstance(answer, Reply):
                capabilities = replace(capabilities, **{api: True}, asked=api, extra=extra)  # type: ignore[arg-type]
                break
            refusal = answer
    if refusal is not None and not (capabilities.chat or capabilities.completions):
        raise refusal
    if chat and capabilities.chat and capabilities.asked != "chat":
        capabilities = replace(capabilities, asked="chat")
    capabilities = _probabilities(server, capabilities)
    if capabilities.asked == "completions":
        capabilities = _prompts(server, capabilities)
    capabilities = _seeds(server, _stop(server, _bias(server, capabilities)))
    capabilities = replace(
        capabilities, structured=_structured(server, capabilities), several=_several(server, capabilities)
    )
    warm = "temperature" not in server.habits[_base(capabilities).path].left_out
    return replace(capabilities, temperature=warm, latency=_latency(server, capabilities))


def _base(capabilities: Capabilities, **changed: object) -> Request:
    return replace(Request(_PROMPT, 1, chat=capabilities.asked == "chat", extra=capabilities.extra), **changed)  # type: ignore[arg-type]


def _answer(server: Server, request: Request) -> Reply | RefusedError:
    try:
        return server.ask([request])[0]
    except RefusedError as error:
        if (
            error.status in (401, 429)
            or error.code == "model_not_found"
            or not (server.answered or error.status != 403)
        ):
            raise  # this does not show what the server can do
        return error


def _try(server: Server, request: Request) -> Reply | None:
    answer = _answer(server, request)
    return answer if isinstance(answer, Reply) else None


def _probabilities(server: Server, capabilities: Capabilities) -> Capabilities:
    """Find how many likeliest tokens are named, and how."""
    for k in _KS:
        reply = _try(server, _base(capabilities, logprobs=k))
        if reply and reply.pieces and reply.pieces[0].logprob is not None:
            first = reply.pieces[0]
            return replace(
                capabilities, logprobs=True, top_logprobs=k if first.top else 0, token_ids=first.token is not None
            )
    return capabilities


def _prompts(server: Server, capabilities: Capabilities) -> Capabilities:
    """Find whether prompts may be tokens, and whether they come back with log-probabilities."""
    tokens = [*_TOKENS, *_TOKENS]
    reply = _try(server, _base(capabilities, prompt=tokens))
    capabilities = replace(capabilities, token_prompts=reply is not None and reply.prompt_tokens == len(tokens))
    if capabilities.logprobs:
        reply = _try(
            server, _base(capabilities, prompt=tokens if capabilities.token_prompts else _PROMPT, logprobs=1, echo=True)
        )
        known = [piece.logprob for piece in reply.pieces[1:-1]] if reply else []
        enough = len(known) >= len(tokens) - 1 and None not in known
        capabilities = replace(capabilities, echo=enough and any(known))  # all zero: not computed
    return capabilities


def _bias(server: Server, capabilities: Capabilities) -> Capabilities:
    """Find whether a biased token is drawn, and whether log-probabilities stay the model's own."""
    logprobs = 1 if capabilities.logprobs else None
    forced = [_try(server, _base(capabilities, bias={token: FORCE}, logprobs=logprobs)) for token in _TOKENS]
    replies = [reply for reply in forced if reply]
    if len(replies) == len(_TOKENS):
        if capabilities.token_ids:
            works = [reply.pieces[0].token for reply in replies if reply.pieces] == list(_TOKENS)
        else:
            works = replies[0].text != replies[1].text
        capabilities = replace(capabilities, logit_bias=works)
    if not capabilities.top_logprobs:
        return capabilities
    plain = _try(server, _base(capabilities, logprobs=capabilities.top_logprobs))
    sharp = _try(server, _base(capabilities, logprobs=capabilities.top_logprobs, temperature=0.5, top_p=0.5))
    raw = plain is not None and sharp is not None and _same_probabilities(plain, sharp)
    if capabilities.logit_bias:
        drawn = [reply.pieces[0].logprob for reply in replies]
        raw = raw and all(logprob is not None and logprob < -1e-3 for logprob in drawn)
    return replace(capabilities, raw_logprobs=raw)


def _same_probabilities(first: Reply, second: Reply) -> bool:
    """Whether two replies name the same probabilities, to the rounding of a busy GPU."""
    if not first.pieces or not second.pieces:
        return False
    one, other = ({(p.text, p.token): p.logprob for p in reply.pieces[0].top} for reply in (first, second))
    shared = [(one[name], other[name]) for name in one.keys() & other.keys()]
    return len(shared) >= len(one) / 2 and all(
        a == b or (a is not None and b is not None and abs(a - b) < 0.1) for a, b in shared
    )


def _stop(server: Server, capabilities: Capabilities) -> Capabilities:
    """Find whether a stop string ends a reply, and whether its tokens still come back: some servers take them off."""
    if not capabilities.logprobs:
        return capabilities
    free = _base(capabilities, max_tokens=8, temperature=0.0, logprobs=1)
    plain = _try(server, free)
    if plain is None or len(plain.pieces) < 2 or not plain.text or plain.text[0] == "\N{REPLACEMENT CHARACTER}":
        return capabilities
    reply = _try(server, replace(free, stop=(plain.text[0],)))  # complete with the first token that is seen
    shown = len(reply.pieces) if reply else 0
    return replace(capabilities, stop=0 < shown < len(plain.pieces))


def _seeds(server: Server, capabilities: Capabilities) -> Capabilities:
    replies = [_try(server, _base(capabilities, max_tokens=16, seed=seed)) for seed in (1, 1, 2, 3)]
    texts = [reply.text if reply else None for reply in replies]
    return replace(capabilities, seeds=None not in texts and texts[0] == texts[1] and len(set(texts)) > 1)


def _structured(server: Server, capabilities: Capabilities) -> str:
    for name, value in _STRUCTURED:
        request = _base(capabilities, max_tokens=24, extra={**capabilities.extra, name: value})
        reply = _try(server, request)
        if reply and not reply.text and not reply.stopped:  # a model that thinks first
            reply = _try(server, replace(request, max_tokens=_THOUGHT))
        if reply and "".join(reply.text.split()) in _WORDS:
            return name
    return ""


def _several(server: Server, capabilities: Capabilities) -> bool:
    """Find whether one request may ask for several samples."""
    request = _base(capabilities, extra={**capabilities.extra, "n": 2})
    try:
        answer = server.run([server.post(request.path, request.body(server.model))])[0]
        return len(answer["choices"]) == 2
    except (UserError, KeyError, TypeError):
        return False


def _latency(server: Server, capabilities: Capabilities) -> float:
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        _try(server, _base(capabilities))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
