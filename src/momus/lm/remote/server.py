"""One model on an OpenAI-compatible server, asked in the words that this server takes.

Hosted models refuse fields that others need: reasoning models take `max_completion_tokens` for `max_tokens`, and no
temperature but their own. What a server refuses by name is sent otherwise or left out from then on (`Habits`), and said
once; a field that the answer depends on, such as `logit_bias` or a prompt, is never left out.
"""

from __future__ import annotations

import os
import re
import warnings
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

from momus.errors import Notice, UserError
from momus.lm.remote.connection import Address, Connection, RefusedError, UnreachableError, check_key
from momus.lm.remote.events import EventReader
from momus.lm.remote.wire import Reply, Request, read_reply

__all__ = ["KEY_VARIABLE", "Habits", "RefusedError", "Server", "UnreachableError", "read_key"]

T = TypeVar("T")

KEY_VARIABLE = "MOMUS_API_KEY"
"""The environment variable of the API key."""

_HOSTS = {"api.openai.com": "OPENAI_API_KEY", "api.anthropic.com": "ANTHROPIC_API_KEY"}
"""Hosts whose own variable is read where `KEY_VARIABLE` is not set; it is sent nowhere else."""

_LLAMA_CPP = "llamacpp"
"""Who owns a model by the list of llama.cpp's own server."""

NO_PENALTY: Mapping[str, object] = {"repeat_penalty": 1.0, "repetition_penalty": 1.0}
"""The fields, by two names, that keep a server from taking from what repeats: llama-cpp-python's takes from it unless
it is told, vLLM where the model's makers recommend it. Hosted models know neither, and do not do it."""

_LEFT_OUT = ("temperature", "top_p", "seed", "stop", "stop_sequences", "response_format", "output_config", *NO_PENALTY)
_UNTOLD = ("response_format", "output_config", *NO_PENALTY)
"""Fields whose refusal nobody has to know: answers are read without them."""
_UNSUPPORTED = re.compile(
    r"unsupported|not\s+support|deprecated|unrecognized|unknown|unexpected|not permitted|not allowed|extra_forbidden"
    r"|not available|cannot both|only the default",
    re.IGNORECASE,
)
_CUT_SHORT = re.compile(r"max_tokens or model output limit was reached", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"(?>.*?\bmodel\b).*\b(not found|not exist|unknown|no such)|.*\b(unknown|no such) model\b",
    re.IGNORECASE | re.DOTALL,
)
_TRIES = 8
"""Most times that one request is put otherwise."""


@dataclass
class Habits:
    """What a server has refused by name, and what it is sent instead; equal requests stay equal once it is known."""

    renamed: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    older_schema: bool = False

    def apply(self, body: Mapping[str, object]) -> dict[str, object]:
        """Return a request's body as this server takes it."""
        sent = {self.renamed.get(name, name): value for name, value in body.items() if name not in self.left_out}
        if self.older_schema and (schema := _schema_in(sent)) is not None:
            sent["response_format"] = {"type": "json_object", "schema": schema}
        return sent

    def learn(self, refusal: RefusedError, body: Mapping[str, object]) -> str:
        """Learn from a refusal of a body; returns what was changed, in words, and "" where nothing can be."""
        if _schema_in(body) is not None and re.search(r"response_format.*json_object", refusal.reason, re.DOTALL):
            self.older_schema = True
            return "a schema is sent in the response_format of llama-cpp-python"
        if refusal.status not in (400, 422):
            return ""
        if "max_tokens" in body and "max_completion_tokens" in refusal.reason:
            self.renamed["max_tokens"] = "max_completion_tokens"
            return "max_completion_tokens is sent in place of max_tokens"
        if not _UNSUPPORTED.search(f"{refusal.code} {refusal.reason}"):
            return ""
        for name in self._named(refusal, body):
            self.left_out |= set(NO_PENALTY) if name in NO_PENALTY else {name}
            return f"it takes no {name} but its own, so none is sent"
        return ""

    @staticmethod
    def _named(refusal: RefusedError, body: Mapping[str, object]) -> list[str]:
        """Return the fields that a refusal names and that may be left out; of two that exclude each other, top_p."""
        root = refusal.parameter.split(".")[0]
        named = [name for name in _LEFT_OUT if name in body and name == root]
        named = named or [name for name in _LEFT_OUT if name in body and re.search(rf"\b{name}\b", refusal.reason)]
        if "both" in refusal.reason and {"temperature", "top_p"} <= set(named):
            return ["top_p"] if body["top_p"] == 1 else []
        return named


def _schema_in(body: Mapping[str, object]) -> object | None:
    """Return the JSON schema that an answer has to keep to, as OpenAI has it in a request; None where there is none."""
    asked = body.get("response_format")
    form = asked.get("json_schema") if isinstance(asked, dict) else None
    return form.get("schema") if isinstance(form, dict) else None


class Server:
    """A model on an OpenAI-compatible server.

    Args:
        url: The base URL, usually ending in /v1.
        model: The model's name there; None for the only one it serves.
        api_key: Sent as bearer token; by default what MOMUS_API_KEY holds.
        concurrency: Most requests under way at once.
        timeout: Seconds to wait for one answer.
        retries: How often a request that failed for a passing reason is sent again.
        http_client: The client to send requests with (an `httpx2.AsyncClient`): for proxies and tests.

    Raises:
        UserError: The URL is not one, or no model is named and there is not exactly one.

    Attributes:
        url: The base URL, without a user, password or query that it may have.
        model: The model's name there.
        habits: By path, what the server refused so far and what it is sent instead.
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
        self._address = Address.of(url)
        self.url, self.habits = self._address.shown, defaultdict[str, Habits](Habits)
        key, name = read_key(self._address, api_key)
        self._connection = Connection(
            self._address,
            self._headers(key),
            secret=key,
            key_name=name,
            concurrency=concurrency,
            timeout=timeout,
            retries=retries,
            http_client=http_client,
        )
        self.model = model if model is not None else self._only_model()

    @property
    def answered(self) -> bool:
        """Whether the server has answered a request, so that the address and the key are right."""
        return self._connection.answered

    def models(self) -> list[str]:
        """Return the names of the models the server lists.

        Raises:
            UserError: It cannot be reached, or lists none.
        """
        return [str(entry["id"]) for entry in self.run([self._list()])[0]]

    @cached_property
    def keeps_grammars(self) -> bool:
        """Whether it makes a model keep to a grammar in llama.cpp's form: llama.cpp's own server says who it is.

        Raises:
            UserError: It cannot be reached, or fails.
        """
        try:
            owners = {entry["id"]: entry.get("owned_by") for entry in self.run([self._list()])[0]}
        except RefusedError as error:
            if error.status >= 500:
                raise
            return False  # it need not list models
        except UnreachableError:
            raise
        except UserError:  # nor in this form
            return False
        return owners.get(self.model, next(iter(owners.values()))) == _LLAMA_CPP

    def context_length(self) -> int | None:
        """Return the most tokens that the model reads, where the server says it (vLLM and SGLang do)."""
        try:
            listed = {entry["id"]: entry.get("max_model_len") for entry in self.run([self._list()])[0]}
        except UserError:  # it need not list models
            return None
        size = listed.get(self.model)
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
        try:
            return read_reply(await self.post(request.path, request.body(self.model)))
        except RefusedError as error:
            if self.is_cut_short(error):
                return Reply("", (), False, None)
            raise

    @staticmethod
    def is_cut_short(error: RefusedError) -> bool:
        """Whether a refusal says that the answer's tokens all went into thinking."""
        return error.status == 400 and bool(_CUT_SHORT.search(error.reason))

    async def post(self, path: str, body: Mapping[str, object], reader: EventReader | None = None) -> Any:
        """Send one request to a path under the base URL, in the words that this server takes.

        With `reader`, an answer that is a stream of events is the list of them; see `Connection.send`.

        Raises:
            RefusedError: The server refused it, or went on failing.
            UserError: It cannot be reached, does not answer in time, or not with JSON.
        """
        habits = self.habits[path]
        for _ in range(_TRIES):
            sent = habits.apply(body)
            try:
                return await self._connection.send("POST", self._address.at(path), sent, reader)
            except RefusedError as error:
                if habits.apply(body) != sent:  # another request has learned it meanwhile
                    continue
                if change := habits.learn(error, sent):
                    if not any(name in change for name in _UNTOLD):
                        warnings.warn(f"{self.model} at {self.url}: {change}", Notice, stacklevel=2)
                    continue
                if self._lacks_model(error):
                    raise await self._no_model(error) from error
                raise
        raise UserError(f"{self.url} goes on refusing requests for one field after another")

    def call(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send a request of the server's own, whose path is not under /v1, and return its answer.

        Raises:
            RefusedError: The server refused it, or went on failing.
            UserError: It cannot be reached or does not answer in time.
        """
        return self.calls(path, [body])[0]

    def calls(self, path: str, bodies: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Send requests as `call` does, many at once, and return the answers in order."""
        send = partial(self._connection.send, "POST", self._address.beside(path))
        return self.run([send(body) for body in bodies])

    def run(self, work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run coroutines, at most `concurrency` at once, and return their results in order."""
        return self._connection.run(work)

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key or 'none'}"}

    async def _list(self) -> list[dict[str, Any]]:
        answered = self._connection.answered
        listed = await self._connection.send("GET", self._address.at("/models"))
        self._connection.answered = answered  # the list may be open to all, and the model not
        try:
            entries = [{**entry, "id": str(entry["id"])} for entry in listed["data"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{self.url} does not list its models as the OpenAI API does: name one") from error
        if not entries:
            raise UserError(f"{self.url} serves no model")
        return entries

    def _only_model(self) -> str:
        names = self.models()
        if len(names) > 1:
            raise UserError(f"{self.url} serves several models, choose one: {_listed(names)}")
        return names[0]

    def _lacks_model(self, error: RefusedError) -> bool:
        named = error.code == "model_not_found" or _NO_MODEL.match(error.reason)
        unknown = re.match(rf"(?>.*?\bmodel\b).*(?<!\w){re.escape(self.model)}(?!\w)", error.reason, re.I | re.S)
        return bool((named and error.status in (400, 404)) or (unknown and error.status == 404))

    async def _no_model(self, error: RefusedError) -> RefusedError:
        """Return the error of a model that is not there, with those that are."""
        try:
            has = f"it has {_listed([entry['id'] for entry in await self._list()])}"
        except UserError:
            has = "and it does not list those it has"
        line = f"{self.url} has no model {self.model!r} ({error.status}: {error.reason}): {has}"
        return RefusedError(line, error.status, error.reason, error.parameter, "model_not_found")


def read_key(address: Address, api_key: str | None = None) -> tuple[str, str]:
    """Return the key for a server ("" where there is none), and the environment variable that it belongs in.

    Raises:
        UserError: It holds what no key has.
    """
    scheme, _, place = address.shown.partition("://")
    theirs = _HOSTS.get(place.split("/")[0], "") if scheme == "https" else ""
    name = theirs if os.environ.get(theirs) and not os.environ.get(KEY_VARIABLE) else KEY_VARIABLE
    return check_key(api_key if api_key is not None else os.environ.get(name, ""), name), name


def _listed(names: Sequence[str], most: int = 20) -> str:
    """Return names as a list in words, the first of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(" ".join(name.split())[:80] for name in names[:most]) + more
