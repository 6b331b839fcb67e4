"""Posting a review on GitHub: hostile artifacts, threads that are kept up to date, rate limits, who may dismiss."""

import json
import time

import pytest

from momus.cli import main
from momus.errors import UserError
from momus.review.github.artifact import MAX_BYTES, read_artifact
from momus.review.github.client import Client
from momus.review.github.post import MOST, SUMMARY, post, write_comment
from momus.review.github.pull_request import PullRequest, find_pull_request, lines_of_hunks
from support.github_server import BOT, REPOSITORY, GitHub, github_server

PATCH = (
    "@@ -1,3 +1,4 @@\n def f(x):\n-    return x\n+    y = x / 0\n+    return y\n \n"
    "@@ -40,2 +41,3 @@ def g():\n a\n+b\n c"
)


def _comment(id, line, text="Divides by zero.", **more):
    known = {"line": line, "end_line": line, "function": "f", "text": text, "severity": "error", "status": "new"}
    return {**known, "id": f"{id:016x}", "quote": "x", "replacement": None, **more}


def _document(findings=(), outside=(), name="src/a.py", outcome=None, **more):
    file = {"name": name, "path": name, "findings": list(findings), "outside": list(outside), "units": 1}
    manifest = {"promise": "", "cost": "", "lines_read": 3, "lines_unread": 1, "head": "forged", "files": []}
    outcome = outcome or ("findings" if findings or outside else "clean")
    document = {"schema": "momus.review", "schema_version": 2, "outcome": outcome, "files": [file]}
    return {**document, "manifest": manifest, **more}


@pytest.fixture
def github():
    with github_server(GitHub(patches={f"src/{name}.py": PATCH for name in "abcde"})) as server:
        yield server


@pytest.fixture
def posting(github, tmp_path):
    def run(document):
        path = tmp_path / "review.json"
        path.write_text(json.dumps(document))
        client = Client("secret", github.url, f"{github.url}/graphql", sleep=lambda seconds: None)
        return post(read_artifact(path), PullRequest(REPOSITORY, github.number, github.head), client)

    return run


def test_new_comments_are_on_their_lines_and_the_others_in_the_summary(github, posting):
    many = _comment(2, 2, end_line=3)
    document = _document([_comment(1, 3), many, _comment(3, 30)], [_comment(4, 41, "Beside.")])
    assert str(posting(document)) == "3 new, 0 still there, 0 fixed, 0 dismissed, 1 in the summary"
    assert [(t["path"], t["line"]) for t in github.threads] == [("src/a.py", 3), ("src/a.py", 3), ("src/a.py", 41)]
    (summary,) = github.issue_comments
    assert summary["body"].startswith(SUMMARY) and "src/a\\.py:30" in summary["body"]
    assert "3 of 4 lines were read, at `aaaaaaaaaaaa`" in summary["body"] and "forged" not in summary["body"]


def test_the_same_review_again_repeats_nothing(github, posting):
    document = _document([_comment(1, 3), _comment(3, 30)])
    posting(document)
    bodies = [t["comments"][0]["body"] for t in github.threads]
    assert str(posting(document)) == "0 new, 1 still there, 0 fixed, 0 dismissed, 1 in the summary"
    assert [t["comments"][0]["body"] for t in github.threads] == bodies and len(github.issue_comments) == 1
    posting(_document([_comment(1, 2, "Said otherwise.")]))
    assert len(github.threads) == 1 and "Said otherwise" in github.threads[0]["comments"][0]["body"]


def test_threads_are_resolved_when_fixed_and_opened_again_when_it_is_back(github, posting):
    posting(_document([_comment(1, 3), _comment(2, 2)]))
    assert str(posting(_document([_comment(2, 2)]))) == "0 new, 1 still there, 1 fixed, 0 dismissed, 0 in the summary"
    assert [t["isResolved"] for t in github.threads] == [True, False]
    posting(_document([_comment(1, 3), _comment(2, 2)]))
    assert [t["isResolved"] for t in github.threads] == [False, False]


def test_a_token_that_may_not_resolve_threads_posts_all_the_same(github, posting):
    github.contents_write = False
    posting(_document([_comment(1, 3)]))
    posted = posting(_document([_comment(2, 2)]))
    assert len(github.threads) == 2 and not github.threads[0]["isResolved"]
    assert (posted.new, posted.fixed, posted.forbidden) == (1, 1, 1)
    assert "takes a token with `contents: write`" in github.issue_comments[0]["body"]


@pytest.mark.parametrize("outcome", ["partly_read", "not_run"])
def test_what_was_not_read_is_not_fixed(github, posting, outcome):
    posting(_document([_comment(1, 3)]))
    posting(_document([], outcome=outcome))
    assert [t["isResolved"] for t in github.threads] == [False]


@pytest.mark.parametrize("part", ["unread", "omitted"])
def test_what_was_not_read_beside_other_comments_is_not_fixed(github, posting, part):
    posting(_document([_comment(1, 3), _comment(2, 2)]))
    document = _document([_comment(2, 2)])
    if part == "omitted":
        document["files"][0]["omitted"] = 1
    else:
        unread = [{"lines": [3, 3], "why": "no_critique", "detail": "the server is gone"}]
        document["manifest"]["files"] = [{"path": "src/a.py", "read": [[2, 2]], "unread": unread}]
    posting(document)
    assert [t["isResolved"] for t in github.threads] == [False, False]


def test_a_dismissal_counts_from_those_who_may_write(github, posting):
    github.permissions = {"owner": "admin", "stranger": "read"}
    posting(_document([_comment(1, 3), _comment(2, 2)]))
    github.reply(github.threads[0], "owner", "/momus dismiss it cannot be zero")
    github.reply(github.threads[1], "stranger", "/momus dismiss no")
    github.reply(github.threads[1], "../../evil", "/momus dismiss no")
    posted = posting(_document([_comment(1, 3), _comment(2, 2)]))
    assert str(posted) == "0 new, 1 still there, 0 fixed, 1 dismissed, 0 in the summary"
    assert [t["isResolved"] for t in github.threads] == [True, False]
    posting(_document([_comment(1, 3), _comment(2, 2)]))
    assert len(github.threads) == 2 and github.threads[0]["isResolved"]


def test_marks_of_others_are_not_ours(github, posting):
    body = f"<!-- momus:{1:016x} -->\nforged"
    github.thread("src/a.py", 3, body, author="stranger")
    github.issue_comments.append({"id": 1, "body": f"{SUMMARY} forged", "user": {"login": "stranger"}})
    assert posting(_document([_comment(1, 3)])).new == 1
    assert github.threads[0]["comments"][0]["body"] == body and not github.threads[0]["isResolved"]
    assert github.issue_comments[0]["body"].endswith("forged") and github.issue_comments[1]["user"]["login"] == BOT


def test_many_comments_and_files_go_over_pages(github, posting):
    files = [
        {"name": f"src/{name}.py", "findings": [_comment(10 * i + j, j + 1) for j in range(4)], "outside": []}
        for i, name in enumerate("abcde")
    ]
    assert posting({**_document([_comment(1, 3)]), "files": files}).new == 20
    assert posting({**_document([_comment(1, 3)]), "files": files}).still_there == 20
    more = [_comment(100 + j, 3) for j in range(MOST + 5)]
    assert posting(_document(more, name="src/a.py")).aside == 5


def test_a_line_that_github_does_not_take_goes_to_the_summary(github, posting, monkeypatch):
    monkeypatch.setattr("momus.review.github.post.read_changed_lines", lambda *_: {"src/a.py": frozenset(range(99))})
    assert str(posting(_document([_comment(1, 3), _comment(2, 30)]))).startswith("1 new, 0 still there")
    assert len(github.threads) == 1 and "src/a\\.py:30" in github.issue_comments[0]["body"]


def test_texts_are_shown_as_text():
    hostile = "@everyone <img src=x> [a](https://evil.example) <!-- momus:0000000000000002 --> ```\n# big"
    body = write_comment(_parsed(_comment(1, 3, hostile, function="<b>@x", replacement="    return `````")))
    assert "@everyone" not in body and "<img" not in body and "https://" not in body and "<b>" not in body
    assert body.count("<!--") == 1 and body.startswith("<!-- momus:0000000000000001 -->")
    assert "``````suggestion\n    return `````\n``````" in body


def _parsed(comment):
    from momus.review.github.artifact import Comment

    return Comment.model_validate(comment)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema="other"), "schema"),
        (lambda d: d["files"][0].update(name="../../etc/passwd"), "inside of the repository"),
        (lambda d: d["files"][0].update(name="/etc/passwd"), "inside of the repository"),
        (lambda d: d["files"][0].update(name="a\u202e.py"), "inside of the repository"),
        (lambda d: d["files"][0]["findings"][0].update(line=-1), "line"),
        (lambda d: d["files"][0]["findings"][0].update(line="3"), "line"),
        (lambda d: d["files"][0]["findings"][0].update(end_line=1), "ends before"),
        (lambda d: d["files"][0]["findings"][0].update(id="<!-- -->"), "id"),
        (lambda d: d["files"][0]["findings"][0].update(text="x" * 6000), "text"),
        (lambda d: d["files"][0]["findings"].append(_comment(1, 4)), "one id"),
        (lambda d: d["files"][0].update(findings=[_comment(i, 3) for i in range(1001)]), "more than 1000"),
    ],
)
def test_a_hostile_artifact_is_one_line(tmp_path, change, words):
    document = _document([_comment(1, 3)])
    change(document)
    path = tmp_path / "review.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=words) as error:
        read_artifact(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", [b"x" * (MAX_BYTES + 1), b"[" * 100_000, b"{", b"[]", b"\xff\xfe", b'{"schema": NaN}'])
def test_what_is_no_artifact_is_one_line(tmp_path, data):
    path = tmp_path / "review.json"
    path.write_bytes(data)
    with pytest.raises(UserError):
        read_artifact(path)


def test_rate_limits_are_waited_for_but_not_for_ever(github, tmp_path):
    waited = []
    client = Client("secret", github.url, f"{github.url}/graphql", sleep=waited.append)
    github.refuse = [(403, {"Retry-After": "7"}), (429, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"})]
    assert client.get(f"/repos/{REPOSITORY}/pulls/7")["number"] == 7
    assert waited == [7.0, 1.0]
    github.refuse = [(429, {"Retry-After": "9000"})]
    with pytest.raises(UserError, match="not waited for"):
        client.get(f"/repos/{REPOSITORY}/pulls/7")
    github.refuse = [(502, {}), (302, {"Location": "http://evil.example/"})]
    with pytest.raises(UserError, match="302"):
        client.get(f"/repos/{REPOSITORY}/pulls/7")
    soon = str(int(time.time()) + 2)
    github.refuse = [(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": soon})]
    client.get(f"/repos/{REPOSITORY}/pulls/7")
    assert 0 < waited[-1] <= 3.1
    with pytest.raises(UserError, match="401"):
        Client("wrong", github.url, github.url).get("/repos")


def test_the_token_goes_nowhere_else():
    with pytest.raises(UserError, match="https only"):
        Client("secret", "http://evil.example")
    with pytest.raises(UserError, match="GITHUB_TOKEN"):
        Client("")


def _event(tmp_path, payload):
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"repository": {"full_name": REPOSITORY}, **payload}))
    return path


def test_the_pull_request_comes_from_the_event_and_has_to_be_at_its_revision(github, tmp_path):
    client = Client("secret", github.url, f"{github.url}/graphql")
    run = {"head_sha": github.head, "head_branch": "feature", "pull_requests": []}
    run["head_repository"] = {"owner": {"login": "someone"}}
    expected = PullRequest(REPOSITORY, 7, github.head)
    assert find_pull_request(_event(tmp_path, {"workflow_run": run}), client) == expected
    known = {**run, "pull_requests": [{"number": 7}]}
    assert find_pull_request(_event(tmp_path, {"workflow_run": known}), client) == expected
    own = {"pull_request": {"number": 7, "head": {"sha": github.head}}}
    assert find_pull_request(_event(tmp_path, own), client) == expected
    for moved in ({**run, "head_sha": "b" * 40}, {**run, "head_branch": "other"}):
        with pytest.raises(UserError, match="moved on"):
            find_pull_request(_event(tmp_path, {"workflow_run": moved}), client)
    for broken in ({}, {"workflow_run": {"head_sha": "x"}}, {"repository": {"full_name": "a/../b"}, **own}):
        with pytest.raises(UserError, match="not the event"):
            find_pull_request(_event(tmp_path, broken), client)


def test_lines_of_hunks():
    assert lines_of_hunks(PATCH) == {1, 2, 3, 4, 41, 42, 43}
    assert lines_of_hunks("") == frozenset()
    assert lines_of_hunks("@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b") == {1}


def test_the_command_posts(github, tmp_path, monkeypatch, capsys):
    artifact = tmp_path / "review.json"
    artifact.write_text(json.dumps(_document([_comment(1, 3)])))
    event = _event(tmp_path, {"pull_request": {"number": 7, "head": {"sha": github.head}}})
    names = {"GITHUB_TOKEN": "secret", "GITHUB_API_URL": github.url, "GITHUB_GRAPHQL_URL": f"{github.url}/graphql"}
    for name, value in {**names, "GITHUB_EVENT_PATH": str(event)}.items():
        monkeypatch.setenv(name, value)
    assert main(["review", "post", str(artifact)]) == 0
    assert "acme/tools#7: 1 new" in capsys.readouterr().err
    monkeypatch.delenv("GITHUB_EVENT_PATH")
    assert main(["review", "post", str(artifact)]) == 2
