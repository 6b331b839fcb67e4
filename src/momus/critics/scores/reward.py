"""What a reward model makes of a comment: how likely the critique of that one comment beats "no problems found".

A reward model is trained on comparisons of critiques; by its Bradley-Terry model the difference of two rewards is the
log-odds that the first is preferred. So the score asks it the one question a dial needs: better said than left out?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from momus.critics.scores.protocol import Opinion, Scored, sigmoid
from momus.critique import NO_PROBLEMS, Comment, Critique, format_critique, quotable
from momus.lm.codec import Codec
from momus.lm.prompts import prompt_of
from momus.records import Task
from momus.search.result import RewardFunction


class RewardScore:
    """Scores a comment by a reward model.

    Args:
        reward: The reward model.
        codec: The tokenizer whose tokens it is given.
        name: What identifies it; see `momus.search.reward.identify_reward`.
    """

    exact = False

    def __init__(self, reward: RewardFunction, codec: Codec, name: str) -> None:
        self._reward, self._codec, self._name = reward, codec, name

    def score(self, tasks: Sequence[Task], opinions: Sequence[Opinion]) -> list[Scored]:
        """Ask the reward model about every comment and about "no problems found"."""
        bos = self._codec.tokenizer.bos_token_id is not None
        numbers = [i for i, opinion in enumerate(opinions) if opinion.comments]
        rewards = self._reward(
            [tuple(self._codec.encode(prompt_of(tasks[i]), bos=bos)) for i in numbers],
            [
                [
                    self._encode(NO_PROBLEMS),
                    *(self._encode(as_trained(c, tasks[i].answer)) for c in opinions[i].comments),
                ]
                for i in numbers
            ],
        )
        scored = [Scored(()) for _ in opinions]
        for i, (nothing, *of_comments) in zip(numbers, rewards, strict=True):
            scored[i] = Scored(tuple(sigmoid(float(reward) - float(nothing)) for reward in of_comments))
        return scored

    def identity(self) -> Mapping[str, Any]:
        """Return the kind of score and what identifies the reward model."""
        return {"kind": "reward", "model": self._name}

    def _encode(self, critique: str) -> tuple[int, ...]:
        return (*self._codec.encode(critique, bos=False), int(self._codec.tokenizer.eos_token_id))


def as_trained(comment: Comment, answer: str) -> str:
    """Return the critique of one comment as reward models read them: its quote clear without a line number."""
    assert comment.span is not None
    quote = quotable(comment.span, answer)
    plain = Comment(highlight=answer[quote.start : quote.end], text=comment.text, span=quote)
    return format_critique(Critique(comments=(plain,)))
