"""How a command asks a chat: with the cache or without, within a budget, and what it says of the cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from momus.errors import UserError
from momus.lm.chats.cache import AnswerCache, CachedChat, default_path
from momus.lm.chats.costs import MeteredChat, Prices, describe_estimate, estimate, read_prices
from momus.lm.chats.fingerprints import Fingerprints
from momus.lm.chats.protocol import Chat, Question


class Asking:
    """What is put around a chat.

    Args:
        cache: Whether answers are kept, and equal questions answered from what is kept.
        budget: Tokens read and written, together, at most; None for any number.
        prices: A TOML file with the models' prices; see `read_prices`.

    Raises:
        UserError: The budget is no number of tokens.

    Attributes:
        fingerprints: What the servers of the chats say of themselves.
    """

    def __init__(self, cache: bool = True, budget: int | None = None, prices: Path | None = None) -> None:
        if budget is not None and budget < 1:
            raise UserError(f"--budget-tokens {budget}: must be at least 1")
        self._cache, self._budget, self._prices_file = cache, budget, prices
        self.fingerprints = Fingerprints()
        self._chats: list[tuple[MeteredChat, CachedChat | None, Prices | None]] = []

    @property
    def asks(self) -> bool:
        """Whether it is around any chat."""
        return bool(self._chats)

    def around(self, chat: Chat) -> Chat:
        """Return a chat that is counted, kept to the budget and answered from the cache, as far as was asked for.

        Put around several models, each has the budget for itself.

        Raises:
            UserError: The file of prices cannot be read or does not name the model, or the cache cannot be opened.
        """
        prices = None
        if self._prices_file is not None:
            model = chat.identity().get("model", "")
            prices = read_prices(self._prices_file, model)
            if prices is None:
                raise UserError(f'{self._prices_file}: has no prices of {model!r}: add a table ["{model}"]')
        metered, cached = MeteredChat(chat, self._budget, prices), None
        try:
            if self._cache:
                cached = CachedChat(metered, AnswerCache(default_path()))
        except UserError as error:
            raise UserError(f"{error}; or go without it: --no-cache") from error
        self._chats.append((metered, cached, prices))
        return self.fingerprints.watch(cached or metered)

    def describe_estimate(self, questions: Sequence[Question]) -> str:
        """Return in words what questions to the first chat may cost, those aside that the cache answers; "" for all."""
        if not self._chats:
            return ""
        metered, cached, prices = self._chats[0]
        waiting = cached.missing(questions) if cached else questions
        return describe_estimate(estimate(metered, waiting), prices) if waiting else ""

    def describe_usage(self) -> str:
        """Return in words what was taken, a line for each chat; "" where there is none."""
        lines = []
        for metered, cached, _ in self._chats:
            hits = cached.hits if cached else 0
            kept = f"; {hits:,} answer{'s' * (hits != 1)} out of the cache" if hits else ""
            name = f"{metered.name}: " if len(self._chats) > 1 else ""
            lines.append(name + metered.describe_usage() + kept)
        return "\n".join(lines)
