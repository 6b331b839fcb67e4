"""Which examples a step learns from: prompts of a batch, the order of an epoch, pretraining texts to mix in.

Every draw depends only on its key (seed and iteration, epoch or step), so a run continues the same after a kill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from momus.lm.tree import IntArray


def prompt_indices(available: int, size: int, key: tuple[int, int]) -> list[int]:
    """Return which prompts a batch holds: shuffled passes over all of them, end to end, cut to `size`.

    Args:
        available: Number of prompts.
        size: Prompts in a batch.
        key: Seed and iteration.
    """
    seed, iteration = key
    places = range(iteration * size, (iteration + 1) * size)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(available)
        for epoch in {place // available for place in places}
    }
    return [int(orders[place // available][place % available]) for place in places]


@dataclass(frozen=True)
class Epochs:
    """Passes over examples in batches; the last batch of each may be smaller.

    Attributes:
        examples: Examples in an epoch.
        per_batch: Examples in a batch.
        count: Number of epochs.
    """

    examples: int
    per_batch: int
    count: int

    @property
    def steps_each(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self.examples / self.per_batch)

    @property
    def steps(self) -> int:
        """Batches in all epochs."""
        return self.count * self.steps_each

    def batches(self, order: Callable[[int], IntArray], start: int = 0) -> Iterator[tuple[int, int, IntArray]]:
        """Yield (step, epoch, indices) of every batch from step `start` on; ``order(epoch)`` is an epoch's order."""
        indices = np.empty(0, np.int64)
        for step in range(start, self.steps):
            epoch, batch = divmod(step, self.steps_each)
            if batch == 0 or step == start:
                indices = order(epoch)
            yield step, epoch, indices[batch * self.per_batch : (batch + 1) * self.per_batch]

    def ends_at(self, step: int) -> bool:
        """Return whether a step is the last of its epoch."""
        return (step + 1) % self.steps_each == 0


def by_task(tasks: Sequence[str], limit: int | None) -> list[tuple[IntArray, int]]:
    """Return the indices of each task's examples, and how many of them an epoch uses: all, or at most `limit`."""
    indices: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        indices.setdefault(task, []).append(index)
    return [(np.array(task, np.int64), min(len(task), limit or len(task))) for task in indices.values()]


def epoch_order(
    prompts: Sequence[tuple[int, ...]], tasks: Sequence[tuple[IntArray, int]], key: tuple[int, int]
) -> IntArray:
    """Draw one epoch's examples and order them, examples of one prompt next to each other: int64 [n].

    Prompts are shuffled, and so are the examples of each. From a task that has more examples than an epoch uses,
    successive epochs draw successive parts of shuffled passes over all of them.

    Args:
        prompts: The prompt of each example.
        tasks: See `by_task`.
        key: Seed and epoch.
    """
    drawn = np.concatenate(
        [
            indices if size == len(indices) else indices[prompt_indices(len(indices), size, key)]
            for indices, size in tasks
        ]
    )
    groups: dict[tuple[int, ...], list[int]] = {}
    for index in np.random.default_rng(key).permutation(np.sort(drawn)):
        groups.setdefault(prompts[index], []).append(int(index))
    return np.array([index for group in groups.values() for index in group], np.int64)


def draw_texts(texts: Sequence[Sequence[int]], count: int, key: Sequence[int]) -> list[Sequence[int]]:
    """Draw `count` pretraining texts with replacement."""
    drawn = np.random.default_rng((*key, 1)).integers(len(texts), size=count)
    return [texts[i] for i in drawn]


def draw_texts_by_share(
    texts: Sequence[Sequence[int]], answer_tokens: int, share: float, key: tuple[int, int]
) -> list[Sequence[int]]:
    """Draw pretraining texts until their predicted tokens are `share` of a batch's; the last text is cut to fit.

    Args:
        texts: Tokenised texts of at least two tokens; the first token of each is not predicted.
        answer_tokens: Answer tokens of the batch.
        share: Share of all predicted tokens, below 1.
        key: Seed and step.
    """
    rng = np.random.default_rng((*key, 1))
    rows: list[Sequence[int]] = []
    left = round(answer_tokens * share / (1 - share))
    while left > 0:
        rows.append(texts[int(rng.integers(len(texts)))][: left + 1])
        left -= len(rows[-1]) - 1
    return rows
