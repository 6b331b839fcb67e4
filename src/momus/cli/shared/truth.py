"""`--reward truth`: a critic in training is judged by what is known of its answers' bugs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    from momus.lm.chat import ChatFormat
    from momus.train.judges import TextReward
    from momus.train.texts import DataSource

RewardT = TypeVar("RewardT", Path, "Path | None")


def judged_by(
    reward: Literal["truth"] | RewardT, files: Sequence[str], chat: ChatFormat
) -> tuple[Sequence[DataSource], TextReward | RewardT]:
    """Return the data of a step and its reward; for the truth, demonstrations made of answers with known bugs.

    Raises:
        UserError: The truth is asked for, and a file holds something else than answers with known bugs.
    """
    if reward != "truth":
        return files, reward
    from momus.raters.truth import truth_about
    from momus.records import Tamper, read_jsonl

    return truth_about([tamper for file in files for tamper in read_jsonl(Path(file), Tamper)], chat.prompt)
