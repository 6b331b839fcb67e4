"""What a server with the Messages API can do, found out by asking it; of other servers see `momus.lm.remote.probe`."""

from __future__ import annotations

import json
import statistics
import time

from momus.lm.chats.messages import MessagesChat
from momus.lm.chats.protocol import Question
from momus.lm.remote.probe import Capabilities
from momus.lm.remote.server import Server

_WORDS = ("zq", "qz")
_SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": list(_WORDS)}},
    "required": ["word"],
    "additionalProperties": False,
}
_ROOM = 2000
"""Tokens of an answer of one word by a model that thinks first."""


def probe_messages(server: Server) -> Capabilities:
    """Ask a server with the Messages API a few short questions; it has no seeds and tells no probabilities.

    Raises:
        UserError: It cannot be reached, or does not have this API.
    """
    chat, seconds = MessagesChat(server), []
    for _ in range(3):
        began = time.perf_counter()
        chat.answer([Question.of("Say yes.", 8)])
        seconds.append(time.perf_counter() - began)
    (answer,) = chat.answer([Question.of("Say anything.", _ROOM, schema=_SCHEMA)])
    try:
        structured = json.loads(answer.text)["word"] in _WORDS
    except (ValueError, KeyError, TypeError):
        structured = False
    left_out = server.habits[chat.path].left_out
    return Capabilities(
        asked="messages",
        chat=True,
        structured="output_config" if structured and "output_config" not in left_out else "",
        temperature="temperature" not in left_out,
        latency=statistics.median(seconds),
    )
