"""The critic of a review: opened at its setting, and what it wrote about the same code before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from momus.cli.review.options import DialOptions
    from momus.cli.shared.options import ReviewerOptions
    from momus.critics.critic import Critic
    from momus.lm.chats.asking import Asking
    from momus.review.cache import Kept


def open_reviewer(
    critic: ReviewerOptions,
    dial: DialOptions,
    asking: Asking,
    kept: Kept | None,
    changes: bool = False,
    alone: bool = False,
) -> tuple[Critic, float, str]:
    """Open a critic at its setting; a trained one only when it has to read something that is not kept.

    With `changes` a change is reviewed, for which the dial may be set by what was measured on changes. With `alone` the
    critic is given code and nothing else, and asked nothing afterwards: then one with a pointer is opened as late.

    Returns:
        The critic, the setting of its dial, and what that promises.
    """

    def open_now() -> tuple[Critic, float, str]:
        """Open the critic as the options say."""
        from momus.critics import open as opening

        return opening.open_at_setting(
            critic.model,
            critic.source(),
            dial.confidence,
            dial.false_alarms,
            dial.calibration,
            changes=changes,
            url=critic.url,
            kind=critic.kind,
            prompted=critic.prompted(),
            device=critic.device,
            precision=critic.precision,
            asking=asking,
            refined=critic.refined(),
            pointer=critic.pointer,
            small=critic.critic == "small",
        )

    files = _files(critic, dial)
    if kept is None or files is None:
        return open_now()
    from momus.review.opened_later import open_later

    return open_later(open_now, repr((critic, dial, changes)), files, kept, pointed=alone)


def _files(critic: ReviewerOptions, dial: DialOptions) -> list[Path] | None:
    """Return the files that decide what a critic is; None where it is not one of this machine alone."""
    from momus.critics.critic import SHIPPED
    from momus.lm.local.adapter_base import base_path
    from momus.lm.pointers import LINE_POINTER_FILE, SHIPPED_POINTERS
    from momus.lm.tiny import TINY

    model = Path(critic.model) if critic.model else TINY
    if critic.url or critic.reward_url or critic.score or critic.second_opinion or not model.exists():
        return None
    base = Path(base_path(model))
    if not base.exists():
        return None
    beside = [path.with_name(LINE_POINTER_FILE) for path in (model, base) if path.is_file()]
    pointer = Path(critic.pointer) if critic.pointer and critic.pointer != "none" else model
    read = [model, base, dial.calibration or SHIPPED, *filter(None, (critic.reward, critic.rules))]
    return list(dict.fromkeys((*read, *beside, pointer, pointer / "pointer", SHIPPED_POINTERS)))
