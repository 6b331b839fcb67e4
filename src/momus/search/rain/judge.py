"""Self-evaluation (RAIN, arXiv 2309.07124): a model says which of two statements is true of an answer.

No text is generated: the probabilities of the labels A and B as the next token are compared, once with the good
statement under A and once under B, so that a liking for a label gives a value of 0 and not a verdict::

    value = 1 if both orders say good, -1 if both say bad, 0 if they contradict each other

Where a model hardly gives the labels any probability it is not answering the question: it abstains, with value 0.
Prompts are whole texts; that two of them begin alike is the engine's business (`lm/local/radix.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from momus.errors import UserError
from momus.lm.chat import ChatFormat
from momus.lm.engine import Choice, Engine, option_tokens
from momus.lm.local.shared_prefix import shared_prefix
from momus.records import Content
from momus.search.result import Tokens

LABELS = ("A", "B")

_LEADS = (("The answer is: (", "A", "B"), ("The answer is:", " A", " B"), ("The answer is:\n", "A", "B"))
"""How the answer begins, and the labels as they follow: the first that a tokenizer keeps apart is used."""


class Case(NamedTuple):
    """A worked example: what was asked, what was answered, and whether the good statement is true of it."""

    asked: str
    answered: str
    good: bool


@dataclass(frozen=True)
class Criterion:
    """What makes an answer good.

    Attributes:
        instruction: What the judge is to do.
        good: The statement that is true of a good answer.
        bad: The one that is true of a bad answer.
        asker: Who asks, as the judge is told; `answerer` who answers.
        cases: Worked examples, shown in turn with the good statement under A and under B.
        sentences: Judge only whole sentences: an answer up to its last full stop.
    """

    instruction: str
    good: str
    bad: str
    asker: str = "User"
    answerer: str = "Assistant"
    cases: tuple[Case, ...] = ()
    sentences: bool = False

    def text(self, asked: str, answered: str, good_first: bool) -> str:
        """Return the question about one answer; what follows it is the lead and a label."""
        shown = "".join(
            f"{self._case(case.asked, case.answered, number % 2 == 0)}"
            f"{_LEADS[0][0]}{LABELS[case.good != (number % 2 == 0)]})\n\n"
            for number, case in enumerate(self.cases)
        )
        return f"{self.instruction}\n\n{shown}{self._case(asked, answered, good_first)}"

    def _case(self, asked: str, answered: str, good_first: bool) -> str:
        first, second = (self.good, self.bad) if good_first else (self.bad, self.good)
        return (
            f"{self.asker}: {asked.strip()}\n{self.answerer}: {answered.strip()}\n"
            f"Options:\n({LABELS[0]}) {first}\n({LABELS[1]}) {second}\n"
        )


@dataclass(frozen=True)
class Verdict:
    """What a judge said: `first` and `second` compare A with B, the good statement being A and then B.

    `value` is -1, 0 or 1; `abstained` that the labels had too little probability to mean anything.
    """

    value: float
    first: Choice
    second: Choice
    abstained: bool

    @property
    def disagreed(self) -> bool:
        """Whether the orders contradict each other: the model likes a label, whatever it stands for."""
        return not self.abstained and self.value == 0

    @classmethod
    def of(cls, first: Choice, second: Choice, least_mass: float) -> Verdict:
        """Read a verdict off the two choices; equal probabilities count as half of one."""
        if not (first.mass >= least_mass and second.mass >= least_mass):  # nan is too little, too
            return cls(0.0, first, second, abstained=True)
        one, other = (0.5 if p == 0.5 else float(p > 0.5) for p in (first.probability, 1 - second.probability))
        return cls(one + other - 1, first, second, abstained=False)


class Judge(Protocol):
    """Says how good an answer is, from -1 to 1; `tokens` of it, which may break off anywhere."""

    def __call__(self, asked: str, answered: str) -> Verdict:
        """Judge one answer."""


class SelfJudge:
    """The model judges by a criterion.

    Args:
        engine: The model.
        criterion: What it judges by.
        chat: Lays the question out as a user's message; None for a model without a chat template, which continues the
            question as plain text.
        least_mass: Probability that both labels together need at least.

    Raises:
        UserError: The tokenizer has no tokens of their own for the labels, in any layout.

    Attributes:
        labels: The labels as the model continues the question with them.
    """

    def __init__(
        self, engine: Engine, criterion: Criterion, chat: ChatFormat | None = None, *, least_mass: float = 0.01
    ) -> None:
        self._engine, self.criterion, self._chat, self._least = engine, criterion, chat, least_mass
        problems = []
        for self._lead, *labels in _LEADS:
            self.labels = (labels[0], labels[1])
            try:
                option_tokens(engine, self._prompt("?", "?", good_first=True), self.labels)
                return
            except UserError as error:
                problems.append(str(error))
        raise UserError(f"this model cannot judge by labels: {problems[0]}")

    def __call__(self, asked: str, answered: str) -> Verdict:
        """Judge one answer."""
        return Verdict.of(*self.choices(asked, answered), self._least)

    def choices(self, asked: str, answered: str) -> tuple[Choice, Choice]:
        """Compare A with B in both orders, the good statement first and then second."""
        first, second = self._engine.choose(self.prompts(asked, answered), self.labels)
        return first, second

    def prompts(self, asked: str, answered: str) -> tuple[Tokens, Tokens]:
        """Return the tokens that a label follows, in both orders."""
        if self.criterion.sentences:
            answered = whole_sentences(answered)
        return self._prompt(asked, answered, good_first=True), self._prompt(asked, answered, good_first=False)

    def beginning(self) -> Tokens:
        """Return what the questions about all answers begin with: the instruction and the worked examples."""
        return shared_prefix([*self.prompts("Why?", "So."), *self.prompts("1", "2")])

    def _prompt(self, asked: str, answered: str, good_first: bool) -> Tokens:
        text = self.criterion.text(asked, answered, good_first)
        if self._chat is None:
            return plain_tokens(self._engine, text + self._lead)
        before = self._chat.prompt(text)
        said = self._engine.decode(before[-4:])
        lead = self._lead if not said or said[-1].isspace() else f" {self._lead}"
        return (*before, *self._engine.encode(lead, bos=False))


def plain_tokens(engine: Engine, text: str) -> Tokens:
    """Return a text's tokens after the beginning-of-text token, where the tokenizer has one."""
    try:
        return tuple(engine.encode(text, bos=True))
    except UserError:
        return tuple(engine.encode(text, bos=False))


def whole_sentences(text: str) -> str:
    """Cut a text after its last full stop; a text without any stays whole."""
    at = max(text.rfind(stop) for stop in ".。")
    return text[: at + 1] if at >= 0 else text


def last_asked(prompt: Content) -> str:
    """Return what a judge is told was asked: a plain prompt, or the last turn that is not the assistant's."""
    if isinstance(prompt, str):
        return prompt
    asked = [message.content for message in prompt if message.role in ("user", "tool")]
    if not asked:
        raise UserError("a conversation without a user's turn has nothing to answer")
    return asked[-1]
