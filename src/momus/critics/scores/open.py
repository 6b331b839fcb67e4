"""Open a score by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from momus.critics.scores.judged import JudgedConfig, JudgedScore
from momus.critics.scores.protocol import CommentScore
from momus.critics.scores.share import SampleShare
from momus.errors import UserError
from momus.lm.chats.asking import Asking
from momus.lm.chats.local import LocalChat
from momus.lm.chats.open import open_chat
from momus.lm.chats.protocol import Chat, ChatAround
from momus.lm.local.adapter_base import is_adapter
from momus.search.result import RewardSource

ScoreKind = Literal["samples", "probability", "answers", "pointer", "reward"]

ANSWERS = 4
"""Answers in each order of which the share counts."""


@dataclass(frozen=True)
class ScoreSource:
    """Which score, and of which model.

    Attributes:
        kind: The share of samples that make a comment; the probability that a model gives it of being right; the
            share of that model's answers that say so; what its pointer and the code that it finds likely say; or a
            reward model.
        model: The model that is asked, its folder, GGUF file or name; None for the critic's own.
        url: The server that has it.
        reward: The reward model.

    Raises:
        UserError: These do not go together.
    """

    kind: ScoreKind
    model: str | None = None
    url: str | None = None
    reward: RewardSource = field(default_factory=RewardSource)

    def __post_init__(self) -> None:
        asks = self.kind in ("probability", "answers", "pointer")
        if (self.model or self.url) and not asks:
            raise UserError(f"--score-model and --score-url are of no use: --score {self.kind} asks no model")
        if self.kind == "pointer" and self.url:
            raise UserError("--score pointer reads the states of a model in this process: a server does not give them")
        if bool(self.reward) != (self.kind == "reward"):
            needs = (
                "needs a reward model: --reward or --reward-url" if self.kind == "reward" else "uses no reward model"
            )
            raise UserError(f"--score {self.kind} {needs}")


def open_score(
    source: ScoreSource,
    chat: Chat | None = None,
    asking: Asking | None = None,
    *,
    pointer: Path | None = None,
    device: str | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
) -> CommentScore:
    """Open a score.

    Args:
        source: Which.
        chat: The critic's own, where it has one.
        asking: What is put around another model's chat.
        pointer: The file of the critic's own pointer, where it has one.
        device: Where another model of this process runs; by default on a GPU if there is one.
        precision: What it is held and computed in; by default what is faster and loses nothing.

    Raises:
        UserError: The model is missing, cannot be loaded or not be reached.
    """
    if source.kind == "samples":
        return SampleShare()
    if source.kind == "reward":
        return _open_reward(source.reward)
    if source.model or source.url:
        chat = open_chat(source.model, source.url, device=device, precision=precision)
        chat = asking.around(chat) if asking and source.kind != "pointer" else chat
    if source.kind == "pointer":
        return _open_pointed(chat, None if source.model else pointer)
    if chat is None:
        raise UserError(f"--score {source.kind} asks a model that chats: name one with --score-model or --score-url")
    return JudgedScore(chat, JudgedConfig(samples=ANSWERS if source.kind == "answers" else 0))


def _open_pointed(chat: Chat | None, pointer: Path | None) -> CommentScore:
    from momus.critics.pointed import find_pointer
    from momus.critics.scores.pointed import PointedScore

    while isinstance(chat, ChatAround):
        chat = chat.inner
    if not isinstance(chat, LocalChat):
        raise UserError("--score pointer needs a model in this process that has a pointer: name one with --score-model")
    pointer = pointer or find_pointer(chat.name, None, None if is_adapter(chat.name) else chat.tokenizer)
    if pointer is None:
        raise UserError(f"{chat.name} has no pointer: momus train pointer --model {chat.name} makes one")
    return PointedScore(chat, pointer)


def _open_reward(source: RewardSource) -> CommentScore:
    from momus.critics.scores.reward import RewardScore
    from momus.lm.codec import Codec, read_tokenizer
    from momus.search.reward import identify_reward, load_reward_function

    name = source.folder if source.folder is not None else source.tokenizer
    if name is None:
        raise UserError("--score reward with --reward-url needs --reward-tokenizer, that model's tokenizer")
    codec = Codec(read_tokenizer(name))
    reward = load_reward_function(source, codec)
    assert reward is not None
    return RewardScore(reward, codec, identify_reward(source, reward))
