"""The remote engine against a server in this process: what it lacks is refused in words, never guessed."""

from __future__ import annotations

import math
import random
import re
import signal
import threading
import time
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.critique import parse_critique
from momus.errors import UserError
from momus.lm.codec import ServerCodec
from momus.lm.constraint import VerbatimQuotes
from momus.lm.remote.client import seed_of
from momus.lm.remote.engine import RemoteEngine
from momus.lm.remote.probe import FORCE, probe
from momus.lm.remote.server import KEY_VARIABLE, Server
from momus.lm.remote.wire import Reply, Request, ServerToken, read_reply
from momus.lm.tiny import TINY
from momus.lm.token_set import TokenSet
from support.openai_server import URL, OpenAIServer
from support.tiny import tiny_engine, tiny_tokenizer

LOCAL = tiny_engine(spread=0.1)
PREFIX = LOCAL.encode("def f(items):\n    total = 0\n", bos=True)
ANSWER = "def f(items):\n    total = 0\n    for x in items:\n        total += x\n    return total\n"


def one_line(caught: pytest.ExceptionInfo[UserError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


LACKING = [
    # what the server is like, what it shows, and what is then refused
    ({}, {"echo": True, "top_logprobs": 20, "structured": "structured_outputs", "seeds": True}, {}),
    ({"naming": "object", "choice": False}, {"token_ids": True, "structured": ""}, {}),
    ({"naming": "text"}, {"token_ids": False, "logit_bias": True}, {}),
    ({"echo": False}, {"echo": False}, {"score": "log-probabilities of given text"}),
    ({"silent_echo": True}, {"echo": False}, {"score": "log-probabilities of given text"}),
    ({"token_prompts": False}, {"token_prompts": False, "echo": True}, {"quote": "prompts as tokens"}),
    ({"bias": False}, {"logit_bias": False}, {"quote": "bias on tokens", "choose": "among the"}),
    (
        {"top": 0, "seeds": False, "strict": True},
        {"logprobs": False, "seeds": False, "echo": False, "extra": {}},
        {"choose": "likeliest next tokens", "score": "log-probabilities of given", "quote": "log-probabilities"},
    ),
    ({"top": 5, "raw": False}, {"top_logprobs": 5, "raw_logprobs": False}, {"choose": "among the"}),
]


@pytest.mark.parametrize(("lacking", "shown", "refused"), LACKING, ids=[str(case[0]) for case in LACKING])
def test_what_a_server_lacks_is_found_out_and_refused_in_words(
    lacking: dict[str, Any], shown: dict[str, Any], refused: dict[str, str]
) -> None:
    engine = OpenAIServer(LOCAL, **lacking).remote()
    assert {name: getattr(engine.capabilities, name) for name in shown} == shown
    rule = VerbatimQuotes(ANSWER, engine.vocabulary)
    uses = {
        "score": lambda: engine.score(PREFIX, [[5, 6]]),
        "choose": lambda: engine.choose([PREFIX], ("\x01", "\x02")),  # neither is likely
        "quote": lambda: engine.sample([PREFIX], key=0, max_tokens=2, constraints=[rule]),
    }
    for name, use in uses.items():
        if name in refused:
            with pytest.raises(UserError, match=refused[name]) as caught:
                use()
            assert "momus.test" in one_line(caught)
        else:
            use()
    assert len(engine.sample([PREFIX], key=0, max_tokens=2)[0][0].tokens) == 2


def test_however_tokens_are_named_they_are_the_same() -> None:
    (wanted,) = OpenAIServer(LOCAL).remote().sample([PREFIX], 8, key=1, max_tokens=2)
    (found,) = OpenAIServer(LOCAL, naming="object").remote().sample([PREFIX], 8, key=1, max_tokens=2)
    assert [sample.tokens for sample in found] == [sample.tokens for sample in wanted]
    engine = OpenAIServer(LOCAL, naming="text").remote()
    assert any("\N{REPLACEMENT CHARACTER}" not in sample.text for sample in wanted)
    for j, sample in enumerate(wanted):
        ask = Request(PREFIX, 2, seed=seed_of((1, 0, j, 0), again=False), logprobs=1)
        tokens = engine._codec.identify(engine._server.ask([ask])[0].pieces)
        assert tokens == list(sample.tokens) or (tokens is None and "\N{REPLACEMENT CHARACTER}" in sample.text)
    (texts,) = engine.sample([PREFIX], 8, key=1, max_tokens=2)
    for told, sample in zip(texts, wanted, strict=True):  # where tokens are not told, the whole text is the same
        assert told.text == sample.text or "\N{REPLACEMENT CHARACTER}" in sample.text


def test_log_probabilities_that_are_not_said_are_nan() -> None:
    def logprobs(temperature: float = 1.0, **lacking: Any) -> list[float]:
        engine = OpenAIServer(LOCAL, **lacking).remote()
        (sample,) = engine.sample([PREFIX], key=0, max_tokens=4, temperature=temperature)[0]
        return list(sample.logprobs)

    assert all(map(math.isnan, logprobs(top=0)))
    assert all(map(math.isnan, logprobs(0.7, raw=False)))
    assert not any(map(math.isnan, logprobs(raw=False)))
    assert not any(map(math.isnan, logprobs(0.7)))
    stops = list(range(3, 300))
    for named in (True, False):
        server = OpenAIServer(LOCAL, ends_named=named)
        engine = server.remote()
        (sample,) = engine.sample([PREFIX], key=0, max_tokens=9, stop_tokens=stops)[0]
        assert sample.finished
        assert math.isnan(sample.logprobs[-1]) != named
        assert server.bodies[-1]["stop_token_ids"] == stops


def test_text_is_scored_only_where_the_server_cuts_it_alike() -> None:
    engine = OpenAIServer(LOCAL, token_prompts=False).remote()
    usual = engine.encode("    return total\n", bos=False)
    np.testing.assert_allclose(engine.score(PREFIX, [usual])[0], LOCAL.score(PREFIX, [usual])[0], atol=1e-4)
    unusual = [token for letter in "return" for token in engine.encode(letter, bos=False)]
    with pytest.raises(UserError, match="cuts the text to score into other tokens") as caught:
        engine.score(PREFIX, [unusual])
    one_line(caught)
    with pytest.raises(UserError, match="a prefix with special tokens in it needs prompts as tokens"):
        engine.sample([[1, 5, 2, 5]], key=0, max_tokens=1)


def test_through_chat_only_whole_replies() -> None:
    server = OpenAIServer(LOCAL, completions=False)
    with pytest.raises(UserError, match=r"text completions.*chat=True") as caught:
        server.remote()
    one_line(caught)
    engine = server.remote(chat=True)
    (sample,) = engine.sample([PREFIX], key=0, max_tokens=6)[0]
    assert server.bodies[-1]["messages"] == [{"role": "user", "content": LOCAL.decode(PREFIX)}]
    assert sample.text == LOCAL.decode(sample.tokens)
    (choice,) = engine.choose([PREFIX], ("A", "B"))
    (wanted,) = LOCAL.choose([PREFIX], ("A", "B"))
    assert choice == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(UserError, match="given text"):
        engine.score(PREFIX, [[5]])
    with pytest.raises(UserError, match="verbatim through chat"):
        engine.sample([PREFIX], key=0, max_tokens=2, constraints=[VerbatimQuotes(ANSWER, engine.vocabulary)])


def test_quotes_are_verbatim_on_a_server_too() -> None:
    engine = OpenAIServer(LOCAL).remote()
    written = "```\n"
    prefix = [*PREFIX, *engine.encode(written, bos=False)]
    rule = VerbatimQuotes(ANSWER, engine.vocabulary, written=written)
    (samples,) = engine.sample([prefix], 2, key=0, max_tokens=16, constraints=[rule])
    for sample in samples:
        (first, *_) = parse_critique(written + sample.text, ANSWER).comments
        assert first.span is not None and first.highlight in ANSWER
        state = rule.start()
        for token in sample.tokens:
            allowed = rule.allowed(state)
            assert allowed is None or token in allowed
            state = rule.advance(state, token)
    assert len({sample.tokens for sample in samples}) > 1
    plain = [LOCAL.score(prefix, [sample.tokens])[0] for sample in samples]
    for sample, expected in zip(samples, plain, strict=True):
        np.testing.assert_allclose(sample.logprobs, expected, atol=2e-4)
    with pytest.raises(UserError, match="top_p"):
        engine.sample([prefix], key=0, max_tokens=2, top_p=0.5, constraints=[rule])


class _Allowed:
    """A constraint of one step."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def start(self) -> None:
        return None

    def allowed(self, state: object) -> TokenSet:
        return TokenSet(self.tokens, len(LOCAL.vocabulary))

    def choice_log_odds(self, state: object) -> None:
        return None

    def advance(self, state: object, token: int) -> None:
        return None


def test_drawing_again_keeps_the_models_proportions(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = OpenAIServer(LOCAL).remote()
    weights = {10: 0.5, 11: 0.3, 12: 0.15, 13: 0.05}

    async def reply(request: Request) -> Reply:
        biased = {t: w * math.exp(request.bias.get(t, 0.0)) for t, w in weights.items()}
        (token,) = random.Random(request.seed).choices(list(biased), list(biased.values()))
        return Reply("", (ServerToken("", None, token, -1.0),), False, None)

    monkeypatch.setattr(engine._server, "reply", reply)
    rule: Any = _Allowed([11, 12, 13])
    (samples,) = engine.sample([PREFIX], 800, key=0, max_tokens=1, constraints=[rule])
    shares = [np.mean([sample.tokens == (token,) for sample in samples]) for token in weights]
    np.testing.assert_allclose(shares, [0, 0.6, 0.3, 0.1], atol=0.07)  # 4 standard errors


def test_a_server_that_ignores_the_bias_later_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    server = OpenAIServer(LOCAL)
    engine = server.remote()
    server.can.bias = False
    with pytest.raises(UserError, match="does not keep to logit_bias") as caught:
        engine.sample([PREFIX], key=0, max_tokens=4, constraints=[_Allowed([7])])
    one_line(caught)


def test_another_models_tokenizer_is_refused() -> None:
    with pytest.raises(UserError, match="the tokenizer is not") as caught:
        RemoteEngine(OpenAIServer(LOCAL).server(), TINY)
    one_line(caught)
    with pytest.raises(UserError, match="/nowhere: there is no such folder or file"):
        RemoteEngine(OpenAIServer(LOCAL).server(), "/nowhere")


def test_passing_failures_are_tried_again_and_lasting_ones_are_one_line() -> None:
    server = OpenAIServer(LOCAL)
    ask = Request("x", 1)
    server.can.failures = [429, 503]
    assert len(server.server().ask([ask])) == 1 and len(server.bodies) == 3
    cases = [
        ([429] * 9, "too busy .429: not now. after 3 tries: lower the concurrency", 3),
        ([500] * 9, "failed .500: not now. after 3 tries", 3),
        ([400], "refused the request .400.: not now", 1),
        ([401], f"needs an API key .401: not now.: set {KEY_VARIABLE}", 1),
        ([200], "does not answer as its API does", 1),
    ]
    for failures, message, tries in cases:
        server.can.failures, server.bodies = list(failures), []
        with pytest.raises(UserError, match=message) as caught:
            server.server(retries=2).ask([ask])
        assert URL in one_line(caught)
        assert len(server.bodies) == tries


def test_servers_that_are_slow_or_not_there_are_one_line() -> None:
    def slow(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("", request=request)

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(slow))
    cases = [
        (Server(URL, "m", retries=0, timeout=7, http_client=client), f"{URL} did not answer within 7 s"),
        (Server("http://127.0.0.1:9/v1", "m", retries=0), "cannot reach http://127.0.0.1:9/v1: "),
    ]
    for server, message in cases:
        with pytest.raises(UserError, match=re.escape(message)) as caught:
            server.ask([Request("x", 1)])
        one_line(caught)


def test_the_model_is_named_or_the_only_one() -> None:
    assert OpenAIServer(LOCAL).server(None).model == "tiny"
    with pytest.raises(UserError, match="several models, choose one: a, b"):
        OpenAIServer(LOCAL, models=("a", "b")).server(None)
    with pytest.raises(UserError, match="serves no model"):
        OpenAIServer(LOCAL, models=()).server(None)
    with pytest.raises(UserError, match="not a server's URL"):
        Server("localhost:8000", "m")


def test_the_openai_key_goes_to_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    server = OpenAIServer(LOCAL)
    server.server().ask([Request("x", 1)])
    monkeypatch.setenv(KEY_VARIABLE, "ours")
    server.server().ask([Request("x", 1)])
    assert server.keys == ["Bearer none", "Bearer ours"]


def test_no_more_requests_at_once_than_asked_for() -> None:
    server = OpenAIServer(LOCAL, delay=0.01)
    assert len(server.server(concurrency=3).ask([Request("x", 1)] * 9)) == 9
    assert server.most == 3


def test_control_c_and_failures_cancel_what_is_under_way() -> None:
    server = OpenAIServer(LOCAL, delay=60)
    threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        server.server(concurrency=2).ask([Request("x", 1)] * 4)
    deadline = time.monotonic() + 20
    while server.cancelled < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.cancelled == 2 and server.now == 0 and len(server.bodies) == 2


def test_probing_answers_that_say_nothing_are_errors() -> None:
    server = OpenAIServer(LOCAL, failures=[401])
    with pytest.raises(UserError, match=KEY_VARIABLE):
        probe(server.server())
    with pytest.raises(UserError, match="404"):
        probe(OpenAIServer(LOCAL, completions=False, chat=False).server(retries=0))


def test_seeds_are_31_bits_and_differ() -> None:
    keys = [(0,), (0, 0), (1,), (1, 0), (0, 1)]
    seeds = [seed_of(key, again) for key in keys for again in (False, True)]
    assert len(set(seeds)) == 10 and all(0 <= seed < 2**31 for seed in seeds)
    assert FORCE == 100


@settings(max_examples=30)
@given(st.lists(st.integers(3, len(tiny_tokenizer()) - 1), max_size=12))
def test_tokens_named_by_their_text_are_told_or_not_guessed(tokens: list[int]) -> None:
    codec = ServerCodec(tiny_tokenizer())
    pieces = []
    for token in tokens:
        data = codec.vocabulary.pieces[token] or b""
        text = data.decode(errors="replace")
        pieces.append(ServerToken(text, None if "\N{REPLACEMENT CHARACTER}" in text else data))
    found = codec.identify(pieces)
    if all(piece.data is not None for piece in pieces):
        assert found == tokens
    else:
        assert found is None or len(found) == len(tokens)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "text", "message", "content", "logprobs", "tokens", "token_logprobs", "usage"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_JSON)
def test_no_answer_ends_in_a_traceback(body: object) -> None:
    said = {"text": "x", "finish_reason": "stop"}
    for answer in (
        body,
        {"choices": [body]},
        {"choices": [{**said, "logprobs": body}]},
        {"choices": [{**said, "text": body}]},
        {"choices": [{"message": {"content": body}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": [{"type": "text", "text": body}]}, "finish_reason": "stop"}]},
        {"choices": [said], "usage": {"prompt_tokens": body}},
        {"choices": [{**said, "token_ids": body}], "usage": body},
    ):
        try:
            reply = read_reply(answer)
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert all(piece.logprob is None or piece.logprob <= 0 for piece in reply.pieces)
            assert isinstance(reply.text, str) and isinstance(reply.prompt_tokens, int | None)


def test_log_probabilities_above_zero_or_not_numbers_are_no_answer() -> None:
    for logprob in (0.5, math.nan):
        with pytest.raises(UserError, match="OpenAI API"):
            read_reply({"choices": [{"text": "x", "logprobs": {"tokens": ["x"], "token_logprobs": [logprob]}}]})
    logprobs = {"tokens": ["x"], "token_logprobs": [-math.inf]}
    body = {"choices": [{"text": "x", "logprobs": logprobs, "finish_reason": "length"}]}
    assert read_reply(body).pieces[0].logprob is None


@pytest.mark.parametrize(
    ("said", "stopped"),
    [
        ({"finish_reason": "stop"}, True),
        ({"finish_reason": "eos_token"}, True),
        ({"finish_reason": "stop", "stop_reason": 2}, True),
        ({"finish_reason": "stop", "stop_reason": "ab"}, False),  # a stop string, looked for in the tokens
        ({"finish_reason": "stop", "matched_stop": "ab"}, False),
        ({"finish_reason": "length"}, False),
        ({"finish_reason": "content_filter"}, "ended a reply by 'content_filter'"),
        ({"finish_reason": "tool_calls"}, "ended a reply by 'tool_calls'"),
        ({"finish_reason": ["stop"]}, "ended a reply by"),
        ({"finish_reason": None}, "does not say why"),
        ({}, "does not say why"),
    ],
)
def test_only_its_own_end_finishes_a_reply(said: dict[str, Any], stopped: bool | str) -> None:
    body = {"choices": [{"text": "x", **said}]}
    if isinstance(stopped, bool):
        assert read_reply(body).stopped == stopped
    else:
        with pytest.raises(UserError, match=stopped) as caught:
            read_reply(body)
        one_line(caught)
