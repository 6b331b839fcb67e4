"""Self-evaluation (RAIN, arXiv 2309.07124): a model decides which of two statements is true of an answer.

No text is generated: the probabilities of the labels A and B as the next token are compared, once with the good
statement under A and once under B, so that a preference for a label gives a value of 0 and not a verdict::

    value = 1 if both orders say good, -1 if both say bad, 0 if they contradict each other

A model that says A whatever A stands for contradicts itself about almost everything; what it knows is in how sure it
is. In log-odds (`by="log-odds"`, ours) what it adds to a label cancels out, and the value is finer::

    value = tanh(x / 2), x the log-odds of the good statement, averaged over both orders

which is 2 p - 1 for the probability p of these log-odds. A model that hardly gives the labels any probability is not
answering the question: it abstains, with value 0. Prompts are passed whole; the engine reuses what two of them share at
the beginning (`lm/local/radix.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

from momus.errors import UserError
from momus.lm.chat import ChatFormat
from momus.lm.engine import Choice, Engine, option_tokens
from momus.lm.local.shared_prefix import shared_prefix
from momus.lm.tree import Tokens
from momus.records import Content

LABELS = ("A", "B")

_LEADS = (("The answer is: (", "A", "B"), ("The answer is:", " A", " B"), ("The answer is:\n", "A", "B"))
"""How the reply begins, and the labels as they follow: the first that a tokenizer keeps apart is used."""

JudgedBy = Literal["verdict", "log-odds"]
"""What an answer's value comes from: the paper's comparison, or how sure the model is."""

_LEAST = 1e-9
"""Probabilities nearer to 0 or 1 count as this near."""


class Case(NamedTuple):
    """A worked example: a question, an answer, and whether the good statement is true of it."""

    question: str
    answer: str
    good: bool


@dataclass(frozen=True)
class Criterion:
    """What makes an answer good.

    Attributes:
        instruction: What the judge is to do.
        good: The statement that is true of a good answer.
        bad: The one that is true of a bad answer.
        question_name: What the judge's prompt calls the question, such as "User".
        answer_name: What it calls the answer, such as "Assistant".
        cases: Worked examples, shown in turn with the good statement under A and under B.
        whole_sentences: Judge only whole sentences: an answer up to its last full stop.
    """

    instruction: str
    good: str
    bad: str
    question_name: str = "User"
    answer_name: str = "Assistant"
    cases: tuple[Case, ...] = ()
    whole_sentences: bool = False

    def text(self, question: str, answer: str, good_first: bool) -> str:
        """Return the judge's prompt about one answer; a lead and a label follow it."""
        examples = "".join(
            f"{self._options(case.question, case.answer, number % 2 == 0)}"
            f"{_LEADS[0][0]}{LABELS[case.good != (number % 2 == 0)]})\n\n"
            for number, case in enumerate(self.cases)
        )
        return f"{self.instruction}\n\n{examples}{self._options(question, answer, good_first)}"

    def _options(self, question: str, answer: str, good_first: bool) -> str:
        first, second = (self.good, self.bad) if good_first else (self.bad, self.good)
        return (
            f"{self.question_name}: {question.strip()}\n{self.answer_name}: {answer.strip()}\n"
            f"Options:\n({LABELS[0]}) {first}\n({LABELS[1]}) {second}\n"
        )


@dataclass(frozen=True)
class JudgeVerdict:
    """A judge's verdict on one answer.

    Attributes:
        value: From -1 to 1. By verdict -1, 0 or 1, halves where label probabilities are equal; by log-odds all between.
        first: A compared with B where the good statement is A.
        second: A compared with B where the good statement is B.
        abstained: Whether the labels had too little probability to mean anything.
    """

    value: float
    first: Choice
    second: Choice
    abstained: bool

    @property
    def log_odds(self) -> float:
        """The log-odds of the good statement, averaged over both orders: a liking for a label cancels out."""
        return (_log_odds(self.first.probability) - _log_odds(self.second.probability)) / 2

    @property
    def by_log_odds(self) -> float:
        """The value by log-odds, from -1 to 1: twice the probability that belongs to them, less one."""
        return math.tanh(self.log_odds / 2)

    @property
    def disagreed(self) -> bool:
        """Whether the orders contradict each other: the model prefers a label, whatever it stands for."""
        return not self.abstained and _agreement(self.first, self.second) == 0

    @classmethod
    def from_choices(cls, first: Choice, second: Choice, min_mass: float, by: JudgedBy = "verdict") -> JudgeVerdict:
        """Combine both orders into a verdict; equal probabilities count as half of one."""
        if not (first.mass >= min_mass and second.mass >= min_mass):  # nan is too little, too
            return cls(0.0, first, second, abstained=True)
        verdict = cls(_agreement(first, second), first, second, abstained=False)
        return replace(verdict, value=verdict.by_log_odds) if by == "log-odds" else verdict


def _agreement(first: Choice, second: Choice) -> float:
    """Return 1 where both orders say good, -1 where both say bad, 0 where they contradict each other."""
    one, other = (0.5 if p == 0.5 else float(p > 0.5) for p in (first.probability, 1 - second.probability))
    return one + other - 1


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(clipped) - math.log1p(-clipped)


class Judge(Protocol):
    """Judges answers."""

    def __call__(self, question: str, answer: str) -> JudgeVerdict:
        """Judge one answer, which may break off anywhere."""


class SelfJudge:
    """The model judges by a criterion.

    Args:
        engine: The model.
        criterion: What makes an answer good.
        chat: Lays the judge's prompt out as a user's message; None for a model without a chat template, which
            continues it as plain text.
        by: What an answer's value comes from.
        min_mass: Least probability of both labels together; below it the judge abstains.

    Raises:
        UserError: The tokenizer has no single tokens for the labels, in any layout.

    Attributes:
        labels: The labels as they follow the prompt.
    """

    def __init__(
        self,
        engine: Engine,
        criterion: Criterion,
        chat: ChatFormat | None = None,
        *,
        by: JudgedBy = "verdict",
        min_mass: float = 0.01,
    ) -> None:
        self._engine, self.criterion, self._chat, self._by, self._min_mass = engine, criterion, chat, by, min_mass
        problems = []
        for self._lead, *labels in _LEADS:
            self.labels = (labels[0], labels[1])
            try:
                option_tokens(engine, self._prompt("?", "?", good_first=True), self.labels)
                return
            except UserError as error:
                problems.append(str(error))
        raise UserError(f"this model cannot judge by labels: {problems[0]}")

    def __call__(self, question: str, answer: str) -> JudgeVerdict:
        """Judge one answer, which may break off anywhere."""
        return JudgeVerdict.from_choices(*self.compare_labels(question, answer), self._min_mass, self._by)

    def compare_labels(self, question: str, answer: str) -> tuple[Choice, Choice]:
        """Compare A with B in both orders, the good statement first and then second."""
        first, second = self._engine.choose(self.prompts(question, answer), self.labels)
        return first, second

    def prompts(self, question: str, answer: str) -> tuple[Tokens, Tokens]:
        """Return the tokens that a label follows, in both orders."""
        if self.criterion.whole_sentences:
            answer = cut_to_whole_sentences(answer)
        return self._prompt(question, answer, good_first=True), self._prompt(question, answer, good_first=False)

    def shared_prefix(self) -> Tokens:
        """Return what the prompts about all answers begin with: the instruction and the worked examples."""
        return shared_prefix([*self.prompts("Why?", "So."), *self.prompts("1", "2")])

    def _prompt(self, question: str, answer: str, good_first: bool) -> Tokens:
        text = self.criterion.text(question, answer, good_first)
        if self._chat is None:
            return encode_plain(self._engine, text + self._lead)
        before = self._chat.prompt(text)
        end = self._engine.decode(before[-4:])
        lead = self._lead if not end or end[-1].isspace() else f" {self._lead}"
        return (*before, *self._engine.encode(lead, bos=False))


def encode_plain(engine: Engine, text: str) -> Tokens:
    """Return a text's tokens after the beginning-of-text token, where the tokenizer has one."""
    try:
        return tuple(engine.encode(text, bos=True))
    except UserError:
        return tuple(engine.encode(text, bos=False))


def cut_to_whole_sentences(text: str) -> str:
    """Cut a text after its last full stop; a text without any stays whole."""
    end = max(text.rfind(stop) for stop in ".。")
    return text[: end + 1] if end >= 0 else text


def last_question(prompt: Content) -> str:
    """Return what a judge reads as the question: a plain prompt, or the last turn that is not the assistant's.

    Raises:
        UserError: A conversation has no such turn.
    """
    if isinstance(prompt, str):
        return prompt
    questions = [message.content for message in prompt if message.role in ("user", "tool")]
    if not questions:
        raise UserError("a conversation without a user's turn has nothing to answer")
    return questions[-1]
