"""The remote engine against a real server: `make test-remote` with MOMUS_REMOTE_URL set.

MOMUS_REMOTE_MODEL names the model (by default the only one served) and MOMUS_REMOTE_TOKENIZER its tokenizer's name or
folder (by default the model's name). What the server lacks is skipped by name, never passed over. With
MOMUS_REMOTE_FILE, the model as this process is to load it, its comments on code are compared with the server's.
"""

from __future__ import annotations

import math
import os

import pytest

from momus.critics.prompted import PromptedConfig, PromptedCritic
from momus.critique import parse_critique
from momus.lm.chats.open import open_chat
from momus.lm.chats.server import ServerChat
from momus.lm.constraint import VerbatimQuotes
from momus.lm.remote.engine import RemoteEngine
from momus.lm.remote.probe import USES
from momus.lm.remote.server import Server
from momus.records import Task

URL = os.environ.get("MOMUS_REMOTE_URL")
pytestmark = pytest.mark.skipif(not URL, reason="MOMUS_REMOTE_URL names no server")

CODE = "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / 2\n"
CODES = {
    "a mistake": CODE,
    "marks": r"""
def greet(name):
    print(f"Hello, \"{name}\"\n\t" + '漢' + r"\d")
    return name == name
""",
    "equal lines": """
def total(values):
    for value in values:
        result += value
    for value in values:
        result += value
""",
    "a false end": """
def f(x):

    # {"comments": []} [a-z]* ::= {1,3}
    return x
""",
}
QUOTE = f"Find the mistake and quote its line.\n\n```python\n{CODE}```\n\nThe mistake is in this line:\n\n```\n"


@pytest.fixture(scope="module")
def engine() -> RemoteEngine:
    assert URL is not None
    server = Server(URL, os.environ.get("MOMUS_REMOTE_MODEL"))
    return RemoteEngine(server, os.environ.get("MOMUS_REMOTE_TOKENIZER"))


def start(engine: RemoteEngine, text: str) -> list[int]:
    try:
        return engine.encode(text, bos=True)
    except Exception:  # many tokenizers have no beginning-of-text token
        return engine.encode(text, bos=False)


def need(engine: RemoteEngine, use: str) -> None:
    if missing := engine.capabilities.missing(use):
        pytest.skip(f"the server lacks {', '.join(missing)}")


def test_samples_are_repeatable_and_as_likely_as_said(engine: RemoteEngine) -> None:
    prefix = start(engine, CODE)
    (samples,) = engine.sample([prefix], 4, key=0, max_tokens=16, temperature=0.8)
    assert all(sample.text for sample in samples)
    if engine.capabilities.seeds:
        again = engine.sample([prefix, prefix], 2, key=[(0, 0), (1, 0)], max_tokens=16, temperature=0.8)
        assert [sample.text for sample in again[0]] == [sample.text for sample in samples[:2]]
    if not engine.capabilities.missing("scoring given text"):
        for sample, scores in zip(samples, engine.score(prefix, [s.tokens for s in samples]), strict=True):
            known = [pair for pair in zip(sample.logprobs, scores, strict=True) if not math.isnan(pair[0])]
            assert all(own == pytest.approx(score, abs=0.1) for own, score in known)


def test_greedy_agrees_with_the_scores(engine: RemoteEngine) -> None:
    need(engine, "scoring given text")
    prefix = start(engine, "1, 2, 3, 4, 5, 6,")
    (sample,) = engine.sample([prefix], key=0, max_tokens=4, temperature=0)[0]
    other = [sample.tokens[-1], *sample.tokens[:-1]]
    mine, theirs = engine.score(prefix, [sample.tokens, other])
    assert sum(mine) > sum(theirs)


def test_choices_are_probabilities(engine: RemoteEngine) -> None:
    need(engine, "A/B judgements (RAIN self-evaluation)")
    question = "Which is larger?\n(A) {}\n(B) {}\nThe answer is: ("
    prefixes = [start(engine, question.format(*pair)) for pair in ((2, 1000000), (1000000, 2))]
    for choice in engine.choose(prefixes, ("A", "B")):
        assert 0 < choice.probability < 1 and 0 < choice.mass <= 1.001


def test_quotes_are_verbatim(engine: RemoteEngine) -> None:
    need(engine, next(use for use in USES if use.startswith("verbatim")))
    rule = VerbatimQuotes(CODE, engine.vocabulary, written="```\n")
    (samples,) = engine.sample([start(engine, QUOTE)], 4, key=0, max_tokens=40, constraints=[rule])
    for sample in samples:
        (first, *_) = parse_critique("```\n" + sample.text, CODE).comments
        assert first.span is not None and first.highlight in CODE


def test_a_stop_string_cuts_what_would_have_been_written(engine: RemoteEngine) -> None:
    prefix = start(engine, "1, 2, 3, 4, 5, 6,")
    (free,) = engine.sample([prefix], key=0, max_tokens=24, temperature=0)[0]
    stop = free.text[6:8]
    (sample,) = engine.sample([prefix], key=0, max_tokens=24, temperature=0, stop=[stop])[0]
    assert (sample.finished, sample.stop) == (True, stop)
    assert sample.text == free.text[: free.text.index(stop)]
    assert sample.tokens == free.tokens[: len(sample.tokens)]


@pytest.mark.parametrize("name", CODES)
def test_comments_are_those_of_a_model_of_this_process(name: str) -> None:
    """Greedy answers under the constraint here, under the same grammar there."""
    file = os.environ.get("MOMUS_REMOTE_FILE")
    assert URL is not None
    server = Server(URL, os.environ.get("MOMUS_REMOTE_MODEL"))
    if not file or not server.keeps_grammars:
        pytest.skip("the server keeps to no grammar" if file else "MOMUS_REMOTE_FILE names no model")
    task = Task(id=name, question="", answer=CODES[name])
    config = PromptedConfig(max_tokens=120)
    here, there = (
        PromptedCritic(chat, config).write([task])[0]
        for chat in (open_chat(file, precision="fp32"), ServerChat(server))
    )
    assert here.problem == there.problem
    assert [c.critique for c in here.candidates] == [c.critique for c in there.candidates]
    assert not any(c.critique.unanchored for c in there.candidates)
