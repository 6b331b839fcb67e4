"""An engine whose answers are written by a function: no model, every character a token."""

from collections.abc import Callable, Sequence
from typing import Any

from momus.errors import UnfitInputError
from momus.lm.constraint import Vocabulary
from momus.lm.engine import Sample, prompt_keys


class Scripted:
    """Tokens are characters; the answer is a function of the question and how often something was asked before."""

    vocabulary = Vocabulary([None, *(bytes([b]) for b in range(1, 128))])

    def __init__(self, answer: Callable[[str, int], str], longest: int = 10**9) -> None:
        self.answer, self.longest, self.asked, self.keys = answer, longest, [], []

    def encode(self, text: str, bos: bool) -> list[int]:
        return [ord(c) for c in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    def sample(self, prefixes: Any, n: int = 1, *, key: Any, **_: Any) -> list[list[Sample]]:
        if any(len(prefix) > self.longest for prefix in prefixes):
            raise UnfitInputError("too long")
        self.keys += prompt_keys(key, len(prefixes))
        found = []
        for prefix in prefixes:
            self.asked.append(self.decode(prefix))
            text = self.answer(self.asked[-1], len(self.asked))
            found.append([Sample(tuple(map(ord, text)), text, (), True)])
        return found
