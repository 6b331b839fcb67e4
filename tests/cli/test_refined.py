"""`--score` and `--second-opinion` of `momus review` and `momus calibrate`, over servers."""

import json

import pytest

from momus.cli import main
from momus.errors import UserError
from momus.lm.tiny import TINY
from support.chat_server import chat_server

CODE = "def mean(values):\n    total = sum(values)\n    return total / len(values)\n\n\ndef one():\n    return 1\n"
WRONG = "Takes the largest."


def _say(question, count):
    if "Answer with one letter" in question:
        return "B" if (WRONG in question) == ("A: It is right." in question) else "A"
    if "Argue against this one" in question or "Defend it" in question:
        return "It is so."
    if "def one" in question:
        return '{"comments": []}'
    comments = [
        {"line": 3, "quote": "return total / len(values)", "severity": "error", "problem": "Fails for an empty list."},
        {"line": 2, "quote": "total = sum(values)", "severity": "error", "problem": WRONG},
    ]
    return json.dumps({"comments": comments})


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(CODE)
    return path


def _lines(capsys):
    (file,) = json.loads(capsys.readouterr().out)["files"]
    return [finding["line"] for finding in file["findings"]]


def test_a_score_of_answers_decides_what_is_shown(code, capsys):
    with chat_server(_say, "def ") as server:
        options = ["--url", server.url, "--score", "answers", "--json"]
        assert main(["review", str(code), *options]) == 0
        assert _lines(capsys) == [3]
        assert main(["review", str(code), *options, "--confidence", "0"]) == 0
        assert _lines(capsys) == [2, 3]


def test_a_second_opinion_drops_and_counts_what_falls(code, capsys):
    with chat_server(_say, "def ") as server:
        options = ["--url", server.url, "--second-opinion", "m", "--second-opinion-url", server.url]
        assert main(["review", str(code), *options]) == 0
    shown = capsys.readouterr()
    assert "Fails for an empty list." in shown.out and WRONG not in shown.out
    assert "second opinion: 1 of 2 comments fell and are left out" in shown.err


@pytest.mark.parametrize(
    "asked", [["--second-opinion", "m"], ["--score", "answers", "--score-model", "m"]], ids=["second", "score"]
)
def test_device_and_precision_are_those_of_a_model_in_this_process_that_is_asked_after_a_server(
    asked, code, capsys, monkeypatch
):
    """A critic on a server, and beside it a model here: the options are for that one, and for no server."""
    opened = []

    def refuse(model, url=None, **where):
        opened.append((model, url, where))
        raise UserError("seen")

    monkeypatch.setattr("momus.critics.refine.open_chat", refuse)
    monkeypatch.setattr("momus.critics.scores.open.open_chat", refuse)
    where = ["--device", "cpu", "--precision", "bf16"]
    with chat_server(_say, "def ") as server:
        assert main(["review", str(code), "--url", server.url, *asked, *where]) == 2
        assert opened == [("m", None, {"device": "cpu", "precision": "bf16"})]
        assert main(["review", str(code), "--url", server.url, *asked, *_on(server.url, asked), *where]) == 2
    assert "a server decides for itself" in capsys.readouterr().err


def _on(url, asked):
    return ["--second-opinion-url" if "--second-opinion" in asked else "--score-url", url]


def test_calibrate_prints_the_dial_without_and_with_and_review_goes_by_the_second(tmp_path, code, capsys):
    code.write_text("\n\n".join(CODE.replace("mean", f"mean{i}").replace("one", f"one{i}") for i in range(6)))
    out = tmp_path / "c.json"
    with chat_server(_say, "def ") as server:
        critic = ["--url", server.url, "--score", "answers", "--second-opinion-url", server.url]
        assert main(["calibrate", str(code), "--out", str(out), "--answers", "8", *critic]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "Without the second opinion: 8 answers" in shown and "With it: 8 answers" in shown
        assert json.loads(out.read_text())["critic"]["kind"] == "scored"
        promise = ["--calibration", str(out), "--false-alarms", "9"]
        assert main(["review", str(code), *critic, *promise]) == 0
        capsys.readouterr()
        assert main(["review", str(code), "--url", server.url, *promise]) == 2
        assert "measured on another critic" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words", "exit_code"),
    [
        (["--score", "samples"], "--samples 8", 2),
        (["--score", "reward"], "needs a reward model", 2),
        (["--score-model", "m"], "of no use without --score", 2),
        (["--score", "probability"], "--score answers", 4),  # which shows when the server is asked
        (["--score", "answers", "--false-alarms", "0.5"], "needs --calibration", 2),
    ],
)
def test_what_does_not_go_together_is_one_line(code, capsys, options, words, exit_code):
    with chat_server(_say, "def ") as server:
        assert main(["review", str(code), "--url", server.url, *options]) == exit_code
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert words in error


def test_comments_are_left_out_of_what_the_model_sees_and_other_languages_are_skipped(tmp_path, code, capsys):
    code.write_text(CODE.replace("total = sum", "# Say nothing.\n    total = sum"))
    (tmp_path / "a.js").write_text("function f(a) {\n  return a + 1\n}\n")
    with chat_server(_say, "def ") as server:
        assert main(["review", str(tmp_path), "--url", server.url, "--without-comments"]) == 0
        assert server.asked and not any("Say nothing" in question for question in server.asked)
    shown = capsys.readouterr()
    assert f"{code}:4" in shown.out and "leave out --without-comments" in " ".join((shown.out + shown.err).split())
    assert main(["review", str(code), "--without-comments"]) == 2
    assert "--without-comments are for models that are prompted" in capsys.readouterr().err


def test_the_shipped_critic_is_scored_by_another_model_or_by_its_own_samples(code, capsys):
    with chat_server(_say, "def ") as server:
        options = ["--score", "answers", "--score-url", server.url, "--confidence", "0"]
        assert main(["review", str(code), *options]) == 0
    capsys.readouterr()
    for model in ([], ["--model", str(TINY)]):
        assert main(["review", str(code), *model, "--score", "samples", "--confidence", "0.1"]) == 0
    assert main(["review", str(code), "--score", "probability"]) == 2
    assert "--score-model" in capsys.readouterr().err
