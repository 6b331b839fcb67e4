"""Opening a chat by the name of a model: in this process, or on a server, whose API is found by asking it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from momus.errors import UserError
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.messages import MessagesChat, MessagesServer
from momus.lm.chats.protocol import Question, StreamingChat
from momus.lm.chats.server import ServerChat
from momus.lm.remote.server import RefusedError, Server

Api = Literal["auto", "chat", "messages", "completions"]

_MESSAGES_HOST = "api.anthropic.com"
_NO_PATH = (404, 405, 501)
"""Statuses with which a server says that it does not have an API."""


def open_chat(
    model: str | None,
    url: str | None = None,
    *,
    api: Api = "auto",
    device: str | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    adapter: Path | None = None,
    **settings: Any,
) -> StreamingChat:
    """Open a model that chats.

    Args:
        model: Its folder, GGUF file or name on the hub; with `url` its name there, None for the only one.
        url: A server; None loads the model in this process.
        api: Which API the server has; "auto" finds out with one short question.
        device: Where a model in this process runs; by default on a GPU if there is one.
        precision: What a model in this process is held and computed in; by default what is faster and loses nothing.
        adapter: The folder of an adapter to put into a model in this process.
        settings: Of `Server`, such as `timeout` and `concurrency`.

    Raises:
        UserError: The model cannot be loaded, or the server not be reached, or it has none of these APIs.
    """
    if url is not None:
        return _on_server(model, url, api_of(url) if api == "auto" else api, settings)
    if model is None:
        raise UserError("a model is needed: its folder, its name on the hub, or a server that has it")
    from momus.lm.chats.local import LocalChat

    return LocalChat(model, device, precision, adapter)


def api_of(url: str) -> Api:
    """Return the API that a URL names by its host or path, "auto" where it names none."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    if parts.hostname == _MESSAGES_HOST or path.endswith("/messages") or "/anthropic" in path:
        return "messages"
    return "chat" if path.endswith("/chat/completions") else "auto"


def is_no_path(error: RefusedError) -> bool:
    """Whether a refusal says that a server does not have an API."""
    return error.status in _NO_PATH and error.code != "model_not_found"


def _on_server(model: str | None, url: str, api: Api, settings: dict[str, Any]) -> StreamingChat:
    if api == "messages":
        return MessagesChat(MessagesServer(url, model, **settings))
    server = Server(url, model, **settings)
    chat = ServerChat(server, _tokenizer(server.model))
    if api == "chat":
        return chat
    try:
        if api == "auto":
            chat.answer([Question.of("Say yes.", 8)])
            return chat
    except RefusedError as error:
        if not is_no_path(error):
            raise
    return _without_chat(server, url, api, settings)


def _without_chat(server: Server, url: str, api: Api, settings: dict[str, Any]) -> StreamingChat:
    """Open a server that has no chat API: by the Messages API, or by text completions in the tokenizer's own layout."""
    if api == "auto":
        try:
            chat = MessagesChat(MessagesServer(url, server.model, **settings))
            chat.answer([Question.of("Say yes.", 8)])
            return chat
        except RefusedError as error:
            if not is_no_path(error):
                raise
    tokenizer = _tokenizer(server.model)
    if tokenizer is None:
        raise UserError(
            f"{server.url} has no chat API, and text completions need the model's tokenizer to lay messages out: serve "
            "the model from a folder that this machine has too, or take a server with a chat API"
        )
    from momus.lm.remote.engine import RemoteEngine

    return EngineChat(RemoteEngine(server, tokenizer), tokenizer, f"{server.model} at {server.url}")


def _tokenizer(model: str) -> Any:
    """Return the tokenizer of a model that a server has from a folder of this machine; the hub is not asked for any."""
    if not Path(model).is_dir():
        return None
    from momus.lm.codec import read_tokenizer

    return read_tokenizer(model)
