"""How a command asks a chat: with the cache or without, within a budget, and what it says of the cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from momus.errors import UserError
from momus.lm.chats.cache import AnswerCache, CachedChat, default_path
from momus.lm.chats.costs import MeteredChat, Prices, estimate, read_prices, told_before
from momus.lm.chats.protocol import Chat, Question


class Asking:
    """What is put around a chat.

    Args:
        cache: Whether answers are kept, and equal questions answered from what is kept.
        budget: Tokens read and written, together, at most; None for any number.
        prices: A TOML file with the models' prices; see `read_prices`.

    Raises:
        UserError: The budget is no number of tokens.
    """

    def __init__(self, cache: bool = True, budget: int | None = None, prices: Path | None = None) -> None:
        if budget is not None and budget < 1:
            raise UserError(f"--budget-tokens {budget}: must be at least 1")
        self._cache, self._budget, self._prices_file = cache, budget, prices
        self._metered: MeteredChat | None = None
        self._cached: CachedChat | None = None
        self._prices: Prices | None = None

    def around(self, chat: Chat) -> Chat:
        """Return a chat that is counted, kept to the budget and answered from the cache, as far as was asked for.

        Raises:
            UserError: The file of prices cannot be read or does not name the model, or the cache cannot be opened.
        """
        if self._prices_file is not None:
            model = chat.identity().get("model", "")
            self._prices = read_prices(self._prices_file, model)
            if self._prices is None:
                raise UserError(f'{self._prices_file}: has no prices of {model!r}: add a table ["{model}"]')
        self._metered = MeteredChat(chat, self._budget, self._prices)
        if not self._cache:
            return self._metered
        try:
            self._cached = CachedChat(self._metered, AnswerCache(default_path()))
        except UserError as error:
            raise UserError(f"{error}; or go without it: --no-cache") from error
        return self._cached

    def told_before(self, questions: Sequence[Question]) -> str:
        """Return in words what questions may cost, those aside that the cache answers; "" where it answers all."""
        chat = self._cached or self._metered
        waiting = self._cached.missing(questions) if self._cached else questions
        return told_before(estimate(chat, waiting), self._prices) if chat and waiting else ""

    def told_after(self) -> str:
        """Return in words what was taken; "" where no chat was asked."""
        if self._metered is None:
            return ""
        hits = self._cached.hits if self._cached else 0
        kept = f"; {hits:,} answer{'s' * (hits != 1)} out of the cache" if hits else ""
        return self._metered.told_after() + kept
