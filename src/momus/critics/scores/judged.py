"""Whether a comment is right, as a model says that is asked about it: the critic's own model or a second one.

It chooses between two labels, in both orders: once A stands for right, once for wrong. A liking for a label adds the
same to the log-odds of "right" in one order as it takes from them in the other, so their mean is free of it. Where a
model tells how likely its next word is, that is the probability; elsewhere the share of several answers is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from momus.critics.prompted import number_lines
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


class JudgedScore:
    """Scores a comment by how likely a model holds it to be right.

    Args:
        chat: The model.
        config: How to ask.
    """

    def __init__(self, chat: Chat, config: JudgedConfig | None = None) -> None:
        self._chat, self._config = chat, config or JudgedConfig()

    def score(self, tasks: Sequence[Task], opinions: Sequence[Opinion]) -> list[Scored]:
        """Ask about every comment.

        Raises:
            UserError: The model cannot be asked, or tells no probabilities and these are what is wanted.
        """
        asked = [(i, c) for i, opinion in enumerate(opinions) for c in opinion.comments]
        questions = [self.questions(tasks[i], comment) for i, comment in asked]
        answers = iter(self._chat.answer([question for of_comment in questions for question in of_comment]))
        values: list[list[float]] = [[] for _ in tasks]
        problems = [""] * len(tasks)
        for (i, _), of_comment in zip(asked, questions, strict=True):
            value, problem = self._read([next(answers) for _ in of_comment])
            values[i].append(value)
            problems[i] = problems[i] or problem
        return [Scored((), p) if p else Scored(tuple(v)) for v, p in zip(values, problems, strict=True)]

    def identity(self) -> Mapping[str, Any]:
        """Return the model, the prompt and the settings."""
        prompt = hashlib.sha256(_read_prompt().encode()).hexdigest()
        kind = "answers" if self._config.samples else "probability"
        settings = asdict(self._config)
        return {"kind": kind, "model": dict(self._chat.identity()), "prompt": prompt, "settings": settings}

    def questions(self, task: Task, comment: Comment) -> list[Question]:
        """Return what is asked about one comment: first with A for right, then with A for wrong."""
        config, asked = self._config, []
        for order, sides in enumerate((_SIDES, _SIDES[::-1])):
            text = write_prompt(task, comment, sides)
            if not config.samples:
                asked.append(Question.of(text, 1, options=LABELS))
            for sample in range(config.samples):
                key = (config.seed, order, sample)
                asked.append(Question.of(text, config.max_tokens, temperature=config.temperature, key=key))
        return asked

    def _read(self, answers: Sequence[Answer]) -> tuple[float, str]:
        """Return the score that answers to the questions about one comment make, or the problem with them."""
        half = len(answers) // 2
        if not self._config.samples:
            if any(answer.problem == NO_PROBABILITIES for answer in answers):
                raise UserError(
                    f"{self._chat.name}: {NO_PROBABILITIES}: take --score answers, the share of several answers"
                )
            problem = next((answer.problem for answer in answers if answer.choice is None), "")
            return (0.0, problem) if problem else (sigmoid(_mean_log_odds(*answers)), "")
        right = [_says(answer, "A") for answer in answers[:half]] + [_says(answer, "B") for answer in answers[half:]]
        told = [verdict for verdict in right if verdict is not None]
        if not told:
            return 0.0, next((answer.problem for answer in answers if answer.problem), "no answer is A or B")
        return sum(told) / len(told), ""


def write_prompt(task: Task, comment: Comment, sides: tuple[str, str]) -> str:
    """Return the question whether a comment is right; what A and B stand for comes last.

    Comments on one piece of code share all that stands before them, which a model in this process reads once.
    """
    quote = f"line {comment.line}: {comment.highlight}" if comment.line else comment.highlight
    before, rest = _read_prompt().split("{text}")
    middle, after = rest.split("{comment}")
    labels = "\n".join(f"{label}: {side}" for label, side in zip(LABELS, sides, strict=True))
    text, said = fenced(number_lines(task.answer)), fenced(f"{quote}\n\n{comment.text}")
    return before + text + middle + said + after.rstrip("\n").replace("{labels}", labels)


@cache
def _read_prompt() -> str:
    return files("momus.critics").joinpath("prompts", "right.md").read_text(encoding="utf-8")


def _mean_log_odds(first: Answer, second: Answer) -> float:
    """Return the mean log-odds of "right" over both orders."""
    return (_odds(first) - _odds(second)) / 2


def _odds(answer: Answer) -> float:
    """Return the log-odds of A."""
    assert answer.choice is not None
    return log_odds(answer.choice.probability) if answer.choice.mass >= LEAST_MASS else 0.0


def _says(answer: Answer, label: str) -> bool | None:
    """Return whether an answer is a label; None where it is neither."""
    match = _LETTER.match(answer.text)
    return None if match is None else match[1] == label
