"""What asking models costs, printed on stderr: an estimate before, and what it took after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from momus.cli.shared.options import NO_CHAT, AskingOptions
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.critics.critic import Critic
    from momus.lm.chats.asking import Asking
    from momus.records import Task

_STDERR = Console(stderr=True)


def print_estimate(asking: Asking, critic: Critic, tasks: Callable[[], Sequence[Task]], limits: AskingOptions) -> None:
    """Say what a prompted critic may take for tasks, those aside that the cache answers.

    Raises:
        UserError: There are limits, and this critic is not prompted.
    """
    if not asking.asks:
        if limits.has_limits:
            raise UserError(NO_CHAT)
        return
    from momus.critics.critic import innermost
    from momus.critics.prompted import PromptedCritic
    from momus.review.cache import KeptCritic

    critic = critic.critic if isinstance(critic, KeptCritic) else critic
    writer = innermost(critic)
    if isinstance(writer, PromptedCritic):
        words = asking.describe_estimate(writer.questions(tasks()))
        _print(words + "; what its comments are checked with comes on top" if words and writer is not critic else words)


def print_fallen(critic: Critic) -> None:
    """Say how many comments fell, where a second opinion was asked for."""
    from momus.critics.critic import CriticAround

    if not isinstance(critic, CriticAround):
        return
    from momus.critics.refine import second_opinion_of

    if second := second_opinion_of(critic):
        _print(f"second opinion: {second.fallen} of {second.judged} comments fell and are left out")


def print_cost(*askings: Asking | None) -> None:
    """Say what was taken, where a model was asked."""
    for asking in askings:
        if asking is not None:
            _print(asking.describe_usage())


def _print(words: str) -> None:
    if words:
        _STDERR.print(words, style="dim", markup=False, highlight=False, soft_wrap=True)
