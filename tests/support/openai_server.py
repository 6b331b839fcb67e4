"""A small OpenAI-compatible server over the local engine, in this process, with a switch for everything it may lack."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx2
import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from momus.errors import UserError
from momus.lm.local.engine import LocalEngine
from momus.lm.remote.engine import RemoteEngine
from momus.lm.remote.server import Server
from momus.lm.token_set import TokenSet

URL = "http://momus.test/v1"
KNOWN = {
    *("model", "prompt", "messages", "max_tokens", "temperature", "top_p", "seed", "echo", "logprobs", "top_logprobs"),
    *("logit_bias", "stop"),
}


@dataclass
class Switches:
    """What the server can do; all of it by default, as vLLM does.

    `naming` is how tokens are named: "number", "text" or, as llama-server does, "object". `stops` is what happens at a
    stop string: it is "told" that it ended the reply, its tokens are only "shown", or "trimmed", or it is "ignored".
    `longest` is the most tokens that it says it reads; `failures` are the status codes of the next answers.
    """

    completions: bool = True
    chat: bool = True
    token_prompts: bool = True
    top: int = 20
    naming: str = "number"
    ends_named: bool = True
    raw: bool = True
    echo: bool = True
    silent_echo: bool = False
    bias: bool = True
    seeds: bool = True
    choice: bool = True
    stops: str = "told"
    strict: bool = False
    models: Sequence[str] = ("tiny",)
    longest: int | None = None
    failures: list[int] = field(default_factory=list)
    delay: float = 0.0


class _Only:
    """The constraint that a `logit_bias` of ±100 is."""

    def __init__(self, bias: dict[str, float], size: int) -> None:
        self.tokens = TokenSet([int(token) for token, value in bias.items() if value == 100], size)
        if not len(self.tokens):
            self.tokens = TokenSet(map(int, bias), size, excluded=True)

    def start(self) -> None:
        return None

    def allowed(self, state: object) -> TokenSet:
        return self.tokens

    def choice_log_odds(self, state: object) -> None:
        return None

    def advance(self, state: object, token: int) -> None:
        return None


class OpenAIServer:
    """The ASGI application, and what it saw: requests, API keys, the most at once, how many were cancelled."""

    def __init__(self, engine: LocalEngine, **switches: Any) -> None:
        self.engine, self.can = engine, Switches(**switches)
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.now = self.most = self.cancelled = 0
        self._unseeded = count(1000)
        routes = [Route("/v1/models", self._models)]
        if self.can.completions:
            routes.append(Route("/v1/completions", self._answer, methods=["POST"]))
        if self.can.chat:
            routes.append(Route("/v1/chat/completions", self._answer, methods=["POST"]))
        self.app = Starlette(routes=routes)

    def server(self, model: str | None = "tiny", **arguments: Any) -> Server:
        return Server(URL, model, http_client=self.client, **arguments)

    @property
    def client(self) -> httpx2.AsyncClient:
        """A client whose requests come here."""
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app))

    def remote(self, *, chat: bool = False, **arguments: Any) -> RemoteEngine:
        return RemoteEngine(self.server(**arguments), self.engine.tokenizer, chat=chat)

    async def _models(self, request: Request) -> Response:
        told = {} if self.can.longest is None else {"max_model_len": self.can.longest}
        return JSONResponse({"data": [{"id": name, **told} for name in self.can.models]})

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers["authorization"])
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.can.delay)
            if self.can.failures:
                status, headers = self.can.failures.pop(0), {"retry-after-ms": "1"}
                if status == 200:
                    return PlainTextResponse("<html>a proxy's page</html>")
                return JSONResponse({"error": {"message": "not\nnow"}}, status, headers)
            return JSONResponse(self._complete(body))
        except UserError as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.now -= 1

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        can, chat = self.can, "messages" in body
        self._refuse(body)
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        prefix = self.engine.encode(prompt, bos=True) if isinstance(prompt, str) else prompt
        bias = body.get("logit_bias", {}) if can.bias else {}
        choice = body.get("structured_outputs", {}).get("choice") if can.choice else None
        seed = body.get("seed") if can.seeds else None
        (sample,) = self.engine.sample(
            [prefix],
            key=[(next(self._unseeded) if seed is None else seed,)],
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            stop_tokens=body.get("stop_token_ids", ()),
            stop=body.get("stop", ()) if can.stops != "ignored" else (),
            constraints=[_Only(bias, len(self.engine.vocabulary))] if bias else None,
        )[0]
        text = choice[0] if choice else sample.text
        reply: dict[str, Any] = {"index": 0, "finish_reason": "stop" if sample.finished else "length"}
        if sample.stop and can.stops == "told":
            reply["stop_reason"] = sample.stop
        tokens = sample.tokens
        if sample.stop and can.stops == "trimmed":
            tokens = tuple(self.engine.encode(sample.text, bos=False))
        elif sample.finished and not sample.stop and not can.ends_named:
            tokens = tokens[:-1]
        wanted = body.get("top_logprobs" if chat else "logprobs")
        if wanted is not None and can.top:
            reply["logprobs"] = self._logprobs(prefix, tokens, wanted, body, chat)
        reply |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        return {"choices": [reply], "usage": {"prompt_tokens": len(prefix)}}

    def _refuse(self, body: dict[str, Any]) -> None:
        can = self.can
        unknown = sorted(set(body) - KNOWN)
        if can.strict and unknown:
            raise UserError(f"unrecognized request argument: {unknown[0]}")
        if not can.token_prompts and not isinstance(body.get("prompt", ""), str):
            raise UserError("prompt must be a string")
        if not can.echo and body.get("echo"):
            raise UserError("Only no echo is supported")
        if can.top and (body.get("top_logprobs") or body.get("logprobs") or 0) > can.top:
            raise UserError(f"at most {can.top} logprobs")

    def _logprobs(
        self, prefix: list[int], written: Sequence[int], k: int, body: dict[str, Any], chat: bool
    ) -> dict[str, Any]:
        row = [*prefix, *written]
        with torch.inference_mode():
            logits = self.engine.model(torch.tensor([row])).logits[0].float()
        if not self.can.raw and body["temperature"]:
            logits = logits / body["temperature"]
        logprobs = logits.log_softmax(-1)
        first = 0 if body.get("echo") and not self.can.silent_echo else len(prefix)
        entries = []
        for place in range(first, len(row)):
            if place == 0:
                entries.append((row[0], None, []))
                continue
            own = logprobs[place - 1]
            best = own.topk(k) if k else None
            top = list(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else []
            entries.append((row[place], float(own[row[place]]), top))
        if chat or self.can.naming == "object":
            return {"content": [self._object(t, p) | {"top_logprobs": [self._object(*o) for o in top]}
                                for t, p, top in entries]}  # fmt: skip
        return {
            "tokens": [self._name(token) for token, _, _ in entries],
            "token_logprobs": [logprob for _, logprob, _ in entries],
            "top_logprobs": [{self._name(t): p for t, p in top} if top else None for _, _, top in entries],
        }

    def _name(self, token: int) -> str:
        if self.can.naming == "number":
            return f"token_id:{token}"
        return (self.engine.vocabulary.pieces[token] or b"").decode(errors="replace")

    def _object(self, token: int, logprob: float | None) -> dict[str, Any]:
        piece = self.engine.vocabulary.pieces[token] or b""
        named = {"token": piece.decode(errors="replace"), "bytes": list(piece), "logprob": logprob}
        return named | ({"id": token} if self.can.naming == "object" else {})
