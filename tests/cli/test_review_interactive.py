"""`momus review --interactive` through a pseudo-terminal: keys alone, decisions kept at once, a critic asked why."""

import json

import pytest

from momus.cli import main
from support.chat_server import chat_server
from support.terminal import Terminal

CODE = "def mean(values):\n    total = sum(values)\n    return total / len(values)\n"


def _say(question, count):
    if "A reader asks why" in question:
        stands = "on line 3" in question
        return json.dumps(
            {"explanation": "An empty list divides by zero." if stands else "It is right.", "stands": stands}
        )
    if "def mean" not in question:
        return '{"comments": []}'
    comments = [
        {"line": 2, "quote": "total = sum(values)", "severity": "note", "problem": "Slow \x1b[31m for long lists."},
        {"line": 3, "quote": "return total / len(values)", "severity": "error", "problem": "Fails for an empty list."},
    ]
    return json.dumps({"comments": comments})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "code.py").write_text(CODE)
    return tmp_path


def test_comments_are_gone_through_by_keys(folder):
    with chat_server(_say, "def ") as server:
        terminal = Terminal(folder, "review", "code.py", "--url", server.url, "--model", "m", "--interactive")
        terminal.wait_for("[q]uit")
        assert "1/2  code.py:2" in terminal.shown and "\x1b[31m for" not in terminal.shown
        terminal.press("x", "[a]ccept")
        terminal.press("w", "The critic takes the comment back")
        terminal.press("n", "2/2  code.py:3")
        terminal.press("w", "An empty list divides by zero.")
        terminal.press("p", "1/2  code.py:2")
        terminal.press("d", "Because: ")
        terminal.press("\n", "2/2  code.py:3")
        terminal.press("a", "1 accepted, 1 dismissed, 0 left.")
        assert terminal.end() == 0
    first, second = map(json.loads, (folder / "momus-baseline.jsonl").read_text().splitlines())
    assert {first["decision"]: first["because"], second["decision"]: second["because"]} == {
        "dismissed": "the critic took it back",
        "accepted": "",
    }


def test_what_was_decided_is_kept_when_the_walk_is_ended(folder):
    with chat_server(_say, "def ") as server:
        terminal = Terminal(
            folder, "review", "code.py", "--url", server.url, "--model", "m", "--interactive", "--check"
        )
        terminal.wait_for("[q]uit")
        terminal.press("d", "Because: ")
        terminal.press("fast enough\n", "2/2  code.py:3")
        terminal.press("\x1b[A\x1b[5~\x1bOPq", "0 accepted, 1 dismissed, 1 left.")  # up, page up, F1, q, at once
        assert terminal.end() == 1
        (decision,) = map(json.loads, (folder / "momus-baseline.jsonl").read_text().splitlines())
        assert (decision["because"], decision["path"]) == ("fast enough", "code.py")
        terminal = Terminal(folder, "review", "code.py", "--url", server.url, "--model", "m", "--interactive")
        terminal.wait_for("1/1  code.py:3")
        terminal.press("q", "0 accepted, 0 dismissed, 1 left.")
        assert terminal.end() == 0


def test_a_dismissal_without_a_reason_is_none(folder):
    with chat_server(_say, "def ") as server:
        terminal = Terminal(folder, "review", "code.py", "--url", server.url, "--model", "m", "--interactive")
        terminal.wait_for("[q]uit")
        terminal.press("d", "Because: ")
        terminal.press("\n", "[a]ccept")
        terminal.press("q", "0 accepted, 0 dismissed, 2 left.")
        assert terminal.end() == 0
    assert not (folder / "momus-baseline.jsonl").exists()


def test_without_a_terminal_it_is_one_line(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["review", "code.py", "--interactive"]) == 2
    assert capsys.readouterr().err == "momus: error: --interactive needs a terminal: it waits for keys\n"


def test_the_page_of_a_review(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    with chat_server(_say, "def ") as server:
        assert main(["review", "code.py", "--url", server.url, "--model", "m", "--html", "page.html"]) == 0
    page = (folder / "page.html").read_text()
    assert "2 comments on 1 file" in page and "Fails for an empty list." in page
