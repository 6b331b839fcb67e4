"""Whatever a server answers, a call ends with a result or one line, in bounded time."""

from __future__ import annotations

import json
import random
import time
import warnings
from typing import Any

import httpx2
import pytest

from momus.errors import UserError
from momus.lm.chats.messages import MessagesChat, MessagesServer
from momus.lm.chats.protocol import Question
from momus.lm.chats.server import ServerChat
from momus.lm.remote.server import Server
from momus.lm.remote.wire import Request
from momus.match.ask import JsonAsker
from support.hosted import SHAPES, HostedServer, Said

ODD: list[Any] = [
    None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**30, "", "null", "\ud800", "\x1b[2J\n\r", "x" * 5000,
    [], {}, [[]], {"": None}, [None], "max_tokens", "temperature", "model", "unsupported",
]  # fmt: skip
STATUSES = [200] * 12 + [201, 204, 301, 400, 400, 401, 403, 404, 413, 418, 422, 429, 500, 503, 529]
HEADERS = [{}, {}, {"retry-after": "0.001"}, {"retry-after": "x"}, {"retry-after": "nan"}, {"retry-after": "1e999"},
           {"content-type": "text/html"}, {"content-encoding": "gzip"}, {"location": "\x1b/"},
           {"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}]  # fmt: skip


def mutated(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one place changed: replaced, dropped, doubled, nested or mixed up."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        if rng.random() < 0.15:
            return {name: inner for name, inner in value.items() if name != key}
        if rng.random() < 0.1:
            return {**value, key: value[rng.choice(sorted(value))]}
        return {**value, key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        if rng.random() < 0.15:
            return value[:place] + value[place + 1 :]
        return [*value[:place], mutated(value[place], rng), *value[place + 1 :]]
    if isinstance(value, str) and value and rng.random() < 0.3:
        place = rng.randrange(len(value))
        return value[:place] + rng.choice(["", "\x00", "\ud800", "{", "</think>", "\u2028"]) + value[place + 1 :]
    return rng.choice(ODD)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return bytes as a broken proxy or a cut connection leaves them."""
    place = rng.randrange(len(data) + 1)
    return rng.choice([data[:place], data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :], data * 2,
                       b"[" * 100_000, b"<html>Bad gateway</html>", b"", b"\xff\xfe" + data])  # fmt: skip


def reply_to(server: HostedServer, request: httpx2.Request, rng: random.Random) -> httpx2.Response:
    status, headers, value = server.respond(
        request.method, request.url.path, dict(request.headers), json.loads(request.content or b"{}")
    )
    if rng.random() < 0.6:  # so that damage comes at every point of a conversation
        return httpx2.Response(status, headers=headers, content=json.dumps(value).encode())
    if status == 200 and rng.random() < 0.3:
        status = rng.choice(STATUSES)
        if status != 200 and rng.random() < 0.7:
            value = server._error(rng.choice(["no", "max_tokens", "'temperature' is not supported"]), status, "e")
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        value = mutated(value, rng)
    data = json.dumps(value).encode()
    if rng.random() < 0.1:
        data = damaged(data, rng)
    return httpx2.Response(status, headers={**headers, **rng.choice(HEADERS)}, content=data)


def ask_in_one_way(number: int) -> str:
    """Ask a server of some shape whose replies are damaged; returns how it ended."""
    rng = random.Random(number)
    shape = SHAPES[number % len(SHAPES)]
    told = [Said('{"a": 1}'), Said("Yes.", "hm"), Said(None, finish="length"), Said("", refusal="no"), Said("{" * 50)]
    server = HostedServer(shape, lambda *_: rng.choice(told))
    client = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: reply_to(server, request, rng)))
    settings: dict[str, Any] = {"retries": 0, "timeout": 20, "http_client": client}
    try:
        if shape.startswith("anthropic"):
            chat: ServerChat = MessagesChat(MessagesServer("https://h.test/v1", None, **settings))
        else:
            chat = ServerChat(Server("https://h.test/v1", None, **settings))
            if number % 3 == 0:
                chat.server.ask([Request("x", 9, chat=True, logprobs=1)])
        for answer in chat.answer([Question.of("x", 50, schema={}), Question.of("y", 50)]):
            answer.text.encode()
            assert "\n" not in answer.problem and len(answer.problem) < 1000
        JsonAsker(chat).ask(["x", "y"], lambda _, value: value)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return "line"
    return "result"


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])])
def test_a_call_ends_with_a_result_or_one_line(count: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ended, slowest = [], 0.0
        for number in range(count):
            began = time.perf_counter()
            ended.append(ask_in_one_way(number))
            slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 10
    assert min(ended.count("line"), ended.count("result")) > count // 10
