"""Post a review: new comments as one review, threads updated instead of repeated, and resolved when fixed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from momus.review.formats.markdown import escape
from momus.review.github.artifact import Artifact, Comment
from momus.review.github.client import Client, GitHubError
from momus.review.github.pull_request import (
    PullRequest,
    Thread,
    may_write,
    read_changed_lines,
    read_threads,
)
from momus.terminal import visible

MOST = 30
"""New comments on lines in one review; the others go to the summary."""

SUMMARY = "<!-- momus:summary -->"

MAX_BODY = 60_000
"""Characters of a comment; GitHub takes 65,536."""

_RESOLVE = "mutation($id: ID!) { resolveReviewThread(input: {threadId: $id}) { thread { id isResolved } } }"
_UNRESOLVE = "mutation($id: ID!) { unresolveReviewThread(input: {threadId: $id}) { thread { id isResolved } } }"
_OUTCOMES = {
    "clean": "No problems found",
    "findings": "Comments",
    "partly_read": "No problems found in the part that was read",
    "not_run": "Nothing was reviewed",
}


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        new: Comments to make on lines.
        update: Threads whose first comment is to say something else, with the new text.
        reopen: Threads that are resolved and whose finding is there again.
        resolve: Threads whose finding is gone, or was dismissed.
        aside: Comments that cannot be on a line of the change: for the summary.
        dismissed: Findings that somebody who may write dismissed, with the reason.
    """

    new: tuple[tuple[str, Comment], ...]
    update: tuple[tuple[Thread, str], ...]
    reopen: tuple[Thread, ...]
    resolve: tuple[Thread, ...]
    aside: tuple[tuple[str, Comment], ...]
    dismissed: Mapping[str, str]


@dataclass(frozen=True)
class Posted:
    """What was done; `forbidden` counts the threads that the token may neither resolve nor open again."""

    new: int
    still_there: int
    fixed: int
    dismissed: int
    aside: int
    forbidden: int = 0

    def __str__(self) -> str:
        done = (
            f"{self.new} new, {self.still_there} still there, {self.fixed} fixed, {self.dismissed} dismissed, "
            f"{self.aside} in the summary"
        )
        if not self.forbidden:
            return done
        return f"{done}; {self.forbidden} could not be resolved or reopened, which takes a token with `contents: write`"


def make_plan(
    artifact: Artifact,
    changed: Mapping[str, frozenset[int]],
    threads: Sequence[Thread],
    dismissed: Mapping[str, str],
) -> Plan:
    """Return what is to be done about a review.

    Args:
        artifact: The review.
        changed: For each file the lines that comments can be on.
        threads: Those that we began.
        dismissed: Findings that somebody who may write dismissed, with the reason.
    """
    by_finding = {thread.finding: thread for thread in threads}
    comments = {comment.id: (path, comment) for path, comment, _ in artifact.comments()}
    open_ones = {id: one for id, one in comments.items() if id not in dismissed}
    on_lines = {
        id: (path, comment)
        for id, (path, comment) in open_ones.items()
        if id not in by_finding and _on_hunk(comment, changed.get(path, frozenset()))
    }
    new = tuple(on_lines.values())[:MOST]
    taken = {comment.id for _, comment in new}
    known = [(by_finding[id], write_comment(comment)) for id, (_, comment) in open_ones.items() if id in by_finding]
    gone = {thread.finding for thread in threads if thread.finding not in comments} if artifact.is_whole else set()
    return Plan(
        new=new,
        update=tuple((thread, body) for thread, body in known if thread.body != body),
        reopen=tuple(thread for thread, _ in known if thread.resolved),
        resolve=tuple(t for t in threads if not t.resolved and (t.finding in gone or t.finding in dismissed)),
        aside=tuple(one for id, one in open_ones.items() if id not in by_finding and id not in taken),
        dismissed=dismissed,
    )


def post(artifact: Artifact, pull: PullRequest, client: Client) -> Posted:
    """Post a review on a pull request, or bring what was posted before up to date.

    Raises:
        UserError: GitHub refuses.
    """
    threads = read_threads(pull, client)
    plan = make_plan(artifact, read_changed_lines(pull, client), threads, _dismissals(threads, pull, client))
    refused = _comment(plan.new, pull, client)
    for thread, body in plan.update:
        client.send("PATCH", f"/repos/{pull.repository}/pulls/comments/{thread.comment}", {"body": body})
    forbidden = sum(not _change_thread(_UNRESOLVE, thread, client) for thread in plan.reopen)
    forbidden += sum(not _change_thread(_RESOLVE, thread, client) for thread in plan.resolve)
    current = {comment.id for _, comment, _ in artifact.comments()}
    known = {thread.finding for thread in threads}
    posted = Posted(
        new=len(plan.new) - len(refused),
        still_there=len((current & known) - set(plan.dismissed)),
        fixed=sum(thread.finding not in plan.dismissed for thread in plan.resolve),
        dismissed=len(plan.dismissed),
        aside=len(plan.aside) + len(refused),
        forbidden=forbidden,
    )
    _summarise(write_summary(artifact, pull, [*plan.aside, *refused], posted), pull, client)
    return posted


def write_comment(comment: Comment) -> str:
    """Return a comment as Markdown: the texts make no links, mentions or HTML."""
    head = " ".join(filter(None, [f"**{comment.severity}**" if comment.severity else "", escape(comment.function)]))
    parts = [f"<!-- momus:{comment.id} -->\n{head}".rstrip(), escape(comment.text)]
    if comment.replacement is not None and comment.replacement.isprintable():
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", comment.replacement)), default=0))
        parts.append(f"{fence}suggestion\n{visible(comment.replacement)}\n{fence}")
    parts.append("Reply `/momus dismiss` and a reason to dismiss this comment.")
    return "\n\n".join(parts)[:MAX_BODY]


def write_summary(artifact: Artifact, pull: PullRequest, aside: Sequence[tuple[str, Comment]], posted: Posted) -> str:
    """Return the summary as Markdown."""
    manifest = artifact.manifest
    total = manifest.lines_read + manifest.lines_unread
    parts = [f"{SUMMARY}\n## Momus: {_OUTCOMES[artifact.outcome]}", f"{posted}."]
    if aside:
        items = [f"- {escape(path)}:{comment.line}: {escape(comment.text)}" for path, comment in aside]
        parts += ["### Beside the changed lines, or beyond what fits", "\n".join(items)[: MAX_BODY - 5_000]]
    parts.append(
        f"{manifest.lines_read} of {total} lines were read, at `{pull.revision[:12]}`. {escape(manifest.promise)}"
    )
    return "\n\n".join(parts)[:MAX_BODY]


def _change_thread(mutation: str, thread: Thread, client: Client) -> bool:
    """Resolve a thread or open it again; return False where the token may not.

    GitHub lets a workflow's token do either with `contents: write` only, though it may comment without.
    """
    try:
        client.query(mutation, {"id": thread.id})
    except GitHubError as error:
        if error.status != 403:
            raise
        return False
    return True


def _on_hunk(comment: Comment, lines: frozenset[int]) -> bool:
    return comment.end_line - comment.line < 1_000 and lines.issuperset(range(comment.line, comment.end_line + 1))


def _dismissals(threads: Sequence[Thread], pull: PullRequest, client: Client) -> dict[str, str]:
    allowed: dict[str, bool] = {}
    dismissed: dict[str, str] = {}
    for thread in threads:
        for user, because in thread.dismissals:
            if user not in allowed:
                allowed[user] = may_write(user, pull, client)
            if allowed[user]:
                dismissed[thread.finding] = because
    return dismissed


def _comment(new: Sequence[tuple[str, Comment]], pull: PullRequest, client: Client) -> list[tuple[str, Comment]]:
    """Make comments on lines as one review; return those that GitHub does not take."""
    if not new:
        return []
    bodies = [_on_lines(path, comment) for path, comment in new]
    review = {"commit_id": pull.revision, "event": "COMMENT", "comments": bodies}
    try:
        client.send("POST", f"{pull.path}/reviews", review)
        return []
    except GitHubError as error:
        if error.status != 422:
            raise
    refused = []
    for one, body in zip(new, bodies, strict=True):
        try:
            client.send("POST", f"{pull.path}/comments", {**body, "commit_id": pull.revision})
        except GitHubError as error:
            if error.status != 422:
                raise
            refused.append(one)
    return refused


def _on_lines(path: str, comment: Comment) -> dict[str, Any]:
    place: dict[str, Any] = {"path": path, "line": comment.end_line, "side": "RIGHT", "body": write_comment(comment)}
    return place if comment.line == comment.end_line else {**place, "start_line": comment.line, "start_side": "RIGHT"}


def _summarise(body: str, pull: PullRequest, client: Client) -> None:
    """Write the summary, over the one of before if there is one of ours."""
    issue = f"/repos/{pull.repository}/issues"
    user = client.query("query { viewer { login } }", {})["viewer"]["login"]
    for comment in client.pages(f"{issue}/{pull.number}/comments"):
        ours = comment["user"] and comment["user"]["login"].removesuffix("[bot]") == user.removesuffix("[bot]")
        if ours and str(comment["body"]).startswith(SUMMARY):
            client.send("PATCH", f"{issue}/comments/{comment['id']}", {"body": body})
            return
    client.send("POST", f"{issue}/{pull.number}/comments", {"body": body})
