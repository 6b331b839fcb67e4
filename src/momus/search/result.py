"""What searches for critiques share: encoded tasks, rewards, candidates and results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from momus.critique import Comment, Critique
from momus.errors import UserError

Tokens = tuple[int, ...]
"""That of `lm/tree.py`, which imports NumPy: kept reviews are read without it, and pydantic needs the name."""


class RewardFunction(Protocol):
    """Scores critiques of many prompts at once; higher is better."""

    def __call__(self, prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> Sequence[Sequence[float]]:
        """Return a score for each critique: result[prompt][critique].

        Args:
            prompts: Tokens of each prompt.
            critiques: Tokens of the critiques of each prompt, with the end-of-text token if one was written.
        """


@dataclass(frozen=True)
class RewardSource:
    """Where a reward model is, if anywhere.

    Attributes:
        folder: Its directory.
        url: The base URL of a server with one (`reward_server.py`).
        tokenizer: Directory or name of that one's tokenizer; None where it reads the critic's tokens.

    Raises:
        UserError: These do not go together.
    """

    folder: Path | None = None
    url: str | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and self.url is not None:
            raise UserError("--reward is a reward model's directory and --reward-url one on a server: give one of them")
        if self.tokenizer is not None and self.url is None:
            raise UserError("--reward-tokenizer is for a reward model on a server: give --reward-url with it")

    def __bool__(self) -> bool:
        return self.folder is not None or self.url is not None


@dataclass(frozen=True)
class EncodedTask:
    """An answer to critique, as a critic reads it.

    Attributes:
        prompt: The tokens that a critique continues.
        answer: The text that a critique may quote.
        line_log_odds: For every line of the answer the logarithm of the odds of quoting it, where the critic has a
            pointer; None leaves the choice of lines to the critic.
    """

    prompt: Tokens
    answer: str
    line_log_odds: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Candidate:
    """One complete critique.

    Attributes:
        text: The critique as written.
        tokens: What the reward scored, with the end-of-text token if one was written.
        score: The reward.
        critique: The critique as read, each comment at the line that it is about.
        round: The round of the search that sampled it, 1 for the first.
        scores: How far each of its comments can be believed, from 0 to 1 (`momus.critics.scores`); () where unasked.
    """

    text: str
    tokens: Tokens
    score: float
    critique: Critique
    round: int = 1
    scores: tuple[float, ...] = ()

    @property
    def highlights(self) -> int:
        """The number of its comments."""
        return len(self.critique.comments)

    def keep(self, wanted: Callable[[Comment, float], bool]) -> Candidate:
        """Return it with those of its comments that are wanted, given each one's score; 1 where there are none."""
        scores = self.scores or (1.0,) * self.highlights
        kept = [pair for pair in zip(self.critique.comments, scores, strict=True) if wanted(*pair)]
        critique = self.critique.model_copy(update={"comments": tuple(comment for comment, _ in kept)})
        return replace(self, critique=critique, scores=tuple(score for _, score in kept) if self.scores else ())


@dataclass(frozen=True)
class SearchResult:
    """All candidates of one search, in the order they were sampled; where some are missing, `problem` says why."""

    candidates: tuple[Candidate, ...]
    problem: str = ""
