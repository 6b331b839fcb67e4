"""A conversation with a model: what was asked and answered so far goes into every question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from momus.errors import UserError
from momus.lm.chats.protocol import Answer, Question, StreamingChat
from momus.records import Message

STOPPED = "stopped"
"""The problem of an answer that Ctrl-C ended."""


@dataclass(frozen=True)
class ConversationConfig:
    """How a model is asked.

    Raises:
        UserError: A value is out of range.
    """

    system: str = ""
    """What stands before the conversation as the system's message; "" for nothing."""
    max_tokens: int = 512
    """Longest answer."""
    temperature: float = 0.7
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with at least this probability."""
    seed: int = 0
    """Names the randomness: the same questions get the same answers."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"--max-tokens {self.max_tokens}: must be at least 1")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"--temperature {self.temperature:g}: must be at least 0")
        if not 0 < self.top_p <= 1:
            raise UserError(f"--top-p {self.top_p:g}: must be above 0 and at most 1")

    @property
    def beginning(self) -> tuple[Message, ...]:
        """The messages that a conversation begins with."""
        return (Message(role="system", content=self.system),) if self.system else ()


class Conversation:
    """Asks one model, and remembers.

    Args:
        chat: The model.
        config: How it is asked.

    Attributes:
        messages: What was said so far, each question followed by its answer.
    """

    def __init__(self, chat: StreamingChat, config: ConversationConfig) -> None:
        self._chat, self._config, self._attempt = chat, config, 0
        self.messages = config.beginning

    def ask(self, text: str, show: Callable[[str], None]) -> Answer:
        """Ask a question; `show` is called with the answer piece by piece.

        What there is of an answer stays in the conversation; of a question without one nothing does. Ctrl-C ends an
        answer: it is then as far as it came, its problem `STOPPED`.
        """
        self._attempt = 0
        return self._answer((*self.messages, Message(role="user", content=text)), show)

    def retry(self, show: Callable[[str], None]) -> Answer:
        """Ask the last question again: another answer takes the place of the last one.

        Raises:
            UserError: Nothing was asked yet.
        """
        if not self.messages or self.messages[-1].role != "assistant":
            raise UserError("nothing was asked yet")
        self._attempt += 1
        return self._answer(self.messages[:-1], show)

    def reset(self, system: str | None = None) -> None:
        """Begin anew, with another system message where one is given."""
        if system is not None:
            self._config = replace(self._config, system=system)
        self.messages = self._config.beginning

    def _answer(self, asked: tuple[Message, ...], show: Callable[[str], None]) -> Answer:
        config, pieces = self._config, list[str]()

        def passing_on(piece: str) -> None:
            pieces.append(piece)
            show(piece)

        turn = sum(message.role == "user" for message in asked)
        question = Question(
            asked, config.max_tokens, config.temperature, config.top_p, (config.seed, turn, self._attempt)
        )
        try:
            answer = self._chat.stream(question, passing_on)
        except KeyboardInterrupt:
            answer = Answer("".join(pieces), STOPPED, cut=True)
        if answer.text.strip():
            self.messages = (*asked, Message(role="assistant", content=answer.text.strip()))
        return answer
