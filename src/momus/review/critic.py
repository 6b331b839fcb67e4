"""The critic that ships with Momus: it reviews every piece of code several times and reports what recurs.

The share of reviews that quote a line is the confidence in there being a problem on it; the comment shown is the one
made most often. How much confidence is asked for is the dial between "miss nothing" and "claim nothing false".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from momus.critique import Comment, Critique, lines_of, parse_critique
from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.prompts import prompt_of
from momus.records import Task
from momus.search.best_of_n import best_of_n
from momus.search.result import Subject, no_reward


@dataclass(frozen=True)
class ReviewConfig:
    """How hard to look and how sure to be."""

    confidence: float = 0.5
    """Report lines that at least this share of the reviews quote."""
    samples: int = 16
    """Reviews of every piece of code."""
    max_tokens: int = 120
    """Length limit of one review."""
    context: int = 640
    """Most tokens of code and question; longer functions are read in windows."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise UserError(f"--confidence {self.confidence}: must be between 0 and 1")


class VotingCritic:
    """A critic over any engine whose model can write critiques."""

    def __init__(self, engine: Engine, config: ReviewConfig | None = None) -> None:
        self._engine, self._config = engine, config or ReviewConfig()

    def fits(self, task: Task) -> bool:
        """Whether the code and its question leave room for a critique."""
        return len(self._prompt(task)) <= self._config.context

    def critique(self, tasks: Sequence[Task]) -> list[Critique]:
        """Return one critique per task, its comments in the order of the code."""
        config = self._config
        results = best_of_n(
            self._engine,
            no_reward,
            [Subject(tuple(self._prompt(task)), task.answer) for task in tasks],
            config.samples,
            # Keyed by nothing but the seed, so that a function is reviewed alike whatever file it is in.
            key=[config.seed] * len(tasks),
            max_tokens=config.max_tokens,
        )
        return [
            recurring([parse_critique(c.text, task.answer) for c in result.candidates], task.answer, config.confidence)
            for task, result in zip(tasks, results, strict=True)
        ]

    def _prompt(self, task: Task) -> list[int]:
        return self._engine.encode(prompt_of(task), bos=True)


def recurring(critiques: Iterable[Critique], answer: str, confidence: float) -> Critique:
    """Merge several critiques of one answer into the comments that enough of them agree on.

    Args:
        critiques: All of the same answer.
        answer: The answer.
        confidence: The share of the critiques that must comment on a line, by its first quoted one, to keep it.

    Returns:
        One comment a line, the most frequent (of two as frequent, the first made), in the order of the code.
    """
    total = 0
    voters: Counter[int] = Counter()
    said: defaultdict[int, Counter[Comment]] = defaultdict(Counter)
    for critique in critiques:
        total += 1
        quoted: dict[int, Comment] = {}
        for comment in critique.anchored:
            assert comment.span is not None
            quoted.setdefault(lines_of(comment.span, answer)[0], comment)
        voters.update(quoted.keys())
        for line, comment in quoted.items():
            said[line][comment] += 1
    kept = sorted(line for line, votes in voters.items() if votes >= confidence * total)
    return Critique(comments=tuple(said[line].most_common(1)[0][0] for line in kept))


def shipped_critic(config: ReviewConfig | None = None) -> VotingCritic:
    """Load the shipped weights."""
    from momus.lm.local import LocalEngine
    from momus.lm.models import load_causal_lm, load_tokenizer
    from momus.lm.tiny import TINY

    return VotingCritic(LocalEngine(load_causal_lm(TINY), load_tokenizer(TINY)), config)
