"""Force Sampling Beam Search against its definition: scripted engine and scorer, and a random model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from momus.critique import parse_critique, strip_closing
from momus.errors import UserError
from momus.lm.constraint import Vocabulary
from momus.lm.engine import Sample, prompt_keys
from momus.search.best_of_n import best_of_n, decode_greedily
from momus.search.form import FENCED
from momus.search.fsbs import FSBSConfig, choose_best, choose_modifiers, force_sampling_beam_search
from momus.search.rejection import RejectionConfig, rejection_sampling
from momus.search.result import Candidate, EncodedTask, SearchResult
from support.candidates import candidate
from support.tiny import tiny_engine

ANSWER = "\n".join(f"    line_{i} = {i}" for i in range(30))
EOS = 0


def chance(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


class ScriptedEngine:
    """Tokens are characters; a continuation is a function of its key, its sample number and what comes before."""

    vocabulary = Vocabulary([None, *(bytes([b]) for b in range(1, 128))])

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode(self, text: str, bos: bool) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(chr(t) for t in tokens if t != EOS)

    def sample(self, prefixes: Any, n: int = 1, *, key: Any, max_tokens: int, **_: Any) -> list[list[Sample]]:
        self.calls.append([self.decode(prefix) for prefix in prefixes])
        keys = prompt_keys(key, len(prefixes))
        return [[self._write(p, k, j) for j in range(n)] for p, k in zip(self.calls[-1], keys, strict=True)]

    def _write(self, prefix: str, key: tuple[int, ...], j: int) -> Sample:
        quotes = 1 + chance(key, j, prefix, "quotes") % 2
        parts = [f"line_{chance(key, j, prefix, q) % 30} = 0\n```\nWrong {q}." for q in range(quotes)]
        text = "\n\n```\n".join(parts) + ("\n\nThe rest is fine." if chance(key, j, prefix, "close") % 2 else "")
        if not prefix.endswith("```\n"):
            text = "```\n" + text
        return Sample((*(ord(c) for c in text), EOS), text, (), True)


class CountingReward:
    """A score per critique; remembers everything asked."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[tuple[int, ...], tuple[int, ...]]]] = []

    def __call__(self, prompts: Any, critiques: Any) -> list[list[float]]:
        self.calls.append([(p, c) for p, group in zip(prompts, critiques, strict=True) for c in group])
        return [[self.value(p, c) for c in group] for p, group in zip(prompts, critiques, strict=True)]

    @staticmethod
    def value(prompt: tuple[int, ...], critique: tuple[int, ...]) -> float:
        return chance(prompt, critique) % 10007 / 1000


def subject(name: str) -> EncodedTask:
    return EncodedTask(tuple(ord(c) for c in f"# {name}\n"), ANSWER)


def by_hand(task: EncodedTask, key: tuple[int, ...], config: FSBSConfig) -> list[tuple[str, float]]:
    """The search written once more, one sample at a time."""
    engine, found, beams = ScriptedEngine(), [], [""]
    for number in range(1, config.d + 1):
        here = []
        for beam, text in enumerate(beams):
            start = text + ("\n\n" if text else "") + "```\n"
            prefix = [*task.prompt, *engine.encode(start, bos=False)]
            (group,) = engine.sample([prefix], config.n, key=[(*key, number, beam)], max_tokens=1)
            for sample in group:
                tokens = (*engine.encode(start + sample.text, bos=False), EOS)
                here.append((start + sample.text, CountingReward.value(task.prompt, tokens)))
        found += here
        beams = [strip_closing(text) for text, _ in sorted(here, key=lambda c: c[1], reverse=True)[: config.k]]
    return found


def test_the_papers_search_has_28_candidates() -> None:
    config = FSBSConfig()
    assert (config.n, config.k, config.d, config.candidates) == (4, 2, 4, 28)


@pytest.mark.parametrize(("n", "k", "d"), [(4, 2, 4), (1, 1, 1), (3, 3, 2), (5, 1, 3)])
def test_search_agrees_with_brute_force(n: int, k: int, d: int) -> None:
    config = FSBSConfig(n=n, k=k, d=d, verbatim=False)
    engine, reward = ScriptedEngine(), CountingReward()
    tasks = [subject(f"task {i}") for i in range(3)]
    results = force_sampling_beam_search(engine, reward, tasks, config, key=9)
    for i, (task, result) in enumerate(zip(tasks, results, strict=True)):
        expected = by_hand(task, (9, i), config)
        assert len(expected) == config.candidates == n * (k * (d - 1) + 1)
        assert [(c.text, c.score) for c in result.candidates] == expected
        assert [c.round for c in result.candidates] == [1] * n + [r for r in range(2, d + 1) for _ in range(n * k)]
        for modifier in (-2.0, 0.0, 0.5, 3.0):
            value = max(s + modifier * len(parse_critique(t, ANSWER).comments) for t, s in expected)
            best = choose_best(result, modifier)
            assert best.score + modifier * best.highlights == pytest.approx(value)
    assert len(engine.calls) == len(reward.calls) == d, "one call of each a round, all tasks together"
    asked = [pair for call in reward.calls for pair in call]
    assert len(asked) == len(set(asked)), "a critique was scored twice"
    assert set(asked) == {(t.prompt, c.tokens) for t, r in zip(tasks, results, strict=True) for c in r.candidates}


def test_every_round_forces_a_highlight_and_drops_the_closing() -> None:
    engine = ScriptedEngine()
    force_sampling_beam_search(engine, CountingReward(), [subject("a")], FSBSConfig(verbatim=False), key=1)
    assert engine.calls[0] == ["# a\n```\n"]
    for call in engine.calls[1:]:
        assert len(call) == 2
        assert all(text.endswith("\n\n```\n") and "The rest is fine" not in text for text in call)


def test_one_round_is_best_of_n_with_a_forced_highlight() -> None:
    config = FSBSConfig(d=1, verbatim=False)
    (found,) = force_sampling_beam_search(ScriptedEngine(), CountingReward(), [subject("a")], config, key=[(1,)])
    opening = EncodedTask((*subject("a").prompt, *(ord(c) for c in "```\n")), ANSWER)
    (plain,) = best_of_n(ScriptedEngine(), CountingReward(), [opening], 4, key=[(1, 1, 0)], verbatim=False)
    assert [c.text for c in found.candidates] == ["```\n" + c.text for c in plain.candidates]


def test_results_do_not_depend_on_which_tasks_share_a_call() -> None:
    config = FSBSConfig(n=2, k=2, d=3, max_tokens=25)
    engine = tiny_engine(rows=5, spread=0.1)
    tasks = [
        EncodedTask(tuple(engine.encode(f"# task {i}\n```python\n{answer}\n```\n", bos=True)), answer)
        for i, answer in enumerate(["a = 1\nb = 2\nc = 3\nd = 4", "x\ny\nz\nw", "total += x\nreturn total\nfoo\nbar"])
    ]
    together = force_sampling_beam_search(engine, CountingReward(), tasks, config, key=[(4, i) for i in range(3)])
    for i in (2, 0, 1):
        alone = force_sampling_beam_search(tiny_engine(spread=0.1), CountingReward(), [tasks[i]], config, key=[(4, i)])
        assert alone == [together[i]]
    for task, result in zip(tasks, together, strict=True):
        assert len(result.candidates) == config.candidates
        assert {c.round for c in result.candidates if c.highlights} == {1, 2, 3}
        for found in result.candidates:
            cut = FENCED.strip_end(found.text)
            assert not parse_critique(cut, task.answer).unanchored
            assert cut.count("```") % 2 == 0


def test_plain_searches_share_the_interface() -> None:
    engine = tiny_engine(spread=0.1)
    prompt = tuple(engine.encode("# x\n", bos=True))
    (greedy,) = decode_greedily(engine, [EncodedTask(prompt, "a = 1")], max_tokens=5)
    assert choose_best(greedy).tokens == engine.sample([prompt], key=0, temperature=0, max_tokens=5)[0][0].tokens
    (many,) = best_of_n(engine, CountingReward(), [EncodedTask(prompt, "a = 1")], 6, key=1, max_tokens=5)
    assert len(many.candidates) == 6
    assert choose_best(many).score == max(c.score for c in many.candidates)


def test_identical_critiques_are_scored_once() -> None:
    reward = CountingReward()
    engine = tiny_engine()
    (result,) = best_of_n(engine, reward, [EncodedTask((1, 5), "a")], 3, key=1, temperature=0, max_tokens=4)
    assert len(result.candidates) == 3 and len(reward.calls) == 1 and len(reward.calls[0]) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```\na\n```\nBad.\n\nFine otherwise.", "```\na\n```\nBad."),
        ("```\na\n```\nBad.", "```\na\n```\nBad."),
        ("```\na\n```\nBad.\n\n```\nhalf", "```\na\n```\nBad."),
        ("```\nhalf", ""),
        ("No problems found.", ""),
        ("", ""),
    ],
)
def test_what_the_next_round_continues(text: str, expected: str) -> None:
    assert FENCED.strip_end(text) == expected
    assert FENCED.force_highlight(FENCED.strip_end(text)) == (expected + "\n\n```\n" if expected else "```\n")


CANDIDATES = st.lists(st.tuples(st.integers(-6, 6), st.integers(0, 6)), min_size=1, max_size=8)


def made(pairs: list[tuple[int, int]]) -> SearchResult:
    return SearchResult(tuple(candidate(score / 4, highlights) for score, highlights in pairs))


@settings(max_examples=200, deadline=None)
@given(CANDIDATES, st.lists(st.integers(-40, 40), min_size=2, max_size=6))
def test_a_larger_modifier_never_chooses_fewer_highlights(pairs: list[tuple[int, int]], modifiers: list[int]) -> None:
    lengths = [choose_best(made(pairs), m / 8).highlights for m in sorted(modifiers)]
    assert lengths == sorted(lengths)


@settings(max_examples=40, deadline=None)
@given(st.lists(CANDIDATES, min_size=1, max_size=4))
def test_modifiers_come_as_near_to_the_percentiles_as_any(searches: list[list[tuple[int, int]]]) -> None:
    results = [made(pairs) for pairs in searches]
    percentiles = (10, 25, 50, 75)
    chosen = choose_modifiers(results, percentiles)
    assert chosen == sorted(chosen)
    lengths = [h for pairs in searches for _, h in pairs]

    def mean(modifier: float) -> float:
        return float(np.mean([choose_best(result, modifier).highlights for result in results]))

    # Ties lie within 3 of 0 and 1/120 apart at least: a finer grid off them sees every step of the mean.
    reachable = [mean(m) for m in np.arange(-3.5, 3.5, 1 / 125) + 1e-4]
    for modifier, target in zip(chosen, np.percentile(lengths, percentiles), strict=True):
        assert abs(mean(modifier) - target) <= min(abs(r - target) for r in reachable) + 1e-9


def test_bad_settings_are_refused() -> None:
    for changed in ({"n": 0}, {"k": 0}, {"d": 0}, {"n": 2, "k": 3}):
        with pytest.raises(UserError, match="FSBS needs"):
            FSBSConfig(**changed)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="finished search"):
        choose_modifiers([])
    with pytest.raises(UserError, match="without lines"):
        force_sampling_beam_search(tiny_engine(), CountingReward(), [EncodedTask((1,), "")], key=0)


@settings(max_examples=30)
@given(st.floats(0, 11), st.integers(1, 9), st.integers(1, 4))
def test_rejection_sampling_takes_the_first_that_is_accepted_in_the_order_it_samples(threshold, most, at_once) -> None:
    at_once = min(at_once, most)
    config = RejectionConfig(threshold, max_samples=most, batch_size=at_once, verbatim=False)
    subjects, reward = [subject("a"), subject("b"), subject("c")], CountingReward()
    found = rejection_sampling(ScriptedEngine(), reward, subjects, config, key=7)
    for i, (asked, result) in enumerate(zip(subjects, found, strict=True)):
        everything: list[Candidate] = []
        for start in range(0, most, at_once):
            size = min(at_once, most - start)
            (batch,) = best_of_n(ScriptedEngine(), CountingReward(), [asked], size, key=[(7, i, start)], verbatim=False)
            everything += batch.candidates
        accepted = [j for j, candidate in enumerate(everything) if candidate.score >= threshold]
        assert result.candidates == tuple(everything[: accepted[0] + 1] if accepted else everything)
        assert choose_best(result).score == max(candidate.score for candidate in result.candidates)


def test_rejection_sampling_refuses_batches_larger_than_the_limit() -> None:
    with pytest.raises(UserError, match="batch_size"):
        RejectionConfig(0.0, max_samples=3, batch_size=4)
