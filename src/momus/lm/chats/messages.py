"""A chat on a server with Anthropic's Messages API, which vLLM, Ollama and LM Studio speak too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from momus.errors import UserError
from momus.lm.chats.protocol import Answer, Question, Usage, without_thinking
from momus.lm.chats.server import ServerChat, line
from momus.lm.remote.server import Server
from momus.lm.remote.wire import count_of, joined_texts

_VERSION = "2023-06-01"
"""The version of the API, which its header names."""


class MessagesServer(Server):
    """A model on a server with the Messages API; see `Server`. A URL without a path gets /v1."""

    def __init__(self, url: str, model: str | None = None, **settings: Any) -> None:
        bare = not urlsplit(url).path.strip("/")
        super().__init__(f"{url.rstrip('/')}/v1" if bare else url, model, **settings)

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": key or "none", "anthropic-version": _VERSION}


class MessagesChat(ServerChat):
    """Asks a model through the Messages API; see `ServerChat`."""

    path = "/messages"
    tells_probabilities = takes_grammars = False

    def body(self, question: Question) -> dict[str, object]:
        """Return the JSON object to send: the API has no seed, and excludes a top_p beside a temperature."""
        system = "\n\n".join(message.content for message in question.messages if message.role == "system")
        body: dict[str, object] = {
            "model": self.server.model,
            "messages": [
                {"role": message.role, "content": message.content}
                for message in question.messages
                if message.role != "system"
            ],
            "max_tokens": question.max_tokens,
            "temperature": min(question.temperature, 1.0),
        }
        if system:
            body["system"] = system
        if question.top_p < 1:
            body["top_p"] = question.top_p
        if question.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(question.schema)}}
        return body

    def delta(self, event: Any) -> str:
        """Return the text that an event of a stream adds, "" where it adds none."""
        try:
            return str(event["delta"]["text"]) if event["type"] == "content_block_delta" else ""
        except (KeyError, TypeError):
            return ""

    def joined(self, events: Sequence[Any], text: str) -> Any:
        """Return the reply that a stream of events with this text amounts to."""
        objects = {str(event.get("type")): event for event in events if isinstance(event, Mapping)}
        if "error" in objects:
            raise UserError(f"{self.server.url} failed: {line(objects['error']['error'].get('message'))}")
        begun, ended = objects["message_start"]["message"], objects.get("message_delta", {})
        reason = ended.get("delta", {}).get("stop_reason")
        usage = {**(begun.get("usage") or {}), **(ended.get("usage") or {})}
        return {**begun, "content": [{"type": "text", "text": text}], "stop_reason": reason, "usage": usage}

    def read(self, reply: Any) -> Answer:
        """Read what the server answered; raises KeyError and its kin where it is no answer of this API."""
        content, reason, usage = reply["content"], str(reply["stop_reason"]), reply.get("usage") or {}
        kinds = {block["type"] for block in content}
        text = without_thinking(joined_texts(content))
        problem = ""
        if reason == "refusal":
            problem = "the model declines to answer"
        elif not text.strip() and "tool_use" in kinds:
            problem = "the model calls a tool, and there is none"
        cached = sum(count_of(usage, f"cache_{kind}_input_tokens") for kind in ("creation", "read"))
        tokens = Usage(count_of(usage, "input_tokens") + cached, count_of(usage, "output_tokens"), 1)
        cut = reason in ("max_tokens", "model_context_window_exceeded")
        return Answer(text, problem, cut=cut, usage=tokens, fingerprint=str(reply.get("model") or "")[:200])
