"""Choosing by probability through a chat: over an engine, and over servers, some of which tell no probabilities."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from momus.lm.chats.cache import AnswerCache, CachedChat
from momus.lm.chats.costs import OVER_BUDGET, MeteredChat
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.messages import MessagesChat, MessagesServer
from momus.lm.chats.protocol import Answer, Question
from momus.lm.chats.server import NO_PROBABILITIES, ServerChat, read_choice
from momus.lm.remote.server import Server
from support.hosted import HostedServer
from support.tiny import tiny_engine

OPTIONS = ("A", "B")
QUESTION = Question.of("Right (A) or wrong (B)?\n", 1, options=OPTIONS)


def completion(*named: tuple[str, float]) -> dict[str, Any]:
    tokens = [{"token": token, "logprob": math.log(share) if share else -math.inf} for token, share in named]
    message = {"role": "assistant", "content": named[0][0] if named else "A"}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    return {"choices": [{**choice, "logprobs": {"content": [{"token": "A", "top_logprobs": tokens}]}}], "model": "m"}


def test_an_engine_chooses_as_it_does_itself() -> None:
    engine = tiny_engine()
    chat = EngineChat(engine)
    (answer, written) = chat.answer([QUESTION, Question.of("Total?", 4)])
    prefix = engine.encode("Right (A) or wrong (B)?\n", bos=True)
    assert answer.choice == engine.choose([prefix], OPTIONS)[0]
    assert answer.text == "" and answer.problem == "" and answer.usage.tokens_in == len(prefix)
    assert written.choice is None


def test_a_server_chooses_by_the_tokens_it_names_spaces_aside() -> None:
    server = HostedServer("openai", first=[(200, {}, completion(("A", 0.5), (" A", 0.1), ("B", 0.2), ("C", 0.1)))])
    (answer,) = ServerChat(Server("https://models.test/v1", "m", http_client=server.transport)).answer([QUESTION])
    assert answer.choice is not None and answer.choice.probability == pytest.approx(0.75)
    assert answer.choice.mass == pytest.approx(0.8)
    assert (server.bodies[0]["logprobs"], server.bodies[0]["top_logprobs"]) == (True, 20)


def test_a_number_beyond_all_bounds_tells_no_choice() -> None:
    reply = completion(("A", 0.5))
    for number in (-(10**400), float("nan")):
        reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"][0]["logprob"] = number
        assert read_choice(reply, OPTIONS) is None


def test_a_label_that_is_not_named_has_at_most_the_least_share_named() -> None:
    choice = read_choice(completion(("A", 0.9), ("x", 0.05)), OPTIONS)
    assert choice is not None and choice.probability == pytest.approx(0.9 / 0.95)
    assert read_choice(completion(("x", 0.9)), OPTIONS) == (0.5, 0.0)


@pytest.mark.parametrize("reply", [{}, completion(), {"choices": [{"logprobs": None}]}, {"choices": "A"}, [], None])
def test_a_server_that_names_none_does_not_choose(reply: Any) -> None:
    assert read_choice(reply, OPTIONS) is None


def test_what_tells_no_probabilities_is_one_line() -> None:
    server = HostedServer("anthropic")
    chat = MessagesChat(MessagesServer("https://models.test/v1", "m", http_client=server.transport))
    assert chat.answer([QUESTION]) == [Answer("", NO_PROBABILITIES, refused=True)]
    assert not server.bodies
    silent = HostedServer("openai", lambda question, _: "A")
    (answer,) = ServerChat(Server("https://models.test/v1", "m", http_client=silent.transport)).answer([QUESTION])
    assert (answer.problem, answer.refused, answer.choice) == (NO_PROBABILITIES, True, None)


def test_choices_are_kept_and_counted_as_answers_are(tmp_path: Path) -> None:
    engine = tiny_engine()
    metered = MeteredChat(EngineChat(engine))
    chat = CachedChat(metered, AnswerCache(tmp_path / "answers.sqlite"))
    first, again = chat.answer([QUESTION]), chat.answer([QUESTION])
    assert first[0].choice == again[0].choice is not None
    assert metered.usage.calls == 1 and chat.hits == 1
    assert MeteredChat(EngineChat(engine), budget=2).answer([QUESTION])[0].problem == OVER_BUDGET
    assert QUESTION.digest != Question.of("Right (A) or wrong (B)?\n", 1).digest
