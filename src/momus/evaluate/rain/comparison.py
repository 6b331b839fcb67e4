"""What RAIN gains over plainer ways to answer, and what it costs: on the same prompts, with the same model and judge.

* greedy: the likeliest answer, cached generation;
* sample: one sample;
* samples: samples until the tokens that RAIN forwarded for this prompt are used up, each judged by the model itself in
           both orders, the first of the highest value taken;
* best of n: samples until those tokens are used up with what a reward model, where one is given, reads of them, the
           first of the highest reward taken;
* rain:   the search.

The sample that uses the tokens up is taken too, with those that were drawn beside it, so that these ways get a little
more than RAIN did; at most 256 are.

Every way starts every prompt with an empty memory, so that its tokens and seconds are its own. Answers are graded by
another judge where one is given: what a search raises by its own judgement is no evidence that answers got better.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from momus.errors import UnfitInputError
from momus.evaluate.instruct.feedback import prompt_key
from momus.evaluate.rain.judge import ShareEstimate
from momus.files import Ledger, digest
from momus.lm.chat import ChatFormat, Turn
from momus.records import Content, Prompt, Record, Task
from momus.search.rain.answer import AnswerReader, EncodedPrompt
from momus.search.rain.dataset import Rain
from momus.search.rain.judge import Judge
from momus.search.result import RewardFunction
from momus.stats.bootstrap import Bounds, mean_interval

WAYS = ("greedy", "sample", "samples", "rain")
BEST_OF_N = "best of n"
"""One way more, before the last, where there is a reward model."""
_MOST_SAMPLES = 256
_TOGETHER = 8
"""Samples that are drawn at once: a large model reads its weights once for all of them."""
_VALUES, _GAINS = (-1.0, 1.0), (-2.0, 2.0)


class AnswerReward:
    """A reward model for answers to conversations.

    Args:
        reward: Scores tokens.
        chat: Lays out what it reads, in its own tokenizer's tokens.
        name: What tells it from others.
    """

    def __init__(self, reward: RewardFunction, chat: ChatFormat, name: str = "") -> None:
        self._reward, self._chat, self.name = reward, chat, name

    def turns(self, prompt: Content, answers: Sequence[str]) -> list[Turn]:
        """Lay out answers to one prompt.

        Raises:
            UnfitInputError: The chat template refuses the conversation.
        """
        return [self._chat.turn(prompt, answer) for answer in answers]

    def __call__(self, turns: Sequence[Turn]) -> list[float]:
        """Score answers to one prompt, which is read once."""
        (scores,) = self._reward([turns[0].prompt], [[turn.answer for turn in turns]])
        return list(map(float, scores))


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
    own: ShareEstimate
    graded: ShareEstimate
    gain: ShareEstimate
    tokens: float
    seconds: float
    samples: float


@dataclass(frozen=True)
class WayComparison:
    """Answers prompts in every way.

    Attributes:
        rain: The model, its task and its judge.
        grader: Grades the answers; None is the model itself.
        seed: Names the randomness.
        reward: Chooses the best of n; None leaves that way out.
    """

    rain: Rain
    grader: Judge | None
    seed: int
    reward: AnswerReward | None = None

    def answers(self, index: int, prompt: Prompt | Task) -> list[Answered]:
        """Answer one prompt in every way.

        Raises:
            UnfitInputError: It does not fit the model.
        """
        encoded = self.rain.encode_prompt(prompt)
        longest = AnswerReader(encoded, self.rain.writer.engine, self.rain.task.config.max_tokens).max_tokens
        searched = self._timed(lambda: (self.rain.answer(index, prompt, self.seed), 1))
        budget = searched.tokens
        ways: dict[str, Callable[[], tuple[Any, ...]]] = {
            "greedy": lambda: (*self._draw(encoded, longest, [(self.seed, index, 0)], 0.0), 1),
            "sample": lambda: (*self._draw(encoded, longest, [(self.seed, index, 0)]), 1),
            "samples": lambda: self._samples(encoded, longest, index, budget),
        }
        content = encoded.question if isinstance(prompt, Task) else prompt.prompt
        if (reward := self.reward) is not None:
            ways[BEST_OF_N] = lambda: self._best(reward, content, encoded, longest, index, budget)
        results = {way: self._timed(work) for way, work in ways.items()}
        results["rain"] = searched
        made = []
        for way, done in results.items():
            value = self.rain.judge(encoded.question, done.text).value
            graded = value if self.grader is None else self.grader(encoded.question, done.text).value
            made.append(
                Answered(
                    index=index,
                    prompt=content,
                    way=way,
                    answer=done.text,
                    samples=done.samples,
                    tokens=done.tokens,
                    seconds=done.seconds,
                    own=value,
                    graded=graded,
                )
            )
        return made

    def _draw(
        self, encoded: EncodedPrompt, longest: int, keys: Sequence[tuple[int, int, int]], temperature: float = 1.0
    ) -> list[str]:
        """Sample an answer for every key, together."""
        samples = self.rain.writer.engine.sample(
            [encoded.tokens] * len(keys),
            key=list(keys),
            max_tokens=longest,
            temperature=temperature,
            stop_tokens=sorted(encoded.end_tokens),
            stop=encoded.stop_strings,
        )
        return [sample.text for (sample,) in samples]

    def _samples(self, encoded: EncodedPrompt, longest: int, index: int, budget: int) -> tuple[str, int]:
        """Sample and judge until the tokens are used up; returns the best answer and how many there were."""
        engine = self.rain.writer.engine
        before, values, drawn = engine.forwarded_tokens, dict[str, float](), 0
        while count := _affordable(drawn, engine.forwarded_tokens - before, budget):
            for text in self._draw(encoded, longest, [(self.seed, index, drawn + i) for i in range(count)]):
                if text not in values:
                    values[text] = self.rain.judge(encoded.question, text).value
            drawn += count
        return max(values, key=values.__getitem__), drawn

    def _best(
        self, reward: AnswerReward, content: Content, encoded: EncodedPrompt, longest: int, index: int, budget: int
    ) -> tuple[str, int, int]:
        """Sample until the tokens are used up, those that the reward model reads included; returns the best answer."""
        engine = self.rain.writer.engine
        before, turns, drawn, read = engine.forwarded_tokens, dict[str, Turn](), 0, 0
        while count := _affordable(drawn, engine.forwarded_tokens - before + read, budget):
            texts = self._draw(encoded, longest, [(self.seed, index, drawn + i) for i in range(count)])
            new = [text for text in dict.fromkeys(texts) if text not in turns]
            turns |= zip(new, reward.turns(content, new), strict=True)
            read = len(turns[texts[0]].prompt) + sum(len(turn.answer) for turn in turns.values())
            drawn += count
        scores = dict(zip(turns, reward(list(turns.values())), strict=True))
        return max(scores, key=scores.__getitem__), drawn, read

    def _timed(self, work: Callable[[], tuple[Any, ...]]) -> _Done:
        """Do one way's work: an answer, how many samples it took, and the tokens that another model read, if any."""
        engine = self.rain.writer.engine
        engine.clear_cache()
        before, start = engine.forwarded_tokens, time.perf_counter()
        made, samples, *others = work()
        seconds = time.perf_counter() - start
        text = made if isinstance(made, str) else made.answer
        return _Done(text, samples, engine.forwarded_tokens - before + sum(others), seconds)


def _affordable(drawn: int, used: int, budget: int) -> int:
    """Return how many samples to draw next, by what those before them took; 0 where the tokens are used up."""
    if not drawn:
        return 1
    left = -(-(budget - used) * drawn // used)
    return max(0, min(left, _TOGETHER, _MOST_SAMPLES - drawn))


@dataclass(frozen=True)
class _Done:
    text: str
    samples: int
    tokens: int
    seconds: float


def answer_all(
    compared: WayComparison,
    prompts: Sequence[Prompt],
    ledger: Ledger,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Answered], int]:
    """Answer prompts in every way, those in the ledger excepted; returns all answers and how many prompts do not fit.

    Args:
        compared: Answers one.
        prompts: What is to be answered.
        ledger: What has been answered before, and where every prompt goes when it is done.
        progress: Told how many are done, of how many.
    """
    answered: list[Answered] = []
    unfit = 0
    for index, prompt in enumerate(prompts):
        key = digest(index, prompt_key(prompt.prompt))
        if key not in ledger:
            try:
                answers = compared.answers(index, prompt)
            except UnfitInputError:
                answers = []
            ledger.add({key: [answer.model_dump(mode="json") for answer in answers]})
        answered += map(Answered.model_validate, ledger[key])
        unfit += not ledger[key]
        progress(index + 1, len(prompts))
    return answered, unfit


def summarise_ways(answered: Sequence[Answered]) -> list[WayReport]:
    """Sum up all ways; gains are paired by prompt, in the grader's values."""
    ways = dict.fromkeys(answer.way for answer in answered)
    by_way = {way: [answer for answer in answered if answer.way == way] for way in ways}
    greedy = np.array([answer.graded for answer in by_way["greedy"]])
    return [
        WayReport(
            way=way,
            own=_share([answer.own for answer in answers], _VALUES),
            graded=_share([answer.graded for answer in answers], _VALUES),
            # Greedy gains nothing over itself by definition; of the others that is an observation.
            gain=ShareEstimate(value=0, low=0, high=0)
            if way == "greedy"
            else _share(np.array([answer.graded for answer in answers]) - greedy, _GAINS),
            tokens=float(np.mean([answer.tokens for answer in answers])),
            seconds=float(np.mean([answer.seconds for answer in answers])),
            samples=float(np.mean([answer.samples for answer in answers])),
        )
        for way, answers in by_way.items()
    ]


def _share(values: Any, bounds: Bounds) -> ShareEstimate:
    interval = mean_interval(values, bounds=bounds)
    return ShareEstimate(value=interval.value, low=interval.low, high=interval.high)
