"""A server that speaks as much of GitHub's REST and GraphQL interfaces as posting a review needs, strictly.

It answers 422 for comments that are not on lines of the diff, hands out lists page by page, limits the rate when told
to, and refuses requests without the headers that the documentation asks for.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.http_server import LocalHTTPServer

REPOSITORY = "acme/tools"
BOT = "github-actions[bot]"
PAGE = 2
"""Items of a page, whatever is asked for: the real server gives up to 100."""

HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


@dataclass
class GitHub:
    """A repository with one pull request."""

    head: str = "a" * 40
    patches: dict[str, str] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=dict)
    threads: list[dict[str, Any]] = field(default_factory=list)
    issue_comments: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    refuse: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    contents_write: bool = True
    """Whether the token may write to the code, which resolving a thread takes."""

    number: int = 7
    url: str = ""
    ids: int = 1000

    def lines(self, path: str) -> set[int]:
        lines: set[int] = set()
        number = 0
        for line in self.patches.get(path, "").split("\n"):
            if header := HUNK.match(line):
                number = int(header[1])
            elif line[:1] in ("+", " ") and number:
                lines.add(number)
                number += 1
        return lines

    def new_id(self) -> int:
        self.ids += 1
        return self.ids

    def thread(self, path: str, line: int, body: str, author: str = BOT) -> dict[str, Any]:
        comment = {"databaseId": self.new_id(), "body": body, "author": {"login": author}}
        made = {
            "id": f"T_{comment['databaseId']}",
            "isResolved": False,
            "path": path,
            "line": line,
            "comments": [comment],
        }
        self.threads.append(made)
        return made

    def reply(self, thread: dict[str, Any], author: str, body: str) -> None:
        thread["comments"].append({"databaseId": self.new_id(), "body": body, "author": {"login": author}})


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@contextmanager
def github_server(github: GitHub) -> Iterator[GitHub]:
    """Serve a repository."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _run(self, method: str) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
            github.requests.append((method, path))
            if github.refuse:
                status, headers = github.refuse.pop(0)
                return self._send(status, {"message": "limited"}, headers)
            try:
                if self.headers["Authorization"] != "Bearer secret":
                    raise Refusal(401, "Bad credentials")
                if self.headers["X-GitHub-Api-Version"] != "2022-11-28" or not self.headers["User-Agent"]:
                    raise Refusal(403, "headers are missing")
                if path == "/graphql":
                    return self._send(200, _graphql(github, body))
                answer = _rest(github, method, path.removeprefix(f"/repos/{REPOSITORY}"), query, body)
            except Refusal as refusal:
                return self._send(refusal.status, {"message": str(refusal)})
            if isinstance(answer, list):
                page = int(query.get("page", ["1"])[0])
                more = len(answer) > page * PAGE
                link = {"Link": f'<{github.url}{path}?page={page + 1}>; rel="next"'} if more else {}
                return self._send(200, answer[(page - 1) * PAGE : page * PAGE], link)
            return self._send(201 if method == "POST" else 200, answer)

        def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._run("GET")

        def do_POST(self) -> None:
            self._run("POST")

        def do_PATCH(self) -> None:
            self._run("PATCH")

    server = LocalHTTPServer(("127.0.0.1", 0), Handler)
    github.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield github
    finally:
        server.shutdown()
        server.server_close()


def _rest(github: GitHub, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
    pull = f"/pulls/{github.number}"
    found = {"number": github.number, "state": "open", "head": {"sha": github.head}}
    if (method, path) == ("GET", pull):
        return found
    if (method, path) == ("GET", "/pulls"):
        return [found] if query.get("head") == ["someone:feature"] else []
    if (method, path) == ("GET", f"{pull}/files"):
        return [{"filename": name, "patch": patch} for name, patch in github.patches.items()]
    if method == "GET" and (user := re.fullmatch(r"/collaborators/([\w-]+)/permission", path)):
        return {"permission": github.permissions.get(user[1], "none")}
    if (method, path) == ("GET", f"/issues/{github.number}/comments"):
        return list(github.issue_comments)
    if (method, path) == ("POST", f"/issues/{github.number}/comments"):
        _keys(body, {"body"}, {"body"})
        made = {"id": github.new_id(), "body": body["body"], "user": {"login": BOT}}
        github.issue_comments.append(made)
        return made
    if method == "PATCH" and (known := re.fullmatch(r"/issues/comments/(\d+)", path)):
        return _edit(github.issue_comments, "id", int(known[1]), body)
    if method == "PATCH" and (known := re.fullmatch(r"/pulls/comments/(\d+)", path)):
        return _edit([c for t in github.threads for c in t["comments"]], "databaseId", int(known[1]), body)
    if (method, path) == ("POST", f"{pull}/reviews"):
        _keys(body, {"commit_id", "event", "comments"}, {"commit_id", "event", "comments"})
        if body["event"] != "COMMENT":
            raise Refusal(422, "event")
        for comment in body["comments"]:
            _check(github, comment, body["commit_id"])
        for comment in body["comments"]:
            github.thread(comment["path"], comment["line"], comment["body"])
        return {"id": github.new_id()}
    if (method, path) == ("POST", f"{pull}/comments"):
        _check(github, {key: value for key, value in body.items() if key != "commit_id"}, body["commit_id"])
        return github.thread(body["path"], body["line"], body["body"])
    raise Refusal(404, "Not Found")


def _check(github: GitHub, comment: Any, revision: str) -> None:
    _keys(comment, {"path", "line", "side", "body"}, {"path", "line", "side", "body", "start_line", "start_side"})
    if revision != github.head:
        raise Refusal(422, "commit_id is not part of the pull request")
    start = comment.get("start_line", comment["line"])
    if not {start, comment["line"]} <= github.lines(comment["path"]) or comment["side"] != "RIGHT":
        raise Refusal(422, "pull_request_review_thread.line must be part of the diff")
    if "start_line" in comment and not start < comment["line"]:
        raise Refusal(422, "start_line must precede the end line")


def _keys(body: Any, needed: set[str], known: set[str]) -> None:
    if not isinstance(body, dict) or not needed <= body.keys() <= known or not str(body.get("body", "x")).strip():
        raise Refusal(422, "Validation Failed")
    if len(str(body.get("body", ""))) > 65_536:
        raise Refusal(422, "body is too long")


def _edit(comments: list[dict[str, Any]], key: str, id: int, body: Any) -> dict[str, Any]:
    _keys(body, {"body"}, {"body"})
    (comment,) = (each for each in comments if each[key] == id)
    comment["body"] = body["body"]
    return comment


def _graphql(github: GitHub, body: Any) -> Any:
    text, variables = body["query"], body["variables"]
    declared = set(re.findall(r"\$(\w+):", text.split("{")[0]))
    if set(variables) != declared:
        return {"errors": [{"message": f"variables {sorted(variables)} are not {sorted(declared)}"}]}
    if "viewer {" in text:
        return {"data": {"viewer": {"login": BOT}}}
    if "reviewThreads" in text:
        start = int(variables["after"] or 0)
        nodes = [
            {
                "id": thread["id"],
                "isResolved": thread["isResolved"],
                "comments": {
                    "nodes": [{**c, "viewerDidAuthor": c["author"]["login"] == BOT} for c in thread["comments"]]
                },
            }
            for thread in github.threads[start : start + PAGE]
        ]
        info = {"hasNextPage": start + PAGE < len(github.threads), "endCursor": str(start + PAGE)}
        threads = {"nodes": nodes, "pageInfo": info}
        return {"data": {"repository": {"pullRequest": {"reviewThreads": threads}}}}
    for name, state in (("unresolveReviewThread", False), ("resolveReviewThread", True)):
        if name in text:
            if not github.contents_write:
                return {"data": {name: None}, "errors": [{"type": "FORBIDDEN", "message": "Resource not accessible"}]}
            found = [thread for thread in github.threads if thread["id"] == variables["id"]]
            if not found:
                return {"errors": [{"message": "Could not resolve to a node"}]}
            found[0]["isResolved"] = state
            return {"data": {name: {"thread": {"id": found[0]["id"], "isResolved": state}}}}
    return {"errors": [{"message": "unknown"}]}
