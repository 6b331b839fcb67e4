"""The critic that ships with Momus: it looks for problems, then judges its own findings.

For every piece of code it writes some critiques with a quote forced, so that something is looked at; asks itself
of every comment whether it is right (A) or wrong (B); and keeps the comments it believes in, at most one a line.
The confidence asked for is the dial between "miss nothing" and "claim nothing false".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from momus.critique import Comment, Critique, lines_of, parse_critique
from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.prompts import RIGHT, WRONG, judge_suffix, prompt_of
from momus.records import Task
from momus.search.fsbs import FSBSConfig, search
from momus.search.result import Subject


@dataclass(frozen=True)
class ReviewConfig:
    """How hard to look and how sure to be."""

    confidence: float = 0.5
    """Keep comments that the critic believes to be right with at least this probability."""
    samples: int = 8
    """Critiques written of every piece of code."""
    max_tokens: int = 120
    context: int = 640
    """Most tokens of code; longer functions are read in windows."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise UserError(f"confidence {self.confidence}: must be between 0 and 1")


class SelfJudgingCritic:
    """A critic over any engine whose model can write critiques and judge claims."""

    def __init__(self, engine: Engine, config: ReviewConfig | None = None) -> None:
        self._engine, self._config = engine, config or ReviewConfig()

    def fits(self, task: Task) -> bool:
        """Whether the code and its question leave room for a critique."""
        return len(self._prompt(task)) <= self._config.context

    def critique(self, tasks: Sequence[Task]) -> list[Critique]:
        """Return one critique per task, its comments in the order of the code."""
        config = self._config
        subjects = [Subject(tuple(self._prompt(task)), task.answer) for task in tasks]
        results = search(
            self._engine,
            lambda prompts, critiques: [[0.0] * len(own) for own in critiques],
            subjects,
            FSBSConfig(n=config.samples, k=1, d=1, max_tokens=config.max_tokens),
            key=config.seed,
        )
        return [
            Critique(comments=tuple(self._believed(task, [c.text for c in result.candidates])))
            for task, result in zip(tasks, results, strict=True)
        ]

    def _believed(self, task: Task, texts: Sequence[str]) -> list[Comment]:
        """Return the comments judged right, the likeliest of each line."""
        found = dict.fromkeys(comment for text in texts for comment in parse_critique(text, task.answer).anchored)
        prompt = self._prompt(task)
        prefixes = [
            [*prompt, *self._engine.encode(judge_suffix(comment.highlight, comment.text), bos=False)]
            for comment in found
        ]
        beliefs = [choice.probability for choice in self._engine.choose(prefixes, (RIGHT, WRONG))]
        by_line: dict[int, tuple[float, Comment]] = {}
        for belief, comment in zip(beliefs, found, strict=True):
            assert comment.span is not None
            line = lines_of(comment.span, task.answer)[0]
            if belief >= self._config.confidence and belief > by_line.get(line, (-1.0, comment))[0]:
                by_line[line] = (belief, comment)
        return [by_line[line][1] for line in sorted(by_line)]

    def _prompt(self, task: Task) -> list[int]:
        return self._engine.encode(prompt_of(task), bos=True)


def shipped_critic(config: ReviewConfig | None = None) -> SelfJudgingCritic:
    """Load the shipped weights."""
    from momus.lm.local import LocalEngine
    from momus.lm.models import load_causal_lm, load_tokenizer
    from momus.lm.tiny import TINY

    return SelfJudgingCritic(LocalEngine(load_causal_lm(TINY), load_tokenizer(TINY)), config)
