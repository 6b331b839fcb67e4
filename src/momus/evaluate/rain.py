"""What RAIN gains over plainer ways to answer, and what it costs: on the same prompts, with the same model and judge.

* greedy: the likeliest answer, cached generation;
* sample: one sample;
* samples: as many samples as fit into the tokens that RAIN forwarded for this prompt, each judged by the model itself
           in both orders, the first of the highest value taken;
* rain:   the search.

Every way starts every prompt with an empty memory, so that its tokens and seconds are its own. Answers are graded by
another judge where one is given: what a search raises by its own judgement is no evidence that answers got better.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from momus.evaluate.judge import Share
from momus.lm.branches import forget
from momus.records import Content, Prompt, Record, Task
from momus.search.rain_answer import Answers, Subject
from momus.search.rain_judge import Judge
from momus.search.rain_runs import Rain
from momus.stats.bootstrap import mean_interval

WAYS = ("greedy", "sample", "samples", "rain")
_MOST_SAMPLES = 256


class Answered(Record):
    """One prompt answered in one way: what it cost, and its value to the model itself and to the grader."""

    index: int
    prompt: Content
    way: str
    answer: str
    samples: int = 1
    tokens: int
    seconds: float
    own: float
    graded: float


class WayReport(Record):
    """One way over all prompts: mean values from -1 to 1, the gain over greedy, mean cost; 95% intervals."""

    way: str
    own: Share
    graded: Share
    gain: Share
    tokens: float
    seconds: float
    samples: float


@dataclass(frozen=True)
class Comparison:
    """Answers prompts in every way.

    Attributes:
        rain: The model, its task and its judge.
        grader: Grades the answers; None is the model itself.
        seed: Names the randomness.
    """

    rain: Rain
    grader: Judge | None
    seed: int

    def answers(self, index: int, prompt: Prompt | Task) -> list[Answered]:
        """Answer one prompt in every way.

        Raises:
            UnfitInputError: It does not fit the model.
        """
        subject = self.rain.subject(prompt)
        longest = Answers(subject, self.rain.writer.engine, self.rain.task.config.max_tokens).longest
        searched = self._timed(lambda: (self.rain.answer(index, prompt, self.seed), 1))
        budget = searched.tokens
        ways: dict[str, Callable[[], tuple[Any, int]]] = {
            "greedy": lambda: (self._sample(subject, longest, index, 0, 0.0), 1),
            "sample": lambda: (self._sample(subject, longest, index, 0, 1.0), 1),
            "samples": lambda: self._samples(subject, longest, index, budget),
        }
        found = {way: self._timed(work) for way, work in ways.items()}
        found["rain"] = searched
        content = subject.asked if isinstance(prompt, Task) else prompt.prompt
        made = []
        for way in WAYS:
            done = found[way]
            own = self.rain.judge(subject.asked, done.text).value
            graded = own if self.grader is None else self.grader(subject.asked, done.text).value
            made.append(
                Answered(
                    index=index,
                    prompt=content,
                    way=way,
                    answer=done.text,
                    samples=done.samples,
                    tokens=done.tokens,
                    seconds=done.seconds,
                    own=own,
                    graded=graded,
                )
            )
        return made

    def _sample(self, subject: Subject, longest: int, index: int, number: int, temperature: float) -> str:
        ((sample,),) = self.rain.writer.engine.sample(
            [subject.prompt],
            key=[(self.seed, index, number)],
            max_tokens=longest,
            temperature=temperature,
            stop_tokens=sorted(subject.ends),
            stop=subject.markers,
        )
        return sample.text

    def _samples(self, subject: Subject, longest: int, index: int, budget: int) -> tuple[str, int]:
        """Sample and judge until the tokens are used up; returns the best answer and how many there were."""
        engine = self.rain.writer.engine
        before, values = engine.forwarded_tokens, dict[str, float]()
        for number in range(_MOST_SAMPLES):
            text = self._sample(subject, longest, index, number, 1.0)
            if text not in values:
                values[text] = self.rain.judge(subject.asked, text).value
            if engine.forwarded_tokens - before >= budget:
                break
        return max(values, key=values.__getitem__), number + 1

    def _timed(self, work: Callable[[], tuple[Any, int]]) -> _Done:
        engine = self.rain.writer.engine
        forget(engine)
        before, start = engine.forwarded_tokens, time.perf_counter()
        made, samples = work()
        seconds = time.perf_counter() - start
        text = made if isinstance(made, str) else made.answer
        return _Done(text, samples, engine.forwarded_tokens - before, seconds)


@dataclass(frozen=True)
class _Done:
    text: str
    samples: int
    tokens: int
    seconds: float


def summarise(answered: Sequence[Answered]) -> list[WayReport]:
    """Sum up all ways; gains are paired by prompt, in the grader's values."""
    by_way = {way: [own for own in answered if own.way == way] for way in WAYS}
    greedy = np.array([own.graded for own in by_way["greedy"]])
    return [
        WayReport(
            way=way,
            own=_share([one.own for one in own]),
            graded=_share([one.graded for one in own]),
            gain=_share(np.array([one.graded for one in own]) - greedy),
            tokens=float(np.mean([one.tokens for one in own])),
            seconds=float(np.mean([one.seconds for one in own])),
            samples=float(np.mean([one.samples for one in own])),
        )
        for way, own in by_way.items()
    ]


def _share(values: Any) -> Share:
    found = mean_interval(values)
    return Share(value=found.value, low=found.low, high=found.high)
