"""Prompted critics over real models: whatever they write, comments quote the code at their lines and say something."""

from __future__ import annotations

from pathlib import Path

from momus.critics.open import open_critic
from momus.critics.prompted import PromptedConfig, PromptedCritic
from momus.critics.vacuous import drop_vacuous, is_vacuous
from momus.critique import lines_of
from momus.lm.chats.open import open_chat
from momus.records import Task

CODE = [
    "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(value)",
    "def last(items):\n    return items[len(items)]",
    "def clamp(value, low, high):\n    return max(low, min(value, high))",
]
TASKS = [Task(id=str(i), question="", answer=code) for i, code in enumerate(CODE)]


def test_comments_of_a_real_model_are_verbatim_at_their_lines_and_not_vacuous(folder: Path) -> None:
    critic = open_critic(folder)
    assert isinstance(critic, PromptedCritic)
    results = critic.write(TASKS)
    for task, result in zip(TASKS, results, strict=True):
        for candidate in drop_vacuous(result, task.answer).candidates:
            for comment in candidate.critique.anchored:
                assert comment.span is not None and comment.line == lines_of(comment.span, task.answer)[0] + 1
                assert task.answer[comment.span.start : comment.span.end] == comment.highlight
                assert not is_vacuous(comment, task.answer)


def test_greedy_reviews_of_a_real_model_are_the_same_each_time_and_together_or_alone(small: Path) -> None:
    chat = open_chat(str(small))
    critic = PromptedCritic(chat, PromptedConfig(max_tokens=150))
    first = critic.write(TASKS)
    assert [critic.write([task])[0] for task in TASKS] == first
