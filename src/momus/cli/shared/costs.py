"""What asking models costs, told on stderr: an estimate before, and what it took after."""

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


def tell_estimate(asking: Asking, critic: Critic, tasks: Callable[[], Sequence[Task]], limits: AskingOptions) -> None:
    """Say what a prompted critic may take for tasks, those aside that the cache answers.

    Raises:
        UserError: There are limits, and this critic is not prompted.
    """
    from momus.critics.prompted import PromptedCritic

    if isinstance(critic, PromptedCritic):
        _tell(asking.told_before(critic.questions(tasks())))
    elif limits.has_limits:
        raise UserError(NO_CHAT)


def tell_cost(*askings: Asking | None) -> None:
    """Say what was taken, where a model was asked."""
    for asking in askings:
        if asking is not None:
            _tell(asking.told_after())


def _tell(words: str) -> None:
    if words:
        _STDERR.print(words, style="dim", markup=False, highlight=False, soft_wrap=True)
