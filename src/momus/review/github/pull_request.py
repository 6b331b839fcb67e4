"""A pull request as GitHub has it: which one it is, its changed lines, and the threads that are ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from momus.errors import UserError
from momus.review.github.client import Client

MARK = re.compile(r"\A<!-- momus:([0-9a-f]{16}) -->")
"""What our comments begin with: the id."""

_HUNK = re.compile(r"@@ -\d{1,9}(?:,\d{1,9})? \+(\d{1,9})(?:,\d{1,9})? @@")
_DISMISS = re.compile(r"\s*/momus dismiss\s+(\S.{0,500})")

_THREADS = """
query($owner: String!, $name: String!, $number: Int!, $after: String) {
  repository(owner: $owner, name: $name) { pullRequest(number: $number) { reviewThreads(first: 50, after: $after) {
    pageInfo { hasNextPage endCursor }
    nodes { id isResolved comments(first: 50) { nodes { databaseId body viewerDidAuthor author { login } } } }
  } } }
}"""


_Sha = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
_Number = Annotated[int, Field(ge=1, lt=10**12)]
_Name = Annotated[str, Field(max_length=1_000, pattern=r"^[^\x00-\x1f]+$")]


class _Part(BaseModel):
    """A part of a workflow's event."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Repository(_Part):
    full_name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$")


class _Owner(_Part):
    login: _Name


class _HeadRepository(_Part):
    owner: _Owner


class _Numbered(_Part):
    number: _Number


class _Run(_Part):
    head_sha: _Sha
    head_branch: _Name
    head_repository: _HeadRepository
    pull_requests: list[_Numbered] = []


class _Head(_Part):
    sha: _Sha


class _Own(_Numbered):
    head: _Head


class _Event(_Part):
    repository: _Repository
    workflow_run: _Run | None = None
    pull_request: _Own | None = None


@dataclass(frozen=True)
class PullRequest:
    """Which pull request a workflow's event is about, and which revision was read."""

    repository: str
    number: int
    revision: str

    @property
    def path(self) -> str:
        """Where it is in the REST interface."""
        return f"/repos/{self.repository}/pulls/{self.number}"


@dataclass(frozen=True)
class Thread:
    """A thread that we began: its first comment, and the replies that ask to dismiss it (who, and why)."""

    id: str
    resolved: bool
    finding: str
    comment: int
    body: str
    dismissals: tuple[tuple[str, str], ...] = ()


def find_pull_request(event: Path, client: Client) -> PullRequest:
    """Return the pull request of a workflow's event: one that a run of another workflow has completed for, or its own.

    A run for a fork names no pull request: it is then looked for by the branch, and has to be at the run's revision.

    Raises:
        UserError: The event is of no pull request, or the pull request has moved on since.
    """
    try:
        payload = _Event.model_validate_json(event.read_bytes())
    except OSError as error:
        raise UserError(f"{event}: {error.strerror}") from error
    except ValidationError as error:
        raise UserError(f"{event}: not the event of a pull request or of a workflow's run") from error
    repository = payload.repository.full_name
    if payload.workflow_run is not None:
        revision, numbers = payload.workflow_run.head_sha, _numbers_of(payload.workflow_run, repository, client)
    elif payload.pull_request is not None:
        revision, numbers = payload.pull_request.head.sha, [payload.pull_request.number]
    else:
        raise UserError(f"{event}: not the event of a pull request or of a workflow's run")
    for number in numbers:
        current = client.get(f"/repos/{repository}/pulls/{number}")
        if current["head"]["sha"] == revision and current["state"] == "open":
            return PullRequest(repository, number, revision)
    raise UserError(f"no open pull request is at {revision[:12]}: it has moved on, and nothing is posted")


def _numbers_of(run: _Run, repository: str, client: Client) -> list[int]:
    if run.pull_requests:
        return [each.number for each in run.pull_requests]
    head = quote(f"{run.head_repository.owner.login}:{run.head_branch}", safe="")
    return [int(each["number"]) for each in client.pages(f"/repos/{repository}/pulls?state=open&head={head}")]


def read_changed_lines(pull: PullRequest, client: Client) -> dict[str, frozenset[int]]:
    """Return for each file of a pull request the lines of its new side that comments can be on: those of its hunks."""
    files = client.pages(f"{pull.path}/files")
    return {str(file["filename"]): lines_of_hunks(file.get("patch") or "") for file in files}


def lines_of_hunks(patch: str) -> frozenset[int]:
    """Return the numbers of the lines of the new side of a file's hunks, added or not."""
    lines, number = set[int](), 0
    for line in patch.split("\n"):
        if header := _HUNK.match(line):
            number = int(header[1])
        elif number and line[:1] in ("+", " "):
            lines.add(number)
            number += 1
    return frozenset(lines)


def read_threads(pull: PullRequest, client: Client) -> list[Thread]:
    """Return the threads that we began; a comment of anybody else with our mark is not ours."""
    owner, name = pull.repository.split("/")
    threads, after = list[Thread](), None
    while True:
        data = client.query(_THREADS, {"owner": owner, "name": name, "number": pull.number, "after": after})
        page = data["repository"]["pullRequest"]["reviewThreads"]
        threads += [thread for node in page["nodes"] if (thread := _thread(node))]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            return threads


def _thread(node: Any) -> Thread | None:
    first, *replies = node["comments"]["nodes"] or [None]
    mark = MARK.match(first["body"]) if first and first["viewerDidAuthor"] else None
    if mark is None:
        return None
    asked = tuple(
        (str(reply["author"]["login"]), " ".join(wanted[1].split()))
        for reply in replies
        if reply["author"] and not reply["viewerDidAuthor"] and (wanted := _DISMISS.match(reply["body"]))
    )
    return Thread(node["id"], node["isResolved"], mark[1], first["databaseId"], first["body"], asked)


def may_write(user: str, pull: PullRequest, client: Client) -> bool:
    """Return whether a user may write to the repository: who may not decides nothing."""
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", user):
        return False
    answer = client.get(f"/repos/{pull.repository}/collaborators/{user}/permission")
    return answer["permission"] in ("admin", "write")
