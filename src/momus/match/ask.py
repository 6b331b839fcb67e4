"""Asking a language model for JSON: one question at a time, and the answer parsed leniently."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from momus.errors import Notice, UserError
from momus.lm.chats.costs import OVER_BUDGET, SPENT
from momus.lm.chats.protocol import Answer, Chat, Question
from momus.lm.chats.reading import json_values
from momus.records import Message

if TYPE_CHECKING:
    from momus.lm.constraint import Constraint, Vocabulary

T = TypeVar("T")

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
    room: int = 8
    """How many times longer the second answer may be where the first was all thinking; 1 keeps to `max_tokens`."""


class JsonAsker:
    """Asks a model questions, each as a user's message, and parses JSON answers.

    Args:
        chat: The model.
        config: How to ask.

    Attributes:
        problem: Why a question of the last call has no answer, in words; "" where the model gave no reason.
    """

    def __init__(self, chat: Chat, config: AskConfig | None = None) -> None:
        self._chat, self._config, self._noted = chat, config or AskConfig(), False
        self.problem = ""

    def ask(
        self,
        questions: Sequence[str],
        read: Callable[[int, Any], T | None],
        constraint: Callable[[Vocabulary, frozenset[int]], Constraint] | None = None,
    ) -> list[T | None]:
        """Ask every question until its answer can be parsed.

        Args:
            questions: The questions; an answer depends on its question and the seed alone.
            read: Turns a JSON value in reply to question i into an answer, or None if it has another form.
            constraint: What a model of this process keeps to; see `Question`.

        Returns:
            One answer per question; None if the question does not fit the model or every attempt failed.

        Raises:
            UserError: The model cannot be asked, a budget does not reach all questions, or none of several questions
                is answered, all for one reason.
        """
        answers: list[T | None] = [None] * len(questions)
        last: list[Answer | None] = [None] * len(questions)
        waiting = list(range(len(questions)))
        for attempt in range(self._config.attempts):
            for start in range(0, len(waiting), self._config.batch):
                group = waiting[start : start + self._config.batch]
                asked = [replace(self._question(questions[i], attempt, last[i]), constraint=constraint) for i in group]
                for i, answer in zip(group, self._chat.answer(asked), strict=True):
                    if answer.problem == OVER_BUDGET:
                        raise UserError(f"{self._chat.name}: {SPENT}")
                    candidates = (read(i, value) for value in json_values(answer.whole))
                    answers[i] = next((candidate for candidate in candidates if candidate is not None), None)
                    last[i] = answer
            waiting = [i for i in waiting if answers[i] is None and not getattr(last[i], "refused", False)]
        self._tell([answer for answer, read in zip(last, answers, strict=True) if answer and read is None], len(last))
        return answers

    def count(self, question: str) -> int:
        """Return how many tokens a question has in the model's layout."""
        return self._chat.count([Message(role="user", content=question)])

    def _question(self, text: str, attempt: int, before: Answer | None) -> Question:
        config = self._config
        longer = config.room if before is not None and before.cut and not before.text else 1
        return Question.of(
            text,
            config.max_tokens * longer,
            temperature=config.retry_temperature if attempt else config.temperature,
            key=(config.seed, attempt, _name(text)),
        )

    def _tell(self, failed: Sequence[Answer], asked: int) -> None:
        """Say why questions have no answer: once, or as the error where it is one reason for all of several."""
        problems = [answer.problem or ("the answer was cut off" if answer.cut else "") for answer in failed]
        self.problem = max(problems, key=problems.count, default="")
        if self.problem and asked > 1 and problems == [self.problem] * asked:
            raise UserError(f"{self._chat.name}: {self.problem}")
        if self.problem and asked > 1 and not self._noted:
            self._noted = True
            count = problems.count(self.problem)
            warnings.warn(f"{self._chat.name}: {count} of {asked} answers: {self.problem}", Notice, stacklevel=3)


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


def _name(question: str) -> int:
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:7], "big")
