"""The connection to an OpenAI-compatible server: concurrency, retries, time limits, and every failure in one line.

The `openai` client does the work: connection errors, 408, 409, 429 and 5xx are tried again with growing pauses, or
the pause the server asks for. Requests run on an event loop in a thread of its own, so that callers stay ordinary
functions (in notebooks too); Ctrl-C, or the first request that fails, cancels the others.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache, partial
from typing import Any, TypeVar

import openai

from momus.errors import UserError
from momus.lm.remote.wire import Reply, Request, read_reply

T = TypeVar("T")

KEY_VARIABLE = "MOMUS_API_KEY"
"""The environment variable of the API key. Not OPENAI_API_KEY: that one must not be sent to any other server."""


class RefusedError(UserError):
    """The server answered with an HTTP error; `status` is its code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(UserError):
    """There is no server, or no way to it."""


class Server:
    """A model on an OpenAI-compatible server.

    Args:
        url: The base URL, usually ending in /v1.
        model: The model's name there; None for the only one it serves.
        api_key: Sent as bearer token; by default what MOMUS_API_KEY holds.
        concurrency: Most requests under way at once.
        timeout: Seconds to wait for one answer.
        retries: How often a request that failed for a passing reason is sent again.
        http_client: The client to send requests with (an `openai.DefaultAsyncHttpxClient`): for proxies and tests.

    Raises:
        UserError: The URL is not one, or no model is named and there is not exactly one.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        *,
        api_key: str | None = None,
        concurrency: int = 64,
        timeout: float = 300.0,
        retries: int = 4,
        http_client: Any = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise UserError(f"{url!r} is not a server's URL: it looks like http://localhost:8000/v1")
        if concurrency < 1 or retries < 0 or timeout <= 0:
            raise UserError("concurrency must be at least 1, retries at least 0 and timeout above 0")
        self.url, self._timeout, self._retries, self._concurrency = url, timeout, retries, concurrency
        self._client = openai.AsyncOpenAI(
            base_url=url,
            api_key=api_key or os.environ.get(KEY_VARIABLE) or "none",
            timeout=timeout,
            max_retries=retries,
            http_client=http_client,
        )
        self.model = model if model is not None else self._only_model()

    def models(self) -> list[str]:
        """Return the names of the models the server lists.

        Raises:
            UserError: It cannot be reached, or lists none.
        """
        return [str(entry["id"]) for entry in self.run([self._list()])[0]]

    def context_length(self) -> int | None:
        """Return the most tokens that the model reads, where the server says it (vLLM and SGLang do)."""
        try:
            found = {entry["id"]: entry.get("max_model_len") for entry in self.run([self._list()])[0]}
        except UserError:  # it need not list models
            return None
        size = found.get(self.model)
        return size if isinstance(size, int) and size > 0 else None

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Send requests, many at once, and return the replies in order.

        Raises:
            RefusedError: The server refused one, or went on failing.
            UserError: It cannot be reached, does not answer in time, or not in the OpenAI API's way.
        """
        return self.run([self.reply(request) for request in requests])

    async def reply(self, request: Request) -> Reply:
        """Send one request; see `ask`. Meant for coroutines given to `run`, which limits how many run at once."""
        body = request.body(self.model)
        return read_reply(await self._sent(lambda: self._client.post(request.path, cast_to=object, body=body)))

    def call(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request of the server's own, whose path is not under /v1, and return its answer.

        Raises:
            RefusedError: The server refused it, or went on failing.
            UserError: It cannot be reached or does not answer in time.
        """
        return self.calls(path, [body])[0]

    def calls(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Send requests as `call` does, many at once, and return the answers in order."""
        url = self.url.rstrip("/").removesuffix("/v1") + path
        return self.run([self._sent(partial(self._client.post, url, cast_to=object, body=body)) for body in bodies])

    def run(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run coroutines, at most `concurrency` at once, and return their results in order."""
        future = asyncio.run_coroutine_threadsafe(self._gathered(work), _loop())
        try:
            return future.result()
        except BaseException:  # Ctrl-C arrives in this thread: the requests are in the other
            future.cancel()
            raise

    async def _gathered(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        places = asyncio.Semaphore(self._concurrency)

        async def placed(one: Coroutine[Any, Any, T]) -> T:
            async with places:
                return await one

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(placed(one)) for one in work]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            for one in work:
                one.close()  # those never begun
        return [task.result() for task in tasks]

    async def _list(self) -> list[dict[str, Any]]:
        found = await self._sent(lambda: self._client.get("/models", cast_to=object))
        try:
            entries = [{**entry, "id": str(entry["id"])} for entry in found["data"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{self.url} does not list its models as the OpenAI API does: name one") from error
        if not entries:
            raise UserError(f"{self.url} serves no model")
        return entries

    def _only_model(self) -> str:
        names = self.models()
        if len(names) > 1:
            raise UserError(f"{self.url} serves several models, choose one: {', '.join(names)}")
        return names[0]

    async def _sent(self, send: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Await an answer; every way to fail becomes one line."""
        tries = f" after {self._retries + 1} tries" if self._retries else ""
        try:
            return await send()
        except openai.APITimeoutError as error:
            raise UserError(f"{self.url} did not answer within {self._timeout:g} s{tries}") from error
        except openai.APIConnectionError as error:
            raise UnreachableError(f"cannot reach {self.url}: {error.__cause__ or error}") from error
        except openai.APIStatusError as error:
            said, status = _said(error), error.status_code
            if status in (401, 403):
                line = f"{self.url} does not accept the API key ({status}: {said}): set {KEY_VARIABLE}"
            elif status == 429:
                line = f"{self.url} is too busy (429: {said}){tries}: lower the concurrency or try later"
            elif status >= 500:
                line = f"{self.url} failed ({status}: {said}){tries}"
            else:
                line = f"{self.url} refused the request ({status}): {said}"
            raise RefusedError(line, status) from error
        except (openai.OpenAIError, ValueError) as error:  # an answer that is no JSON
            raise UserError(f"{self.url} does not answer as the OpenAI API does: {error}") from error


def _said(error: openai.APIStatusError) -> str:
    body: Any = error.body
    for name in ("error", "message", "detail"):
        if isinstance(body, dict) and name in body:
            body = body[name]
    return " ".join(str(body or "no reason given").split())[:300]


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="momus-requests", daemon=True).start()
    return loop
