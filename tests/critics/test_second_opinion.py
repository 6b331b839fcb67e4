"""A second opinion: who is asked what, which comments fall, and what the dial is with it and without."""

from __future__ import annotations

import json
from typing import Any

import pytest

from momus.critics.critic import innermost
from momus.critics.prompted import PromptedCritic
from momus.critics.refine import Refinement, RememberingCritic, contenders, second_opinion_of
from momus.critics.scores.open import ScoreSource
from momus.critics.second_opinion import SILENT, SecondOpinionCritic
from momus.lm.chats.protocol import Answer
from momus.lm.chats.server import NO_PROBABILITIES
from momus.lm.engine import Choice
from momus.records import Task

CODE = "def f(xs):\n    total = 0\n    for x in xs:\n        total += x\n    return total / len(xs)"
TASK = Task(id="f", question="", answer=CODE)
RIGHT, WRONG = "Divides by zero.", "Never ends."
REVIEW = json.dumps(
    {
        "comments": [
            {"line": 5, "quote": "return total / len(xs)", "severity": "error", "problem": RIGHT},
            {"line": 3, "quote": "for x in xs:", "severity": "error", "problem": WRONG},
            {"line": 2, "quote": "total = 0", "severity": "note", "problem": "Should be `total = 0`."},
            {"line": 2, "quote": "total = 1", "severity": "note", "problem": "Quotes what is not there."},
        ]
    }
)


class Model:
    """Reviews, argues and judges: a comment that holds `RIGHT` is right."""

    def __init__(self, name: str = "m", probabilities: bool = True) -> None:
        self.name, self.probabilities, self.asked = name, probabilities, []

    def identity(self) -> dict[str, str]:
        return {"model": self.name}

    def count(self, messages: Any) -> int:
        return len(messages[0].content)

    def answer(self, questions: Any) -> list[Answer]:
        self.asked += [question.messages[0].content for question in questions]
        return [self._answer(question, question.messages[0].content) for question in questions]

    def _answer(self, question: Any, text: str) -> Answer:
        if question.schema is not None:
            return Answer(REVIEW)
        if "Argue against this one" in text:
            return Answer(f"{self.name} attacks")
        if "Defend it" in text:
            return Answer(f"{self.name} defends")
        is_a = (f"\n\n{RIGHT}\n" in text) == ("A: It is right." in text)
        if question.options and not self.probabilities:
            return Answer("", NO_PROBABILITIES, refused=True)
        if question.options:
            return Answer("", choice=Choice(0.9 if is_a else 0.1, 1.0))
        return Answer("A" if is_a else "B")


@pytest.mark.parametrize("probabilities", [True, False])
def test_the_second_model_attacks_and_judges_and_the_critics_own_defends(probabilities: bool) -> None:
    writer, second = Model("own"), Model("second", probabilities)
    critic = SecondOpinionCritic(PromptedCritic(writer), second, writer)
    (result,) = critic.write([TASK])
    texts = [comment.text for comment in result.candidates[0].critique.comments]
    assert texts == [RIGHT, "Should be `total = 0`.", "Quotes what is not there."]  # dropped later, and counted there
    assert (critic.judged, critic.fallen) == (2, 1)
    assert sum("Defend it" in text for text in writer.asked) == 2 and not any("Defend it" in t for t in second.asked)
    attacks = [text for text in second.asked if "Argue against this one" in text]
    assert len(attacks) == 2 and all(f"{CODE.count(chr(10)) + 1}|     return" in text for text in attacks)
    verdicts = [text for text in second.asked if "Decide who is right" in text]
    assert all("second attacks" in text and "own defends" in text for text in verdicts)


def test_what_cannot_be_judged_leaves_no_critique_and_says_why() -> None:
    second = Model()
    second.answer = lambda questions: [Answer("", "the budget is spent", refused=True)] * len(questions)
    (result,) = SecondOpinionCritic(PromptedCritic(Model()), second).write([TASK])
    assert (result.candidates, result.problem) == ((), "the budget is spent")


def test_a_model_that_says_nothing_neither_attacks_nor_defends() -> None:
    class Silent(Model):
        def _answer(self, question: Any, text: str) -> Answer:
            answer = super()._answer(question, text)
            return Answer("", "the answer is empty") if answer.text.endswith(("attacks", "defends")) else answer

    second = Silent()
    critic = SecondOpinionCritic(PromptedCritic(Model()), second)
    critic.write([TASK])
    assert critic.fallen == 1 and second.asked[-1].count(SILENT) == 2


def test_data_cannot_spell_the_slots_of_a_prompt() -> None:
    code = "x = '{comment}{attack}{labels}'\n# {text} {defence}"
    second = Model()
    critic = SecondOpinionCritic(PromptedCritic(Model()), second)
    review = json.dumps({"comments": [{"line": 1, "quote": code.split("\n")[0], "problem": "{labels} {attack}"}]})
    critic.critic.chat._answer = lambda question, text: Answer(review)
    critic.write([Task(id="x", question="", answer=code)])
    assert all("1| x = '{comment}{attack}{labels}'\n2| # {text} {defence}" in text for text in second.asked)
    assert all(text.count("A: It is") == 1 and "\n\n{labels} {attack}\n" in text for text in second.asked[-2:])


def test_all_models_and_prompts_name_a_critic_with_a_second_opinion() -> None:
    writer, second, third = Model("own"), Model("second"), Model("third")
    critics = [
        PromptedCritic(writer), SecondOpinionCritic(PromptedCritic(writer), second, writer),
        SecondOpinionCritic(PromptedCritic(writer), second), SecondOpinionCritic(PromptedCritic(writer), third, writer),
        SecondOpinionCritic(PromptedCritic(second), second, writer),
    ]  # fmt: skip
    assert len({json.dumps(critic.identity(), sort_keys=True) for critic in critics}) == 5


def test_contenders_are_without_and_with_and_share_what_the_critic_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, second = Model("own"), Model("second")
    monkeypatch.setattr("momus.critics.refine.open_chat", lambda model, url, **_: second)
    critic = PromptedCritic(writer)
    without, with_it = contenders(critic, Refinement(ScoreSource("probability"), second="second"))
    results = [each.write([TASK, TASK])[1].candidates[0].critique.anchored for each in (without, with_it)]
    assert [sum(c.text == WRONG for c in found) for found in results] == [1, 0]
    assert sum("You review code" in text for text in writer.asked) == 1
    assert innermost(with_it) is critic and second_opinion_of(without) is None
    assert second_opinion_of(with_it).fallen == 2
    assert contenders(critic, Refinement())[0] is critic
    assert RememberingCritic(critic).identity() == critic.identity()
