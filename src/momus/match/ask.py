"""Asking a language model for JSON: lay the question out, and parse the answer leniently."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from momus.errors import UnfitInputError, UserError
from momus.lm.engine import Engine

Answer = TypeVar("Answer")

_BAD_REQUEST = 400
"""The HTTP status with which a server refuses a question that is too long."""

_THOUGHT = "</think>"
"""Ends the reasoning that some models write before their answer; JSON in the reasoning is not the answer."""

_TRAILING_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
"""A string, to be kept, or a trailing comma, which JSON does not allow."""

_MARKS = re.compile("<{3,}|>{3,}")


@dataclass(frozen=True)
class AskConfig:
    """How a model is asked; the papers give no values."""

    max_tokens: int = 1500
    """Longest answer."""
    attempts: int = 2
    """Most attempts at a question whose answer cannot be parsed; all but the first use `retry_temperature`."""
    temperature: float = 0.0
    """Temperature of the first attempt."""
    retry_temperature: float = 0.7
    """Temperature of later attempts, for at temperature 0 the answer would be the same again."""
    batch: int = 16
    """Questions sampled together; answers do not depend on it."""
    seed: int = 0


class JsonAsker:
    """Asks a model questions, each as a user's message if the model has a chat format, and parses JSON answers.

    Args:
        engine: The model.
        tokenizer: Its tokenizer, to lay questions out in its chat format; None sends a question as plain text, as
            servers with a chat API expect.
        config: How to ask.
    """

    def __init__(self, engine: Engine, tokenizer: Any = None, config: AskConfig | None = None) -> None:
        self._engine, self._config = engine, config or AskConfig()
        self._stops: list[int] = []
        self._lay_out: Callable[[str], Sequence[int]] = lambda text: _encoded(engine, text)
        if tokenizer is not None:
            from momus.lm.chat import ChatFormat

            chat = ChatFormat(tokenizer)
            self._lay_out, self._stops = chat.prompt, [chat.end_id]

    def ask(self, questions: Sequence[str], read: Callable[[int, Any], Answer | None]) -> list[Answer | None]:
        """Ask every question until its answer can be parsed.

        Args:
            questions: The questions; an answer depends on its question and the seed alone.
            read: Turns a JSON value in reply to question i into an answer, or None if it has another form.

        Returns:
            One answer per question; None if the question does not fit the model or every attempt failed.
        """
        answers: list[Answer | None] = [None] * len(questions)
        waiting = list(range(len(questions)))
        for attempt in range(self._config.attempts):
            unread = []
            for start in range(0, len(waiting), self._config.batch):
                group = waiting[start : start + self._config.batch]
                for i, text in zip(group, self.texts([questions[i] for i in group], attempt), strict=True):
                    candidates = (read(i, value) for value in ([] if text is None else json_values(text)))
                    answers[i] = next((answer for answer in candidates if answer is not None), None)
                    if answers[i] is None and text is not None:
                        unread.append(i)
            waiting = unread
        return answers

    def count(self, question: str) -> int:
        """Return how many tokens a question has in the model's layout."""
        return len(self._lay_out(question))

    def texts(self, questions: Sequence[str], attempt: int = 0) -> list[str | None]:
        """Sample one answer to each question; None if the question does not fit the model.

        Raises:
            UserError: The model cannot be asked, or a server refuses every one of several questions.
        """
        try:
            return list(self._sampled(questions, attempt))
        except UserError as error:
            if not isinstance(error, UnfitInputError) and getattr(error, "status", None) != _BAD_REQUEST:
                raise
            if len(questions) == 1:
                return [None]
            texts = [text for question in questions for text in self.texts([question], attempt)]
            if all(text is None for text in texts) and not isinstance(error, UnfitInputError):
                raise  # the server refuses any question, whatever its length
            return texts

    def _sampled(self, questions: Sequence[str], attempt: int) -> list[str]:
        config = self._config
        samples = self._engine.sample(
            [tuple(self._lay_out(question)) for question in questions],
            key=[(config.seed, attempt, _name(question)) for question in questions],
            max_tokens=config.max_tokens,
            temperature=config.retry_temperature if attempt else config.temperature,
            stop_tokens=self._stops,
        )
        return [group[0].text for group in samples]


def json_values(text: str) -> Iterator[Any]:
    """Yield the outermost JSON objects and arrays in a text, in order; trailing commas are removed.

    Reasoning before the answer is skipped.
    """
    decoder = json.JSONDecoder()
    mended = _TRAILING_COMMA.sub(lambda match: match[1] or "", text.rpartition(_THOUGHT)[2])
    place = 0
    while (start := _first(mended, place)) is not None:
        try:
            value, place = decoder.raw_decode(mended, start)
        except (json.JSONDecodeError, RecursionError):
            place = start + 1
        else:
            yield value


def fenced(text: str) -> str:
    """Return a text between marks that do not occur in it, so that nothing in it can imitate its end."""
    size = max(len(longest_mark(text)), 2) + 1
    return f"{'<' * size}\n{text}\n{'>' * size}"


def longest_mark(text: str) -> str:
    """Return the longest run in a text that looks like a mark of `fenced`, or "" without one."""
    return max(_MARKS.findall(text), key=len, default="")


def numbered(label: str, points: Sequence[str]) -> str:
    """Return points as lines "A1: …", spaces and line breaks in them single spaces."""
    return "\n".join(f"{label}{number}: {' '.join(point.split())}" for number, point in enumerate(points, 1))


def request_seed(seed: int, attempt: int, question: str) -> int:
    """Return the seed of one attempt at a question, for servers; it depends on the arguments alone."""
    return _name(f"{seed} {attempt} {question}") & 0x7FFFFFFF


def _encoded(engine: Engine, text: str) -> list[int]:
    """Return a question's tokens, with a beginning-of-text token if the tokenizer has one."""
    try:
        return engine.encode(text, bos=True)
    except UserError:
        return engine.encode(text, bos=False)


def _first(text: str, place: int) -> int | None:
    match = re.compile(r"[{\[]").search(text, place)
    return match.start() if match else None


def _name(question: str) -> int:
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:7], "big")
