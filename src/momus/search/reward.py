"""A reward model as the reward of a search: in this process, or on a server."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from momus.lm.codec import Codec, read_tokenizer
from momus.lm.engine import SearchEngine
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel, model_digest
from momus.lm.pointers.reward import PointerRewardModel, load_reward
from momus.lm.tree import Tokens, TokenTree
from momus.search.result import RewardFunction, RewardSource


def reward_function(model: RewardModel) -> RewardFunction:
    """Return the function that scores critiques with a reward model, read at each critique's last token.

    What critiques of one prompt share is computed once.
    """

    def score(prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
        trees = [
            TokenTree.from_prefixes([prompt] * len(of_prompt), of_prompt)
            for prompt, of_prompt in zip(prompts, critiques, strict=True)
        ]
        return score_trees(model, trees)

    return score


def load_reward_function(
    source: RewardSource,
    critic: SearchEngine | Codec,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> RewardFunction | None:
    """Load a reward model, or connect to the server that has it; None where the source is empty.

    Args:
        source: Where it is.
        critic: Whose tokens prompts and critiques are made of.
        device: Where a reward model of this process runs; None leaves it on the CPU.
        dtype: What it is held and computed in; None leaves it as its files have it.

    Raises:
        UserError: There is no reward model, or none that can be used.
    """
    if source.folder is not None:
        model = load_reward(source.folder)
        if isinstance(model, PointerRewardModel):
            model.check_tokens(critic.tokenizer)
        return reward_function(model.to(device=device, dtype=dtype))
    if source.url is None:
        return None
    from momus.search.reward_server import RemoteReward

    return RemoteReward(source.url, critic, None if source.tokenizer is None else read_tokenizer(source.tokenizer))


def identify_reward(source: RewardSource, reward: RewardFunction | None) -> str:
    """Return what identifies a reward model: its files' SHA-256; on a server its name, address and scoring path.

    Args:
        source: Where it is.
        reward: What `load_reward_function` returned; not needed for a directory.

    Raises:
        UserError: There is no model in the directory.
    """
    return model_digest(source.folder) if source.folder is not None else str(getattr(reward, "name", ""))
