"""A chat over an engine: a model in this process, or one whose server continues texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from momus.errors import UnfitInputError, UserError
from momus.lm.chats.protocol import Answer, Question, Usage, whole_answer, without_thinking
from momus.lm.chats.streaming import AnswerStream
from momus.lm.constraint import Constraint
from momus.lm.engine import Engine, Sample
from momus.lm.tree import Tokens
from momus.records import Message


class EngineChat:
    """Lays messages out in a model's chat format and samples what follows.

    Args:
        engine: The model.
        tokenizer: Its tokenizer, whose chat template lays messages out; None sends their texts as they are.
        name: The model's name.
        constrained: Whether answers keep to their questions' constraints; over a server that is slow.
    """

    def __init__(self, engine: Engine, tokenizer: Any = None, name: str = "", *, constrained: bool = False) -> None:
        self._engine, self._name, self._constrained = engine, name, constrained
        self._stops: list[int] = []
        self._lay_out: Callable[[tuple[Message, ...]], Tokens] = self._as_text
        if tokenizer is not None:
            from momus.lm.chat import ChatFormat

            chat = ChatFormat(tokenizer, limit=getattr(engine, "context_length", None))
            self._lay_out, self._stops = chat.prompt, [chat.end_id]

    @property
    def engine(self) -> Engine:
        """The engine: for what continues texts."""
        return self._engine

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name or "the model"

    def identity(self) -> Mapping[str, str]:
        """Return the model's name."""
        return {"api": "engine", "model": self._name}

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation in the model's layout."""
        return len(self._lay_out(tuple(messages)))

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions; those with equal settings go through the model together."""
        order = sorted(range(len(questions)), key=lambda i: _settings(questions[i]))
        answers: dict[int, Answer] = {}
        for _, group in groupby(order, key=lambda i: _settings(questions[i])):
            numbers = list(group)
            answers |= zip(numbers, self._answer_alike([questions[i] for i in numbers]), strict=True)
        return [answers[i] for i in range(len(questions))]

    def stream(self, question: Question, show: Callable[[str], None]) -> Answer:
        """Answer one question; see `StreamingChat.stream`. The answer ends where the model's context does."""
        try:
            prefix = self._lay_out(question.messages)
        except UnfitInputError as error:
            return Answer("", str(error), refused=True)
        limit = getattr(self._engine, "context_length", None)
        room = question.max_tokens if limit is None else min(question.max_tokens, limit - len(prefix))
        if room < 1:
            return Answer("", f"the conversation fills the {limit} tokens that the model reads", refused=True)
        stream = AnswerStream(show, thinking=self._engine.decode(prefix[-8:]).rstrip().endswith("<think>"))
        watching: dict[str, Any] = {}
        if getattr(self._engine, "streams", False):
            watching = {"watch": lambda tokens: stream.update(self._engine.decode(tokens))}
        [[sample]] = self._engine.sample(
            [prefix],
            key=[question.key],
            max_tokens=room,
            temperature=question.temperature,
            top_p=question.top_p,
            stop_tokens=self._stops,
            **watching,
        )
        answer = self._read(sample, len(prefix), question)
        stream.finish(answer.text)
        return answer

    def _answer_alike(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions of equal settings; if one does not fit the model, each by itself."""
        try:
            prefixes = [self._lay_out(question.messages) for question in questions]
            if options := questions[0].options:
                choices = self._engine.choose(prefixes, options)
                pairs = zip(prefixes, choices, strict=True)
                return [Answer("", usage=Usage(len(prefix), 0, 1), choice=choice) for prefix, choice in pairs]
            samples = self._engine.sample(
                prefixes,
                key=[question.key for question in questions],
                max_tokens=questions[0].max_tokens,
                temperature=questions[0].temperature,
                top_p=questions[0].top_p,
                stop_tokens=self._stops,
                constraints=[self._constraint(question) for question in questions],
            )
        except UserError as error:
            if not isinstance(error, UnfitInputError) and getattr(error, "status", None) not in (400, 413, 422):
                raise
            if len(questions) == 1:
                return [Answer("", str(error), refused=True)]
            return [answer for question in questions for answer in self._answer_alike([question])]
        return [
            self._read(group[0], len(prefix), question)
            for group, prefix, question in zip(samples, prefixes, questions, strict=True)
        ]

    def _constraint(self, question: Question) -> Constraint | None:
        if question.constraint is None or not self._constrained:
            return None
        ends = frozenset(self._stops) | getattr(self._engine, "end_tokens", frozenset())
        return question.constraint(self._engine.vocabulary, ends)

    def _read(self, sample: Sample, tokens_in: int, question: Question) -> Answer:
        usage = Usage(tokens_in, len(sample.tokens), 1)
        answer = Answer(without_thinking(sample.text), cut=not sample.finished, usage=usage)
        return whole_answer(answer, question.max_tokens)

    def _as_text(self, messages: tuple[Message, ...]) -> Tokens:
        """Return the texts of messages, with a beginning-of-text token if the tokenizer has one."""
        text = "\n\n".join(message.content for message in messages)
        try:
            return tuple(self._engine.encode(text, bos=True))
        except UserError:
            return tuple(self._engine.encode(text, bos=False))


def _settings(question: Question) -> tuple[int, float, float, tuple[str, ...]]:
    return question.max_tokens, question.temperature, question.top_p, question.options or ()
