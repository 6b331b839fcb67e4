"""Chats: one protocol over engines and over servers of every shape; what goes wrong is an answer's problem in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from momus.cli import main
from momus.errors import UserError
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.local import LocalChat
from momus.lm.chats.messages import MessagesChat, MessagesServer
from momus.lm.chats.open import open_chat
from momus.lm.chats.protocol import Question, without_thinking
from momus.lm.chats.server import ServerChat
from momus.lm.remote.engine import RemoteEngine
from momus.lm.remote.server import KEY_VARIABLE, NO_PENALTY, Server
from momus.records import Message
from support.hosted import SHAPES, HostedServer, Said, listening
from support.scripted import Scripted
from support.tiny import tiny_engine

URL = "https://models.test/v1"
SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}
pytestmark = pytest.mark.filterwarnings("ignore::momus.errors.Notice")


def chat_of(server: HostedServer, **settings: Any) -> ServerChat:
    kinds = (MessagesChat, MessagesServer) if server.shape.startswith("anthropic") else (ServerChat, Server)
    return kinds[0](kinds[1](URL, "m", http_client=server.transport, **settings))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_server_answers(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "k")
    server = HostedServer(shape, lambda question, _: Said(f"You said {question}.", "hm hm"), key="k")
    question = Question.of("one two", 50, system="Be brief.", schema=SCHEMA, key=(1, 2))
    first, second = chat_of(server).answer([question, Question.of("three", 50, key=(3,))])
    assert (first.text, second.text) == ("You said one two.", "You said three.")
    assert not first.problem and not first.cut and first.fingerprint
    assert (first.usage.tokens_in, first.usage.tokens_out, first.usage.calls) == (2, 6, 1)
    if not shape.startswith("anthropic"):
        assert {body["seed"] for body in server.bodies} == {question.seed, Question.of("", 1, key=(3,)).seed}
    assert "k" not in json.dumps(chat_of(server).identity()).split('"')


@pytest.mark.parametrize("shape", SHAPES)
def test_a_schema_is_sent_and_left_out_where_it_is_refused(shape: str) -> None:
    field = "output_config" if shape.startswith("anthropic") else "response_format"
    question = Question.of("x", 50, schema=SCHEMA)
    for structured in (True, False):
        server = HostedServer(shape, structured=structured)
        chat = chat_of(server)
        assert [answer.text for answer in chat.answer([question, question])] == ["Yes.", "Yes."]
        assert (field in server.bodies[-1]) == structured
        assert server.bodies[-1]["messages"] == [{"role": "user", "content": "x"}]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_grammar_is_sent_in_place_of_the_schema_to_who_is_known_to_keep_to_it(shape: str) -> None:
    server = HostedServer(shape)
    chat = chat_of(server)
    question, free = (Question.of("x", 50, schema=SCHEMA, grammar=each) for each in ('root ::= "Yes."', None))
    for each in (question, free):
        assert [answer.text for answer in chat.answer([each] * 2)] == ["Yes."] * 2
    assert chat.stream(question, lambda text: None).text == "Yes."
    field = "output_config" if shape.startswith("anthropic") else "response_format"
    llama = shape == "llama.cpp"
    asked = [body for body in server.bodies if "grammar" in body]
    assert len(asked) == 2 * llama and all(body["grammar"] == question.grammar for body in asked)
    assert not any(field in body for body in asked) and field in server.bodies[-1]


@pytest.mark.parametrize("trouble", ["refused", "thought"])
def test_where_a_grammar_is_no_use_the_schema_is_sent_and_from_then_on(trouble: str) -> None:
    """A server may refuse it, and a model that has to think first says nothing under one."""
    first = (400, {}, {"error": {"message": "failed to parse grammar", "code": 400}})
    server = HostedServer("llama.cpp", first=[first] if trouble == "refused" else [])
    server.say = lambda question, before: Said("", "hm") if "grammar" in server.bodies[-1] else "Yes."
    chat = chat_of(server, concurrency=1)
    questions = [Question.of(text, 50, schema=SCHEMA, grammar='root ::= "Yes."') for text in "xyz"]
    assert [answer.text for answer in chat.answer(questions)] == ["Yes."] * 3
    assert ["grammar" in body for body in server.bodies] == [True, False, False, False]
    assert all("response_format" in body for body in server.bodies[1:])
    assert chat.answer(questions[:1])[0].usage.calls == 1 and len(server.bodies) == 5


def test_who_keeps_to_grammars_is_read_of_the_model_that_is_asked_and_a_failure_is_no_answer() -> None:
    server = HostedServer("llama.cpp")
    question = Question.of("x", 50, schema=SCHEMA, grammar='root ::= "Yes."')
    respond, lists = server.respond, []

    def listing(method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> Any:
        return lists.pop(0) if method == "GET" and lists else respond(method, path, headers, body)

    server.respond = listing  # type: ignore[method-assign]
    chat = chat_of(server, retries=0)
    lists.append((503, {}, {"error": {"message": "loading"}}))
    with pytest.raises(UserError, match="503"):
        chat.answer([question])
    lists.append((200, {}, {"data": [{"id": "other", "owned_by": "llamacpp"}, {"id": "m", "owned_by": "vllm"}]}))
    assert chat.answer([question])[0].text == "Yes." and "grammar" not in server.bodies[-1]
    for status in (404, 401):
        chat = chat_of(server)
        lists.append((status, {}, {"error": {"message": "no"}}))
        assert chat.answer([question])[0].text == "Yes." and "grammar" not in server.bodies[-1]


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if not shape.startswith("anthropic")])
def test_a_server_is_told_not_to_penalise_what_repeats_and_one_that_does_not_know_that_is_left_alone(
    shape: str, recwarn: pytest.WarningsRecorder
) -> None:
    """The likeliest token has to be the model's own: reviews quote code, which repeats what was read."""
    server = HostedServer(shape)
    chat = chat_of(server)
    for _ in range(2):
        assert chat.answer([Question.of("x", 50)])[0].text == "Yes."
    hosted = shape.startswith("openai")
    sent = [{name: body[name] for name in NO_PENALTY if name in body} for body in server.bodies]
    assert sent[0] == NO_PENALTY and sent[-1] == ({} if hosted else NO_PENALTY)
    assert all(not each for each in sent[1:]) or not hosted, "it is told once"
    assert not any("penalty" in str(warning.message) for warning in recwarn.list)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("reply", "text", "problem"),
    [
        (Said("late", thoughts="hm " * 90), "", "all 50 tokens went into thinking"),
        (Said(None, finish="length"), "", "all 50 tokens went into thinking"),
        (Said(" ".join(["word"] * 60)), "word", ""),
        (Said(None, refusal="I can't help with that."), "", "the model declines"),
        (Said(""), "", "the answer is empty"),
        (Said("<think>is it {}?</think>\n\nYes."), "Yes.", ""),
    ],
)
def test_answers_that_are_none_say_why(shape: str, reply: Said, text: str, problem: str) -> None:
    (answer,) = chat_of(HostedServer(shape, lambda *_: reply)).answer([Question.of("x", 50)])
    assert answer.text.startswith(text) and bool(answer.text) == bool(text)
    assert answer.problem.startswith(problem) and bool(answer.problem) == bool(problem)
    assert answer.cut == (reply.finish == "length" or len(f"{reply.thoughts} {reply.text}".split()) > 50)


def test_filters_tools_and_parts() -> None:
    cases = [
        ({"content": "half", "finish_reason": "content_filter"}, "half", "a filter of the server ended the answer"),
        ({"content": None, "tool_calls": [{}], "finish_reason": "tool_calls"}, "", "the model calls a tool"),
        ({"content": [{"type": "thinking"}, {"type": "text", "text": "a"}], "finish_reason": "stop"}, "a", ""),
        ({"content": "<think>on and on", "finish_reason": "length"}, "", "all 50 tokens went into thinking"),
        ({"finish_reason": "stop"}, "", "the answer is empty"),
    ]
    for message, text, problem in cases:
        reply = {"choices": [{"message": message, "finish_reason": message["finish_reason"]}]}
        server = HostedServer("vllm", first=[(200, {}, reply)])
        (answer,) = chat_of(server).answer([Question.of("x", 50)])
        assert answer.text == text and answer.problem.startswith(problem) and bool(answer.problem) == bool(problem)


def test_half_a_character_is_one_line() -> None:
    reply = {"choices": [{"message": {"content": "\ud800x"}, "finish_reason": "stop"}]}
    with pytest.raises(UserError, match="half a character"):
        chat_of(HostedServer("vllm", first=[(200, {}, reply)])).answer([Question.of("x", 50)])


def test_one_question_that_is_refused_leaves_the_others_alone() -> None:
    def say(question: str, before: int) -> str:
        return "Yes."

    too_long = {"error": {"message": "This model's maximum context length is 10 tokens.", "code": "context_length"}}
    server = HostedServer("vllm", say, first=[(400, {}, too_long)])
    answers = chat_of(server, concurrency=1).answer([Question.of("long", 9), Question.of("short", 9)])
    assert [answer.text for answer in answers] == ["", "Yes."]
    assert answers[0].refused and "maximum context length is 10" in answers[0].problem
    for status, headers in ((401, {}), (404, {}), (500, {"x-should-retry": "false"})):
        server = HostedServer("vllm", first=[(status, headers, {"error": "no"})])
        with pytest.raises(UserError, match=str(status)):
            chat_of(server).answer([Question.of("x", 9)])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_api_of_a_server_is_found(shape: str) -> None:
    server = HostedServer(shape)
    with listening(server) as url:
        chat = open_chat("m", url)
        assert type(chat) is (MessagesChat if shape.startswith("anthropic") else ServerChat)
        assert chat.answer([Question.of("x", 9)])[0].text == "Yes." and chat.name == f"m at {url}"
        assert open_chat(None, url).name == chat.name
        if shape != "llama.cpp":  # which has one model and answers to any name
            with pytest.raises(UserError, match=r"has no model 'other' .*: it has m"):
                open_chat("other", url)


def test_a_server_without_any_of_the_apis_is_one_line() -> None:
    with listening(HostedServer("openai")) as url, pytest.raises(UserError, match="has no chat API") as caught:
        open_chat("m", url + "/elsewhere")
    assert "\n" not in str(caught.value)


def test_without_a_path_the_messages_api_is_under_v1() -> None:
    assert MessagesServer("https://api.anthropic.com", "m").url == "https://api.anthropic.com/v1"
    assert MessagesServer("https://h.test/anthropic/v1/messages", "m").url == "https://h.test/anthropic/v1"


def test_an_engine_is_a_chat_too() -> None:
    engine = Scripted(lambda question, _: f"<think>hm</think>{question.upper()}", longest=20)
    chat = EngineChat(engine, name="scripted")
    questions = [Question.of(text, 9, temperature=warm, key=(i,)) for i, (text, warm) in enumerate(
        [("one", 0.0), ("two", 0.7), ("three", 0.0), ("x" * 30, 0.0)]
    )]  # fmt: skip
    answers = chat.answer(questions)
    assert [answer.text for answer in answers] == ["ONE", "TWO", "THREE", ""]
    assert answers[3].refused and answers[3].problem == "too long"
    assert answers[0].usage.tokens_in == 3 and answers[0].usage.calls == 1
    assert chat.count([Message(role="user", content="four")]) == 4
    assert set(engine.keys) == {(0,), (1,), (2,)}


def test_a_local_chat_is_laid_out_by_its_template() -> None:
    engine = tiny_engine()
    chat = EngineChat(engine, engine.tokenizer)
    (answer,) = chat.answer([Question.of("Total?", 4)])
    assert answer.cut and answer.usage.tokens_out == 4
    assert answer.usage.tokens_in == chat.count([Message(role="user", content="Total?")])


def test_a_local_model_is_loaded_when_it_is_asked(tmp_path: Path) -> None:
    engine = tiny_engine()
    engine.model.save_pretrained(tmp_path)
    engine.tokenizer.save_pretrained(tmp_path)
    chat = open_chat(str(tmp_path), precision="fp32")
    assert isinstance(chat, LocalChat) and chat.name == str(tmp_path)
    question = Question.of("Total?", 4)
    assert chat.count(question.messages) == EngineChat(engine, engine.tokenizer).count(question.messages)
    assert len(chat.identity()["digest"]) == 64
    assert open_chat(str(tmp_path), precision="bf16").identity()["digest"] == f"{chat.identity()['digest']} bfloat16"
    assert "loaded" not in vars(chat)
    assert chat.answer([question]) == EngineChat(engine, engine.tokenizer).answer([question])
    for refused in (lambda: open_chat(str(tmp_path / "nothing")), lambda: open_chat(str(tmp_path), device="nowhere")):
        with pytest.raises(UserError, match=r"nothing|nowhere"):
            refused()


def test_thinking_is_not_the_answer() -> None:
    assert without_thinking("<think>a</think> b") == "b"
    assert without_thinking("a</think>\nb") == "b"  # the template wrote the beginning
    assert without_thinking("<think>a") == "" and without_thinking("a") == "a"


def test_a_question_is_named_by_all_it_depends_on() -> None:
    base = Question.of("x", 9)
    others = [
        Question.of("y", 9), Question.of("x", 8), Question.of("x", 9, system="s"), Question.of("x", 9, temperature=0.1),
        Question.of("x", 9, top_p=0.9), Question.of("x", 9, key=(1,)), Question.of("x", 9, schema={}),
    ]  # fmt: skip
    assert len({question.digest for question in (base, *others)}) == 8
    assert base.digest == Question.of("x", 9).digest


@pytest.mark.parametrize("shape", SHAPES)
def test_doctor_says_what_every_shape_of_server_can_do(
    shape: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("momus.cli.doctor._shipped", lambda: "ok")
    monkeypatch.setattr("momus.sandbox.check_cage", lambda: ())
    server = HostedServer(shape, lambda *_: Said('{"word": "qz"}', "hm" if shape != "vllm" else ""))
    with listening(server) as url:
        assert main(["doctor", "--url", url, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)["server"]
    messages = shape.startswith("anthropic")
    assert described["asked"] == ("messages" if messages else "chat") and described["model"] == "m"
    constrained = "structured_outputs" if "structured_outputs" in str(described["structured"]) else "response_format"
    assert described["structured"] == ("output_config" if messages else constrained)
    assert described["temperature"] == (shape not in ("openai-reasoning", "anthropic-new"))
    assert described["missing"]["answers to messages (matching, feedback, prompted critics)"] == []
    assert described["missing"]["verbatim quotes (FSBS, best of n, review)"]
    assert (shape in ("anthropic", "anthropic-new", "openai-reasoning")) or described["several"]


def test_a_tokenizer_is_not_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("huggingface_hub.utils._http.http_backoff", connect)
    server = HostedServer("vllm", model="org/model")
    with pytest.raises(UserError, match="needs the tokenizer of 'org/model', which is not on this machine") as caught:
        RemoteEngine(Server(URL, "org/model", http_client=server.transport))
    assert "\n" not in str(caught.value)
    assert server.bodies == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--model", "m", "--answer-tokens", "50"], "gave no feedback: all 50 tokens went into thinking: raise --answ"),
        (["--model", "other"], "has no model 'other'"),
    ],
)
def test_feedback_tells_the_cause(tmp_path: Any, capsys: Any, command: list[str], message: str) -> None:
    note = tmp_path / "note.md"
    note.write_text("# Cache\n\nWe put a cache before the store.\n")
    with listening(HostedServer("openai-reasoning", lambda *_: Said("late", thoughts="hm " * 90))) as url:
        assert main(["feedback", str(note), "--rubric", "design", "--url", url, *command]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
