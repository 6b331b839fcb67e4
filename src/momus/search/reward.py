"""A reward model as the reward of a search."""

from __future__ import annotations

from collections.abc import Sequence

from momus.lm.forward import score_trees
from momus.lm.models import RewardModel
from momus.lm.tree import TokenTree
from momus.search.result import Reward, Tokens


def reward_of(model: RewardModel, branches: int = 6) -> Reward:
    """Return the reward that reads a reward model at each critique's last token.

    A tree holds at most `branches` critiques: on a CPU the attention mask is dense, so that the branches of a
    large tree would pay for each other.
    """

    def score(prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
        trees = [
            TokenTree.from_branches(prompt, own[start : start + branches])
            for prompt, own in zip(prompts, critiques, strict=True)
            for start in range(0, len(own), branches)
        ]
        scores = iter(score for tree in score_trees(model, trees) for score in tree)
        return [[next(scores) for _ in own] for own in critiques]

    return score
