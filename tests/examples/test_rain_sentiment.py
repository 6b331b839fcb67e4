"""The example in which a tiny model can judge: its world is what it says, and what is learned is what RAIN asks."""

from __future__ import annotations

import random
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from momus.lm.local.engine import LocalEngine
from momus.records import Prompt
from momus.search.rain.dataset import Rain
from momus.search.rain.tasks import RAIN_TASKS
from momus.train.sft import demonstration_trees
from support.tiny import tiny_engine

EXAMPLE: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "rain_sentiment.py"))
TRAINING, HELD_OUT = EXAMPLE["worlds"](0)
TASK = RAIN_TASKS["sentiment"].with_cases(EXAMPLE["CASES"]).with_settings(max_tokens=4, iterations=4)


def test_the_worlds_have_nothing_in_common_and_every_sentence_its_truth() -> None:
    assert not set(TRAINING.beginnings) & set(HELD_OUT.beginnings)
    for truth in (1, -1):
        ours, others = set(TRAINING.sentences[truth]), set(HELD_OUT.sentences[truth])
        assert ours and others and not ours & others
        assert all(EXAMPLE["truths"](sentence) == [truth] for sentence in ours | others)
    assert {praise for _, praise in HELD_OUT.beginnings} == set(EXAMPLE["MOODS"])


@given(st.integers(0, 999), st.integers(1, 6), st.booleans())
def test_a_review_is_as_its_sentences_are(seed: int, sentences: int, positive: bool) -> None:
    rng = random.Random(seed)
    drawn = TRAINING.review(rng, 0.5, sentences)
    truth = EXAMPLE["truths"]
    assert truth(" ".join(drawn)) == [own for sentence in drawn for own in truth(sentence)]
    assert truth(" ".join(drawn)[:-1]) == truth(" ".join(drawn))  # its end does not matter
    balance = sum(truth(HELD_OUT.decided(rng, sentences, positive)))
    assert balance > 0 if positive else balance < 0


def test_what_is_learned_is_what_rain_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine()
    rain = Rain.of(engine, TASK)
    lesson = replace(EXAMPLE["LESSONS"][-1], reviews=4, sentences=(3,), writing=1)
    made = EXAMPLE["demonstrations"](rain, TRAINING, lesson, random.Random(0))
    asked: list[tuple[int, ...]] = []
    choose = LocalEngine.choose

    def recording(self: LocalEngine, prefixes: Any, options: Any) -> Any:
        asked.extend(map(tuple, prefixes))
        return choose(self, prefixes, options)

    monkeypatch.setattr(LocalEngine, "choose", recording)
    for written, judged in zip(made[::2], made[1::2], strict=True):
        beginning = re.fullmatch(r"User: (.*)\n\nAssistant:", engine.decode(written[0].prompt[1:]))
        assert beginning and written[0].prompt == rain.encode_prompt(Prompt(prompt=beginning[1])).tokens
        (tree,) = demonstration_trees([judged])
        assert len(tree) < sum(len(turn.prompt) for turn in judged) / 2  # the review is read once
        for good_first, bad_first, words in zip(judged[::3], judged[1::3], judged[2::3], strict=True):
            found = re.search(r"Beginning: (.*)\nContinuation: (.*)\nOptions:", engine.decode(good_first.prompt))
            assert found
            asked.clear()
            rain.judge(found[1], found[2])
            assert asked == [good_first.prompt, bad_first.prompt]
            praise, blame = (
                sum(word in EXAMPLE[side] for word in re.findall(r"\w+", found[2])) for side in ("PRAISE", "BLAME")
            )
            assert praise != blame
            true = TASK.criterion.good if praise > blame else TASK.criterion.bad
            for turn in (good_first, bad_first):
                statements = dict(re.findall(r"\((\w)\) (.*)\n", engine.decode(turn.prompt)))
                assert statements[engine.decode(turn.answer)] == true
            said = engine.decode((*words.prompt, *words.answer))
            assert true.startswith(said.rpartition("\n")[2]) and f"Continuation: {found[2]}\n" in said


def test_a_lesson_without_letters_or_writing_is_in_words() -> None:
    rain = Rain.of(tiny_engine(), TASK)
    lesson = replace(EXAMPLE["LESSONS"][0], reviews=3)
    made = EXAMPLE["demonstrations"](rain, TRAINING, lesson, random.Random(0))
    assert [len(own) for own in made] == [1, 1, 1]
    assert not any("Options:" in rain.writer.engine.decode(turn.prompt) for (turn,) in made)


@pytest.mark.slow
def test_the_example_at_its_smallest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"training": 0.01, "width": 32, "layers": 1, "pairs": 3, "prompts": 2, "max-tokens": 3, "distil": 0}
    options = [f"--{name}={value}" for name, value in small.items()]
    EXAMPLE["main"](["--out", str(tmp_path), *options])
    shown = capsys.readouterr().out
    assert shown.count("3 pairs") == 2 and "2 beginnings held out" in shown
    for way in ("greedy", "sample", "samples", "rain"):
        assert re.search(rf"│ {way} +│", shown)
