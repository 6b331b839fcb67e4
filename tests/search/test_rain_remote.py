"""RAIN over a model on a server: branches as the local engine writes them, one tree both ways, refusals in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from momus.errors import UnfitInputError, UserError
from momus.lm.branches import BranchPlan
from momus.lm.engine import Choice
from momus.lm.local.branches import write_branches
from momus.lm.remote.engine import RemoteEngine
from momus.records import Prompt
from momus.search.rain.answer import EncodedPrompt
from momus.search.rain.dataset import Rain
from momus.search.rain.judge import Case, Criterion, JudgeVerdict, SelfJudge
from momus.search.rain.models import RemoteWriter, attention_encoder
from momus.search.rain.result import RainResult
from momus.search.rain.search import RainConfig, search_answer
from momus.search.rain.tasks import RAIN_TASKS
from support.openai_server import OpenAIServer
from support.rain_reference import ReferenceJudge, ReferenceRemoteWriter, nodes_below, search_answer_by_reference
from support.tiny import tiny_engine

ENDS = frozenset({2})
LOCAL = tiny_engine()
PREFIX = tuple(LOCAL.encode("def f(items):\n    total", bos=True))
CRITERION = Criterion("Right or wrong?", "The reply is right.", "The reply is wrong.", cases=(Case("1?", "1", True),))
SMALL = RainConfig(lengths=(1, 2, 3), candidates=3, draws=2, iterations=7, min_iterations=3, max_tokens=7)


def served(**switches: Any) -> tuple[OpenAIServer, RemoteEngine]:
    made = OpenAIServer(LOCAL, **switches)
    return made, made.remote()


def test_branches_among_the_likeliest_are_those_of_the_local_engine() -> None:
    made, engine = served()
    made.bodies.clear()
    plans = [BranchPlan(6, top_k=15), *(BranchPlan(6, (7, i), i, top_k=15, temperature=2.0) for i in range(5))]
    plans += [BranchPlan(1, rank=rank, top_k=20) for rank in range(4)]
    plans += [BranchPlan(5, (9,), top_k=5, should_stop=lambda tokens: len(tokens) == 2)]
    here, there = write_branches(LOCAL, PREFIX, plans, ENDS), engine.write(PREFIX, plans, ENDS)
    assert [own.tokens for own in there] == [own.tokens for own in here]
    assert [own.logprob for own in there] == pytest.approx([own.logprob for own in here], abs=1e-3)
    assert [own.ended for own in there] == [own.ended for own in here]
    asked = [tuple(body["prompt"]) for body in made.bodies]
    assert len(asked) == len(set(asked)), "what branches share is asked once"
    again = engine.write(PREFIX, plans, ENDS)
    assert again == there and len(made.bodies) == len(asked), "and remembered"
    engine.clear_cache()
    assert engine.write(PREFIX, plans, ENDS) == there and len(made.bodies) == 2 * len(asked)


def test_a_branch_that_may_take_any_token_is_sampled_there() -> None:
    _, engine = served()

    def tokens(i: int, **changed: Any) -> tuple[int, ...]:
        (branch,) = engine.write(PREFIX, [BranchPlan(40, (1, i), **changed)], ENDS)
        assert math.isnan(branch.logprob)
        return branch.tokens

    drawn = [tokens(i) for i in range(4)]
    assert drawn == [tokens(i) for i in range(4)] and len(set(drawn)) == 4
    assert [tokens(i, should_stop=lambda own: len(own) == 3) for i in range(4)] == [own[:3] for own in drawn]
    (greedy,) = engine.write(PREFIX, [BranchPlan(6)], ENDS)
    assert greedy.tokens == write_branches(LOCAL, PREFIX, [BranchPlan(6)], ENDS)[0].tokens


def discrete(result: RainResult) -> Any:
    options = [(o.tokens, o.visits, o.best.tokens) for c in result.commits for o in (c.chosen, *c.rejected)]
    nodes = [(node.index_path, node.tokens, node.visits, node.value, node.prior) for node in nodes_below(result.root)]
    return result.tokens, [c.iterations for c in result.commits], options, [n for n in nodes if n[2]], result.judged


class Strict:
    """Verdicts by the words, never good: every set takes all its iterations."""

    def __call__(self, asked: str, answered: str) -> JudgeVerdict:
        return JudgeVerdict(float(sum(answered.encode()) % 2) - 1, Choice(0.5, 1.0), Choice(0.5, 1.0), abstained=False)


@pytest.mark.parametrize("itself", [True, False])
def test_the_plain_way_over_a_server_grows_the_same_tree(itself: bool) -> None:
    found = []
    for plain in (False, True):
        made = OpenAIServer(LOCAL)
        engine = RemoteEngine(made.server(), LOCAL.tokenizer, cache_size=0 if plain else 1000)
        judge: Any = (ReferenceJudge if plain else SelfJudge)(engine, CRITERION) if itself else Strict()
        made.bodies.clear()
        prompt = EncodedPrompt(PREFIX, "go on", ENDS)
        search = search_answer_by_reference if plain else search_answer
        writer = ReferenceRemoteWriter(engine) if plain else RemoteWriter(engine)
        result = search(writer, judge, prompt, SMALL, key=(3,))
        found.append((discrete(result), len(made.bodies), made.most, result))
    (fast, few, many_at_once, one), (slow, many, at_once, other) = found
    assert fast == slow
    assert few < many and at_once <= 2 < many_at_once
    assert 0 < one.forwarded < other.forwarded and one.embedding == "none" and one.iterations > 7


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"token_prompts": False}, "prompts as tokens"),
        ({"naming": "text"}, "tokens by number"),
        ({"top": 5}, "names 5 next tokens at most, and 20"),
        ({"top": 0}, "log-probabilities"),
    ],
)
def test_what_a_server_lacks_is_refused_in_words(switches: dict[str, Any], message: str) -> None:
    _, engine = served(**switches)
    with pytest.raises(UserError, match=message) as caught:
        engine.write(PREFIX, [BranchPlan(1, rank=1, top_k=20), BranchPlan(3, (1,))], ENDS)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_told_before_it_is_asked() -> None:
    made, engine = served(longest=40)
    assert engine.context_length == 40
    made.bodies.clear()
    with pytest.raises(UnfitInputError, match="exceed the 40"):
        engine.write((1,) * 38, [BranchPlan(3, top_k=5)], ENDS)
    with pytest.raises(UnfitInputError, match="exceed the 40"):
        engine.choose([(1,) * 40], ("A", "B"))
    with pytest.raises(UnfitInputError, match="exceed the 40"):
        engine.sample([(1,) * 40], key=0, max_tokens=1)
    assert not made.bodies


def test_a_run_over_a_server_says_how_siblings_were_compared() -> None:
    _, engine = served()
    task = RAIN_TASKS["critique"].with_cases(0).with_settings(max_tokens=3, iterations=4)
    rain = Rain.of(engine, task)
    assert rain.encoder is None and attention_encoder(rain.writer) is None
    first, second = (rain.answer(0, Prompt(prompt="why?"), 0) for _ in range(2))
    assert first == second and first.embedding == "none" and first.forwarded > 0
