"""What asking costs: an estimate before, a count after, and a budget that nothing goes over."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from momus.errors import UserError
from momus.lm.chats.protocol import Answer, Chat, ChatAround, Question, Usage

OVER_BUDGET = "not asked: the budget of tokens is spent"
"""The problem of questions that a budget did not reach."""

SPENT = (
    "the budget of tokens is spent before all was asked: run it again with a larger one; what was answered is kept, "
    "unless --no-cache was given"
)
"""What a command says that is of no use half done."""

_BYTES = 3
"""UTF-8 bytes counted as one token where a server does not count."""
_MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in any currency: `read` those sent, `written` those that come back."""

    read: float
    written: float
    currency: str = "USD"

    def of(self, usage: Usage) -> float:
        """Return the price of tokens."""
        return (usage.tokens_in * self.read + usage.tokens_out * self.written) / _MILLION


def read_prices(path: Path, model: str) -> Prices | None:
    """Read a model's prices from a TOML file; None where it does not name the model.

    The file has a table for each model, with the prices of a million tokens:

        ["gpt-5-mini"]
        read = 0.25
        written = 2.00
        currency = "USD"

    Raises:
        UserError: It is not such a file.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also of numbers of more digits than Python reads
        raise UserError(f"{path}: not TOML: {error}") from error
    table = tables.get(model)
    if table is None:
        return None
    if not isinstance(table, dict) or set(table) - {"read", "written", "currency"} or {"read", "written"} - set(table):
        raise UserError(f"{path}: [{model!r}] needs read and written, the prices of a million tokens, and no more")
    for name in ("read", "written"):
        value = table[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise UserError(f"{path}: [{model!r}] {name}: is {repr(value)[:80]}: must be a price, 0 or more")
    return Prices(table["read"], table["written"], str(table.get("currency", "USD")))


def estimate(chat: Chat, questions: Sequence[Question]) -> Usage:
    """Return the most that questions can take: their tokens as the chat counts them, and answers of full length."""
    read = sum(chat.count(question.messages) for question in questions)
    return Usage(read, sum(question.max_tokens for question in questions), len(questions))


def describe_estimate(usage: Usage, prices: Prices | None = None) -> str:
    """Return an estimate in words."""
    money = f": at most {_money(prices, usage)}" if prices else ""
    return (
        f"about {usage.tokens_in:,} tokens to read and at most {usage.tokens_out:,} to write in {_calls(usage.calls)}"
        f"{money}"
    )


class MeteredChat(ChatAround):
    """A chat whose tokens, calls and seconds are counted, and that may have a budget.

    No question is asked whose tokens and longest answer would go over the budget; it gets `OVER_BUDGET` for its
    problem instead. So what is spent stays within it, unless the server counts more tokens than `Chat.count` did.

    Args:
        chat: The model.
        budget: Tokens read and written, together, at most; None for any number.
        prices: What tokens cost; None where that is not known.

    Attributes:
        usage: What was taken so far.
        seconds: The time that was spent waiting for answers.
        unasked: Questions that the budget did not reach.
    """

    def __init__(self, chat: Chat, budget: int | None = None, prices: Prices | None = None) -> None:
        super().__init__(chat)
        self._budget, self._prices = budget, prices
        self.usage, self.seconds, self.unasked, self._guessed = Usage(), 0.0, 0, False

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions in their order, as far as the budget goes; see `Chat.answer`."""
        answers: list[Answer] = []
        while len(answers) < len(questions):
            wave = self._within_budget(questions[len(answers) :])
            if not wave:
                left = len(questions) - len(answers)
                self.unasked += left
                return answers + [Answer("", OVER_BUDGET, refused=True)] * left
            began = time.perf_counter()
            answers += [self._counted(*pair) for pair in zip(wave, self._chat.answer(wave), strict=True)]
            self.seconds += time.perf_counter() - began
        return answers

    def describe_usage(self) -> str:
        """Return what was taken, in words."""
        usage, about = self.usage, "about " if self._guessed else ""
        money = f", {_money(self._prices, usage)}" if self._prices else ""
        unasked = ""
        if self.unasked:
            were = "questions were" if self.unasked > 1 else "question was"
            unasked = f"; {self.unasked:,} {were} not asked: the budget is {self._budget:,} tokens"
        return (
            f"{about}{usage.tokens_in:,} tokens read and {usage.tokens_out:,} written in {_calls(usage.calls)}, "
            f"{self.seconds:.1f} s{money}{unasked}"
        )

    def _within_budget(self, questions: Sequence[Question]) -> Sequence[Question]:
        """Return the first questions that fit into what is left, were their answers as long as they may be."""
        if self._budget is None:
            return questions
        left = self._budget - self.usage.tokens
        for number, question in enumerate(questions):
            left -= self._chat.count(question.messages) + question.max_tokens
            if left < 0:
                return questions[:number]
        return questions

    def _counted(self, question: Question, answer: Answer) -> Answer:
        """Add what an answer took; where the server does not count, an estimate."""
        usage = answer.usage
        if usage.calls and not usage.tokens:
            self._guessed = True
            usage = replace(
                usage,
                tokens_in=self._chat.count(question.messages),
                tokens_out=question.max_tokens if answer.cut else -(-len(answer.text.encode()) // _BYTES),
            )
        self.usage += usage
        return replace(answer, usage=usage)


def _money(prices: Prices | None, usage: Usage) -> str:
    return f"{prices.of(usage):,.4f} {prices.currency}" if prices else ""


def _calls(count: int) -> str:
    return f"{count:,} call{'s' * (count != 1)}"
