"""The samples of one batch while they are written, token by token: `LocalEngine.sample`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch

from momus.lm.constraint import Constraint, State
from momus.lm.engine import apply_choice
from momus.lm.local.sampling import draw, log_total
from momus.lm.stop import StopStrings
from momus.lm.tree import Tokens


@dataclass(frozen=True)
class SampleSettings:
    """How all rows of one call are written, and who is told of every token."""

    max_tokens: int
    temperature: float
    top_p: float
    ends: frozenset[int]
    stops: StopStrings
    vocabulary: int  # models may have logits for more tokens than their tokenizer knows
    watch: Callable[[Sequence[int]], None] | None = None


@dataclass
class Row:
    """One sample being written."""

    prefix: Tokens
    noise: npt.NDArray[np.float64]
    constraint: Constraint | None
    state: State = None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: bool = False
    stopped: tuple[str, str] | None = None  # the text before a stop string, and the stop string

    def restart(self) -> None:
        """Forget what was written."""
        self.tokens, self.logprobs, self.finished, self.stopped = [], [], False, None
        self.state = self.constraint.start() if self.constraint else None

    def choose(self, step: int, temperature: float) -> float:
        """Choose what the constraint asks for before the next token; returns the noise left for that."""
        self.state, left = apply_choice(self.constraint, self.state, float(self.noise[step]), temperature)
        return left

    def add(self, token: int, logprob: float, settings: SampleSettings) -> None:
        """Write one more token."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.finished = token in settings.ends
        if not self.finished:
            self.stopped = settings.stops.completed(self.tokens)
            self.finished = self.stopped is not None
        if self.constraint is not None and not self.finished:
            self.state = self.constraint.advance(self.state, token)
        if settings.watch is not None and not self.finished:
            settings.watch(self.tokens)


def batches(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """Cut rows into batches of at most `size`, those of like length and of the same prefix together."""
    batch: list[Row] = []
    for _, group in groupby(sorted(rows, key=lambda row: (-len(row.prefix), row.prefix)), key=lambda row: row.prefix):
        alike = list(group)
        if batch and len(batch) + len(alike) > size:
            yield batch
            batch = []
        batch += alike
        while len(batch) > size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch


def pick(
    logits: torch.Tensor, rows: Sequence[Row], step: int, settings: SampleSettings
) -> tuple[list[int], list[float]]:
    """Choose the next token of every row from float32 logits [R, V]; returns tokens and their log-probabilities.

    What may not come next is struck out in place: of the rest, and so of what is picked, the logits stay.
    """
    total = log_total(logits)
    left = [row.choose(step, settings.temperature) for row in rows]
    logits[:, settings.vocabulary :] = float("-inf")
    for i, row in enumerate(rows):
        if row.constraint is not None and (allowed := row.constraint.allowed(row.state)) is not None:
            index = torch.from_numpy(allowed.tokens).to(logits.device)
            if allowed.excluded:
                logits[i, index] = float("-inf")
            else:
                kept = logits[i, index]
                logits[i] = float("-inf")
                logits[i, index] = kept
    if settings.temperature == 0:
        picked = logits.argmax(-1)
    else:
        noise = torch.tensor(left, dtype=torch.float64, device=logits.device)
        scaled = logits if settings.temperature == 1 else logits / settings.temperature
        picked = draw(scaled.softmax(-1), noise, settings.top_p)
    logprobs = logits.gather(-1, picked[:, None])[:, 0] - total
    return picked.tolist(), logprobs.tolist()
