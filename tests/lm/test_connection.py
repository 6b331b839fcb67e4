"""The one client of servers: what passes is tried again, what does not is one line with its cause, in seconds."""

from __future__ import annotations

import json
import ssl
import time
import warnings
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from momus.errors import Notice, UserError
from momus.lm.chats.protocol import Question
from momus.lm.chats.server import ServerChat
from momus.lm.remote import connection
from momus.lm.remote.probe import probe
from momus.lm.remote.server import KEY_VARIABLE, RefusedError, Server, UnreachableError
from momus.lm.remote.wire import Request
from support.hosted import HostedServer, Said, listening

URL = "https://models.test/v1"
ASK = Request("Say yes.", 40, chat=True, temperature=0.0)
NO_ROOM = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}


def error_of(call: Callable[[], Any], kind: type[UserError] = UserError) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def asked(server: HostedServer, model: str = "m", url: str = URL, **arguments: Any) -> Callable[[], Any]:
    return lambda: Server(url, model, http_client=server.transport, **arguments).ask([ASK])


def raising(error: Exception, counted: list[int] | None = None) -> httpx2.AsyncClient:
    def handle(request: httpx2.Request) -> httpx2.Response:
        if counted is not None:
            counted.append(1)
        raise error

    return httpx2.AsyncClient(transport=httpx2.MockTransport(handle))


def test_a_server_that_asks_to_wait_is_waited_for() -> None:
    server = HostedServer("openai", first=[(429, {"retry-after": "0.3"}, NO_ROOM)])
    began = time.monotonic()
    assert asked(server)()[0].text == "Yes."
    assert 0.3 <= time.monotonic() - began < 3 and len(server.bodies) == 2


@pytest.mark.parametrize(
    ("status", "headers", "body", "message"),
    [
        (429, {"retry-after": "3600"}, NO_ROOM, "asks to wait 3600 s (429: slow down): try again then"),
        (
            429,
            {"retry-after": "Sun, 29 Nov 2026 11:00:00 GMT", "date": "Sun, 29 Nov 2026 10:00:00 GMT"},
            NO_ROOM,
            "asks to wait 3600 s",
        ),
        (
            429,
            {},
            {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
            "gives this API key nothing more (429: You exceeded your current quota)",
        ),
        (403, {}, {"error": {"message": "Country not supported"}}, f"(403: Country not supported): set {KEY_VARIABLE}"),
        (413, {}, {"error": {"type": "request_too_large", "message": "too large"}}, "refused the request (413): too l"),
        (308, {"location": "https://other.test/v1"}, {}, "redirects to https://other.test/v1: give that server's URL"),
        (500, {"x-should-retry": "false"}, {"detail": "no"}, "failed (500: no)"),
        (501, {}, b"", "failed (501: no reason given)"),
        (502, {"x-should-retry": "false"}, b"<html><head><style>a{}</style></head>Bad\nGateway</html>", "Bad Gateway"),
        (422, {}, {"detail": [{"loc": ["body", "x"], "msg": "wrong"}]}, "refused the request (422): x: wrong"),
        (200, {}, b"[" * 10**5, "does not answer as its API does: no JSON"),
        (200, {}, b"", "does not answer as the OpenAI API does: None"),
    ],
)
def test_what_does_not_pass_is_one_line_at_once(status: int, headers: dict[str, str], body: Any, message: str) -> None:
    server = HostedServer("openai", first=[(status, headers, body)])
    began = time.monotonic()
    line = error_of(asked(server))
    assert message in line and (URL in line or status == 200)
    assert time.monotonic() - began < 1 and len(server.bodies) == 1


def test_failures_of_the_connection() -> None:
    refused = "certificate verify failed: self-signed certificate"
    verify = httpx2.ConnectError("no")
    verify.__cause__ = ssl.SSLCertVerificationError(refused)
    cases: list[tuple[Exception, str, int]] = [
        (verify, f"cannot reach {URL}: ", 1),
        (httpx2.ConnectTimeout(""), f"cannot reach {URL}: no connection within 10 s", 1),
        (httpx2.ReadTimeout(""), f"{URL} did not answer within 300 s", 1),
        (httpx2.RemoteProtocolError("Server disconnected"), f"cannot reach {URL}: Server disconnected", 2),
        (httpx2.ReadError(""), f"cannot reach {URL}: ReadError", 2),
        (httpx2.DecodingError("bad gzip"), f"{URL} does not answer as its API does: bad gzip", 1),
    ]
    for error, message, tries in cases:
        counted: list[int] = []
        server = Server(URL, "m", http_client=raising(error, counted))
        assert message in error_of(lambda server=server: server.ask([ASK]))
        assert len(counted) == tries
    began = time.monotonic()
    nobody = Server("http://127.0.0.1:9/v1", "m")
    assert "refused" in error_of(lambda: nobody.ask([ASK]), UnreachableError)
    assert "cannot reach" in error_of(lambda: Server("http://no.such.host.invalid/v1", "m").ask([ASK]))
    assert time.monotonic() - began < 5


def test_one_answer_has_a_limit_of_time_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(question: str, before: int) -> str:
        time.sleep(1)
        return "late"

    with listening(HostedServer("vllm", slow)) as url:
        began = time.monotonic()
        assert "did not answer within 0.2 s" in error_of(lambda: Server(url, "m", timeout=0.2).ask([ASK]))
        assert time.monotonic() - began < 0.9
    monkeypatch.setattr(connection, "LARGEST_ANSWER", 1 << 20)
    large = HostedServer("vllm", lambda question, before: "x" * (2 << 20))
    assert "sends more than 1 MiB in one answer" in error_of(asked(large))


def test_keys_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " sk-secret\n")
    assert asked(HostedServer("openai", key="sk-secret"))()[0].text == "Yes."
    line = error_of(asked(HostedServer("openai", key="sk-other")))
    assert "does not accept the API key (401: Incorrect API key provided: (the key))" in line and "secret" not in line
    for key in ("sk-secret\nx", "sk-secret y", "sk-sécret"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        line = error_of(asked(HostedServer("openai")))
        assert line.startswith(KEY_VARIABLE) and "cret" not in line
    monkeypatch.delenv(KEY_VARIABLE)
    assert "needs an API key (401" in error_of(asked(HostedServer("openai", key="k")))


def test_a_hosts_own_variable_is_sent_to_that_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    server = HostedServer("openai")
    for url in ("https://api.openai.com/v1", "http://api.openai.com/v1", "https://api.openai.com.evil.test/v1", URL):
        asked(server, url=url)()
    assert [headers["authorization"] for headers in server.headers] == ["Bearer theirs", *["Bearer none"] * 3]


def test_the_address_is_shown_without_its_secrets() -> None:
    server = HostedServer("openai", first=[(400, {}, {"error": "no"})])
    line = error_of(asked(server, url="https://me:hidden@models.test/v1/chat/completions/?key=hidden"))
    assert line.startswith("https://models.test/v1 refused") and "hidden" not in line
    for url in ("models.test", "ftp://models.test", "http://", "http://[::1", "http://h:port/v1"):
        assert "is not a server's URL" in error_of(lambda url=url: Server(url, "m"))
    bare = HostedServer("openai")
    assert "usually ends in /v1" in error_of(asked(bare, url="https://models.test"))


def test_an_unknown_model_is_told_with_those_there_are() -> None:
    for shape in ("openai", "vllm", "ollama", "lmstudio"):
        line = error_of(asked(HostedServer(shape), model="other"), RefusedError)
        assert line.startswith(f"{URL} has no model 'other' (404: ") and line.endswith("): it has m")


def test_a_reasoning_model_is_asked_in_its_own_words() -> None:
    server = HostedServer("openai-reasoning")
    connected = Server(URL, "m", http_client=server.transport)
    with pytest.warns(Notice) as told:
        assert connected.ask([ASK])[0].text == "Yes."
    assert [str(one.message).partition(": ")[2] for one in told] == [
        "max_completion_tokens is sent in place of max_tokens",
        "it takes no temperature but its own, so none is sent",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is said twice
        connected.ask([ASK] * 3)
    assert len(server.bodies) == 6
    assert set(server.bodies[-1]) == {"model", "messages", "max_completion_tokens", "top_p"}
    with pytest.raises(RefusedError, match="'logit_bias' is not supported"):  # what an answer depends on stays
        connected.ask([Request("Say yes.", 40, chat=True, bias={1: 100})])


def test_a_value_out_of_range_is_told_and_not_left_out() -> None:
    too_many = {"error": {"message": "max_tokens is too large: 40. It supports at most 30.", "param": "max_tokens"}}
    server = HostedServer("openai", first=[(400, {}, too_many)])
    assert "max_tokens is too large: 40" in error_of(asked(server))


@pytest.mark.filterwarnings("ignore::momus.errors.Notice")
def test_probing_sees_what_a_reasoning_model_can_do() -> None:
    def say(question: str, before: int) -> Said:
        body = server.bodies[-1]
        word = json.dumps({"word": "zq"}) if "response_format" in body else "Yes."
        return Said(word, thoughts=" ".join(["hm"] * 30))

    server = HostedServer("openai-reasoning", say)
    can = probe(Server(URL, "m", http_client=server.transport))
    assert (can.asked, can.chat, can.completions, can.structured) == ("chat", True, False, "response_format")
    assert can.several and not can.temperature and not can.logprobs and not can.seeds


def test_a_server_with_the_older_form_of_schemas_is_sent_that_one() -> None:
    """llama-cpp-python's server answers 500 to OpenAI's form of a schema, and takes its own."""
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    sent: list[Any] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content).get("response_format"))
        if sent[-1] and sent[-1]["type"] == "json_schema":
            problem = {"type": "literal_error", "loc": ("body", "response_format", "type"), "input": "json_schema"}
            problem |= {"msg": "Input should be 'text' or 'json_object'"}
            return httpx2.Response(500, json={"error": {"message": f"1 validation error:\n {problem}", "code": None}})
        message = {"role": "assistant", "content": '{"word": "yes"}'}
        return httpx2.Response(200, json={"choices": [{"message": message, "finish_reason": "stop"}]})

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    chat = ServerChat(Server(URL, "m", http_client=client))
    began = time.monotonic()
    answers = chat.answer([Question.of("Say yes.", 8, schema=schema), Question.of("Say yes.", 8)])
    assert [answer.text for answer in answers] == ['{"word": "yes"}'] * 2 and time.monotonic() - began < 2
    assert {"type": "json_object", "schema": schema} in sent and sent.count(None) == 1
