"""Asking through a server's chat API: text in, text out, so no tokenizer is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from momus.lm.remote.wire import Request
from momus.match.ask import AskConfig, JsonAsker, request_seed

if TYPE_CHECKING:
    from momus.lm.remote.server import Server

_BYTES = 3
"""UTF-8 bytes counted as one token: a Korean syllable. English has more bytes a token, so no count is too low."""


class ChatAsker(JsonAsker):
    """Asks a model through nothing but its chat API.

    Args:
        server: The server.
        config: How to ask.
    """

    def __init__(self, server: Server, config: AskConfig | None = None) -> None:
        self._server, self._config = server, config or AskConfig()

    def count(self, question: str) -> int:
        """Return an estimate of the tokens in a question."""
        return -(-len(question.encode()) // _BYTES)

    def _sampled(self, questions: Sequence[str], attempt: int) -> list[str]:
        config = self._config
        requests = [
            Request(
                question,
                config.max_tokens,
                chat=True,
                temperature=config.retry_temperature if attempt else config.temperature,
                seed=request_seed(config.seed, attempt, question),
            )
            for question in questions
        ]
        return [reply.text for reply in self._server.ask(requests)]
