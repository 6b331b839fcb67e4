"""What comes after a critic wrote: a second opinion drops comments, and a score decides which the dial keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from momus.critics.critic import Critic, CriticAround, Dial, LengthDial, innermost
from momus.critics.prompted import PromptedCritic
from momus.critics.scores.critic import ScoredCritic
from momus.critics.scores.open import ScoreSource, open_score
from momus.critics.second_opinion import SecondOpinionCritic
from momus.lm.chats.asking import Asking
from momus.lm.chats.open import open_chat
from momus.lm.chats.protocol import Chat
from momus.records import Task
from momus.search.result import SearchResult


@dataclass(frozen=True)
class Refinement:
    """What comes after a critic wrote.

    Attributes:
        score: What scores its comments; None leaves it to the critic's own dial.
        second: The model that gives a second opinion, its folder, GGUF file or name.
        second_url: The server that has it. Neither asks for no second opinion.
        device: Where models of this process run that are asked after the critic; by default on a GPU if there is one.
        precision: What they are held and computed in; by default what is faster and loses nothing.
    """

    score: ScoreSource | None = None
    second: str | None = None
    second_url: str | None = None
    device: str | None = None
    precision: Literal["fp32", "bf16"] | None = None

    def __bool__(self) -> bool:
        return self.score is not None or self.second is not None or self.second_url is not None


def refine(critic: Critic, refinement: Refinement, asking: Asking | None = None) -> Critic:
    """Put what comes after it around a critic; see `contenders`."""
    return contenders(critic, refinement, asking)[-1]


class Refiner:
    """What comes after a critic wrote, its models opened: a second opinion, and a score.

    Args:
        refinement: Which.
        chat: The critic's own, where it has one.
        asking: What is put around the chats with other models.
        pointer: The file of the critic's own pointer, where it has one.

    Raises:
        UserError: A model is missing, cannot be loaded or not be reached.

    Attributes:
        has_second: Whether there is a second opinion.
        score: What scores the comments; None leaves it to the critic's own dial.
    """

    def __init__(
        self,
        refinement: Refinement,
        chat: Chat | None = None,
        asking: Asking | None = None,
        pointer: Path | None = None,
    ) -> None:
        where: Any = {"device": refinement.device, "precision": refinement.precision}
        self.has_second = bool(refinement.second or refinement.second_url)
        self._own, self._second = chat, chat
        if self.has_second:
            second = open_chat(refinement.second, refinement.second_url, **where)
            self._second = asking.around(second) if asking else second
        self.score = open_score(refinement.score, chat, asking, pointer=pointer, **where) if refinement.score else None

    def around(self, critic: Critic) -> Critic:
        """Return a critic with all that comes after it."""
        return self.scored(self.opposed(critic))

    def identity(self) -> Mapping[str, Any]:
        """Return all that decides what comes after a critic."""
        return self.around(GivenCritiques(())).identity()

    def opposed(self, critic: Critic) -> Critic:
        """Return a critic with the second opinion alone."""
        if not self.has_second:
            return critic
        assert self._second is not None
        return SecondOpinionCritic(critic, self._second, self._own)

    def scored(self, critic: Critic) -> Critic:
        """Return a critic with the score alone."""
        return critic if self.score is None else ScoredCritic(critic, self.score)


def contenders(critic: Critic, refinement: Refinement, asking: Asking | None = None) -> list[Critic]:
    """Return a critic with all that comes after it, and, where that has a second opinion, first the same without it.

    Args:
        critic: Who writes; about the same task only once.
        refinement: What comes after.
        asking: What is put around the chats with other models.

    Raises:
        UserError: A model is missing, cannot be loaded or not be reached.
    """
    writer = innermost(critic)
    chat = writer.chat if isinstance(writer, PromptedCritic) else None
    refiner = Refiner(refinement, chat, asking, getattr(writer, "pointer", None))
    if not refiner.has_second:
        return [refiner.around(critic)]
    critic = RememberingCritic(critic)
    return [refiner.scored(critic), refiner.around(critic)]


class RememberingCritic(CriticAround):
    """A critic that writes about the same task only once, so that it can be measured in several ways."""

    def __init__(self, critic: Critic) -> None:
        super().__init__(critic)
        self._known: dict[tuple[str, str], SearchResult] = {}

    def write(self, tasks: Sequence[Task]) -> list[SearchResult]:
        """Return what the critic wrote about tasks, asking it about those that are new."""
        new = {(task.question, task.answer): task for task in tasks}
        waiting = [key for key in new if key not in self._known]
        self._known |= zip(waiting, self.critic.write([new[key] for key in waiting]) if waiting else (), strict=True)
        return [self._known[task.question, task.answer] for task in tasks]

    def identity(self) -> Mapping[str, Any]:
        """Return what identifies the critic."""
        return self.critic.identity()


class GivenCritiques:
    """Stands for a critic that has written already, about tasks that are given in the same order."""

    def __init__(self, written: Sequence[SearchResult]) -> None:
        self._written = written

    @property
    def dial(self) -> Dial:
        """One that takes what was written."""
        return LengthDial()

    def fits(self, task: Task) -> bool:
        """Return whether the critic could read a task: it has."""
        return True

    def write(self, tasks: Sequence[Task]) -> Sequence[SearchResult]:
        """Return what was written."""
        return self._written

    def identity(self) -> Mapping[str, Any]:
        """Return the kind; who wrote is known elsewhere."""
        return {"kind": "given"}


def second_opinion_of(critic: Critic) -> SecondOpinionCritic | None:
    """Return the second opinion that is around a critic, if any."""
    while isinstance(critic, ScoredCritic | RememberingCritic):
        critic = critic.critic
    return critic if isinstance(critic, SecondOpinionCritic) else None
