"""Servers that are odd in ways of their own, over real connections: every command ends in one line with the cause."""

from __future__ import annotations

import gzip
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from momus.cli import main

MESSAGE = {"role": "assistant", "content": '{"comments": []}'}
REPLY = {"model": "m", "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}
WHOLE = json.dumps(REPLY).encode()


def response(status: int, body: Any, *headers: str, length: int | None = None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} x", f"content-length: {length or len(data)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n%s" % (len(body), body, end)


def choice(**fields: Any) -> dict[str, Any]:
    return {**REPLY, "choices": [{**REPLY["choices"][0], **fields}]}  # type: ignore[dict-item]


IN_AN_HOUR = formatdate(time.time() + 3600, usegmt=True)
EVENTS = f"data: {json.dumps({'choices': [{'delta': {'content': 'x'}}]})}\n\ndata: [DONE]\n\n".encode()
LOGIN = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Sign in</form></body></html>"
FAILED = {"error": {"message": "out of memory", "code": 502}}
ODD = {
    "stream": (response(200, EVENTS, "content-type: text/event-stream"), "events that was not asked for"),
    "stream-as-json": (response(200, EVENTS), "events that was not asked for"),
    "chunk-cut": (chunked(WHOLE[:40], b""), "peer closed connection"),
    "json-cut": (chunked(WHOLE[:40]), "no JSON"),
    "chunk-size": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZZ\r\nabc", "illegal chunk header"),
    "too-long": (response(200, WHOLE, length=len(WHOLE) + 99), "peer closed connection"),
    "too-short": (response(200, WHOLE, length=len(WHOLE) - 9), "no JSON"),
    "twice": (response(200, WHOLE + WHOLE), "no JSON"),
    "error-at-200": (response(200, FAILED), "failed: out of memory"),
    "error-in-words": (response(200, {"error": "out of memory"}), "failed: out of memory"),
    "error-beside": (response(200, {**choice(message={**MESSAGE, "content": ""}), **FAILED}), "failed: out of memory"),
    "error-in-choice": (response(200, choice(finish_reason="error", **FAILED)), "it answered: out of memory"),
    "overloaded": (response(529, FAILED, "retry-after: 120"), "asks to wait 120 s (529"),
    "busy-until": (response(429, FAILED, f"retry-after: {IN_AN_HOUR}"), "asks to wait 3"),
    "html-401": (response(401, LOGIN), "needs an API key (401: Sign in"),
    "login": (response(302, b"", "location: https://sso.test/login"), "redirects to https://sso.test/login"),
    "login-page": (response(200, LOGIN), "no JSON: '<!DOCTYPE html>"),
    "gzip": (response(200, b"\x1f\x8b" + WHOLE, "content-encoding: gzip"), "decompressing"),
    "gzip-cut": (response(200, gzip.compress(WHOLE)[:-20], "content-encoding: gzip"), "no JSON"),
    "no-choices": (response(200, {**REPLY, "choices": []}), "does not answer as its API does"),
    "other-parts": (response(200, choice(message={"content": [None, "x"]})), "does not answer as its API does"),
    "filter": (response(200, choice(finish_reason="content_filter")), "a filter of the server"),
    "tools": (response(200, choice(message={"content": None, "tool_calls": [{}]})), "calls a tool"),
    "unpaid": (response(402, {"error": {"message": "Insufficient Balance"}}), "Insufficient Balance"),
    "ssh": (b"SSH-2.0-OpenSSH_9.6\r\n", "cannot reach"),
    "nothing": (b"", "cannot reach"),
}


class Handler(socketserver.StreamRequestHandler):
    """Answers `/NAME/v1/...` by what `ODD` has under that name."""

    def handle(self) -> None:
        path, size = self.rfile.readline().split()[1].decode(), 0
        while line := self.rfile.readline().strip():
            size = int(line.split(b":")[1]) if line.lower().startswith(b"content-length:") else size
        self.rfile.read(size)
        self.wfile.write(ODD[path.split("/")[1]][0])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("name", ODD)
def test_every_command_tells_the_cause(
    name: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("def mean(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total\n")
    Path("one.txt").write_text("The proof is wrong.\n")
    Path("two.txt").write_text("The proof fails.\n")
    Path("review.txt").write_text("The proof is wrong. There is no baseline.\n")
    asked = ["--url", f"{address}/{name}/v1", "--model", "m", "--no-cache"]
    for command in (
        ["review", "a.py"],
        ["match", "one.txt", "two.txt", "--by", "model"],
        ["extract", "review.txt", "--by", "model", "--out", "points.jsonl"],
        ["feedback", "review.txt", "--rubric", "design"],
    ):
        began = time.monotonic()
        code = main([*command, *asked])
        error = capsys.readouterr().err
        assert code in (2, 4) and "Traceback" not in error, error
        assert ODD[name][1] in error and time.monotonic() - began < 20, error
