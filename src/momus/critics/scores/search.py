"""A score of comments as the reward of a search: Force Sampling Beam Search and best of n run over any score.

The reward of a critique is the sum of its comments' log-odds of being right. So the length modifier, which adds the
same for every highlight (CriticGPT, arXiv 2407.00215, appendix 7.1), is the threshold on the log-odds of each comment,
and "no problems found" is worth 0. A comment that says nothing (`critics/vacuous.py`) counts as one that is surely
wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from momus.critics.scores.protocol import CommentScore, Opinion, log_odds
from momus.critics.scores.share import each_by_itself, gather
from momus.critics.vacuous import is_vacuous
from momus.critique import Critique
from momus.errors import UserError
from momus.lm.engine import Engine
from momus.lm.tree import Tokens
from momus.records import Task
from momus.search.form import FENCED, CritiqueForm
from momus.search.result import EncodedTask, RewardFunction


def as_reward(
    score: CommentScore,
    engine: Engine,
    tasks: Sequence[Task],
    encoded: Sequence[EncodedTask],
    form: CritiqueForm = FENCED,
) -> RewardFunction:
    """Return the reward of critiques of given tasks; a comment without a place or a meaning counts as surely wrong.

    Args:
        score: Scores comments. Where that is the share of samples, the samples are the critiques of one call.
        engine: Whose tokens the critiques are made of.
        tasks: All that are searched.
        encoded: The same, as they are searched.
        form: How critiques are written.
    """
    by_prompt = {each.prompt: task for each, task in zip(encoded, tasks, strict=True)}

    def reward(prompts: Sequence[Tokens], critiques: Sequence[Sequence[Tokens]]) -> list[list[float]]:
        asked = [by_prompt[tuple(prompt)] for prompt in prompts]
        read = [
            [form.read(engine.decode(tokens), task.answer) for tokens in of_task]
            for task, of_task in zip(asked, critiques, strict=True)
        ]
        return score_critiques(score, asked, read)

    return reward


def score_critiques(
    score: CommentScore, tasks: Sequence[Task], critiques: Sequence[Sequence[Critique]]
) -> list[list[float]]:
    """Return the sum of the log-odds of every critique's comments: result[task][critique].

    Raises:
        UserError: The comments on a task cannot be scored.
    """
    put = each_by_itself if score.exact else gather
    opinions = [put(of_task, task.answer) for task, of_task in zip(tasks, critiques, strict=True)]
    scored = score.score(tasks, opinions)
    if problem := next((each.problem for each in scored if each.problem), ""):
        raise UserError(f"comments cannot be scored: {problem}")
    return [
        [_worth(critique, opinion, scores.values, task.answer) for critique in of_task]
        for task, of_task, opinion, scores in zip(tasks, critiques, opinions, scored, strict=True)
    ]


def _worth(critique: Critique, opinion: Opinion, scores: Sequence[float], answer: str) -> float:
    """Return the sum of the log-odds of what a critique says; what it says twice counts once."""
    nothing = [comment for comment in critique.comments if comment.span is None or is_vacuous(comment, answer)]
    made = {opinion.index[comment] for comment in critique.comments if comment not in nothing}
    return sum(log_odds(scores[i]) for i in sorted(made)) + len(nothing) * log_odds(0.0)
