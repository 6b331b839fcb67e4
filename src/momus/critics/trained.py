"""Critics that were trained: one samples several critiques and reports what recurs, and one searches.

The first one's dial is the confidence: the share of its critiques that must comment on a line. The second is Force
Sampling Beam Search with a reward model, and its dial the length modifier (CriticGPT, arXiv 2407.00215, appendix 7.1),
with one difference: the search forces a highlight, so that it always finds something, and here "no problems found"
competes too, with the score that the reward model gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from momus.critics.critic import AgreementDial, LengthDial
from momus.critique import NO_PROBLEMS, Critique
from momus.lm.engine import Engine
from momus.lm.prompts import prompt_of
from momus.lm.text.encode import TooLongError
from momus.records import Task
from momus.search.best_of_n import best_of_n
from momus.search.candidates import add_line_odds, encode_tasks, zero_reward
from momus.search.fsbs import FSBSConfig, force_sampling_beam_search
from momus.search.result import Candidate, RewardFunction, SearchResult

if TYPE_CHECKING:
    from momus.lm.pointers.pointer import Pointer


@dataclass(frozen=True)
class VotingConfig:
    """How hard the voting critic looks."""

    samples: int = 16
    """Critiques of every piece of code."""
    max_tokens: int = 120
    """Length limit of one critique."""
    context: int = 640
    """Most tokens of code and question; longer functions are read in windows."""
    seed: int = 0


@dataclass(frozen=True)
class SearchConfig:
    """How hard the searching critic looks."""

    fsbs: FSBSConfig = field(default_factory=lambda: FSBSConfig(max_tokens=120))
    context: int = 512
    """Most tokens of code and question; longer functions are read in windows."""
    seed: int = 0


class VotingCritic:
    """Samples several critiques over any engine whose model can write them.

    Args:
        engine: The critic.
        weights: What names the model: the SHA-256 of its files.
        config: How hard to look.
        pointer: What chooses the lines to quote, where the critic has it.
    """

    dial = AgreementDial()
    languages = ("Python",)

    def __init__(
        self, engine: Engine, weights: str, config: VotingConfig | None = None, pointer: Pointer | None = None
    ) -> None:
        self._engine, self._weights, self._config = engine, weights, config or VotingConfig()
        self._pointer = pointer

    def fits(self, task: Task) -> bool:
        """Return whether the code and its question leave room for a critique."""
        return _fits(self._engine, task, self._config.context)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Sample critiques of every task."""
        return best_of_n(
            self._engine,
            zero_reward,
            add_line_odds(encode_tasks(self._engine, tasks), self._pointer),
            self._config.samples,
            # Keyed by nothing but the seed, so that a function is reviewed alike whatever file it is in.
            key=[self._config.seed] * len(tasks),
            max_tokens=self._config.max_tokens,
        )

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of critic, its weights and its settings."""
        return {"kind": "voting", "model": self._weights, "settings": asdict(self._config)}


class SearchCritic:
    """Searches by Force Sampling Beam Search.

    Args:
        engine: The critic.
        reward: What the search goes by.
        end: The end-of-text token, with which "no problems found" is scored.
        weights: What names the model and the reward model: the SHA-256 of their files.
        config: How hard to look.
        pointer: What chooses the lines to quote, where the critic has it.
    """

    dial = LengthDial()
    languages = ("Python",)

    def __init__(
        self,
        engine: Engine,
        reward: RewardFunction,
        end: int,
        weights: Mapping[str, str],
        config: SearchConfig | None = None,
        pointer: Pointer | None = None,
    ) -> None:
        self._engine, self._reward, self._end, self._weights = engine, reward, end, dict(weights)
        self._config, self._pointer = config or SearchConfig(), pointer

    def fits(self, task: Task) -> bool:
        """Return whether the code and its question leave room for a critique."""
        return _fits(self._engine, task, self._config.context)

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Search critiques of every task, and score "no problems found" beside them."""
        encoded = add_line_odds(encode_tasks(self._engine, tasks), self._pointer)
        # Keyed by nothing but the seed, as above.
        results = force_sampling_beam_search(
            self._engine, self._reward, encoded, self._config.fsbs, key=[self._config.seed] * len(tasks)
        )
        nothing = (*self._engine.encode(NO_PROBLEMS, bos=False), self._end)
        scores = self._reward([task.prompt for task in encoded], [[nothing]] * len(encoded))
        return [
            SearchResult((Candidate(NO_PROBLEMS, nothing, float(score), Critique()), *result.candidates))
            for result, (score,) in zip(results, scores, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of critic, its weights and its settings."""
        return {"kind": "search", **self._weights, "settings": asdict(self._config)}


def _fits(engine: Engine, task: Task, context: int) -> bool:
    try:
        return len(engine.encode(prompt_of(task), bos=True)) <= context
    except TooLongError:
        return False
