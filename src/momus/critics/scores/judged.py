"""Whether a comment is right, as a model says that is asked about it: the critic's own model or a second one.

It chooses between two labels, in both orders: once A stands for right, once for wrong. A liking for a label adds the
same to the log-odds of "right" in one order as it takes from them in the other, so their mean is free of it. Where a
model tells how likely its next word is, that is the probability; elsewhere the share of several answers is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from momus.critics.prompted import number_lines, prompt_digest, read_prompt
from momus.critics.scores.protocol import Opinion, Scored, log_odds, sigmoid
from momus.critique import Comment
from momus.errors import UserError
from momus.lm.chats.protocol import Answer, Chat, Question
from momus.lm.chats.server import NO_PROBABILITIES
from momus.match.ask import fenced
from momus.records import Task

LABELS = ("A", "B")
LEAST_MASS = 0.01
"""Where both labels together are less likely than this, the model was not answering, and its odds are taken as even."""

_SIDES = ("It is right.", "It is wrong.")
_SLOT = re.compile(r"\{(text|comment|attack|defence)\}")
_LETTER = re.compile(r"\W*([AB])\b")


@dataclass(frozen=True)
class JudgedConfig:
    """How a model is asked whether a comment is right."""

    samples: int = 0
    """Answers in each order, whose share counts; 0 takes the probability, where the model tells it."""
    temperature: float = 0.8
    """Of several answers."""
    max_tokens: int = 2000
    """Longest of several answers, thinking included."""
    seed: int = 0


class NoProbabilitiesError(UserError):
    """A model that is asked for a probability tells none."""


class Verdicts:
    """Asks a model whether something is right, as a choice between A and B in both orders.

    Args:
        chat: The model.
        config: How to ask.
    """

    def __init__(self, chat: Chat, config: JudgedConfig | None = None) -> None:
        self.chat, self.config = chat, config or JudgedConfig()

    def ask(self, prompts: Sequence[str]) -> list[tuple[float, str]]:
        """Return for every prompt the probability that it is right, and the problem where there is none.

        Args:
            prompts: Questions with the slot {labels}, for what A and B stand for.

        Raises:
            UserError: The model cannot be asked, or tells no probabilities and these are what is wanted.
        """
        answers = self.chat.answer([question for prompt in prompts for question in self._questions(prompt)])
        size = len(answers) // max(len(prompts), 1)
        return [self._read(answers[start : start + size]) for start in range(0, len(answers), size or 1)]

    def _questions(self, prompt: str) -> list[Question]:
        """Return what is asked of one prompt: first with A for right, then with A for wrong."""
        config, asked = self.config, []
        for order, sides in enumerate((_SIDES, _SIDES[::-1])):
            labels = "\n".join(f"{label}: {side}" for label, side in zip(LABELS, sides, strict=True))
            # The last of the slots is ours: whatever is quoted before it may spell one too.
            text = labels.join(prompt.rsplit("{labels}", 1))
            if not config.samples:
                asked.append(Question.of(text, 1, options=LABELS))
            for sample in range(config.samples):
                key = (config.seed, order, sample)
                asked.append(Question.of(text, config.max_tokens, temperature=config.temperature, key=key))
        return asked

    def _read(self, answers: Sequence[Answer]) -> tuple[float, str]:
        if not self.config.samples:
            if any(answer.problem == NO_PROBABILITIES for answer in answers):
                raise NoProbabilitiesError(
                    f"{self.chat.name}: {NO_PROBABILITIES}: take --score answers, the share of several answers"
                )
            problem = next((answer.problem for answer in answers if answer.choice is None), "")
            return (0.0, problem) if problem else (sigmoid(_mean_log_odds(*answers)), "")
        half = len(answers) // 2
        right = [_says(answer, "A") for answer in answers[:half]] + [_says(answer, "B") for answer in answers[half:]]
        verdicts = [verdict for verdict in right if verdict is not None]
        if not verdicts:
            return 0.0, next((answer.problem for answer in answers if answer.problem), "no answer is A or B")
        return sum(verdicts) / len(verdicts), ""


class JudgedScore:
    """Scores a comment by how likely a model holds it to be right.

    Args:
        chat: The model.
        config: How to ask.
    """

    exact = False

    def __init__(self, chat: Chat, config: JudgedConfig | None = None) -> None:
        self._verdicts = Verdicts(chat, config)

    def score(self, tasks: Sequence[Task], opinions: Sequence[Opinion]) -> list[Scored]:
        """Ask about every comment.

        Raises:
            UserError: The model cannot be asked, or tells no probabilities and these are what is wanted.
        """
        asked = [(i, comment) for i, opinion in enumerate(opinions) for comment in opinion.comments]
        verdicts = self._verdicts.ask([write_prompt("right", tasks[i], comment) for i, comment in asked])
        values: list[list[float]] = [[] for _ in tasks]
        problems = [""] * len(tasks)
        for (i, _), (value, problem) in zip(asked, verdicts, strict=True):
            values[i].append(value)
            problems[i] = problems[i] or problem
        return [Scored((), p) if p else Scored(tuple(v)) for v, p in zip(values, problems, strict=True)]

    def identity(self) -> Mapping[str, Any]:
        """Return the model, the prompt and the settings."""
        prompt = prompt_digest("right")
        config = self._verdicts.config
        kind = "answers" if config.samples else "probability"
        model = dict(self._verdicts.chat.identity())
        return {"kind": kind, "model": model, "prompt": prompt, "settings": asdict(config)}


def write_prompt(name: str, task: Task, comment: Comment, **slots: str) -> str:
    """Return a prompt about one comment, with the slot {labels} left where it has one.

    Comments on one piece of code share all that stands before them, which a model in this process reads once.

    Args:
        name: Of the prompt's file.
        task: The code.
        comment: A comment on it.
        slots: What else goes in, between marks.
    """
    quote = f"line {comment.line}: {comment.highlight}" if comment.line else comment.highlight
    filled = {"text": number_lines(task.answer), "comment": f"{quote}\n\n{comment.text}", **slots}
    return fill_prompt(read_prompt(name), filled)


def fill_prompt(prompt: str, slots: Mapping[str, str]) -> str:
    """Return a prompt with its slots filled, each between marks; {labels} is left where it has one."""
    parts = _SLOT.split(prompt.rstrip("\n"))
    return "".join(fenced(slots[part]) if i % 2 else part for i, part in enumerate(parts))


def _mean_log_odds(first: Answer, second: Answer) -> float:
    """Return the mean log-odds of "right" over both orders."""
    return (_odds(first) - _odds(second)) / 2


def _odds(answer: Answer) -> float:
    """Return the log-odds of A."""
    assert answer.choice is not None
    return log_odds(answer.choice.probability) if answer.choice.mass >= LEAST_MASS else 0.0


def _says(answer: Answer, label: str) -> bool | None:
    """Return whether an answer is a label; None where it is neither."""
    match = _LETTER.match(answer.whole)
    return None if match is None else match[1] == label
