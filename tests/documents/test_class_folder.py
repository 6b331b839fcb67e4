"""A class folder at once: feedback on every document of it, what is left out, and what happens when one fails."""

import pytest

from momus.cli import feedback as cli
from momus.cli import main
from momus.documents.drafts import read_feedback
from momus.lm.chats.engine import EngineChat
from momus.match.ask import JsonAsker
from support.feedback import answer
from support.scripted import Scripted

REPORT = "# {}\n\n## 실험\n\n물은 두 시간 뒤에 얼었고 소금물은 얼지 않았다.\n"
QUOTE = "물은 두 시간 뒤에 얼었고"


@pytest.fixture
def class_folder(tmp_path):
    folder = tmp_path / "class"
    for name in ("kim/report.md", "lee/report.md", "park.txt", "~$park.docx", ".trash/old.md", "notes.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(REPORT.format(name), encoding="utf-8")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """Answer every question but those about a document that says "broken"; return the questions."""
    questions = []

    def reply(prompt, *_):
        questions.append(str(prompt))
        return "no" if "broken" in str(prompt) else answer("pupil", QUOTE, "차례로 잘 적어서 읽기 쉬워요.")

    monkeypatch.setattr(cli, "_asker", lambda *_: JsonAsker(EngineChat(Scripted(reply))))
    return questions


def give(folder, *more):
    return main(["feedback", str(folder), "--rubric", "pupil", "--model", "m", "--budget", "9999", *more])


def test_every_document_gets_a_draft_once(class_folder, asked, capsys):
    assert give(class_folder) == 0
    out, err = capsys.readouterr()
    names = ("kim/report.md", "lee/report.md", "park.txt")
    assert all(read_feedback(class_folder / f"{name}.feedback.json").state == "draft" for name in names)
    assert len(list(class_folder.rglob("*.feedback.json"))) == 3 == len(asked)
    assert "3/3" in err and "momus label import" in err and not out
    assert give(class_folder) == 0
    assert len(asked) == 3 and "3 of 3 documents have feedback already" in capsys.readouterr().err


def test_one_that_fails_does_not_stop_the_others_and_is_tried_again(class_folder, asked, capsys):
    (class_folder / "empty.md").write_text("")
    (class_folder / "bad.md").write_text(REPORT.format("broken"))
    assert give(class_folder) == 2
    err = capsys.readouterr().err
    assert "the file is empty" in err and "of the asked form" in err and "2 of 5 documents got no feedback" in err
    assert len(list(class_folder.rglob("*.feedback.json"))) == 3
    (class_folder / "empty.md").unlink()
    (class_folder / "bad.md").write_text(REPORT.format("good"))
    assert give(class_folder) == 0
    assert len(list(class_folder.rglob("*.feedback.json"))) == 4


def test_mistakes_about_folders_are_one_line(class_folder, asked, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    for words, message in (
        ((tmp_path / "none",), "no documents in it"),
        ((class_folder, "--out", str(tmp_path / "none")), "have the same name"),
    ):
        assert give(*words) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert main(["feedback", str(class_folder), "--given", "x.md", "--by", "me"]) == 2
    assert "is a folder" in capsys.readouterr().err
