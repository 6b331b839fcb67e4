"""The machinery that searches for critiques share: tasks encoded for a critic, and critiques scored as candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from momus.lm.engine import Engine
from momus.lm.prompts import prompt_of
from momus.lm.tree import Tokens
from momus.records import Tamper, Task
from momus.search.form import FENCED, CritiqueForm
from momus.search.result import Candidate, EncodedTask, RewardFunction

if TYPE_CHECKING:
    from momus.lm.pointers.pointer import Pointer


def encode_tasks(engine: Engine, tasks: Sequence[Task | Tamper]) -> list[EncodedTask]:
    """Encode tasks for a critic.

    Args:
        engine: The critic.
        tasks: Questions with the answers to criticise; of a tamper the tampered answer.

    Returns:
        What `force_sampling_beam_search` and `best_of_n` search for critiques of, one per task.
    """
    return [EncodedTask(tuple(engine.encode(prompt_of(task), bos=True)), task.answer) for task in tasks]


def add_line_odds(tasks: Sequence[EncodedTask], pointer: Pointer | None) -> list[EncodedTask]:
    """Add to each task the odds that a critic's pointer gives its lines; without a pointer, change nothing."""
    if pointer is None or not tasks:
        return list(tasks)
    log_odds = pointer.line_log_odds([task.prompt for task in tasks], [task.answer for task in tasks])
    return [replace(task, line_log_odds=lines) for task, lines in zip(tasks, log_odds, strict=True)]


def zero_reward(prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
    """Score every critique 0: for searches that keep all candidates, or have only one."""
    return [[0.0] * len(of_prompt) for of_prompt in critiques]


class CandidateScorer:
    """Scores critiques of tasks: one call of the reward for all tasks, each distinct critique of a task once.

    Args:
        engine: Whose tokens the critiques are made of.
        reward: Scores them.
        tasks: What they criticise.
        form: How critiques are written.
    """

    def __init__(
        self, engine: Engine, reward: RewardFunction, tasks: Sequence[EncodedTask], form: CritiqueForm = FENCED
    ) -> None:
        self._engine, self._reward, self._tasks, self._form = engine, reward, tasks, form
        self._scores: list[dict[Tokens, float]] = [{} for _ in tasks]

    def __call__(self, critiques: Sequence[Sequence[Tokens]], round: int = 1) -> list[list[Candidate]]:
        """Return critiques, [task][critique], as candidates of a round, in the same order."""
        self._score_new(critiques)
        return [
            [self._candidate(task, tokens, scores[tokens], round) for tokens in of_task]
            for task, of_task, scores in zip(self._tasks, critiques, self._scores, strict=True)
        ]

    def _score_new(self, critiques: Sequence[Sequence[Tokens]]) -> None:
        """Ask the reward about the critiques that it has not scored yet."""
        new = [
            tuple(tokens for tokens in dict.fromkeys(of_task) if tokens not in scores)
            for of_task, scores in zip(critiques, self._scores, strict=True)
        ]
        if not (with_new := [i for i, of_task in enumerate(new) if of_task]):
            return
        rewards = self._reward([self._tasks[i].prompt for i in with_new], [new[i] for i in with_new])
        for i, of_task in zip(with_new, rewards, strict=True):
            self._scores[i].update(zip(new[i], map(float, of_task), strict=True))

    def _candidate(self, task: EncodedTask, tokens: Tokens, score: float, round: int) -> Candidate:
        text = self._engine.decode(tokens)
        return Candidate(text, tokens, score, self._form.read(text, task.answer), round)
