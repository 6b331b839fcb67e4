"""A second opinion on feedback: every point is attacked, defended and judged; what falls is left out and recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from momus.cli import feedback as cli
from momus.cli import main
from momus.documents.drafts import read_feedback
from momus.documents.feedback import FeedbackPoint, FeedbackSection
from momus.documents.second_opinion import PointJudge
from momus.errors import UserError
from momus.lm.chats.engine import EngineChat
from momus.lm.chats.protocol import Answer, Question
from momus.lm.engine import Choice
from momus.match.ask import JsonAsker
from support.feedback import PAPER, answer
from support.scripted import Scripted


class Judge:
    """Holds whatever names a driver to be wrong."""

    name = "the second"

    def __init__(self, problem: str = "") -> None:
        self.asked: list[Question] = []
        self.problem = problem

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        text = question.messages[-1].content
        if self.problem:
            return Answer("", self.problem, refused=True)
        if not question.options:
            return Answer("Said in Section 3." if "Argue against" in text else "It stands.")
        right = 0.1 if "driver" in text else 0.9
        return Answer("", choice=Choice(right if "A: It is right." in text else 1 - right, 1.0))


SECTIONS = (
    FeedbackSection(
        key="a",
        title="A",
        points=(
            FeedbackPoint(text="There is no driver.", details=("It is needed.",), quote="A uniform driver is there."),
            FeedbackPoint(text="The baseline is {text}."),
        ),
    ),
    FeedbackSection(key="b", title="B", points=()),
)


def test_a_point_that_the_document_answers_falls() -> None:
    second, defender = Judge(), Judge()
    kept, fallen = PointJudge(second, defender).keep_standing(SECTIONS, "A uniform driver is there.")  # type: ignore[arg-type]
    assert [[point.text for point in section.points] for section in kept] == [[], []]  # the document names a driver too
    assert [point.text for point in fallen] == ["There is no driver.", "The baseline is {text}."]
    kept, fallen = PointJudge(second, defender).keep_standing(SECTIONS, "The text.")  # type: ignore[arg-type]
    assert [[point.text for point in section.points] for section in kept] == [["The baseline is {text}."], []]
    (gone,) = fallen
    assert (gone.section, gone.text) == ("a", "There is no driver.") and gone.probability == pytest.approx(0.1)
    attack = second.asked[0].messages[-1].content
    assert 'There is no driver.\n- It is needed.\n\n"A uniform driver is there."' in attack
    assert all("Defend it." in question.messages[-1].content for question in defender.asked)
    assert "Said in Section 3." in defender.asked[0].messages[-1].content
    verdict = second.asked[-1].messages[-1].content
    assert "It stands." in verdict and "The baseline is {text}." in verdict and "{labels}" not in verdict


def test_without_points_nobody_is_asked() -> None:
    assert PointJudge(Judge(), Judge()).keep_standing(SECTIONS[1:], "x") == (SECTIONS[1:], ())  # type: ignore[arg-type]


def test_a_judge_that_cannot_be_asked_is_one_line() -> None:
    with pytest.raises(UserError, match="the second gives no second opinion: too long"):
        PointJudge(Judge("too long"), Judge()).keep_standing(SECTIONS, "x")  # type: ignore[arg-type]


def test_the_command_leaves_out_what_falls_and_says_so(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "a.md").write_text(PAPER)
    reply = json.loads(answer("paper"))
    reply["sections"]["rejection"].append({"point": "There is no driver.", "details": ["a", "b"], "quote": ""})
    monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(Scripted(lambda *_: json.dumps(reply)))))
    monkeypatch.setattr(cli, "_judge", lambda *_: PointJudge(Judge(), Judge()))  # type: ignore[arg-type]
    words = ["feedback", str(tmp_path / "a.md"), "--model", "m", "--second-opinion", "n"]
    assert main(words) == 0
    assert "Second opinion: 1 of 5 points fell and are left out" in capsys.readouterr().err
    feedback = read_feedback(tmp_path / "a.md.feedback.json")
    assert [point.text for point in feedback.fallen or ()] == ["There is no driver."]
    assert main(["feedback", str(tmp_path / "a.md"), "--given", "x.md", "--by", "me", "--second-opinion", "n"]) == 2
    assert "--second-opinion is on what a model writes" in capsys.readouterr().err
    elsewhere = ["--second-opinion-url", "http://models.example/v1", "--rubric", "pupil"]
    assert main([*words, *elsewhere]) == 2
    assert "models.example is another" in capsys.readouterr().err
