"""An OpenAI-compatible server with a chat API and nothing else, over real HTTP, that answers what a test tells it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.http_server import LocalHTTPServer

Say = Callable[[str, int], "str | Reply"]
"""What is answered to a question, given how often something was asked before."""


@dataclass(frozen=True)
class Reply:
    """A message as servers send it: `content` is None and `refusal` a text where the model declines."""

    content: str | None
    finish_reason: str = "stop"
    refusal: str | None = None
    status: int = 200


@dataclass
class ChatServer:
    """A running server: its URL, the questions it was asked that are none of the probing ones, and what it answers.

    `fingerprint` is what it says of itself, "" for nothing.
    """

    url: str
    say: Say
    about: str
    asked: list[str] = field(default_factory=list)
    fingerprint: str = ""

    def answer(self, body: dict[str, Any]) -> Reply:
        question = body["messages"][-1]["content"]
        if self.about not in question:
            return Reply("Yes")
        self.asked.append(question)
        said = self.say(question, len(self.asked))
        return said if isinstance(said, Reply) else Reply(said)


@contextmanager
def chat_server(say: Say, about: str) -> Iterator[ChatServer]:
    """Run a server; `about` is a text that stands in every question that counts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "m"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if not self.path.endswith("/chat/completions"):
                self._send(404, {"error": {"message": "no such path"}})
                return
            reply = server.answer(body)
            message = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
            choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
            error = {"error": {"message": "not today"}}
            about = {"system_fingerprint": server.fingerprint} if server.fingerprint else {}
            self._send(reply.status, {"choices": [choice], **about} if reply.status == 200 else error)

        def _send(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    running = LocalHTTPServer(("127.0.0.1", 0), Handler)
    server = ChatServer(f"http://127.0.0.1:{running.server_port}/v1", say, about)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()
