"""What a public benchmark asks of a model: how likely a text is behind another, and how the model goes on.

Every question is asked once: answers are kept in a ledger by what was asked, so that a run that was stopped, and one
with another task that asks the same, continue from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from momus.evaluate.instruct.systems import BATCH, beginning
from momus.files import Ledger, digest
from momus.lm.engine import Engine


class Likelihood(NamedTuple):
    """The log-probability (nats) of a text behind another, and of how many tokens it is the sum."""

    logprob: float
    tokens: int


class Questions:
    """Asks an engine, with the answers it gave before at hand.

    Args:
        engine: The model.
        ledger: Where answers are kept.
        progress: Told, of each call, how many of its questions are answered, and how many there are.

    Attributes:
        cut: Questions whose text was too long for the model, so that its oldest tokens were left out.
    """

    def __init__(
        self, engine: Engine, ledger: Ledger, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        self.engine, self.ledger, self.progress = engine, ledger, progress
        self.cut = 0
        self._limit: int | None = getattr(engine, "context_length", None)

    def likelihoods(self, asked: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """Return how likely each (text before, text) is; what stands behind the same text is scored together.

        Raises:
            UserError: The model cannot score.
        """
        keys = [digest("likelihood", before, text) for before, text in asked]
        by_context: dict[tuple[int, ...], list[tuple[str, tuple[int, ...]]]] = {}
        waiting = {key: question for key, question in zip(keys, asked, strict=True) if key not in self.ledger}
        for key, (before, text) in waiting.items():
            context, continuation = self._cut_in_two(before, text)
            by_context.setdefault(context, []).append((key, continuation))
        done = len(asked) - len(waiting)
        for context, pending in by_context.items():
            for start in range(0, len(pending), BATCH):
                group = pending[start : start + BATCH]
                scored = self.engine.score(context, [tokens for _, tokens in group])
                self.ledger.add({key: [sum(each), len(each)] for (key, _), each in zip(group, scored, strict=True)})
                done += len(group)
                self.progress(done, len(asked))
        return [Likelihood(*self.ledger[key]) for key in keys]

    def greedy(self, asked: Sequence[str], stop: Sequence[str], max_tokens: int) -> list[str]:
        """Return how the model goes on after each text, the likeliest token each time, up to the first stop string.

        Raises:
            UserError: The model cannot sample.
        """
        keys = [digest("greedy", text, list(stop), max_tokens) for text in asked]
        waiting = list({key: text for key, text in zip(keys, asked, strict=True) if key not in self.ledger}.items())
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            prefixes = [self._kept(beginning(self.engine, self._newest(text)), max_tokens) for _, text in batch]
            samples = self.engine.sample(prefixes, key=0, max_tokens=max_tokens, temperature=0.0, stop=stop)
            self.ledger.add({key: drawn[0].text for (key, _), drawn in zip(batch, samples, strict=True)})
            self.progress(len(asked) - len(waiting) + start + len(batch), len(asked))
        return [self.ledger[key] for key in keys]

    def _cut_in_two(self, before: str, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the tokens of both texts, as those of the whole are: spaces belong to the word after them."""
        stem = before.rstrip(" ")
        text = before[len(stem) :] + text
        newest = self._newest(stem)
        if newest != stem:
            continuation = self.engine.encode(text, bos=False)
            return self._kept(beginning(self.engine, newest), len(continuation)), tuple(continuation)
        context = beginning(self.engine, stem)
        whole = beginning(self.engine, stem + text)
        if whole[: len(context)] == context and len(whole) > len(context):
            continuation = whole[len(context) :]
        else:  # the texts merge where they meet
            continuation = self.engine.encode(text, bos=False)
        return self._kept(context, len(continuation)), tuple(continuation)

    def _newest(self, text: str) -> str:
        """Return a text, or the end of it where it certainly has more tokens than the model reads."""
        encoder = getattr(self.engine, "encoder", None)
        return text if encoder is None else encoder.newest(text, self._limit)

    def _kept(self, context: Sequence[int], more: int) -> tuple[int, ...]:
        """Return the newest tokens of a context that leave room for `more`."""
        if self._limit is None or len(context) + more <= self._limit:
            return tuple(context)
        self.cut += 1
        return tuple(context[-max(1, self._limit - more) :])
