"""A chat on an OpenAI-compatible server: vLLM, SGLang, llama.cpp, Ollama, LM Studio, hosted models that think.

Only messages travel, so no tokenizer is needed and none is looked for. A JSON schema is sent as structured outputs and
left out where the server refuses them; what comes back is read with care either way. llama.cpp's server is sent a
grammar in place of the schema: it writes what the model would have written in this process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from momus.errors import UserError
from momus.lm.chats.protocol import Answer, Question, Usage, whole_answer, without_thinking
from momus.lm.chats.streaming import AnswerStream
from momus.lm.engine import Choice
from momus.lm.remote.connection import RefusedError
from momus.lm.remote.events import EventReader
from momus.lm.remote.server import NO_PENALTY, Server
from momus.lm.remote.wire import count_of, joined_texts
from momus.lm.text.encode import Encoder
from momus.records import Message

_BYTES = 3
"""UTF-8 bytes counted as one token: a Korean syllable. English has more bytes a token, so no count is too low."""
_NAMED = 20
"""Likeliest next tokens asked for where a question is a choice: the most that hosted servers name."""
_ABOUT_ALL = {401, 402, 404, 405, 429}
"""Statuses of refusals that say something about every question; of others, about one."""

NO_PROBABILITIES = "the server does not tell how likely a word is"
"""The problem of a choice that a server cannot make by probability."""


class ServerChat:
    """Asks a model through nothing but its chat API.

    Args:
        server: The server and its model.
        tokenizer: The model's tokenizer, for exact counts of tokens; None estimates them.
    """

    path = "/chat/completions"
    tells_probabilities = True
    takes_grammars = True

    def __init__(self, server: Server, tokenizer: Any = None) -> None:
        self.server = server
        self._encoder = None if tokenizer is None else Encoder(tokenizer)
        self._without_grammars = not self.takes_grammars

    @property
    def name(self) -> str:
        """The model's name on the server, and the server's URL."""
        return f"{self.server.model} at {self.server.url}"

    def identity(self) -> Mapping[str, str]:
        """Return the API, the model's name and the server's URL."""
        return {"api": self.path.strip("/"), "model": self.server.model, "url": self.server.url}

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a conversation's texts: exact with a tokenizer but for texts too large, else a guess."""
        texts = [message.content for message in messages]
        if self._encoder is None:
            return sum(-(-len(text.encode()) // _BYTES) for text in texts)
        return sum(map(self._encoder.count, texts))

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions, many at once; see `Chat.answer`."""
        if any(question.grammar for question in questions) and not self._without_grammars:
            self._without_grammars = not self.server.keeps_grammars
        return self.server.run([self._answer_in_form(question) for question in questions])

    def stream(self, question: Question, show: Callable[[str], None]) -> Answer:
        """Answer one question; see `StreamingChat.stream`. A server that does not stream answers all at once."""
        stream = AnswerStream(show)
        (answer,) = self.server.run([self._answer(question, self.body(question), stream)])
        stream.finish(answer.text)
        return answer

    async def _answer_in_form(self, question: Question) -> Answer:
        """Ask under a grammar; under a schema where the server takes none, or the model says nothing under one.

        A model that has to think first cannot, under a grammar of what it is to say at the end.
        """
        body, usage = self.body(question), Usage()
        tried = question.grammar is not None and not self._without_grammars
        if tried:
            free = {name: value for name, value in body.items() if name != "response_format"}  # it takes one of both
            answer = await self._answer(question, {**free, "grammar": question.grammar})
            if answer.text.strip():
                return answer
            usage = answer.usage
        answer = await self._answer(question, body)
        if tried and answer.text.strip():
            self._without_grammars = True
        return replace(answer, usage=usage + answer.usage)

    async def _answer(self, question: Question, body: dict[str, object], stream: AnswerStream | None = None) -> Answer:
        if question.options and not self.tells_probabilities:
            return Answer("", NO_PROBABILITIES, refused=True)
        try:
            if stream is None:
                reply = await self.server.post(self.path, body)
            else:
                reader = EventReader(lambda event: stream.add(self.delta(event)))
                reply = await self.server.post(self.path, {**body, "stream": True}, reader)
        except RefusedError as error:
            if not self._is_about_one(error):
                raise
            if self.server.is_cut_short(error):
                return whole_answer(Answer("", cut=True, usage=Usage(calls=1)), question.max_tokens)
            return Answer("", str(error), refused=True)
        try:
            answer = self.read(self.joined(reply, stream.text) if stream and isinstance(reply, list) else reply)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _other_api(self.server.url, reply) from error
        if question.options:
            choice = read_choice(reply, question.options)
            problem = "" if choice else NO_PROBABILITIES
            return replace(answer, text="", cut=False, problem=problem, refused=not choice, choice=choice)
        return whole_answer(answer, question.max_tokens)

    def _is_about_one(self, error: RefusedError) -> bool:
        """Whether a refusal says something about its question, and not about all of them."""
        if error.status in _ABOUT_ALL or not 400 <= error.status < 500:  # elsewhere, or failing
            return False
        return error.status != 403 or self.server.answered

    def delta(self, event: Any) -> str:
        """Return the text that an event of a stream adds, "" where it adds none."""
        try:
            return joined_texts(event["choices"][0]["delta"].get("content"))
        except (KeyError, IndexError, TypeError, AttributeError):
            return ""

    def joined(self, events: Sequence[Any], text: str) -> Any:
        """Return the reply that a stream of events with this text amounts to."""
        objects = [event for event in events if isinstance(event, Mapping)]
        if error := next((event["error"] for event in objects if event.get("error")), None):
            raise UserError(f"{self.server.url} failed: {line(error['message'])}")
        choices = [event["choices"][0] for event in objects if event.get("choices")]
        refusal = "".join(str(choice["delta"].get("refusal") or "") for choice in choices if choice.get("delta"))
        reason = next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)
        facts = {name: value for event in objects for name, value in event.items() if value is not None}
        return {**facts, "choices": [{"message": {"content": text, "refusal": refusal}, "finish_reason": reason}]}

    def body(self, question: Question) -> dict[str, object]:
        """Return the JSON object to send."""
        body: dict[str, object] = {
            "model": self.server.model,
            "messages": [{"role": message.role, "content": message.content} for message in question.messages],
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "top_p": question.top_p,
            "seed": question.seed,
            **NO_PENALTY,
        }
        if question.options:
            # Drawn as the model has it, so that servers that tell probabilities after temperature tell the model's.
            body |= {"temperature": 1.0, "top_p": 1.0, "logprobs": True, "top_logprobs": _NAMED}
        if question.schema is not None:
            named = {"name": "answer", "strict": True, "schema": dict(question.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def read(self, reply: Any) -> Answer:
        """Read what the server answered; raises KeyError and its kin where it is no answer of this API."""
        choice = reply["choices"][0]
        message, reason = choice["message"], str(choice.get("finish_reason") or "")
        text, problem = without_thinking(joined_texts(message.get("content"))), ""
        if message.get("refusal"):
            problem = f"the model declines: {line(message['refusal'])}"
        elif reason == "content_filter":
            problem = "a filter of the server ended the answer"
        elif reason == "error" or choice.get("error"):
            failed = choice.get("error") or {}
            why = failed.get("message") if isinstance(failed, Mapping) else failed
            problem = f"the server failed while it answered: {line(why or 'it does not say why')}"
        elif not text.strip() and (message.get("tool_calls") or message.get("function_call")):
            problem = "the model calls a tool, and there is none"
        names = [str(reply.get(name) or "") for name in ("model", "system_fingerprint")]
        return Answer(
            text,
            problem,
            cut=reason == "length",
            usage=_read_usage(reply.get("usage")),
            fingerprint=" ".join(filter(None, names))[:200],
        )


def read_choice(reply: Any, options: tuple[str, str]) -> Choice | None:
    """Read how likely two labels are to begin an answer, spaces aside; None where that is not told.

    A label that is not among the tokens named has no more than the least likely of those.
    """
    try:
        named = reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        shares = [(str(item["token"]).strip(), math.exp(min(0.0, float(item["logprob"])))) for item in named]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    if any(math.isnan(float(item["logprob"])) for item in named):
        return None
    first, second = (sum(share for token, share in shares if token == option) for option in options)
    least = min((share for _, share in shares), default=0.0)
    mass = first + second
    if not mass > 0:
        return Choice(0.5, 0.0) if shares else None
    return Choice((first or least) / ((first or least) + (second or least)), min(mass, 1.0))


def _read_usage(usage: Any) -> Usage:
    if not isinstance(usage, Mapping):
        return Usage(calls=1)
    return Usage(count_of(usage, "prompt_tokens"), count_of(usage, "completion_tokens"), 1)


def _other_api(url: str, reply: Any) -> UserError:
    shown = " ".join(repr(reply).split())[:120]
    return UserError(f"{url} does not answer as its API does: {shown}")


def line(text: Any) -> str:
    """Return a server's words on one line, not long."""
    return " ".join(str(text).split())[:200]
