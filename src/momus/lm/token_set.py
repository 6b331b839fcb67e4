"""Sets of tokens of a large vocabulary, held as the shorter list: the few that are in one, or the few that are not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from momus.lm.tree import IntArray


class TokenSet(Collection[int]):
    """Some tokens of a vocabulary.

    Args:
        tokens: Those in the set, or those not in it, each once.
        size: Tokens in the vocabulary.
        excluded: Whether `tokens` are those that are not in the set.

    Attributes:
        tokens: As given, sorted, int64 [n].
    """

    __slots__ = ("excluded", "size", "tokens")

    def __init__(self, tokens: Iterable[int], size: int, excluded: bool = False) -> None:
        array = np.sort(tokens if isinstance(tokens, np.ndarray) else np.fromiter(tokens, np.int64))
        self.tokens: IntArray = array.astype(np.int64, copy=False)
        self.size, self.excluded = size, excluded

    def __contains__(self, token: object) -> bool:
        if not isinstance(token, int) or not 0 <= token < self.size:
            return False
        place = int(np.searchsorted(self.tokens, token))
        listed = place < len(self.tokens) and int(self.tokens[place]) == token
        return listed != self.excluded

    def __len__(self) -> int:
        return self.size - len(self.tokens) if self.excluded else len(self.tokens)

    def __iter__(self) -> Iterator[int]:
        """Iterate over the tokens in the set, in order."""
        tokens = np.delete(np.arange(self.size), self.tokens) if self.excluded else self.tokens
        return iter(tokens.tolist())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenSet):
            return NotImplemented
        return self.size == other.size and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
