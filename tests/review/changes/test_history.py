"""Dials measured on what commits changed: functions as a commit left them, bugs on lines that it wrote."""

import json
import random

import pytest

from momus.cli import main
from momus.critique import lines_of
from momus.errors import UserError
from momus.evaluate.critics.changes import carry_lines
from momus.review.changes.history import FEW, changes_of_commits
from support.chat_server import chat_server
from support.repository import GitRepository

COMMITS = 12


def function(number, version):
    rng = random.Random(f"{number} {version}")
    lines = [f"    value = value {rng.choice('+-*')} {rng.randrange(1, 9)}" for _ in range(4 + version % 3)]
    return "\n".join([f"def f{number}(value):", *lines, "    if value > 3:", "        return 0", "    return value"])


def file(version):
    """A file of three functions, of which every version changes one."""
    versions = [max((v for v in range(version + 1) if v % 3 == number), default=-3) for number in range(3)]
    return "\n\n\n".join(function(number, own) for number, own in enumerate(versions)) + "\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    made = GitRepository(tmp_path_factory.mktemp("history") / "repository")
    for version in range(COMMITS):
        made.commit(m_py=file(version), notes__md=f"{version}\n", other__n_py=f"def g():\n    return {version} + 1\n")
    made.git("checkout", "-qb", "side", "HEAD~3")
    made.commit(side_py="def s():\n    return 2\n")
    made.git("checkout", "-q", "main")
    made.git("merge", "-q", "--no-ff", "-m", "Merge", "side")
    return made


def test_the_functions_are_as_commits_left_them_and_bugs_are_on_lines_that_they_wrote(repository):
    changes, used = changes_of_commits(repository.root, "HEAD~9..HEAD", [], lambda task: True, 100, 0)
    assert 0 < used <= 10
    bugged = [change for change in changes if change.after.bugs]
    assert len(changes) // 2 - 1 <= len(bugged) <= len(changes) // 2 + 1
    every = {file(version) for version in range(COMMITS)}
    for change in changes:
        task, answer = change.after.task, change.after.answer
        assert any(task.answer in text for text in every) or task.answer.startswith(("def g", "def s"))
        assert change.changed and max(change.changed) <= answer.count("\n")
        for bug in change.after.bugs:
            assert {line for span in bug.spans for line in lines_of(span, answer)} & change.changed
    assert len({change.after.task.answer for change in changes}) == len(changes)


def test_the_lines_of_a_clean_change_are_those_that_the_commit_wrote(repository):
    """By brute force: of a function that a commit rewrote, the lines that it did not have before."""
    changes, _ = changes_of_commits(repository.root, "HEAD~9..HEAD", [repository.root / "m.py"], bool, 100, 1)
    for change in changes:
        if not change.after.bugs:
            commit = change.after.task.id.split()[0]
            before = repository.git("show", f"{commit}^:m.py").split("\n")
            lines = change.after.answer.split("\n")
            assert all(lines[i] in before for i in range(len(lines)) if i not in change.changed)
            assert {line for line in lines if line not in before} <= {lines[i] for i in change.changed}


def test_lines_are_carried_to_a_text_with_a_bug():
    before = "a\nb\nc\nd"
    assert carry_lines(frozenset({1, 3}), before, before) == {1, 3}
    assert carry_lines(frozenset({1, 3}), before, "a\nx\nb\nc\nd") == {1, 2, 4}
    assert carry_lines(frozenset({1, 2}), before, "a\nB\nc\nd") == {1, 2}


def test_only_paths_that_are_named_and_what_fits_and_no_more_than_asked_for(repository):
    changes, _ = changes_of_commits(repository.root, "HEAD~9..HEAD", [repository.root / "other"], bool, 100, 0)
    assert {change.after.task.answer.split("\n")[0] for change in changes} == {"def g():"}
    assert len(changes_of_commits(repository.root, "HEAD~9..HEAD", [], bool, 3, 0)[0]) == 3
    with pytest.raises(UserError, match="no two changed Python functions"):
        changes_of_commits(repository.root, "HEAD~9..HEAD", [], lambda task: False, 3, 0)


def test_one_large_commit_is_not_all_that_is_measured(repository):
    repository.git("checkout", "-qb", "large")
    repository.commit(large_py="\n\n\n".join(function(number, 7) for number in range(40)) + "\n")
    try:
        changes, used = changes_of_commits(repository.root, "HEAD~6..HEAD", [], bool, 10, 0)
        assert used >= 4 and len(changes) == 10
        most = max(sum(c.after.task.id.startswith(own.after.task.id[:12]) for c in changes) for own in changes)
        assert most <= FEW + 1
        changes, _ = changes_of_commits(repository.root, "HEAD~1..HEAD", [], bool, 10, 0)
        assert len(changes) == 10, "where there is nothing else, more of it is taken"
    finally:
        repository.git("checkout", "-q", "main")


def test_a_promise_on_commits_is_one_for_changes(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository.root)
    out = tmp_path / "c.json"
    comment = {"line": 2, "quote": "", "severity": "error", "problem": "Odd."}

    def say(question, count):
        line = next((one for one in question.split("\n") if one.lstrip().startswith("2| ")), "2| ")
        return json.dumps({"comments": [{**comment, "quote": line.split("| ", 1)[1].strip()}]})

    with chat_server(say, "def ") as server:
        command = ["calibrate", "--commits", "HEAD~9..HEAD", "--url", server.url, "--out", str(out), "--answers", "10"]
        assert main(command) == 0
    measured = json.loads(out.read_text())
    assert measured["changes"] and measured["answers"] == 10 and "commits of HEAD~9..HEAD" in measured["data"]
    assert measured["points"][0]["comments"]["value"] > 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--commits", "HEAD"], "no range of commits"),
        (["--commits=--all..HEAD"], "no revision"),
        (["--commits", "HEAD~9..HEAD", "--tampers", "x"], "leave out --tampers"),
    ],
)
def test_what_is_no_range_is_one_line(repository, monkeypatch, capsys, options, words):
    monkeypatch.chdir(repository.root)
    assert main(["calibrate", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error
