"""Asking through a server's chat API, text for text: no tokenizer is needed, so any model that has one will do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from momus.lm.remote.wire import Request
from momus.match.ask import AskConfig, Asker, seed_of

if TYPE_CHECKING:
    from momus.lm.remote.server import Server

_BYTES = 3
"""Of UTF-8 that one token is taken for: about a Korean syllable; English has more, so that a budget is kept."""


class ChatAsker(Asker):
    """Puts questions to a model of which nothing but its chat API is at hand.

    Args:
        server: The server.
        config: How to ask.
    """

    def __init__(self, server: Server, config: AskConfig | None = None) -> None:
        self._server, self._config = server, config or AskConfig()

    def count(self, question: str) -> int:
        """Return about how many tokens a question has."""
        return -(-len(question.encode()) // _BYTES)

    def _sampled(self, questions: Sequence[str], attempt: int) -> list[str]:
        config = self._config
        requests = [
            Request(
                question,
                config.max_tokens,
                chat=True,
                temperature=config.retry_temperature if attempt else config.temperature,
                seed=seed_of(config.seed, attempt, question),
            )
            for question in questions
        ]
        return [reply.text for reply in self._server.ask(requests)]
