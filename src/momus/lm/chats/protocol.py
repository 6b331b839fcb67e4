"""What prompted critics, judges and feedback ask of a model: messages in, text or JSON out.

An engine continues token by token and says how likely a text is; a chat does neither, so any server can be one. All
randomness is named by a key, as with engines: an answer depends on its question alone where the model honours seeds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from momus.records import Message

if TYPE_CHECKING:
    from momus.lm.constraint import Constraint, Vocabulary
    from momus.lm.engine import Choice


@dataclass(frozen=True)
class Question:
    """One question to a chat.

    Attributes:
        messages: The conversation to be answered; a system message, if any, comes first.
        max_tokens: Longest answer, thinking included.
        temperature: 0 asks for the likeliest answer.
        top_p: Keep the smallest set of tokens with at least this probability.
        key: Names the randomness: non-negative integers. Samples of one prompt differ in it.
        schema: The JSON schema of the answer, kept to where the model's server can; the answer is read all the same.
        constraint: Makes, of a vocabulary and the tokens that end an answer, the constraint that a model of this
            process keeps to. What it makes must follow from the messages and the key.
        grammar: The same in llama.cpp's form (GBNF), for servers that keep to one; others go by `schema`.
        options: Two labels of one token each, such as A and B: nothing is written, and the answer's `choice` tells how
            likely the first is against the second.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    key: tuple[int, ...] = (0,)
    schema: Mapping[str, Any] | None = None
    constraint: Callable[[Vocabulary, frozenset[int]], Constraint] | None = None
    grammar: str | None = None
    options: tuple[str, str] | None = None

    @classmethod
    def of(cls, text: str, max_tokens: int, *, system: str = "", **settings: Any) -> Question:
        """Return a question of one user's message, after a system message where one is given."""
        messages = (Message(role="system", content=system),) if system else ()
        return cls((*messages, Message(role="user", content=text)), max_tokens, **settings)

    @property
    def digest(self) -> str:
        """The SHA-256 of everything the answer depends on but the model, in hexadecimal; a grammar follows from it."""
        messages = [message.model_dump(mode="json", exclude_defaults=True) for message in self.messages]
        settings = [self.max_tokens, self.temperature, self.top_p, list(self.key), self.schema]
        settings += ["constrained"] if self.constraint else []
        settings += [list(self.options)] if self.options else []
        return hashlib.sha256(json.dumps([messages, settings], sort_keys=True).encode()).hexdigest()

    @property
    def seed(self) -> int:
        """A seed for a server: 31 bits of the key."""
        return int.from_bytes(hashlib.sha256(repr(self.key).encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True)
class Usage:
    """What answers took: tokens read and written (thinking included), and calls that were answered."""

    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out, self.calls + other.calls)

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.tokens_in + self.tokens_out


@dataclass(frozen=True)
class Answer:
    """What a chat answers to one question.

    Attributes:
        text: The answer without the thinking before it; "" where there is none.
        problem: Why there is no answer, or not all of one, on one line; "" where there is nothing to say.
        cut: Whether the limit of tokens ended it.
        refused: Whether the question cannot be asked at all, so that asking again is of no use.
        usage: What it took.
        fingerprint: What the server says of the model and system that answered; "" where it says nothing.
        choice: How likely the first of the question's options is; None where it has none, or there is a problem.
    """

    text: str
    problem: str = ""
    cut: bool = False
    refused: bool = False
    usage: Usage = Usage()
    fingerprint: str = ""
    choice: Choice | None = None

    @property
    def whole(self) -> str:
        """The text to work with: "" where there is a problem, such as a filter that may have ended it anywhere."""
        return "" if self.problem else self.text


class Chat(Protocol):
    """A model that answers messages."""

    @property
    def name(self) -> str:
        """The model's name, and where it is."""

    def identity(self) -> Mapping[str, str]:
        """Return what tells this model from others; no key and no password is in it."""

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation in the model's layout, or an estimate that is not too low."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, many at once, in order. What concerns one question alone is its answer's problem.

        Raises:
            UserError: The model cannot be asked at all: not reached, a wrong key, an answer of another API.
        """


class StreamingChat(Chat, Protocol):
    """A chat whose answer can be read while it is written."""

    def stream(self, question: Question, show: Callable[[str], None]) -> Answer:
        """Answer one question, and pass its text on piece by piece, thinking aside, as far as the model allows.

        The pieces together are the answer's text, but for white space at its ends. `show` may be called in another
        thread; what it raises ends the answer.

        Raises:
            UserError: As `answer`.
        """


class ChatAround:
    """What a chat that adds something to another has of that one: its name, identity and counts."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    @property
    def inner(self) -> Chat:
        """The chat that something was added to."""
        return self._chat

    @property
    def name(self) -> str:
        """The model's name, and where it is."""
        return self._chat.name

    def identity(self) -> Mapping[str, str]:
        """Return what tells the model from others."""
        return self._chat.identity()

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation; see `Chat.count`."""
        return self._chat.count(messages)

    def signature(self) -> str:
        """Return what decides the identity and the counts, told at no cost; "" where nothing does."""
        return str(getattr(self._chat, "signature", str)())


def without_thinking(text: str) -> str:
    """Return a text without the thinking that it begins with: "" where it is all thinking.

    Many models write it between <think> and </think>; some templates have written the first of these already.
    """
    before, mark, after = text.rpartition("</think>")
    if mark and (before.lstrip().startswith("<think>") or "<think>" not in before):
        return after.lstrip()
    return "" if text.lstrip().startswith("<think>") else text


def whole_answer(answer: Answer, max_tokens: int) -> Answer:
    """Give an answer without a text the problem that explains it, unless it has one."""
    if answer.text.strip() or answer.problem:
        return answer
    problem = f"all {max_tokens} tokens went into thinking" if answer.cut else "the answer is empty"
    return replace(answer, problem=problem)
