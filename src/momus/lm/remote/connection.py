"""HTTP to one server: many requests at once, retries, time limits, and every failure in one line.

Everything in Momus that talks to a model server goes through this client. Requests run on an event loop in a thread of
its own, so that callers stay ordinary functions (in notebooks too); Ctrl-C, or the first request that fails, cancels
the others. What passes (408, 409, 425, 429, 5xx, lost connections) is tried again with growing pauses, or after the
pause that the server asks for; what does not pass (a wrong key, a used-up quota, an answer that takes too long) is not.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import socket
import ssl
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx2

from momus.errors import UserError
from momus.files import surrogate_in
from momus.lm.remote.events import STREAM, BadEventError, EventReader

T = TypeVar("T")

LARGEST_ANSWER = 256 << 20
"""Bytes of one answer that are read; log-probabilities of a long text take tens of megabytes."""
LONGEST_PAUSE = 60.0
"""Seconds that a server may ask to be waited for; a longer pause is an error at once."""

_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_INVALID = re.compile(r"validation errors?:|literal_error|extra_forbidden")
"""Words of pydantic, with which llama-cpp-python says 500 to a request that it does not take."""
_USED_UP = re.compile(r"insufficient_quota|billing|credit|exceeded your current quota", re.IGNORECASE)
_ENDPOINTS = ("/chat/completions", "/completions", "/messages")
_CONNECT_SECONDS = 10.0
_LONGEST_REASON = 300
_SHORTEST_SECRET = 8  # what people set for servers that want no key, such as "none", is a word like others


class RefusedError(UserError):
    """The server answered with an HTTP error.

    Attributes:
        status: The HTTP status.
        reason: The server's reason, on one line.
        parameter: The request's field that it names, "" where it names none.
        code: Its name for the error, such as "model_not_found"; "" where it gives none.
    """

    def __init__(self, message: str, status: int, reason: str = "", parameter: str = "", code: str = "") -> None:
        super().__init__(message)
        self.status, self.reason, self.parameter, self.code = status, reason, parameter, code


class UnreachableError(UserError):
    """There is no server, or no way to it."""


@dataclass(frozen=True)
class Address:
    """A server's base URL as it is requested, and as it may be shown: without user, password and query."""

    url: str
    shown: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a base URL; the path of an endpoint at its end is taken off.

        Raises:
            UserError: It is not an HTTP URL.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if parts.scheme not in ("http", "https") or not host:
            raise UserError(f"{url!r} is not a server's URL: it looks like http://localhost:8000/v1")
        path = parts.path.rstrip("/")
        path = next((path.removesuffix(end) for end in _ENDPOINTS if path.endswith(end)), path)
        place = f"[{host}]" if ":" in host else host
        place += f":{port}" if port else ""
        return cls(urlunsplit(parts._replace(path=path)), f"{parts.scheme}://{place}{path}")

    def at(self, path: str) -> str:
        """Return the URL of a path below the base; a query is kept."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path + path))

    def beside(self, path: str) -> str:
        """Return the URL of a path that is not below the base's /v1."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path.removesuffix("/v1") + path))


class Connection:
    """JSON to one server and back.

    Args:
        address: The server.
        headers: Sent with every request; a key goes in here.
        secret: The key, taken out of whatever the server says.
        key_name: The environment variable that the key belongs in, for messages.
        concurrency: Most requests under way at once.
        timeout: Seconds to wait for one answer.
        retries: How often a request that failed for a passing reason is sent again.
        http_client: The client to send requests with (an `httpx2.AsyncClient`): for proxies and tests.

    Raises:
        UserError: A setting is out of range, or the environment's proxy or certificates cannot be used.

    Attributes:
        answered: Whether the server has answered a request since this was made.
    """

    def __init__(
        self,
        address: Address,
        headers: Mapping[str, str],
        *,
        secret: str = "",
        key_name: str = "",
        concurrency: int = 64,
        timeout: float = 300.0,
        retries: int = 4,
        http_client: Any = None,
    ) -> None:
        if concurrency < 1 or retries < 0 or timeout <= 0:
            raise UserError("concurrency must be at least 1, retries at least 0 and timeout above 0")
        self.address, self.answered = address, False
        self._headers = {"accept": "application/json", "content-type": "application/json", **headers}
        self._secret, self._key_name = secret, key_name
        self._concurrency, self._timeout, self._retries = concurrency, timeout, retries
        self._client: httpx2.AsyncClient = http_client or _client(concurrency, timeout)

    async def send(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, reader: EventReader | None = None
    ) -> Any:
        """Send one request and return the JSON that comes back, None for an answer without a body.

        With `reader`, an answer that is a stream of events is the list of them; it is not asked for again once an
        event came.

        Raises:
            RefusedError: The server refused it, or went on failing.
            UnreachableError: There is no server, or no way to it.
            UserError: It does not answer in time, or not with JSON.
        """
        content = None if body is None else json.dumps(body).encode()
        for attempt in range(self._retries + 1):
            pause = min(0.5 * 2**attempt, 8.0) * random.uniform(0.75, 1.0)
            last = attempt == self._retries
            try:
                response, data = await self._once(method, url, content, reader)
            except httpx2.TransportError as error:
                if last or (reader and reader.events) or not self._may_pass(error, attempt):
                    raise self._unreachable(error, attempt) from error
            else:
                if response.status_code < 300:
                    self.answered = True
                    return (reader and reader.events) or self._json(data)
                refusal = self._refusal(response, data, attempt)
                asked = _asked_pause(response.headers)
                if last or asked > LONGEST_PAUSE or not _passes(response, refusal):
                    raise refusal
                pause = asked or pause
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def run(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run coroutines, at most `concurrency` at once, and return their results in order."""
        future = asyncio.run_coroutine_threadsafe(self._gather(work), _loop())
        try:
            return future.result()
        except BaseException:  # Ctrl-C arrives in this thread: the requests are in the other
            future.cancel()
            raise

    async def _gather(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        slots = asyncio.Semaphore(self._concurrency)

        async def limited(one: Coroutine[Any, Any, T]) -> T:
            async with slots:
                return await one

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(limited(one)) for one in work]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            for one in work:
                one.close()  # those never begun
        return [task.result() for task in tasks]

    async def _once(
        self, method: str, url: str, content: bytes | None, reader: EventReader | None
    ) -> tuple[httpx2.Response, bytes]:
        data = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream(method, url, content=content, headers=self._headers) as response,
            ):
                if response.status_code >= 300 or STREAM not in response.headers.get("content-type", ""):
                    reader = None
                async for piece in response.aiter_bytes():
                    data += piece
                    if reader is not None:
                        reader.feed(piece)
                    if len(data) > LARGEST_ANSWER:
                        raise UserError(f"{self._shown} sends more than {LARGEST_ANSWER >> 20} MiB in one answer")
                return response, bytes(data)
        except (TimeoutError, httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
            raise UserError(f"{self._shown} did not answer within {self._timeout:g} s") from error
        except (httpx2.DecodingError, httpx2.InvalidURL, httpx2.StreamError, BadEventError) as error:
            raise self._other_answer(str(error)) from error

    @property
    def _shown(self) -> str:
        return self.address.shown

    def _may_pass(self, error: httpx2.TransportError, attempt: int) -> bool:
        """Whether a failure of the connection is worth another attempt: not where there was never a server."""
        if isinstance(_root(error), ssl.SSLError | socket.gaierror) or isinstance(error, httpx2.UnsupportedProtocol):
            return False
        return self.answered or (attempt == 0 and not isinstance(error, httpx2.ConnectTimeout))

    def _unreachable(self, error: httpx2.TransportError, attempt: int) -> UnreachableError:
        if isinstance(error, httpx2.ConnectTimeout):
            why = f"no connection within {_CONNECT_SECONDS:g} s"
        else:
            root = _root(error)
            message = str(root)
            if isinstance(root, OSError) and root.errno and not isinstance(root, ssl.SSLError | socket.gaierror):
                message = os.strerror(root.errno)
            why = self._clean(message or str(error) or type(root).__name__)
        tries = f" after {attempt + 1} tries" if attempt and self.answered else ""
        return UnreachableError(f"cannot reach {self._shown}: {why}{tries}")

    def _refusal(self, response: httpx2.Response, data: bytes, attempt: int) -> RefusedError:
        """Return the error that an answer with an HTTP error is: one line with its cause."""
        status, url = response.status_code, self._shown
        reason, parameter, code = _read_reason(data)
        reason = self._clean(reason)
        tries = f" after {attempt + 1} tries" if attempt else ""
        asked = _asked_pause(response.headers)
        if 300 <= status < 400:
            target = str(response.headers.get("location", ""))[:200]
            line = f"{url} redirects to {self._clean(target) or 'nowhere'}: give that server's URL"
        elif status == 401 or (status == 403 and not self.answered):
            line = f"{url} does not accept the API key ({status}: {reason}): set {self._key_name}"
            if not self._secret:
                line = f"{url} needs an API key ({status}: {reason}): set {self._key_name}"
        elif status == 429 and _USED_UP.search(f"{code} {reason}"):
            line = f"{url} gives this API key nothing more (429: {reason})"
        elif asked > LONGEST_PAUSE and status in _PASSING:
            line = f"{url} asks to wait {asked:.0f} s ({status}: {reason}): try again then"
        elif status == 429:
            line = f"{url} is too busy (429: {reason}){tries}: lower the concurrency or try later"
        elif status >= 500:
            line = f"{url} failed ({status}: {reason}){tries}"
        elif status == 404 and urlsplit(self.address.url).path in ("", "/"):
            line = f"{url} refused the request (404: {reason}): the URL of such a server usually ends in /v1"
        else:
            line = f"{url} refused the request ({status}): {reason}"
        return RefusedError(line, status, reason, parameter, code)

    def _json(self, data: bytes) -> Any:
        try:
            value = json.loads(data) if data.strip() else None
        except (ValueError, RecursionError) as error:
            shown = data[:60].decode(errors="replace")
            why = "a stream of events that was not asked for" if data.lstrip().startswith(b"data:") else "no JSON"
            raise self._other_answer(f"{why}: {shown!r}") from error
        if (field := surrogate_in(value)) is not None:
            raise self._other_answer(f"{field}holds half a character (a lone surrogate)")
        if isinstance(value, dict) and value.get("error"):  # what failed behind a gateway comes with status 200
            raise UserError(f"{self._shown} failed: {self._clean(_read_reason(data)[0])}")
        return value

    def _other_answer(self, why: str) -> UserError:
        return UserError(f"{self._shown} does not answer as its API does: {self._clean(why)}")

    def _clean(self, text: str) -> str:
        """Return a server's words on one line, short, and without the key."""
        text = text.replace(self._secret, "(the key)") if len(self._secret) >= _SHORTEST_SECRET else text
        return " ".join(text.split())[:_LONGEST_REASON]


def check_key(key: str, name: str) -> str:
    """Return a key as it is sent.

    Raises:
        UserError: It holds what no key has; the message does not show it.
    """
    key = key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"{name} holds spaces, line breaks or letters that no API key has: set it again")
    return key


def _client(concurrency: int, timeout: float) -> httpx2.AsyncClient:
    try:
        return httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS), pool=None),
            limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )
    except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
        why = " ".join(str(error).split())[:200]
        raise UserError(f"the proxy or certificates that the environment names cannot be used: {why}") from error


def _passes(response: httpx2.Response, refusal: RefusedError) -> bool:
    """Whether a refusal may be another answer soon."""
    if response.headers.get("x-should-retry") in ("true", "false"):
        return bool(response.headers["x-should-retry"] == "true")
    if response.status_code == 429 and _USED_UP.search(f"{refusal.code} {refusal.reason}"):
        return False
    return response.status_code in _PASSING and not _INVALID.search(refusal.reason)


def _asked_pause(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to be left alone for; 0 where it does not say."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(seconds, 0.0) if seconds == seconds else 0.0
    try:
        then = parsedate_to_datetime(headers.get("retry-after", ""))
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return max((then - now).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _read_reason(data: bytes) -> tuple[str, str, str]:
    """Return what a server says of an error, the request's field that it names, and its code."""
    try:
        body: Any = json.loads(data)
    except (ValueError, RecursionError):
        text = re.sub(
            r"<(style|script|head)\b.*?</\1>|<[^<>]*>", " ", data[:4_000].decode(errors="replace"), flags=re.S
        )
        return " ".join(text.split()) or "no reason given", "", ""
    parameter = code = ""
    for name in ("error", "message", "detail", "msg"):
        if isinstance(body, dict):
            parameter = body["param"] if isinstance(body.get("param"), str) else parameter
            code = next((body[key] for key in ("code", "type") if isinstance(body.get(key), str)), code)
            body = body.get(name) or body
    if isinstance(body, list):  # how pydantic names what is wrong with a request
        lines = [entry for entry in body if isinstance(entry, dict)]
        places = [".".join(map(str, line.get("loc") or ())).removeprefix("body.") for line in lines]
        parameter = next(filter(None, places), "")
        code = str(lines[0].get("type", code)) if lines else code
        body = "; ".join(f"{place}: {line.get('msg', '')}" for place, line in zip(places, lines, strict=True)) or body
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=True)
    return text.strip() or "no reason given", parameter, code


def _root(error: BaseException) -> BaseException:
    """Return the cause at the bottom of an error."""
    for _ in range(20):
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        below = error.__cause__ or error.__context__
        if below is None:
            break
        error = below
    return error


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="momus-requests", daemon=True).start()
    return loop
