"""Servers with the rules of those people use, each a plain function from request to response.

`HostedServer.transport` answers in this process; `listening` puts the same function behind a port. The rules are those
of the servers' documentation and of error messages that users reported; what a real one adds (rate limits) is left out,
and everything that is said comes from the test. A request with `stream` is answered by events, a word each.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx2

from support.http_server import LocalHTTPServer

Body = dict[str, Any]
Response = tuple[int, dict[str, str], Any]
SHAPES = ("openai", "openai-reasoning", "anthropic", "anthropic-new", "vllm", "llama.cpp", "ollama", "lmstudio")


@dataclass(frozen=True)
class Said:
    """What the model says: `thoughts` come first, and all of it is cut where the request's limit says so."""

    text: str | None
    thoughts: str = ""
    finish: str = "stop"
    refusal: str | None = None


@dataclass
class HostedServer:
    """One server.

    Attributes:
        shape: One of `SHAPES`.
        say: What is answered to the last message, given how many requests came before.
        key: The key it wants; "" for none.
        model: The model it has.
        structured: Whether it knows structured outputs.
        first: Responses of the first requests, in place of what would be answered.
        bodies: The requests' bodies, in order.
        headers: Their headers.
    """

    shape: str
    say: Callable[[str, int], Said | str] = lambda question, before: "Yes."
    key: str = ""
    model: str = "m"
    structured: bool = True
    first: list[Response] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def transport(self) -> httpx2.AsyncClient:
        """A client whose requests come here."""

        def handle(request: httpx2.Request) -> httpx2.Response:
            content = request.content
            status, headers, value = self.respond(
                request.method, request.url.path, dict(request.headers), json.loads(content) if content else {}
            )
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            return httpx2.Response(status, headers=headers, content=data)

        return httpx2.AsyncClient(transport=httpx2.MockTransport(handle))

    def respond(self, method: str, path: str, headers: dict[str, str], body: Body) -> Response:
        """Answer one request."""
        headers = {name.lower(): value for name, value in headers.items()}
        messages = self.shape.startswith("anthropic")
        given = headers.get("x-api-key") if messages else headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and given != self.key:
            return 401, {}, self._error(f"Incorrect API key provided: {given}", 401, "authentication_error")
        if method == "GET":
            owner = "llamacpp" if self.shape == "llama.cpp" else "somebody"
            listed = {"id": self.model, "max_model_len": 4096, "owned_by": owner}
            return 200, {}, {"object": "list", "data": [listed]}
        self.bodies.append(body)
        self.headers.append(headers)
        if self.first:
            return self.first.pop(0)
        if path != "/v1" + ("/messages" if messages else "/chat/completions"):
            return 404, {}, self._error(f"Invalid URL (POST {path})", 404, "not_found_error")
        if body["model"] != self.model and self.shape != "llama.cpp":
            return 404, {}, self._no_model(body["model"])
        problem = (_messages_problem if messages else _chat_problem)(self, body)
        if problem:
            message, status, parameter = problem
            return status, {}, self._error(message, status, "invalid_request_error", parameter)
        said = self.say(_last(body), len(self.bodies) - 1)
        said = said if isinstance(said, Said) else Said(said)
        reply = self._message(said, body) if messages else self._completion(said, body)
        if not body.get("stream"):
            return 200, {}, reply
        events = (_message_events if messages else _completion_events)(reply)
        return 200, {"content-type": "text/event-stream; charset=utf-8"}, _as_events(events)

    def _error(self, message: str, status: int, kind: str, parameter: str | None = None) -> Any:
        if self.shape.startswith("anthropic"):
            return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
        if self.shape == "lmstudio":
            return {"error": message}
        code: Any = status if self.shape in ("vllm", "llama.cpp") else "unsupported_parameter" if parameter else None
        return {"error": {"message": message, "type": kind, "param": parameter, "code": code}}

    def _no_model(self, name: str) -> Any:
        messages = {
            "anthropic": f"model: {name}",
            "anthropic-new": f"model: {name}",
            "ollama": f'model "{name}" not found, try pulling it first',
            "lmstudio": f'Model "{name}" not found. Load it first.',
        }
        missing = f"The model `{name}` does not exist or you do not have access to it."
        return self._error(messages.get(self.shape, missing), 404, "not_found_error")

    def _completion(self, said: Said, body: Body) -> Body:
        limit = body.get("max_completion_tokens", body.get("max_tokens", 10**6))
        thought, text, finish = _within(said, limit)
        message: Body = {"role": "assistant", "content": text, "refusal": said.refusal}
        if said.thoughts:
            message["reasoning" if self.shape == "ollama" else "reasoning_content"] = thought
        usage = {"prompt_tokens": len(_last(body).split()), "completion_tokens": len(f"{thought} {text or ''}".split())}
        usage["completion_tokens_details"] = {"reasoning_tokens": len(thought.split())}  # type: ignore[assignment]
        choices = [{"index": i, "message": message, "finish_reason": finish} for i in range(body.get("n", 1))]
        return {"id": "x", "object": "chat.completion", "model": f"{self.model}-2026-01-01", "choices": choices,
                "usage": usage, "system_fingerprint": "fp_1"}  # fmt: skip

    def _message(self, said: Said, body: Body) -> Body:
        thought, text, finish = _within(said, body["max_tokens"])
        content = [{"type": "thinking", "thinking": thought, "signature": "s"}] if thought else []
        content += [{"type": "text", "text": text}] if text else []
        reasons = {"stop": "end_turn", "length": "max_tokens"}
        reason = "refusal" if said.refusal else reasons.get(finish, finish)
        usage = {"input_tokens": len(_last(body).split()), "output_tokens": len(f"{thought} {text or ''}".split())}
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": self.model, "content": content,
                "stop_reason": reason, "usage": usage}  # fmt: skip


def _completion_events(reply: Body) -> list[Body]:
    (choice,) = reply["choices"]
    message, facts = choice["message"], {name: reply[name] for name in ("model", "system_fingerprint")}
    deltas: list[Body] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": piece} for piece in re.split("(?<= )", message["content"] or "")]
    deltas += [{"refusal": message["refusal"]}] if message["refusal"] else []
    events = [{**facts, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return [
        *events, {**facts, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
        {**facts, "choices": [], "usage": reply["usage"]},
    ]  # fmt: skip


def _message_events(reply: Body) -> list[Body]:
    begun = {**reply, "content": [], "stop_reason": None, "usage": {"input_tokens": reply["usage"]["input_tokens"]}}
    events: list[Body] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(reply["content"]):
        kind = "text" if block["type"] == "text" else "thinking"
        pieces = re.split("(?<= )", block[kind])
        events += [{"type": "content_block_start", "index": index, "content_block": {**block, kind: ""}}]
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": f"{kind}_delta", kind: piece}}
            for piece in pieces
        ]
        events += [{"type": "content_block_stop", "index": index}]
    usage = {"output_tokens": reply["usage"]["output_tokens"]}
    return [
        *events,
        {"type": "message_delta", "delta": {"stop_reason": reply["stop_reason"]}, "usage": usage},
        {"type": "message_stop"},
    ]


def _as_events(events: list[Body]) -> bytes:
    lines = [f"event: {event.get('type', 'x')}\ndata: {json.dumps(event)}\n\n" for event in events]
    return ("".join(lines) + "data: [DONE]\n\n").encode()


@contextmanager
def listening(server: HostedServer) -> Iterator[str]:
    """Put a server behind a port of this machine; yields its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._respond("GET")

        def do_POST(self) -> None:
            self._respond("POST")

        def _respond(self, method: str) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, value = server.respond(
                method, self.path, dict(self.headers), json.loads(content) if content else {}
            )
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, text)
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked has given up
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    running = LocalHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/v1"
    finally:
        running.shutdown()
        running.server_close()


_CHAT_FIELDS = {
    *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "n", "user"),
    *("response_format", "stream", "logprobs", "top_logprobs", "logit_bias", "reasoning_effort", "presence_penalty"),
}
_MESSAGES_FIELDS = {
    *("model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k", "stop_sequences", "thinking"),
    *("output_config", "stream", "metadata", "tools"),
}


def _chat_problem(server: HostedServer, body: Body) -> tuple[str, int, str | None] | None:
    """Return what a server with OpenAI's API refuses of a request: a message, a status, and the field."""
    if any(message["content"] is None for message in body["messages"]):
        return "Invalid value for 'content': expected a string, got null.", 400, "messages"
    if "response_format" in body and not server.structured:
        return "Invalid parameter: 'response_format' of type 'json_schema' is not supported", 400, "response_format"
    if not server.shape.startswith("openai"):
        return None
    if unknown := sorted(set(body) - _CHAT_FIELDS):
        return f"Unrecognized request argument supplied: {unknown[0]}", 400, None
    if "response_format" in body and (why := _schema_problem(body["response_format"]["json_schema"]["schema"])):
        return f"Invalid schema for response_format 'answer': {why}", 400, "response_format"
    if server.shape == "openai-reasoning":
        hint = " Use 'max_completion_tokens' instead."
        for name in ("max_tokens", "top_p", "stop", "logit_bias"):
            if body.get(name, 1) != 1 or (name in body and name == "max_tokens"):
                said = f"Unsupported parameter: '{name}' is not supported with this model."
                return said + (hint if name == "max_tokens" else ""), 400, name
        if body.get("temperature", 1) != 1:
            value = body["temperature"]
            return (
                f"Unsupported value: 'temperature' does not support {value} with this model. Only the default (1) "
                "value is supported.",
                400,
                "temperature",
            )
        if body.get("logprobs"):
            return "You are not allowed to request logprobs from this model", 403, None
    return None


def _messages_problem(server: HostedServer, body: Body) -> tuple[str, int, str | None] | None:
    """Return what a server with Anthropic's Messages API refuses of a request."""
    if not server.headers[-1].get("anthropic-version"):
        return "anthropic-version: header is required", 400, None
    if unknown := sorted(set(body) - _MESSAGES_FIELDS):
        return f"{unknown[0]}: Extra inputs are not permitted", 400, None
    if "max_tokens" not in body:
        return "max_tokens: Field required", 400, None
    if any(message["role"] not in ("user", "assistant") for message in body["messages"]):
        return 'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter', 400, None
    if "output_config" in body and not server.structured:
        return "output_config: Extra inputs are not permitted", 400, None
    if "output_config" in body and (why := _schema_problem(body["output_config"]["format"]["schema"])):
        return f"output_config.format.schema: {why}", 400, None
    if server.shape == "anthropic-new" and "temperature" in body:
        return "`temperature` is deprecated for this model.", 400, None
    if {"temperature", "top_p"} <= set(body):
        return "`temperature` and `top_p` cannot both be specified for this model. Please use only one.", 400, None
    if not 0 <= body.get("temperature", 1) <= 1:
        return "temperature: range: 0..1", 400, None
    return None


def _schema_problem(schema: Any) -> str:
    """Return what strict structured outputs refuse of a JSON schema."""
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "In context=(), 'additionalProperties' is required to be supplied and to be false."
        if set(schema.get("required", ())) != set(schema["properties"]):
            return "In context=(), 'required' is required to include every key in properties."
        return next(filter(None, map(_schema_problem, schema["properties"].values())), "")
    return _schema_problem(schema["items"]) if schema.get("type") == "array" else ""


def _last(body: Body) -> str:
    content = body["messages"][-1]["content"]
    return str(content)


def _within(said: Said, limit: int) -> tuple[str, str | None, str]:
    """Cut what is said after a number of words: thoughts come first."""
    thought, text = said.thoughts.split(" "), (said.text or "").split(" ")
    if said.thoughts and len(thought) >= limit:
        return " ".join(thought[:limit]), None, "length"
    left = limit - (len(thought) if said.thoughts else 0)
    if said.text is not None and len(text) > left:
        return said.thoughts, " ".join(text[:left]), "length"
    return said.thoughts, said.text, said.finish
