"""RAIN's search: against the algorithm written once more, without a model; its arithmetic; its budgets and its ends."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from momus.errors import UserError
from momus.lm.branches import Branch, BranchPlan
from momus.lm.constraint import Vocabulary
from momus.lm.engine import Choice
from momus.search.rain.answer import AnswerReader, EncodedPrompt
from momus.search.rain.judge import JudgeVerdict
from momus.search.rain.result import Budget, RainResult
from momus.search.rain.search import RainConfig, search_answer
from momus.search.rain.tree import (
    JudgedAnswer,
    Node,
    cosine_similarity,
    embedding_variance,
    select_child,
    set_priors,
)
from support.rain_reference import search_answer_by_reference
from support.tiny import tiny_tokenizer

END = 0
Tokens = tuple[int, ...]
Search = Callable[..., RainResult]


def chance(*parts: object) -> float:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big") / 2**48


class ScriptedWriter:
    """Every branch is a function of its prefix and its plan; token 0 ends an answer, a multiple of 5 is a pause."""

    def __init__(self, vocabulary: int = 30, endless: bool = False) -> None:
        self.size, self.endless, self.calls = vocabulary, endless, 0
        pieces = [None, *((b"," if token % 5 == 0 else bytes([97 + token % 26])) for token in range(1, vocabulary))]
        self.engine: Any = SimpleNamespace(
            context_length=None,
            vocabulary=Vocabulary(pieces),
            forwarded_tokens=0,
            decode=lambda ts: "".join(map(chr, ts)),
        )

    def write(self, prefix: Tokens, plans: Sequence[BranchPlan], ends: frozenset[int]) -> list[Branch]:
        self.calls += 1
        return [self.branch(prefix, plan, ends) for plan in plans]

    def branch(self, prefix: Tokens, plan: BranchPlan, ends: frozenset[int]) -> Branch:
        tokens: list[int] = []
        while len(tokens) < plan.max_tokens:
            place = (prefix, tuple(tokens))
            if plan.key is None:
                start = int(chance(place) * self.size)
                token = (start + (plan.rank if not tokens else 0)) % self.size
            else:
                token = int(chance(place, plan.key, plan.sample, plan.temperature) * self.size)
            tokens.append(token or self.size - 1 if self.endless else token)
            self.engine.forwarded_tokens += 1
            if tokens[-1] in ends or plan.should_stop(tokens):
                break
        branch = tuple(tokens)
        return Branch(branch, -5 * chance("p", prefix, branch) - len(branch), branch[-1] in ends)


class ScriptedJudge:
    """Values -1, 0 and 1 by the text, or never above `most`."""

    def __init__(self, most: float = 1.0) -> None:
        self.most, self.texts = most, list[str]()

    def __call__(self, asked: str, answered: str) -> JudgeVerdict:
        self.texts.append(answered)
        value = min(self.most, float(int(chance(asked, answered) * 3) - 1))
        return JudgeVerdict(value, Choice(0.5, 1.0), Choice(0.5, 1.0), abstained=False)


class ScriptedEncoder:
    """Two groups of directions that are close together, and now and then nothing."""

    name = "scripted"

    def __call__(self, prompt: Tokens, answer: Tokens, starts: Sequence[int]) -> list[Any]:
        made = [np.array([1, chance(answer[s:]) / 10, round(chance("side", answer[s : s + 1]))]) for s in starts]
        return [
            None if chance("no", answer[s:]) < 0.02 else embedding for s, embedding in zip(starts, made, strict=True)
        ]


def answered(
    config: RainConfig, writer: Any = None, seed: int = 0, search: Search = search_answer, **arguments: Any
) -> RainResult:
    prompt = EncodedPrompt((1, 2, seed + 3), "why?", frozenset({END}))
    arguments = {"judge": ScriptedJudge(), "encoder": ScriptedEncoder(), "key": (seed,)} | arguments
    return search(writer or ScriptedWriter(), prompt=prompt, config=config, **arguments)


def by_hand(config: RainConfig, seed: int, most: float) -> tuple[Tokens, list[int]]:
    """The published algorithm, on dictionaries: returns the answer and the iterations of every set."""
    writer, judge, encode = ScriptedWriter(), ScriptedJudge(most), ScriptedEncoder()
    prompt, ends, committed, told = (1, 2, seed + 3), frozenset({END}), (), []

    def new(tokens: Tokens, name: Tokens, path: Tokens, logp: float, greedy: bool) -> dict[str, Any]:
        return {"tokens": tokens, "name": name, "all": path + tokens, "logp": logp, "greedy": greedy, "n": 0.0, "fn": 0,
                "q": 0.0, "emb": None, "count": 0, "kids": [], "tried": 0, "p": 0.0}  # fmt: skip

    def done(node: dict[str, Any]) -> bool:
        return len(node["all"]) >= config.max_tokens or node["all"][-1:] == (END,)

    def length(node: dict[str, Any]) -> int:
        size = config.lengths[min(len(node["name"]), len(config.lengths) - 1)]
        return min(size, config.max_tokens - len(node["all"]))

    def priors(node: dict[str, Any], is_root: bool) -> None:
        p = [math.exp(kid["logp"]) for kid in node["kids"]]
        first = [kid["greedy"] for kid in node["kids"]]
        rest = [x for x, g in zip(p, first, strict=True) if not g]
        if any(first) and rest:
            p[first.index(True)] = max(min(p[first.index(True)], sum(rest)), max(rest) + min(rest))
        for kid, x in zip(node["kids"], p, strict=True):
            kid["p"] = x / sum(p)
            if is_root:
                kid["p"] = 0.75 * kid["p"] + 0.25 / len(p)

    def add(node: dict[str, Any], plan: BranchPlan, greedy: bool) -> None:
        branch = writer.branch(prompt + node["all"], plan, ends)
        if branch.tokens not in [kid["tokens"] for kid in node["kids"]]:
            name = (*node["name"], len(node["kids"]))
            node["kids"].append(new(branch.tokens, name, node["all"], branch.logprob, greedy))

    root = new((), (), (), 0.0, False)
    while not done(root):
        start = root["fn"]
        for _ in range(start, max(config.iterations, start + 15)):
            path = [root]
            while path[-1]["kids"]:
                node = path[-1]
                kids, size = node["kids"], length(node)
                embedded = [kid["emb"] for kid in kids if kid["emb"] is not None]
                alike = len(embedded) == len(kids) and np.linalg.norm(np.var(embedded, axis=0)) < 0.03 * size
                if len(kids) < 20 and alike and max(kid["q"] for kid in kids) < 0:
                    drawn = BranchPlan(size, (seed, 1, *node["name"]), node["tried"], top_k=15)
                    add(node, BranchPlan(1, rank=len(kids), top_k=20) if size == 1 else drawn, False)
                    node["tried"] += 1
                    priors(node, node is root)
                scores = [
                    (((kid["q"] + 1) / (2 + 1e-5) if kid["n"] else 0)
                     + 2 * kid["p"] * math.sqrt(node["n"]) / (1 + kid["n"]), kid["p"], -i)
                    for i, kid in enumerate(node["kids"])
                ]  # fmt: skip
                path.append(node["kids"][-max(scores)[2]])
            leaf = path[-1]
            if not done(leaf):
                size, key = length(leaf), (seed, 0, *leaf["name"])
                plans = [BranchPlan(size, top_k=15), *(BranchPlan(size, key, draw, top_k=15) for draw in range(9))]
                if size == 1:
                    plans = [BranchPlan(1, rank=rank, top_k=20) for rank in range(10)]
                for number, plan in enumerate(plans):
                    add(leaf, plan, greedy=size > 1 and number == 0)
                priors(leaf, leaf is root)
            text = leaf["all"]
            if not done(leaf):
                room, key = config.max_tokens - len(text), (seed, 2, *leaf["name"])
                stop = lambda tokens: tokens[-1] != END and tokens[-1] % 5 == 0  # noqa: E731
                text += writer.branch(prompt + text, BranchPlan(room, key, leaf["fn"], should_stop=stop), ends).tokens
            said = text[:-1] if text[-1:] == (END,) else text
            g = judge("why?", "".join(map(chr, said))).value
            vectors = encode(prompt, text, [len(node["all"]) - len(node["tokens"]) for node in path[1:]])
            for above, node, vector in zip([None, *path], path, [None, *vectors], strict=False):
                node["fn"] += 1
                node["n"] += 1
                node["q"] += (g - node["q"]) / node["n"]
                if above is None or vector is None:
                    continue
                node["count"] += 1
                old = node["emb"] if node["emb"] is not None else 0 * vector
                node["emb"] = (old * (node["count"] - 1) + vector) / node["count"]
                for other in above["kids"]:
                    if other is not node and other["emb"] is not None:
                        a, b = node["emb"], other["emb"]
                        cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
                        if cosine >= 0.95:
                            w = 0.2 * cosine
                            other["q"] = (other["q"] * other["n"] + w * g) / (other["n"] + w)
                            other["n"] += w
            if root["kids"]:
                best = max(root["kids"], key=lambda kid: (kid["n"], kid["q"]))
                if best["fn"] > config.visit_threshold and best["q"] > config.threshold:
                    break
        told.append(root["fn"] - start)
        root = max(root["kids"], key=lambda kid: (kid["n"], kid["q"]))
        committed = root["all"]
        if root["kids"]:
            priors(root, is_root=True)
    return committed, told


@pytest.mark.parametrize("most", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("search", [search_answer, search_answer_by_reference])
def test_the_search_is_the_published_algorithm(most: float, search: Search) -> None:
    added, iterations = 0, 0
    for seed in range(6):
        config = RainConfig(max_tokens=30)
        result = answered(config, ScriptedWriter(), seed, search, judge=ScriptedJudge(most))
        expected, told = by_hand(config, seed, most)
        assert result.tokens == expected
        assert [commit.iterations for commit in result.commits] == told
        assert sum(told) == result.iterations
        added += sum(len(commit.rejected) >= 10 for commit in result.commits)
        iterations += result.iterations
    assert added if most < 0 else True, "children were never added, so that rule was not tested"
    assert iterations > 300


def test_a_lazy_search_writes_less_and_finds_the_same() -> None:
    lazy, eager = ScriptedWriter(), ScriptedWriter()
    config = RainConfig(max_tokens=40)
    one, other = answered(config, lazy, 4), answered(config, eager, 4, search_answer_by_reference)
    assert one.commits == other.commits
    assert lazy.calls < eager.calls


@settings(max_examples=15)
@given(st.integers(2, 60))
def test_iterations_of_a_set(most: int) -> None:
    """T less what the root was visited before, but 15 at least, or T where that is fewer."""
    config = RainConfig(max_tokens=20, iterations=most)
    bad = answered(config, judge=ScriptedJudge(most=0.0), writer=ScriptedWriter(endless=True))
    assert bad.commits[0].iterations == most and not bad.met
    before = bad.commits[0].chosen.visits
    assert bad.commits[1].iterations == max(most - before, min(15, most))


def test_a_good_child_ends_a_set() -> None:
    """After T_m + 2 visits at first."""

    def always(asked: str, answered: str) -> JudgeVerdict:
        return JudgeVerdict(1.0, Choice(1.0, 1.0), Choice(0.0, 1.0), abstained=False)

    config = RainConfig(lengths=(3,), candidates=1, draws=0, max_tokens=20)
    good = answered(config, judge=always, writer=ScriptedWriter(endless=True))
    assert good.commits[0].iterations == 8 and all(commit.met for commit in good.commits)
    assert good.stopped == "length" and not good.met


@given(st.lists(st.floats(-900, 0), min_size=1, max_size=8), st.integers(-1, 7), st.floats(0, 1))
def test_priors(logs: list[float], greedy: int, evenly: float) -> None:
    node = Node(())
    for token, log in enumerate(logs):
        node.add_child((token,), log, greedy=token == greedy, terminal=False)
    set_priors(node, evenly)
    priors = [child.prior for child in node.children]
    assert sum(priors) == pytest.approx(1) and min(priors) >= evenly / len(priors) - 1e-12
    if 0 <= greedy < len(logs) and len(logs) > 1 and evenly == 0:
        assert priors[greedy] >= max(priors) - 1e-12
        rest = [p for i, p in enumerate(priors) if i != greedy]
        assert priors[greedy] <= max(sum(rest), max(rest) + min(rest)) + 1e-12


def test_what_cannot_be_said_or_is_said_twice_is_no_child() -> None:
    node = Node(())
    for tokens, log in (((1,), -1.0), ((1,), -2.0), ((2,), -math.inf), ((3,), -1.0)):
        node.add_child(tokens, log, greedy=False, terminal=False)
    assert [child.tokens for child in node.children] == [(1,), (3,)]
    node = Node(())
    node.add_child((1, 2), -2000.0, greedy=True, terminal=False)
    set_priors(node, 0.25)
    assert node.children[0].prior == 1


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 2)), min_size=1, max_size=30))
def test_a_value_is_the_weighted_mean(heard: list[tuple[float, float]]) -> None:
    node = Node(())
    for value, weight in heard:
        node.add_value(value, weight)
    values, weights = np.array(heard).T
    assert node.weight == pytest.approx(weights.sum())
    assert node.value == pytest.approx(np.average(values, weights=weights), abs=1e-9)


@given(st.lists(st.floats(-1, 1), min_size=1))
def test_a_node_has_the_mean_the_best_and_the_worst_of_its_visits(values: list[float]) -> None:
    node = Node(())
    for number, value in enumerate(values):
        node.add_visit(JudgedAnswer((number,), value))
    assert node.best is not None and node.worst is not None
    assert (node.worst.value, node.best.value) == (min(values), max(values))
    assert node.visits == len(values) and node.value == pytest.approx(np.mean(values), abs=1e-9)


@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=2, max_size=12))
def test_an_embedding_is_the_mean(vectors: list[list[float]]) -> None:
    node, other = Node(()), Node(())
    for vector in vectors:
        node.add_embedding(np.array(vector))
    assert node.embedding == pytest.approx(np.mean(vectors, 0), abs=1e-12)
    assert cosine_similarity(node, other) == 0 and embedding_variance([node, other]) is None
    other.add_embedding(np.zeros(3))
    assert cosine_similarity(node, other) == 0
    assert embedding_variance([node, node]) == 0
    assume(np.linalg.norm(node.embedding) > 1e-3)
    assert cosine_similarity(node, node) == pytest.approx(1)


def test_ties_go_by_prior_and_then_to_the_first() -> None:
    node = Node(())
    for token in range(3):
        node.add_child((token,), -1.0, greedy=False, terminal=False)
    set_priors(node, 0.0)
    assert select_child(node, 2.0) is node.children[0]
    node.children[1].prior = 0.4
    assert select_child(node, 0.0) is node.children[1]
    node.children[2].add_visit(JudgedAnswer((), 1.0))
    assert node.most_visited_child() is node.children[2]


@pytest.mark.parametrize("sets", [1, 3, 1000])
def test_so_many_sets_are_those_of_the_whole_search(sets: int) -> None:
    whole, part = (
        answered(RainConfig(max_tokens=40), ScriptedWriter(endless=True), budget=Budget(sets=most))
        for most in (None, sets)
    )
    assert len(whole.commits) > 3 and part.commits == whole.commits[:sets]
    assert part.stopped == ("sets" if sets < len(whole.commits) else whole.stopped)


@pytest.mark.parametrize(
    ("budget", "name"),
    [(Budget(iterations=70), "iterations"), (Budget(tokens=3000), "tokens"), (Budget(seconds=0.0), "seconds")],
)
def test_a_budget_ends_a_search_with_the_best_so_far(budget: Budget, name: str) -> None:
    config = RainConfig(max_tokens=60)
    whole = answered(config, ScriptedWriter(endless=True), judge=ScriptedJudge(0.0))
    part = answered(config, ScriptedWriter(endless=True), judge=ScriptedJudge(0.0), budget=budget)
    assert part.stopped == name and not part.met
    assert part.iterations < whole.iterations
    if name == "iterations":
        assert part.iterations == 70
        assert part.tokens[:1] == whole.tokens[:1] and len(part.tokens) > 1


def test_an_answer_is_judged_once() -> None:
    judge = ScriptedJudge()
    result = answered(RainConfig(max_tokens=12), ScriptedWriter(vocabulary=4), judge=judge)
    assert len(judge.texts) == result.judged <= result.iterations


def test_one_candidate_and_one_token() -> None:
    assert len(answered(RainConfig(max_tokens=1)).tokens) == 1
    result = answered(RainConfig(max_tokens=9, candidates=1, draws=0), encoder=None)
    assert 0 < len(result.tokens) <= 9 and not result.commits[0].rejected


def test_the_answer_is_made_of_what_was_committed() -> None:
    for seed in range(4):
        result = answered(RainConfig(max_tokens=25), seed=seed)
        assert result.tokens == sum((commit.chosen.tokens for commit in result.commits), ())
        assert END not in result.tokens[:-1]
        for commit in result.commits:
            for option in (commit.chosen, *commit.rejected):
                assert option.weight >= option.visits > 0 and option.worst.value <= option.best.value
            assert commit.chosen.weight == max(option.weight for option in (commit.chosen, *commit.rejected))


def test_bad_settings_are_refused() -> None:
    for changed in ({"lengths": ()}, {"lengths": (0,)}, {"candidates": 0}, {"draws": -1}, {"min_iterations": 1},
                    {"iterations": 1}, {"temperature": 0.0}, {"prior_mixing": 1.5}, {"threshold": math.nan},
                    {"top_k": 0}):  # fmt: skip
        with pytest.raises(UserError):
            replace(RainConfig(), **changed)


class Reading:
    """Only what `Answers` asks of an engine."""

    def __init__(self, limit: int | None = None) -> None:
        self.context_length = limit
        self.tokenizer = tiny_tokenizer()
        self.vocabulary = Vocabulary.from_tokenizer(self.tokenizer)

    def encode(self, text: str) -> Tokens:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))


@settings(max_examples=60)
@given(st.text(alphabet="a. ,한국어。？\n!é", max_size=12))
def test_pauses_in_any_language(text: str) -> None:
    engine: Any = Reading()
    answers = AnswerReader(EncodedPrompt((1,), "", frozenset({2})), engine, 50)
    tokens = engine.encode(text)
    assume(tokens)
    assert answers.ends_in_pause(tokens) == (text[-1] in ",.?:;\n。？")
    for size in range(1, len(tokens)):
        shown = engine.decode(tokens[:size])
        assert answers.ends_in_pause(tokens[:size]) == (shown[-1] in ",.?:;\n。？")
        assert "\N{REPLACEMENT CHARACTER}" not in answers.text(tokens[:size])


@settings(max_examples=40)
@given(st.text(alphabet="ab\n:Usr", max_size=10), st.text(alphabet="ab\n:Usr", max_size=6))
def test_an_answer_ends_where_the_asker_would_go_on(before: str, after: str) -> None:
    engine: Any = Reading()
    answers = AnswerReader(EncodedPrompt((1,), "", frozenset({2}), ("\n\nUser:",)), engine, 500)
    tokens = engine.encode(f"{before}\n\nUser:{after}")
    end = next(size for size in range(1, len(tokens) + 1) if answers.has_ended(tokens[:size]))
    whole = before + "\n\nUser:"
    assert answers.text(tokens[:end]) == whole[: whole.index("\n\nUser:")]
    assert answers.is_terminal(tokens[:end]) and not answers.has_ended(())
    assert answers.has_ended((5, 2)) and answers.text((2,)) == ""


def test_a_prompt_without_room_is_refused() -> None:
    engine: Any = Reading(limit=3)
    with pytest.raises(UserError, match="no room"):
        AnswerReader(EncodedPrompt((1, 2, 3), "", frozenset()), engine, 5)
    assert AnswerReader(EncodedPrompt((1, 2), "", frozenset()), engine, 5).max_tokens == 1
