"""A second opinion on every comment: one model argues against it, it is defended, and judged; what falls is dropped.

The second model attacks and judges; the critic's own defends, or the second one where the critic is no model that
chats. Whether that helps is measured, not believed: `momus calibrate` prints the dial with it and without.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from momus.critics.critic import Critic, CriticAround, narrowed
from momus.critics.prompted import prompt_digest
from momus.critics.scores.judged import JudgedConfig, NoProbabilitiesError, Verdicts, write_prompt
from momus.critics.vacuous import drop_vacuous
from momus.critique import Comment
from momus.lm.chats.protocol import Chat, Question
from momus.records import Task
from momus.search.result import SearchResult

_PROMPTS = ("attack", "defend", "verdict")

Prompts = Callable[..., str]

SILENT = "(nothing was said)"
"""What stands for an argument or a defence that was not given."""


@dataclass(frozen=True)
class SecondOpinionConfig:
    """How a comment is argued about."""

    max_tokens: int = 300
    """Longest argument."""
    least: float = 0.5
    """The probability of being right below which a comment falls."""


class SecondOpinionCritic(CriticAround):
    """Has a critic write, and drops the comments that do not stand.

    Args:
        critic: Who writes.
        second: Who argues against and judges.
        defender: Who defends; None for the second model.
        config: How.

    Attributes:
        judged: Comments that were judged.
        fallen: Those of them that fell.
    """

    def __init__(
        self, critic: Critic, second: Chat, defender: Chat | None = None, config: SecondOpinionConfig | None = None
    ) -> None:
        super().__init__(critic)
        self._second, self._defender = second, defender or second
        self._config = config or SecondOpinionConfig()
        self.judged = self.fallen = 0

    def narrowed(self, setting: float) -> SecondOpinionCritic:
        """Return the same critic for one setting of its dial: what its critic need not write is not argued about."""
        other = copy.copy(self)
        other.critic = narrowed(self.critic, setting)
        return other

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Return what the critic writes without the comments that fall; nothing where that could not be judged.

        Comments that are dropped anyway are not argued about.
        """
        written = self.critic.write(tasks)
        asked = [
            (i, comment)
            for i, (task, result) in enumerate(zip(tasks, written, strict=True))
            for comment in _comments(drop_vacuous(result, task.answer))
        ]
        stands: list[dict[Comment, float]] = [{} for _ in tasks]
        problems = [""] * len(tasks)
        for (i, comment), (value, problem) in zip(asked, self._judge(tasks, asked), strict=True):
            stands[i][comment] = value
            problems[i] = problems[i] or problem
        self.judged += len(asked)
        self.fallen += sum(value < self._config.least for values in stands for value in values.values())
        return [
            SearchResult((), problem) if problem else self._keep(result, values)
            for result, values, problem in zip(written, stands, problems, strict=True)
        ]

    def identity(self) -> Mapping[str, Any]:
        """Return what identifies the critic, the second model, and how it is asked."""
        return {
            "kind": "second opinion",
            "critic": dict(self.critic.identity()),
            "model": dict(self._second.identity()),
            "defends": dict(self._defender.identity()),
            "prompt": prompt_digest(*_PROMPTS),
            "max_tokens": self._config.max_tokens,
            "least": self._config.least,
        }

    def _judge(self, tasks: Sequence[Task], asked: Sequence[tuple[int, Comment]]) -> list[tuple[float, str]]:
        """Return of every comment how likely it is right after what is said against it and for it, and any problem."""
        prompts = [partial(_prompt_about, tasks[i], comment) for i, comment in asked]
        return argue(self._second, self._defender, prompts, self._config)

    def _keep(self, written: SearchResult, stands: Mapping[Comment, float]) -> SearchResult:
        least = self._config.least
        kept = [
            candidate.keep(lambda comment, _: stands.get(comment, 1.0) >= least) for candidate in written.candidates
        ]
        return replace(written, candidates=tuple(kept))


def argue(
    second: Chat, defender: Chat, prompts: Sequence[Prompts], config: SecondOpinionConfig
) -> list[tuple[float, str]]:
    """Have things that were said attacked, defended and judged.

    Args:
        second: Who argues against and judges.
        defender: Who defends.
        prompts: For each, what returns the prompt "attack", "defend" or "verdict", given the attack and the defence.
        config: How.

    Returns:
        Of each how likely it is right, and the problem where that could not be judged.
    """
    attacks = _speak(second, [write("attack") for write in prompts], config)
    defences = _speak(
        defender, [write("defend", attack=a) for write, (a, _) in zip(prompts, attacks, strict=True)], config
    )
    questions = [
        write("verdict", attack=attack, defence=defence)
        for write, (attack, _), (defence, _) in zip(prompts, attacks, defences, strict=True)
    ]
    try:
        verdicts = Verdicts(second).ask(questions)
    except NoProbabilitiesError:
        verdicts = Verdicts(second, JudgedConfig(samples=1, temperature=0.0)).ask(questions)
    return [
        (value, attack or defence or problem)
        for (_, attack), (_, defence), (value, problem) in zip(attacks, defences, verdicts, strict=True)
    ]


def _speak(chat: Chat, prompts: Sequence[str], config: SecondOpinionConfig) -> list[tuple[str, str]]:
    """Return what a model says to each prompt, and why it could not be asked where it could not."""
    answers = chat.answer([Question.of(prompt, config.max_tokens) for prompt in prompts]) if prompts else []
    return [(answer.whole.strip() or SILENT, answer.problem if answer.refused else "") for answer in answers]


def _prompt_about(task: Task, comment: Comment, name: str, **slots: str) -> str:
    return write_prompt(name, task, comment, **slots)


def _comments(written: SearchResult) -> list[Comment]:
    """Return the different comments that have a place, in the order they were made."""
    return list(dict.fromkeys(c for candidate in written.candidates for c in candidate.critique.anchored))
