"""`momus review` with a model on a server: what it prints, refuses and needs."""

import json
import os
import subprocess
import sys

import pytest

from momus.cli import main
from momus.records import Task, write_jsonl
from support.chat_server import Reply, chat_server

CODE = "def mean(values):\n    total = sum(values)\n    return total / len(values)\n\n\ndef one():\n    return 1\n"


def _say(question, count):
    if "def one" in question:
        return '{"comments": []}'
    comments = [
        {"line": 3, "quote": "return total / len(values)", "severity": "error", "problem": "Fails for an empty list."},
        {"line": 2, "quote": "total = max(values)", "severity": "error", "problem": "Takes the largest."},
        {"line": 2, "quote": "total = sum(values)", "severity": "note", "problem": "Should be `total = sum(values)`."},
    ]
    return f"Here you are:\n```json\n{json.dumps({'comments': comments})}\n```"


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "code.py"
    path.write_text(CODE)
    return path


def test_comments_of_a_model_on_a_server_are_printed_at_their_lines(code, capsys):
    with chat_server(_say, "def ") as server:
        assert main(["review", str(code), "--url", server.url, "--model", "m"]) == 0
    out = capsys.readouterr().out
    assert f"{code}:3  error  mean" in out and "Fails for an empty list." in out
    assert "1 comment left out: the quote is not in the code, or not in that place" in out
    assert "1 comment left out: saying nothing, or proposing what already stands there" in out
    assert out.endswith("1 comment on 2 functions in 1 file.\n")


def test_rules_are_in_the_prompt_and_several_samples_vote(code, tmp_path, capsys):
    rules = tmp_path / "rules.md"
    rules.write_text("No recursion.")
    with chat_server(_say, "def ") as server:
        options = ["--url", server.url, "--rules", str(rules), "--samples", "3", "--json"]
        assert main(["review", str(code), *options]) == 0
        assert len(server.asked) == 6 and all("No recursion." in question for question in server.asked)
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert [(f["line"], f["severity"]) for f in file["findings"]] == [(3, "error")]


def test_a_function_whose_answer_cannot_be_read_is_counted_and_not_called_clean(code, capsys):
    with chat_server(
        lambda question, count: "Sure!" if "def one" in question else '{"comments": []}', "def "
    ) as server:
        assert main(["review", str(code), "--url", server.url]) == 3
    out = capsys.readouterr().out
    assert "1 function without a critique: what the model answered is not a critique" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--false-alarms", "0.2"], "needs --calibration"),
        (["--rules", "missing.md"], "--rules missing.md"),
        (["--samples", "0"], "--samples 0"),
    ],
)
def test_what_does_not_go_with_a_server_is_one_line(code, capsys, options, words):
    with chat_server(_say, "def ") as server:
        assert main(["review", str(code), "--url", server.url, *options]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error


def test_a_search_over_a_server_is_refused(tmp_path, code, capsys):
    assert main(["calibrate", str(code), "--url", "http://127.0.0.1:9/v1", "--reward", str(tmp_path)]) == 2
    assert "continues texts token by token" in capsys.readouterr().err


def test_a_server_that_filters_every_answer_is_one_line(code, capsys):
    with chat_server(lambda question, count: Reply(None, "content_filter"), "def ") as server:
        assert main(["review", str(code), "--url", server.url]) == 4
    assert "nothing was reviewed: a filter of the server ended the answer" in capsys.readouterr().err


@pytest.mark.parametrize("status", [None, 401, 403, 404])
def test_a_server_that_cannot_be_asked_is_no_clean_review_and_keeps_no_commit_from_being_made(code, capsys, status):
    """Nothing is read without it: 4, and with --advisory 0. A model that it does not have is bad input."""
    with chat_server(lambda question, count: Reply("no", status=status or 500), "") as server:
        url = server.url if status else "http://127.0.0.1:9"
        codes = [main(["review", str(code), "--url", url, "--model", "m", *more]) for more in ([], ["--advisory"])]
        assert main(["review", str(code), "--url", url, "--model", "m", "--json"]) == codes[0]
    printed = capsys.readouterr()
    assert codes == ([2, 2] if status == 404 else [4, 0])
    if status != 404:
        assert "Nothing was reviewed of 1 file." in printed.out and "nothing was reviewed: " in printed.err
        assert '"outcome": "not_run"' in printed.out and '"why": "no_critique"' in printed.out


def test_prompting_options_are_refused_for_the_shipped_critic(code, capsys):
    assert main(["review", str(code), "--samples", "2"]) == 2
    assert "are for models that are prompted" in capsys.readouterr().err


WITHOUT_TORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from momus.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", ["review", "critique"])
def test_a_server_is_asked_without_torch(code, tmp_path, command):
    if command == "critique":
        code = tmp_path / "tasks.jsonl"
        write_jsonl(code, [Task(id="mean", question="", answer=CODE.split("\n\n\n")[0])])
    options = ["--out", str(tmp_path / "run")] if command == "critique" else ["--json"]
    with chat_server(_say, "def ") as server:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, command, str(code), "--url", server.url, *options],
            capture_output=True,
            text=True,
            env=dict(os.environ),
            check=False,
        )
    assert done.returncode == 0, done.stderr
    written = done.stdout if command == "review" else (tmp_path / "run" / "critiques.jsonl").read_text()
    assert "Fails for an empty list." in written


def test_a_second_review_asks_nothing_and_says_the_same(code, capsys):
    with chat_server(_say, "def ") as server:
        command = ["review", str(code), "--url", server.url, "--json"]
        printed = []
        for options in ([], [], ["--no-cache"]):
            assert main([*command, *options]) == 0
            printed.append(capsys.readouterr())
        assert len(server.asked) == 4
    found = [json.loads(each.out)["files"] for each in printed]
    statuses = [[finding.pop("status") for file in files for finding in file["findings"]] for files in found]
    assert statuses == [["new"], ["open"], ["open"]]
    assert found[0] == found[1] == found[2]
    assert "tokens to read and at most" in printed[0].err and "written in 2 calls" in printed[0].err
    assert "tokens to read" not in printed[1].err and "; 2 answers out of the cache" in printed[1].err


def test_a_budget_ends_with_what_was_not_read(code, capsys):
    with chat_server(_say, "def ") as server:
        options = ["--url", server.url, "--no-cache", "--budget-tokens", "1500"]
        assert main(["review", str(code), *options]) == 3
        assert len(server.asked) == 1
    printed = capsys.readouterr()
    assert "1 function without a critique: not asked: the budget of tokens is spent" in printed.out
    assert "; 1 question was not asked: the budget is 1,500 tokens" in printed.err
    assert main(["review", str(code), "--budget-tokens", "9"]) == 2
    assert "are for a model that chats" in capsys.readouterr().err


def test_calibrating_is_kept_told_and_within_a_budget(tmp_path, capsys):
    path = tmp_path / "code.py"
    path.write_text(
        "".join(f"def f{i}(a, b):\n    if a < {i}:\n        return a + b\n    return a - b\n\n\n" for i in range(8))
    )
    out = tmp_path / "dial.json"
    with chat_server(_say, "def ") as server:
        command = ["calibrate", str(path), "--url", server.url, "--model", "m", "--out", str(out)]
        assert main([*command, "--budget-tokens", "3000"]) == 2
        error, asked = capsys.readouterr().err, len(server.asked)
        assert "the budget of tokens is spent" in error and not out.exists() and 0 < asked < 8
        assert main(command) == 0
        told = capsys.readouterr().err
        assert "tokens to read and at most" in told and "tokens read and" in told
        assert len(server.asked) == 8, "what was answered within the budget is not asked again"
        server.say = lambda *_: "Sure!"
        out.unlink()
        assert main([*command, "--no-cache"]) == 2
    assert "none of 8 answers has a critique" in capsys.readouterr().err and not out.exists()
    assert main(["calibrate", str(path), "--budget-tokens", "3000", "--out", str(out)]) == 2
    assert "for a model that chats" in capsys.readouterr().err
