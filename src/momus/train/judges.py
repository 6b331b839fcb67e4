"""What scores a policy's answers: a reward model, or a function of their text, such as what is known of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from momus.lm.forward import score_trees
from momus.lm.local.engine import LocalEngine
from momus.lm.models import RewardModel, fingerprint
from momus.lm.tree import TokenTree
from momus.runtime.sharding import gathered
from momus.stats.bootstrap import Interval, mean_interval
from momus.train.bases import Base, load_reward_for_policy
from momus.train.rollout import TokenIds, reward_scorer
from momus.train.texts import Tokens


class TextReward(Protocol):
    """Scores one answer by its text."""

    @property
    def identity(self) -> str:
        """All that decides the scores."""

    def __call__(self, prompt: Tokens, answer: str) -> float:
        """Return the score of an answer to a prompt, which is given in the policy's tokens."""


@dataclass(frozen=True)
class Judge:
    """What scores the answers of a policy.

    Attributes:
        base: The policy's model, by whose tokenizer answers are read.
        reward: A reward model, or a function of texts.
        token_budget: Tokens in one forward pass of a reward model.
    """

    base: Base
    reward: RewardModel | TextReward
    token_budget: int

    @classmethod
    def open(cls, reward: Path | TextReward, base: Base, token_budget: int) -> Judge:
        """Load a reward model, or take a function as it is.

        Raises:
            UserError: There is no such reward model, or it does not read what the policy writes.
        """
        return cls(base, load_reward_for_policy(reward, base) if isinstance(reward, Path) else reward, token_budget)

    @property
    def model(self) -> RewardModel | None:
        """The reward model, from which PPO's value network starts; None where there is none."""
        return self.reward if isinstance(self.reward, RewardModel) else None

    @property
    def identity(self) -> str:
        """All that decides the scores."""
        return fingerprint(self.reward) if isinstance(self.reward, RewardModel) else self.reward.identity

    def placed(self, place: Callable[[RewardModel], RewardModel]) -> Judge:
        """Return the same with its reward model, where it has one, put where it computes."""
        return replace(self, reward=place(self.reward)) if isinstance(self.reward, RewardModel) else self

    def score(self, prompts: Sequence[TokenIds], responses: Sequence[Sequence[TokenIds]]) -> npt.ArrayLike:
        """Return the scores of responses[prompt][rollout]; see `rollout.Scorer`."""
        if isinstance(self.reward, RewardModel):
            return reward_scorer(self.reward, self.token_budget)(prompts, responses)
        pairs = zip(prompts, responses, strict=True)
        text = self.base.chat.text
        return np.array([[self.reward(tuple(prompt), text(one)) for one in row] for prompt, row in pairs])

    def measure(self, policy: Any, prompts: Sequence[Tokens], max_answer: int, seed: int) -> Interval:
        """Sample one answer to each prompt, the same random numbers every time; return the mean score, its interval."""
        if not prompts:
            return Interval(float("nan"), float("nan"), float("nan"))
        with gathered(policy), gathered(self.model) if self.model else nullcontext():
            engine = LocalEngine(policy, self.base.chat.tokenizer, cache_bytes=0)
            key, ends = (seed, 1 << 20), sorted(self.base.ends)
            drawn = engine.sample(prompts, 1, key=key, max_tokens=max_answer, stop_tokens=ends)
            answers = [[sample.tokens for sample in samples] for samples in drawn]
            if self.model is None:
                return mean_interval(np.ravel(self.score(prompts, answers)))
            trees = [TokenTree.from_branches(*pair) for pair in zip(prompts, answers, strict=True)]
            return mean_interval([scores[0] for scores in score_trees(self.model, trees, self.token_budget)])
