"""The rules of assignment, each a step within a transaction; store.py says what they are."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from momus.errors import UserError
from momus.label.audit import digest, log
from momus.label.database import Row, Transaction

Purpose = Literal["real", "gold", "training", "screening"]
Verdict = Literal["approved", "returned", "rejected"]
STRUCK = ("returned", "rejected")
"""Verdicts after which a judgement no longer counts."""
Arrange = Callable[[str, Any, Random], dict[str, Any]]
Check = Callable[[str, Any, dict[str, Any], Any], Any]

TRIES = 20


class RefusedError(UserError):
    """The store will not do it; `status` is the matching HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class NewItem:
    """An item to be judged.

    Attributes:
        kind: Its kind.
        payload: JSON of its kind (kinds.py).
        want: How many judgements it wants.
        purpose: What it is for.
        gold: The expected fields of the judgement.
        authors: Those who may not judge it.
        warning: What a labeler reads before the item is shown, and may decline it then without a reason.
    """

    kind: str
    payload: Mapping[str, Any]
    want: int = 1
    purpose: Purpose = "real"
    gold: Any = None
    authors: Sequence[str] = ()
    warning: str = ""


@dataclass(frozen=True)
class Lease:
    """An item in the hands of a labeler."""

    token: str
    item: int
    person: str
    kind: str
    purpose: Purpose
    payload: Any
    gold: Any
    arrangement: dict[str, Any]
    state: str
    created: float
    expires: float
    now: float
    supersedes: str | None = None
    draft: Any = None
    draft_revision: int = 0
    warning: str = ""

    @property
    def live(self) -> bool:
        """Whether it has not lapsed."""
        return self.state == "held" and self.expires > self.now


TAKEN = "(accepted + (SELECT count(*) FROM lease WHERE lease.item = item.number AND lease.state = 'held' AND \
lease.expires > ? AND lease.person <> ? AND lease.supersedes IS NULL))"
MAY_JUDGE = "NOT EXISTS (SELECT 1 FROM lease WHERE lease.item = item.number AND lease.person = ? AND \
lease.state IN ('done', 'declined') LIMIT 1 OFFSET 0) AND NOT EXISTS (SELECT 1 FROM author WHERE \
author.item = item.number AND author.person = ? LIMIT 1 OFFSET 0)"
"""OFFSET has PostgreSQL look up each item by the index. It would else join the whole tables, in a way that it chooses
once, while they are small, and keeps when they have grown."""


def standing(transaction: Transaction, item: int) -> list[Row]:
    """Return the judgements of an item that count: each labeler's last revision, accepted and not struck."""
    return _counting(submissions_of(transaction, item))


def _counting(submissions: Sequence[Row]) -> list[Row]:
    last = {row["person"]: row for row in submissions}
    return [row for row in last.values() if row["status"] == "accepted" and row["verdict"] not in STRUCK]


def submissions_of(transaction: Transaction, item: int) -> list[Row]:
    """Return all submissions of an item, in the order of their revisions, each with its last `verdict`."""
    return transaction.rows(
        "SELECT submission.*, (SELECT verdict FROM review WHERE review.submission = submission.id "
        "ORDER BY number DESC LIMIT 1) AS verdict FROM submission WHERE item = ? ORDER BY revision, submitted",
        item,
    )


def add_item(transaction: Transaction, item: NewItem, batch: str, actor: str) -> int:
    """Add an item unless the batch has it already; return how many were added."""
    payload = to_json(item.payload)
    name = item_name(batch, item.kind, item.purpose, item.payload)
    if transaction.value("SELECT number FROM item WHERE digest = ?", name) is not None:
        return 0
    gold = None if item.gold is None else to_json(item.gold)
    number = transaction.value(
        "INSERT INTO item (digest, kind, purpose, batch, payload, gold, want, accepted, state, created, warning) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 0, 'open', ?, ?) RETURNING number",
        name, item.kind, item.purpose, batch, payload, gold, item.want, transaction.now(), item.warning,
    )  # fmt: skip
    for author in sorted(set(item.authors)):
        transaction.run("INSERT INTO author VALUES (?, ?)", number, author)
    log(transaction, actor, "import", f"item {number}", name)
    return 1


def item_name(batch: str, kind: str, purpose: str, payload: Mapping[str, Any]) -> str:
    """Return the digest by which a batch knows an item that it has already."""
    return digest([batch, kind, purpose, json.loads(to_json(payload))])


def find_room(transaction: Transaction, person: str, kind: str, purpose: Purpose) -> int | None:
    """Return an item with room for one more judgement by this labeler, locked; None where there is none."""
    now = transaction.now()
    passed = -1
    for _ in range(TRIES):
        room = "" if purpose != "real" else f"AND {TAKEN} < want "
        values = () if purpose != "real" else (now, person)
        number = transaction.value(
            f"SELECT number FROM item WHERE kind = ? AND purpose = ? AND state = 'open' AND number > ? {room}"
            f"AND {MAY_JUDGE} ORDER BY number LIMIT 1{transaction.skip_locked}",
            kind, purpose, passed, *values, person, person,
        )  # fmt: skip
        if number is None or purpose != "real":
            return None if number is None else int(number)
        # Only now that the item is locked is the count sure: on PostgreSQL the query above saw an older moment.
        if transaction.value(f"SELECT want - {TAKEN} AS room FROM item WHERE number = ?", now, person, number) > 0:
            return int(number)
        passed = number
    return None


def find_lease(transaction: Transaction, token: str, person: str, lock: Literal["", "lease", "item"] = "") -> Lease:
    """Return a lease of this labeler with its draft; RefusedError 404 where there is none.

    With `lock` the lease stays locked, with "item" its item too; the time is that at which they were.
    """
    if lock and transaction.for_update:
        locked = "lease, item" if lock == "item" else "lease"
        transaction.rows(
            f"SELECT token FROM lease JOIN item ON item.number = lease.item WHERE token = ? FOR UPDATE OF {locked}",
            token,
        )
    row = transaction.row_and_time(
        "SELECT lease.*, item.kind, item.purpose, item.payload, item.gold, item.warning, draft.content AS draft, "
        "draft.revision, {now} AS now FROM lease JOIN item ON item.number = lease.item "
        "LEFT JOIN draft ON draft.lease = lease.token WHERE lease.token = ? AND lease.person = ?",
        token, person,
    )  # fmt: skip
    if row is None:
        raise RefusedError(404, "no such task")
    return lease_of(row)


def lease_of(row: Row) -> Lease:
    """Return a lease of what its tables hold, and the time."""
    stored = {
        "payload": json.loads(row["payload"]),
        "gold": row["gold"] and json.loads(row["gold"]),
        "arrangement": json.loads(row["arrangement"]),
        "draft": row["draft"] and json.loads(row["draft"]),
        "draft_revision": row["revision"] or 0,
    }
    names = (
        "token",
        "item",
        "person",
        "kind",
        "purpose",
        "state",
        "created",
        "expires",
        "now",
        "supersedes",
        "warning",
    )
    return Lease(**{name: row[name] for name in names}, **stored)


def insert_lease(
    transaction: Transaction, token: str, item: int, person: str, supersedes: str | None, arrangement: str,
    seconds: float,
) -> Row:  # fmt: skip
    """Add a lease that is held for so many seconds; return its row."""
    now = transaction.now()
    row = {"token": token, "item": item, "person": person, "supersedes": supersedes, "arrangement": arrangement,
           "state": "held", "reason": "", "created": now, "expires": now + seconds}  # fmt: skip
    transaction.run("INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row.values())
    return row


def has_room(transaction: Transaction, lease: Lease) -> bool:
    """Whether the item of a lease that is not live has a place for it; the item stays locked."""
    transaction.row(f"SELECT number FROM item WHERE number = ?{transaction.for_update}", lease.item)
    return lease.purpose != "real" or has_place(transaction, lease.item, lease.person)


def has_place(transaction: Transaction, item: int, person: str) -> bool:
    """Whether one more judgement, by this labeler, would count; the item is locked."""
    # A query of its own: on PostgreSQL one that waits for a lock counts as of before.
    row = transaction.row(
        f"SELECT purpose, want - {TAKEN} AS room FROM item WHERE number = ?", transaction.now(), person, item
    )
    return row is not None and (row["purpose"] != "real" or row["room"] > 0)


def keep(transaction: Transaction, lease: Lease, content: Any, active: float) -> dict[str, Any]:
    """Store a judgement under a lease that is locked with its item."""
    before = submissions_of(transaction, lease.item)
    last = next((row for row in reversed(before) if row["person"] == lease.person), None)
    if (last["id"] if last else None) != lease.supersedes:
        raise RefusedError(409, "this task was submitted already, in another window")
    counted = {row["person"] for row in _counting(before)}
    sure = lease.live if last is None else lease.person in counted
    status = "accepted" if sure or has_room(transaction, lease) else "surplus"
    identity = secrets.token_urlsafe(16)
    text = to_json(content)
    revision = last["revision"] + 1 if last else 0
    now = transaction.now()
    transaction.run(
        "INSERT INTO submission VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        identity, lease.item, lease.person, lease.token, revision, lease.supersedes, status, text,
        to_json(lease.arrangement), lease.created, now, active,
    )  # fmt: skip
    transaction.run("UPDATE lease SET state = 'done' WHERE token = ?", lease.token)
    if lease.draft_revision:
        transaction.run("DELETE FROM draft WHERE lease = ?", lease.token)
    log(transaction, lease.person, "submit", identity, text)
    _set_count(transaction, lease.item, len(counted - {lease.person}) + (status == "accepted"))
    if lease.kind == "review":
        apply_verdict(transaction, lease.payload["submission"], lease.person, content["verdict"], content["note"])
    gold = {"gold": lease.gold} if lease.purpose == "training" else {}
    return {"id": identity, "status": status, "revision": revision, **gold}


def recount(transaction: Transaction, item: int) -> None:
    """Bring an item's count and state in line with its judgements; the item is locked."""
    _set_count(transaction, item, len(standing(transaction, item)))


def _set_count(transaction: Transaction, item: int, accepted: int) -> None:
    transaction.run(
        "UPDATE item SET accepted = ?, state = CASE WHEN state = 'paused' THEN state "
        "WHEN purpose = 'real' AND want <= ? THEN 'done' ELSE 'open' END WHERE number = ?",
        accepted, accepted, item,
    )  # fmt: skip


def apply_verdict(transaction: Transaction, submission: str, reviewer: str, verdict: str, note: str) -> None:
    """Add a verdict on a submission and count its item again.

    Raises:
        RefusedError: There is no such submission (404); it was rejected by somebody else, or it would count again
            although others have its place (409).
    """
    row = transaction.row("SELECT item, person FROM submission WHERE id = ?", submission)
    if row is None:
        raise RefusedError(404, "no such submission")
    item = row["item"]
    transaction.row(f"SELECT number FROM item WHERE number = ?{transaction.for_update}", item)
    last = transaction.row(
        "SELECT verdict, reviewer FROM review WHERE submission = ? ORDER BY number DESC LIMIT 1", submission
    ) or {"verdict": None, "reviewer": None}
    if last["verdict"] == "rejected" and last["reviewer"] != reviewer:
        raise RefusedError(409, "somebody else has rejected this in the meantime")
    if last["verdict"] in STRUCK and verdict not in STRUCK and not has_place(transaction, item, row["person"]):
        raise RefusedError(409, "this was to be done again, and others have its place now")
    transaction.run(
        "INSERT INTO review (submission, reviewer, verdict, note, at) VALUES (?, ?, ?, ?, ?)",
        submission, reviewer, verdict, note, transaction.now(),
    )  # fmt: skip
    log(transaction, reviewer, "review", submission, [verdict, note])
    recount(transaction, item)


def last_verdict(transaction: Transaction, submission: str) -> str | None:
    """Return the last verdict on a submission, or None."""
    verdict: str | None = transaction.value(
        "SELECT verdict FROM review WHERE submission = ? ORDER BY number DESC LIMIT 1", submission
    )
    return verdict


def check_active(transaction: Transaction, person: str) -> None:
    """Raise RefusedError 403 unless the account may work."""
    check_state(transaction.row("SELECT state FROM person WHERE id = ?", person))


def check_state(person: Row | None) -> Row:
    """Return an account's row; RefusedError 403 unless it is there and may work."""
    if person is None or person["state"] != "active":
        raise RefusedError(403, "this account is paused")
    return person


def is_paused(transaction: Transaction) -> bool:
    """Whether the owner has paused the whole project."""
    return transaction.value("SELECT value FROM setting WHERE name = 'paused'") is not None


def is_candidate(transaction: Transaction, person: str) -> bool:
    """Whether somebody is still being screened: candidates do the screening and nothing else, others none of it."""
    return bool(transaction.value("SELECT role FROM person WHERE id = ?", person) == "candidate")


def to_json(value: Any) -> str:
    """Return a value as the one JSON text that is stored and hashed."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
