"""A reward model as the reward of a search: in this process, or on a server."""

from __future__ import annotations

from collections.abc import Sequence

from momus.lm.codec import Codec, read_tokenizer
from momus.lm.engine import SearchEngine
from momus.lm.forward import score_trees
from momus.lm.models import RewardModel, contents
from momus.lm.pointer_reward import PointerRewardModel, load_reward
from momus.lm.tree import TokenTree
from momus.search.result import Reward, RewardSource, Tokens


def reward_of(model: RewardModel) -> Reward:
    """Return the reward that reads a reward model at each critique's last token; what critiques share is read once."""

    def score(prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
        trees = [
            TokenTree.from_prefixes([prompt] * len(own), own) for prompt, own in zip(prompts, critiques, strict=True)
        ]
        return score_trees(model, trees)

    return score


def find_reward(source: RewardSource, critic: SearchEngine | Codec) -> Reward | None:
    """Load a reward model, or find it on its server; None where there is none.

    Args:
        source: Where it is.
        critic: Whose tokens prompts and critiques are made of.

    Raises:
        UserError: There is no reward model, or none that can be used.
    """
    if source.folder is not None:
        model = load_reward(source.folder)
        if isinstance(model, PointerRewardModel):
            model.check_tokens(critic.tokenizer)
        return reward_of(model)
    if source.url is None:
        return None
    from momus.search.reward_server import RemoteReward

    return RemoteReward(source.url, critic, None if source.tokenizer is None else read_tokenizer(source.tokenizer))


def reward_name(source: RewardSource, found: Reward | None) -> str:
    """Return what names a reward model: its files' SHA-256, or, on a server, its name there, where and how it scores.

    Args:
        source: Where it is.
        found: What `find_reward` found there; not needed for a directory.

    Raises:
        UserError: There is no model in the directory.
    """
    return contents(source.folder) if source.folder is not None else str(getattr(found, "name", ""))
