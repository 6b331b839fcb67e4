"""Answers read while they are written, in this process and from servers; conversations that remember."""

from __future__ import annotations

import json
from typing import Any

import pytest

from momus.errors import UserError
from momus.lm.chats.conversation import STOPPED, Conversation, ConversationConfig
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.messages import MessagesChat, MessagesServer
from momus.lm.chats.protocol import Answer, Question, without_thinking
from momus.lm.chats.server import ServerChat
from momus.lm.chats.streaming import AnswerStream
from momus.lm.remote.events import EventReader
from momus.lm.remote.server import Server
from momus.records import Message
from support.hosted import SHAPES, HostedServer, Said
from support.scripted import Scripted
from support.tiny import tiny_engine

pytestmark = pytest.mark.filterwarnings("ignore::momus.errors.Notice")


def chat_of(server: HostedServer) -> ServerChat:
    kinds = (MessagesChat, MessagesServer) if server.shape.startswith("anthropic") else (ServerChat, Server)
    return kinds[0](kinds[1]("https://models.test/v1", "m", http_client=server.transport, retries=0))


def test_a_watched_sample_is_the_same_and_comes_token_by_token() -> None:
    engine = tiny_engine()
    prefix, seen = engine.encode("def f", bos=False), list[tuple[int, ...]]()
    plain = engine.sample([prefix], key=3, max_tokens=12)
    watched = engine.sample([prefix], key=3, max_tokens=12, watch=lambda tokens: seen.append(tuple(tokens)))
    assert watched == plain
    tokens = plain[0][0].tokens
    assert seen == [tokens[: i + 1] for i in range(len(seen))] and len(seen) >= len(tokens) - 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_local_answer_comes_in_pieces_and_is_the_one_that_is_answered(temperature: float) -> None:
    engine, pieces = tiny_engine(), list[str]()
    chat = EngineChat(engine, engine.tokenizer)
    question = Question.of("Say something.", 20, temperature=temperature, key=(4,))
    streamed = chat.stream(question, pieces.append)
    assert streamed == chat.answer([question])[0]
    assert "".join(pieces) == streamed.text and len(pieces) > 2


def test_an_answer_ends_where_the_context_does() -> None:
    engine = tiny_engine()
    chat = EngineChat(engine, engine.tokenizer)
    engine.context_length = chat.count([Message(role="user", content="Hm?")]) + 5
    answer = chat.stream(Question.of("Hm?", 10_000, temperature=1.0, key=(1,)), lambda piece: None)
    assert answer.usage.tokens_out <= 5
    answer = chat.stream(Question.of("word " * 50, 10), lambda piece: None)
    assert answer.refused and "tokens" in answer.problem


def test_an_engine_that_does_not_stream_answers_in_one_piece() -> None:
    pieces: list[str] = []
    answer = EngineChat(Scripted(lambda *_: "Yes, it is.")).stream(Question.of("Is it?", 9), pieces.append)
    assert pieces == ["Yes, it is."] and answer.text == "Yes, it is."


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_server_streams(shape: str) -> None:
    server, pieces = HostedServer(shape, lambda question, _: Said(f"You said {question}.", "hm hm")), list[str]()
    question = Question.of("one two", 50, system="Be brief.")
    answer = chat_of(server).stream(question, pieces.append)
    assert answer.text == "".join(pieces) == "You said one two." and len(pieces) == 4
    assert server.bodies[-1]["stream"] is True
    assert answer == chat_of(server).answer([question])[0]


@pytest.mark.parametrize("shape", ["vllm", "anthropic"])
@pytest.mark.parametrize(
    ("reply", "text", "problem"),
    [
        (Said("<think>is it {}?</think>\n\nYes."), "Yes.", ""),
        (Said(None, refusal="I can't help with that."), "", "the model declines"),
        (Said(""), "", "the answer is empty"),
        (Said(" ".join(["word"] * 60)), "word", ""),
    ],
)
def test_what_a_stream_amounts_to(shape: str, reply: Said, text: str, problem: str) -> None:
    pieces: list[str] = []
    answer = chat_of(HostedServer(shape, lambda *_: reply)).stream(Question.of("x", 50), pieces.append)
    assert "".join(pieces) == answer.text and answer.text.startswith(text) and bool(answer.text) == bool(text)
    assert answer.problem.startswith(problem) and bool(answer.problem) == bool(problem)
    assert answer.cut == (len((reply.text or "").split()) > 50)


EVENTS = {"content-type": "text/event-stream"}


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ((200, EVENTS, b"data: {not json\n\n"), "does not answer as its API does"),
        ((200, EVENTS, b'data: {"choices": [7]}\n\n'), "does not answer as its API does"),
        ((200, EVENTS, b'data: "\\ud800"\n\n'), "half a character"),
        ((200, EVENTS, b"data: [DONE]\n\n"), "does not answer as its API does"),
        ((200, EVENTS, b'data: {"error": {"message": "out of\\nmemory"}}\n\n'), "failed: out of memory"),
        ((500, {}, {"error": "no"}), "failed"),
    ],
)
def test_a_stream_that_is_none_is_one_line(response: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chat_of(HostedServer("vllm", first=[response])).stream(Question.of("x", 50), lambda piece: None)


def test_a_server_that_does_not_stream_answers_at_once() -> None:
    reply = {"choices": [{"message": {"content": "All at once."}, "finish_reason": "stop"}]}
    pieces: list[str] = []
    answer = chat_of(HostedServer("vllm", first=[(200, {}, reply)])).stream(Question.of("x", 50), pieces.append)
    assert pieces == [answer.text] == ["All at once."]


def test_events_are_read_however_their_bytes_are_cut() -> None:
    text = 'id: 1\r\ndata: {"a": "ä"}\r\n\r\n: note\n\ndata: {"b":\ndata: 2}\n\ndata: [DONE]\n\ndata: "cut o'.encode()
    for size in (1, 2, 7, len(text)):
        values: list[Any] = []
        reader = EventReader(values.append)
        for at in range(0, len(text), size):
            reader.feed(text[at : at + size])
        assert values == reader.events == [{"a": "ä"}, {"b": 2}], size


@pytest.mark.parametrize(
    "whole", ["plain words", "<think>so</think>  it is", "<thinking> is a word", "  \n<think>a</think>b", "x < y", "é"]
)
def test_pieces_make_the_text_without_its_thinking(whole: str) -> None:
    pieces: list[str] = []
    stream = AnswerStream(pieces.append)
    for end in range(len(whole) + 1):
        stream.update(whole[:end])
    stream.update(whole + "\ufffd")
    stream.finish(without_thinking(whole))
    assert "".join(pieces) == without_thinking(whole)


def test_thinking_that_the_template_began_is_not_shown() -> None:
    pieces: list[str] = []
    stream = AnswerStream(pieces.append, thinking=True)
    for piece in ("let me see", "</think>", "Four", "."):
        stream.add(piece)
    assert pieces == ["Four", "."]


class Parrot:
    """Answers with the number of messages and the key; stops where it is asked to."""

    def __init__(self) -> None:
        self.asked: list[Question] = []

    def stream(self, question: Question, show: Any) -> Answer:
        self.asked.append(question)
        last = question.messages[-1].content
        if last == "nothing":
            return Answer("", "the answer is empty")
        show("Part ")
        if last == "stop":
            raise KeyboardInterrupt
        show("two.")
        return Answer("Part two.")


def test_a_conversation_remembers_and_begins_anew() -> None:
    parrot = Parrot()
    talk: Any = Conversation(parrot, ConversationConfig(system="Be kind.", seed=5))  # type: ignore[arg-type]
    talk.ask("one", lambda piece: None)
    talk.ask("two", lambda piece: None)
    assert [message.content for message in parrot.asked[-1].messages] == ["Be kind.", "one", "Part two.", "two"]
    assert [question.key for question in parrot.asked] == [(5, 1, 0), (5, 2, 0)]
    talk.retry(lambda piece: None)
    assert parrot.asked[-1].messages == parrot.asked[-2].messages and parrot.asked[-1].key == (5, 2, 1)
    assert talk.ask("nothing", lambda piece: None).problem and talk.messages[-1].content == "Part two."
    assert talk.ask("stop", lambda piece: None).problem == STOPPED and talk.messages[-1].content == "Part"
    talk.reset()
    assert json.loads(json.dumps([m.content for m in talk.messages])) == ["Be kind."]
    with pytest.raises(UserError, match="nothing was asked"):
        talk.retry(lambda piece: None)
    talk.reset("")
    assert talk.messages == ()


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 2.0}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
        ConversationConfig(**wrong)
