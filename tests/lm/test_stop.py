"""Stop strings: both engines end a sample where its text, read character by character, first completes one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm.engine import Engine, Sample
from momus.lm.stop import StopStrings, cut_at_stop
from momus.lm.token_set import TokenSet
from support.openai_server import OpenAIServer
from support.tiny import tiny_engine, tiny_tokenizer

LOCAL = tiny_engine(spread=0.1)
PIECES = LOCAL.vocabulary.by_piece
PREFIX = LOCAL.encode("def f(items):\n", bos=True)
END = tiny_tokenizer().eos_token_id
SERVERS: dict[str, dict[str, str]] = {
    "remote": {},
    "stop tokens shown, nothing told": {"stops": "shown"},
    "stop tokens taken off": {"stops": "trimmed"},
    "stop strings ignored": {"stops": "ignored"},
}
ENGINES = ["local", *SERVERS]
LETTERS = "ab\n`é漢"


@cache
def engine_of(name: str) -> Engine:
    return LOCAL if name == "local" else OpenAIServer(LOCAL, **SERVERS[name]).remote()


texts = st.text(LETTERS, max_size=12)
stops = st.lists(st.text(LETTERS, min_size=1, max_size=4), min_size=1, max_size=3)


def brute_force(text: str, strings: list[str]) -> tuple[str, str] | None:
    """Read a text one character after another until it ends in a stop string; of several the longest."""
    for size in range(1, len(text) + 1):
        ending = [stop for stop in strings if text[:size].endswith(stop)]
        if ending:
            longest = max(ending, key=len)
            return text[: size - len(longest)], longest
    return None


@st.composite
def tokenized(draw: st.DrawFn, size: int = 12) -> tuple[str, list[int]]:
    """A text and one of the ways to write it in tokens: part of a character may be one."""
    text, tokens = draw(texts)[:size], []
    rest = text.encode()
    while rest:
        size = draw(st.sampled_from([n for n in range(1, len(rest) + 1) if rest[:n] in PIECES]))
        tokens.append(draw(st.sampled_from(PIECES[rest[:size]])))
        rest = rest[size:]
    return text, tokens


class Script:
    """A constraint that leaves nothing but given tokens, and then the end of the text."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = [*tokens, END]

    def start(self) -> int:
        return 0

    def allowed(self, state: Any) -> TokenSet:
        return TokenSet([self.tokens[state]], len(LOCAL.vocabulary))

    def choice_log_odds(self, state: Any) -> None:
        return None

    def advance(self, state: Any, token: int) -> int:
        return int(state) + 1


def check(sample: Sample, text: str, tokens: list[int], strings: list[str]) -> None:
    """Compare with the brute-force cut, and the tokens with the fewest whose text has the stop string in it."""
    expected = brute_force(text, strings)
    assert sample.finished
    if expected is None:
        assert (sample.text, sample.stop, sample.tokens) == (text, "", (*tokens, END))
        return
    assert (sample.text, sample.stop) == expected
    written = [LOCAL.decode(tokens[:n]) for n in range(len(tokens) + 1)]
    needed = next(n for n, own in enumerate(written) if any(stop in own for stop in strings))
    assert sample.tokens == tuple(tokens[:needed])


@given(texts, stops)
def test_the_cut_is_that_of_reading_character_by_character(text: str, strings: list[str]) -> None:
    assert cut_at_stop(text, strings) == brute_force(text, strings)


@given(tokenized(), stops)
def test_the_last_token_is_told_whatever_the_tokenization(written: tuple[str, list[int]], strings: list[str]) -> None:
    text, tokens = written
    watch = StopStrings(strings, LOCAL.vocabulary, LOCAL.decode)
    found = next((end for n in range(1, len(tokens) + 1) if (end := watch.completed(tokens[:n]))), None)
    assert found == brute_force(text, strings)


@pytest.mark.parametrize("name", ENGINES)
@settings(max_examples=6, deadline=None)
@given(items=st.lists(tokenized(size=6), min_size=1, max_size=2), strings=stops)
def test_engines_end_forced_texts_alike(name: str, items: list[tuple[str, list[int]]], strings: list[str]) -> None:
    rules = [Script(tokens) for _, tokens in items]
    result = engine_of(name).sample(
        [PREFIX] * len(items), key=0, max_tokens=40, temperature=0, stop=strings, constraints=rules
    )
    for (text, tokens), group in zip(items, result, strict=True):
        for sample in group:
            check(sample, text, tokens, strings)


@pytest.mark.parametrize("name", ENGINES)
def test_what_is_sampled_freely_is_cut_where_it_would_have_been(name: str) -> None:
    """A stop string takes away what follows it and changes nothing before; the samples are those of any batching."""
    engine, asked = engine_of(name), {"n": 6, "key": 3, "max_tokens": 14}
    (free,) = engine.sample([PREFIX], **asked)
    strings = [letter for sample in free for letter in sample.text[4:] if letter.isascii()][:3]
    (found,) = engine.sample([PREFIX], stop=strings, **asked)
    same = engine is LOCAL or engine.capabilities.stop  # type: ignore[attr-defined]  # else other requests
    if same:
        for sample, whole in zip(found, free, strict=True):
            expected = brute_force(whole.text, strings)
            assert (sample.text, sample.stop) == (expected or (whole.text, ""))
            assert sample.tokens == whole.tokens[: len(sample.tokens)]
            np.testing.assert_allclose(sample.logprobs, whole.logprobs[: len(sample.tokens)], atol=1e-4)
        assert any(sample.stop for sample in found)
    for sample in found:
        assert not any(stop in sample.text for stop in strings)
        assert sample.finished == bool(sample.stop or sample.tokens[-1] == END)
        assert bool(sample.stop) == any(stop in LOCAL.decode(sample.tokens) for stop in strings)
    if engine is LOCAL:
        (few,) = tiny_engine(rows=2, spread=0.1).sample([PREFIX], stop=strings, **asked)
        assert [(s.tokens, s.text, s.stop) for s in few] == [(s.tokens, s.text, s.stop) for s in found]


def test_a_stop_token_is_no_text_and_a_prefix_is_not_the_samples_own() -> None:
    text = "aab"
    tokens = [PIECES[c.encode()][0] for c in text]
    prefix = [*PREFIX, tokens[0]]
    arguments: dict[str, Any] = {"key": 0, "max_tokens": 9, "constraints": [Script(tokens)]}
    for engine in (LOCAL, engine_of("remote")):
        (sample,) = engine.sample([prefix], stop=["ab", "aaa"], **arguments)[0]
        assert (sample.text, sample.stop) == ("a", "ab")  # with the prefix, "aaa" would have been first
        (sample,) = engine.sample([prefix], stop=["ab"], stop_tokens=[tokens[2]], **arguments)[0]
        assert (sample.text, sample.stop, sample.tokens) == ("aa", "", tuple(tokens))


@pytest.mark.parametrize("stop", ["\n", [""], ["a\ufffd"], ["\ud800"]])
def test_what_is_no_stop_string_is_refused_in_one_line(stop: Any) -> None:
    for engine in (LOCAL, engine_of("remote")):
        with pytest.raises(UserError, match="stop") as caught:
            engine.sample([PREFIX], key=0, max_tokens=2, stop=stop)
        assert "\n" not in str(caught.value)


def test_a_server_is_told_to_stop_only_where_it_shows_what_stopped_it() -> None:
    for stops_, told in {"told": True, "shown": True, "trimmed": False, "ignored": False}.items():
        server = OpenAIServer(LOCAL, stops=stops_)
        engine = server.remote()
        assert engine.capabilities.stop == told
        engine.sample([PREFIX], key=0, max_tokens=40, stop=list("vwxyz"))
        assert server.bodies[-1].get("stop") == (list("vwxy") if told else None)  # four at most; the fifth is ours
        assert server.bodies[-1]["max_tokens"] == 40 or not told
