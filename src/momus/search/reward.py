"""A reward model as the reward of a search."""

from __future__ import annotations

from collections.abc import Sequence

from momus.lm.forward import score_trees
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree
from momus.search.result import Reward, Tokens


def reward_of(model: RewardModel) -> Reward:
    """Return the reward that reads a reward model at each critique's last token; what critiques share is read once."""

    def score(prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
        trees = [
            TokenTree.from_prefixes([prompt] * len(own), own) for prompt, own in zip(prompts, critiques, strict=True)
        ]
        return score_trees(model, trees)

    return score
