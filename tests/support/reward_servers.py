"""Small servers of reward models in this process: what vLLM, SGLang and text-embeddings-inference are asked and say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from momus.lm.remote.server import Server

URL = "http://rewards.test/v1"
Scorer = Callable[[Any], list[float]]
"""Scores of one text (tokens, or a pair of texts): of every token of it, the last one being the reward."""


@dataclass
class RewardServer:
    """One server.

    `kind` is "vllm", "vllm-tokens" (scores of all tokens, by /pooling), "sglang" or "tei"; `most` the longest text it
    reads and `batch` the most at once; `failures` are the status codes of the next answers that score, `elsewhere` that
    of all answers on another path.
    """

    kind: str
    scorer: Scorer
    most: int = 10_000
    batch: int = 32
    failures: list[int] = field(default_factory=list)
    elsewhere: int = 404
    change: Callable[[Any], Any] = lambda answer: answer
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def server(self, **arguments: Any) -> Server:
        """A connection to it, by the name of its model."""
        client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app))
        return Server(URL, "" if self.kind == "tei" else "rm", http_client=client, **arguments)

    @property
    def app(self) -> Starlette:
        paths = {"vllm": ["/classify"], "vllm-tokens": ["/pooling"], "sglang": ["/classify"], "tei": ["/predict"]}
        routes = [Route(path, self._answer, methods=["POST"]) for path in paths[self.kind]]
        return Starlette(routes=[*routes, Route("/{other}", self._not_here, methods=["POST"])])

    async def _not_here(self, request: Request) -> Response:
        return JSONResponse({"error": {"message": "not here"}}, self.elsewhere)

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        name = {"vllm": "input", "vllm-tokens": "input", "sglang": "input_ids", "tei": "inputs"}[self.kind]
        if name not in body:
            return JSONResponse({"detail": [{"type": "missing", "loc": ["body", name]}]}, 422)
        self.bodies.append(body)
        if self.failures:
            status = self.failures.pop(0)
            return JSONResponse({"error": {"message": "not\nnow"}}, status, {"retry-after-ms": "1"})
        texts = body[name]
        if len(texts) > self.batch or any(len(text) > self.most for text in texts):
            return JSONResponse({"error": {"message": f"at most {self.most} tokens"}}, 400)
        return JSONResponse(self.change(self._scored(texts, body)))

    def _scored(self, texts: Sequence[Any], body: dict[str, Any]) -> Any:
        scores = [self.scorer(text) for text in texts]
        if self.kind == "tei":
            squash = (lambda x: x) if body.get("raw_scores") else lambda x: 1 / (1 + math.exp(-x))
            return [[{"score": squash(own[-1]), "label": "LABEL_0"}] for own in scores]
        if self.kind == "sglang":
            return [{"embedding": own[-1:], "meta_info": {"prompt_tokens": 1}} for own in scores]
        squash = (lambda x: x) if body.get("use_activation") is False else lambda x: 1 / (1 + math.exp(-x))
        data: list[dict[str, Any]] = []
        for index, own in enumerate(scores):
            entry: dict[str, Any] = {"index": index}
            if self.kind == "vllm":
                entry |= {"label": "LABEL_0", "probs": [squash(own[-1])], "num_classes": 1}
            else:
                entry |= {"object": "pooling", "data": [[squash(x)] for x in own]}
            data.insert(0, entry)  # in no order but that of the index
        return {"object": "list", "data": data}
