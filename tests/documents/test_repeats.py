"""Feedback that says one thing several times says it once, with the count; what gives the question back goes."""

from __future__ import annotations

import json

import pytest

from momus.cli import feedback as cli
from momus.cli import main
from momus.documents.drafts import read_feedback
from momus.documents.feedback import FeedbackPoint, FeedbackSection, Repeat
from momus.documents.repeats import without_repeats
from momus.documents.rubrics import read_rubric
from momus.lm.chats.engine import EngineChat
from momus.match.ask import JsonAsker
from support.feedback import PAPER
from support.scripted import Scripted

PAPER_RUBRIC = read_rubric("paper")
DOCUMENT = """\
Our tool repairs programs on a single line. We ran it on forty programs of the benchmark, each with one bug, and it
repaired twelve of them within a minute. The authors thank two colleagues for access to their data.
"""


def section(key: str, *texts: str, details: tuple[str, ...] = ()) -> FeedbackSection:
    points = tuple(FeedbackPoint(text=text, details=details) for text in texts)
    return FeedbackSection(key=key, title=key.title(), points=points)


def test_points_that_say_the_same_are_one_and_what_went_is_recorded() -> None:
    texts = (
        "The baseline of the experiments is never described.",
        "The experiments' baseline is never described!",
        "Nobody says how the documents were chosen.",
        "THE BASELINE of the experiments is never described",
    )
    (kept,), repeats = without_repeats([section("rejection", *texts)], PAPER_RUBRIC, DOCUMENT)
    assert [point.text for point in kept.points] == [texts[0], texts[2]]
    assert repeats == tuple(Repeat(section="rejection", point=texts[0], text=text) for text in (texts[1], texts[3]))


def test_a_point_stands_in_one_section_unless_the_other_would_have_none() -> None:
    same, other = "The baseline is never described.", "Describe the baseline of Section 2."
    one, two, three = section("rejection", same), section("suggestions", same, other), section("acceptance", same)
    kept, repeats = without_repeats([one, two, three], PAPER_RUBRIC, DOCUMENT)
    assert [[point.text for point in part.points] for part in kept] == [[same], [other], [same]]
    assert [repeat.section for repeat in repeats] == ["suggestions"]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("The text is new here and to whom it matters, against what is known.", True),
        (
            "What is new here and to whom it matters is that pupils who read aloud recall a third more of a story.",
            False,
        ),
        ("The paper shows no details.", False),
        ("What speaks for the paper.", False),
        ("그 글은 무엇이 새로운지 말하지 않는다.", False),
    ],
)
def test_a_point_that_gives_the_question_back_goes(text: str, gone: bool) -> None:
    (kept,), repeats = without_repeats([section("significance", text)], PAPER_RUBRIC, DOCUMENT)
    assert (not kept.points) == gone == bool(repeats)
    assert not repeats or repeats[0].point == ""


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("We ran it on forty programs of the benchmark, each with one bug, and it repaired twelve of them.", True),
        ("The authors thank two COLLEAGUES for access to their data", True),
        ("The authors ran it on forty programs of the benchmark, each with one bug; the data are not public.", False),
        ("Our tool repairs programs.", False),
        ("Twelve of forty repaired within a minute: a baseline is missing.", False),
    ],
)
def test_a_point_in_the_document_s_own_words_goes(text: str, gone: bool) -> None:
    (kept,), repeats = without_repeats([section("significance", text)], PAPER_RUBRIC, DOCUMENT)
    assert (not kept.points) == gone
    assert repeats == ((Repeat(section="significance", point="", text=text),) if gone else ())


def test_details_that_repeat_go() -> None:
    details = (
        "It is never described.",
        "The baseline is never described.",
        "it is never described",
        "…",
        "In Table 2.",
    )
    (kept,), _ = without_repeats(
        [section("rejection", "The baseline is never described.", details=details)], PAPER_RUBRIC, DOCUMENT
    )
    assert kept.points[0].details == ("It is never described.", "In Table 2.")


def answer(*texts: str) -> str:
    points = [{"point": text, "details": ["In the results.", "It decides."], "quote": ""} for text in texts]
    return json.dumps({"sections": {part.key: points for part in PAPER_RUBRIC.sections}})


def test_the_command_says_how_often_something_was_said(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "a.md").write_text(PAPER)
    reply = answer("Forty documents are too few.", "Forty documents are too few.", "Nobody knows who the readers are.")
    monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(Scripted(lambda *_: reply))))
    assert main(["feedback", str(tmp_path / "a.md"), "--model", "m"]) == 0
    out, err = capsys.readouterr()
    assert "(said " in out and "Points said again, and merged: 4; " in err
    feedback = read_feedback(tmp_path / "a.md.feedback.json")
    assert [len(part.points) for part in feedback.sections] == [2, 2, 2, 2] and len(feedback.repeats) == 4


def test_feedback_that_only_gives_back_the_question_is_none(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "a.md").write_text(PAPER)
    reply = answer("The text is new here and to whom it matters, against what is known.")
    monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(Scripted(lambda *_: reply))))
    assert main(["feedback", str(tmp_path / "a.md"), "--model", "m"]) == 2
    assert "only gives back what it was asked" in capsys.readouterr().err
    assert not (tmp_path / "a.md.feedback.json").exists()


def test_feedback_of_the_document_s_own_sentences_is_asked_for_again(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "a.md").write_text(PAPER)
    copied = max((line for line in PAPER.splitlines() if "#" not in line), key=len)
    replies = iter([answer(copied), answer("Forty documents are too few.")])
    monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(Scripted(lambda *_: next(replies)))))
    assert main(["feedback", str(tmp_path / "a.md"), "--model", "m"]) == 0
    assert "Forty documents" in capsys.readouterr().out
    (tmp_path / "b.md").write_text(PAPER)
    monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(Scripted(lambda *_: answer(copied)))))
    assert main(["feedback", str(tmp_path / "b.md"), "--model", "m"]) == 2
    assert copied[:40] in capsys.readouterr().err and not (tmp_path / "b.md.feedback.json").exists()
