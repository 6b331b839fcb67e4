"""Who gets which item, and what becomes of the work: leases, drafts, submissions, corrections.

Rules, each kept by one transaction:

* An item wants K judgements, each by another labeler, never by an author of what is judged. For a real item the
  accepted judgements and the live leases together are never more than K.
* A lease is held by a token nobody can guess, and lives while its page says so, by the database's clock. Its token
  fences: after the lease has lapsed and somebody else holds the place, work that still comes is kept as *surplus*, not
  counted and not thrown away.
* A submission and the reply to it are stored together under the request's own name: asked again, it gets the same
  reply.
* Nothing is changed. A correction is a new revision that supersedes the last; a reviewer's verdict is a row of its own.

Candidates do screening items, and nobody else does. Training items come first, each labeler once; then, about every
tenth time, a gold item; all of these have no limit of labelers
and look like any other. A held item is resumed, with its draft.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from momus.label.audit import digest, log
from momus.label.database import Database, Row, Transaction
from momus.label.kinds import ADJUDICATION
from momus.label.rules import (
    MAY_JUDGE,
    TAKEN,
    Arrange,
    Check,
    Lease,
    NewItem,
    Purpose,
    RefusedError,
    Verdict,
    add_item,
    apply_verdict,
    check_active,
    check_state,
    find_lease,
    find_room,
    has_room,
    insert_lease,
    is_candidate,
    is_paused,
    keep,
    last_verdict,
    lease_of,
    to_json,
)

_OPEN = "EXISTS (SELECT 1 FROM item WHERE kind = ? AND purpose = '{}' AND state = 'open')"
LEASE_SECONDS = 15 * 60.0
GOLD_EVERY = 10


@dataclass(frozen=True)
class Queue:
    """What there is to do for a labeler in one kind.

    `waiting` items are all held by others at the moment: more may come when a lease lapses. `paused` ones the owner has
    stopped; a held one may be finished all the same.
    """

    kind: str
    open: int
    waiting: int
    done: int
    held: bool
    paused: int = 0


@dataclass
class Store:
    """The rules of assignment over a database.

    Attributes:
        database: Where everything is.
        lease_seconds: How long a lease lives without a sign of life.
        gold_every: One in so many items is a gold one, as far as there are any.
        review_share: So large a share of submissions becomes an item of the kind "review", for anybody else.
        random: Draws arrangements and samples.
    """

    database: Database
    lease_seconds: float = LEASE_SECONDS
    gold_every: int = GOLD_EVERY
    review_share: float = 0.0
    random: Random = field(default_factory=secrets.SystemRandom)

    def add_items(self, items: Sequence[NewItem], batch: str, actor: str) -> int:
        """Add items and return how many were new: the same payload in the same batch is added once."""

        def work(transaction: Transaction) -> int:
            return sum(add_item(transaction, item, batch, actor) for item in items)

        return self.database.write(work)

    def claim(self, person: str, kind: str, arrange: Arrange) -> Lease | None:
        """Return the labeler's next item of a kind, a held one first; None where there is none to be had now."""

        def work(transaction: Transaction) -> Lease | None:
            known = transaction.row_and_time(
                "SELECT {now} AS now, state, role, (SELECT value FROM setting WHERE name = 'paused') AS paused, "
                "(SELECT token FROM lease JOIN item ON item.number = lease.item WHERE lease.person = person.id "
                "AND kind = ? AND lease.state = 'held' AND expires > {now} AND supersedes IS NULL "
                "ORDER BY lease.created LIMIT 1) AS held, "
                f"{_OPEN.format('training')} AS training, {_OPEN.format('gold')} AS gold FROM person WHERE id = ?",
                kind, kind, kind, person,
            )  # fmt: skip
            known = check_state(known)
            if known["held"]:
                return self.resume(transaction, known["held"], person)
            if known["paused"] is not None:
                return None
            for purpose in self._purposes(transaction, person, kind, known):
                number = find_room(transaction, person, kind, purpose)
                if number is not None:
                    return self.hand_out(transaction, number, person, arrange)
            return None

        return self.database.write(work)

    def lease(self, token: str, person: str) -> Lease:
        """Return a lease of this labeler, with its draft.

        Raises:
            RefusedError: There is none (404), whoever else may have it.
        """
        return self.database.read(lambda transaction: find_lease(transaction, token, person))

    def heartbeat(self, token: str, person: str) -> float:
        """Keep a lease alive; return how many seconds it now has.

        Raises:
            RefusedError: It has lapsed and its place is taken (410), is no longer held (409), or is not theirs (404).
        """

        def work(transaction: Transaction) -> float:
            check_active(transaction, person)
            lease = find_lease(transaction, token, person, "lease")
            if lease.state != "held":
                raise RefusedError(409, "this task is no longer open")
            if not lease.live and lease.supersedes is None and not has_room(transaction, lease):
                raise RefusedError(410, "the time for this task has passed, and somebody else has it now")
            self._extend(transaction, token)
            return self.lease_seconds

        return self.database.write(work)

    def save_draft(self, token: str, person: str, revision: int, content: Any) -> int:
        """Keep unfinished work; `revision` is the one that it was made from. Return its own.

        Raises:
            RefusedError: Another page has saved since (409), or the lease is not theirs (404) or closed (409).
        """

        def work(transaction: Transaction) -> int:
            lease = find_lease(transaction, token, person, "lease")
            if lease.state != "held":
                raise RefusedError(409, "this task is no longer open")
            if revision != lease.draft_revision:
                raise RefusedError(409, "another window has saved this task in the meantime: reload the page")
            if lease.live:
                self._extend(transaction, token)
            transaction.run("DELETE FROM draft WHERE lease = ?", token)
            transaction.run(
                "INSERT INTO draft VALUES (?, ?, ?, ?)", token, revision + 1, to_json(content), transaction.now()
            )
            return revision + 1

        return self.database.write(work)

    def submit(
        self, token: str, person: str, request: str, content: Any, active: float, check: Check
    ) -> dict[str, Any]:
        """Accept a judgement, once; the same request again gets the same reply.

        Args:
            token: The lease.
            person: Who submits.
            request: The request's own name, made by the page.
            content: The judgement.
            active: Seconds the page was in use.
            check: Returns the content as it is to be kept, or raises UserError.

        Returns:
            `id`, `status` ("accepted" or "surplus"), `revision`, and for a training item its `gold`.

        Raises:
            RefusedError: The request was made before with another content (422), the item was submitted or declined
                already (409), or the lease is not theirs (404).
        """
        wanted = digest([token, content])

        def work(transaction: Transaction) -> dict[str, Any]:
            lease = find_lease(transaction, token, person, "item")
            known = transaction.row(
                "SELECT state, digest, answer FROM person LEFT JOIN reply ON reply.person = person.id AND request = ? "
                "WHERE id = ?",
                request, person,
            )  # fmt: skip
            if known and known["digest"]:
                if known["digest"] != wanted:
                    raise RefusedError(422, "this request was made before, with another content")
                answer: dict[str, Any] = json.loads(known["answer"])
                return answer
            check_state(known)
            if lease.state == "done":
                raise RefusedError(409, "this task was submitted already")
            if lease.state == "declined":
                raise RefusedError(409, "this task was declined already")
            kept = check(lease.kind, lease.payload, lease.arrangement, content)
            answer = keep(transaction, lease, kept, active)
            if lease.kind not in ("review", ADJUDICATION) and self.random.random() < self.review_share:
                add_item(transaction, _check_of(answer["id"], lease, kept), "checks", "momus")
            transaction.run(
                "INSERT INTO reply VALUES (?, ?, ?, ?, ?)", person, request, wanted, to_json(answer), transaction.now()
            )
            return answer

        return self.database.write(work)

    def decline(self, token: str, person: str, reason: str) -> None:
        """Give an item back for good, with a reason; the labeler does not see it again."""

        def work(transaction: Transaction) -> None:
            lease = find_lease(transaction, token, person, "lease")
            if lease.state == "done":
                raise RefusedError(409, "this task was submitted already")
            transaction.run("UPDATE lease SET state = 'declined', reason = ? WHERE token = ?", reason, token)
            transaction.run("DELETE FROM draft WHERE lease = ?", token)
            log(transaction, person, "decline", f"item {lease.item}", reason)

        self.database.write(work)

    def reopen(self, submission: str, person: str) -> Lease:
        """Let a labeler correct a submission: what is submitted under the lease supersedes it.

        Raises:
            RefusedError: It is not theirs (404), was corrected already, or was rejected (409).
        """

        def work(transaction: Transaction) -> Lease:
            check_active(transaction, person)
            row = transaction.row("SELECT * FROM submission WHERE id = ? AND person = ?", submission, person)
            if row is None:
                raise RefusedError(404, "no such submission")
            if transaction.value("SELECT id FROM submission WHERE supersedes = ?", submission):
                raise RefusedError(409, "this was corrected already: correct the correction")
            if last_verdict(transaction, submission) == "rejected":
                raise RefusedError(409, "this was rejected and cannot be corrected")
            held = transaction.value(
                "SELECT token FROM lease WHERE item = ? AND person = ? AND state = 'held'", row["item"], person
            )
            token: str = held or secrets.token_urlsafe(24)
            if held is None:
                insert_lease(
                    transaction, token, row["item"], person, submission, row["arrangement"], self.lease_seconds
                )
                transaction.run("INSERT INTO draft VALUES (?, ?, ?, ?)", token, 1, row["content"], transaction.now())
            return self.resume(transaction, token, person)

        return self.database.write(work)

    def review(self, submission: str, reviewer: str, verdict: Verdict, note: str) -> None:
        """Add a verdict; one that is returned or rejected no longer counts, and its item is open again."""
        self.database.write(lambda transaction: apply_verdict(transaction, submission, reviewer, verdict, note))

    def paused(self) -> bool:
        """Whether the owner has paused the project: held tasks may be finished, nothing new is handed out."""
        return self.database.read(is_paused)

    def queues(self, person: str) -> list[Queue]:
        """Return what there is to do for a labeler, a line for each kind that has items."""

        def work(transaction: Transaction) -> list[Queue]:
            now = transaction.now()
            project_paused, candidate = is_paused(transaction), is_candidate(transaction, person)
            done = {
                row["kind"]: row["count"]
                for row in transaction.rows(
                    "SELECT kind, count(*) AS count FROM submission JOIN item ON item.number = submission.item "
                    "WHERE submission.person = ? AND revision = 0 GROUP BY kind",
                    person,
                )
            }
            rows = transaction.rows(
                f"SELECT kind, sum(CASE WHEN state = 'open' AND (purpose <> 'real' OR {TAKEN} < want) THEN 1 ELSE 0 "
                "END) AS room, sum(CASE WHEN state = 'open' THEN 1 ELSE 0 END) AS total, "
                "sum(CASE WHEN state = 'paused' THEN 1 ELSE 0 END) AS paused "
                f"FROM item WHERE state <> 'done' AND (purpose = 'screening') = ? AND {MAY_JUDGE} GROUP BY kind",
                now, person, candidate, person, person,
            )  # fmt: skip
            open_items = {row["kind"]: row for row in rows}
            holding = transaction.rows(
                "SELECT DISTINCT kind FROM lease JOIN item ON item.number = lease.item "
                "WHERE person = ? AND lease.state = 'held' AND expires > ?",
                person, now,
            )  # fmt: skip
            held = {row["kind"] for row in holding}
            known = transaction.rows(
                "SELECT DISTINCT kind FROM item WHERE kind <> ? AND (purpose = 'screening') = ? ORDER BY kind",
                ADJUDICATION, candidate,
            )  # fmt: skip
            queues = []
            for kind in [row["kind"] for row in known]:
                row = open_items.get(kind, {"room": 0, "total": 0, "paused": 0})
                room, total, paused = int(row["room"]), int(row["total"]), int(row["paused"])
                if project_paused:
                    room, total, paused = 0, 0, total + paused
                queues.append(Queue(kind, room, total - room, done.get(kind, 0), kind in held, paused))
            return queues

        return self.database.read(work)

    def _extend(self, transaction: Transaction, token: str) -> None:
        transaction.run("UPDATE lease SET expires = ? WHERE token = ?", transaction.now() + self.lease_seconds, token)

    def _purposes(self, transaction: Transaction, person: str, kind: str, known: Row) -> tuple[Purpose, ...]:
        """Return what a labeler's next item may be for, what comes first first."""
        if known["role"] == "candidate":
            return ("screening",)
        first: tuple[Purpose, ...] = ("training",) if known["training"] else ()
        return (
            (*first, "gold", "real")
            if known["gold"] and self._gold_is_due(transaction, person, kind)
            else (*first, "real")
        )

    def _gold_is_due(self, transaction: Transaction, person: str, kind: str) -> bool:
        done = transaction.value(
            "SELECT count(*) AS count FROM submission JOIN item ON item.number = submission.item "
            "WHERE submission.person = ? AND kind = ? AND purpose = 'real' AND revision = 0",
            person, kind,
        )  # fmt: skip
        seen = transaction.value(
            "SELECT count(*) AS count FROM lease JOIN item ON item.number = lease.item "
            "WHERE lease.person = ? AND kind = ? AND purpose = 'gold' AND lease.state <> 'lapsed'",
            person, kind,
        )  # fmt: skip
        return bool(seen < (done + 1 + self.gold_every // 2) // self.gold_every)

    def resume(self, transaction: Transaction, token: str, person: str) -> Lease:
        """Return a lease that this labeler holds, made to live longer."""
        self._extend(transaction, token)
        return find_lease(transaction, token, person)

    def hand_out(self, transaction: Transaction, number: int, person: str, arrange: Arrange) -> Lease:
        """Lease a locked item that has room to a labeler who may judge it; what was begun before is there again."""
        token = secrets.token_urlsafe(24)
        item = transaction.row(
            "SELECT kind, purpose, payload, gold, warning, lease.token, arrangement, content AS draft, revision "
            "FROM item LEFT JOIN lease ON lease.item = number AND person = ? AND lease.state IN ('held', 'lapsed') "
            "LEFT JOIN draft ON draft.lease = lease.token WHERE number = ? ORDER BY lease.created DESC LIMIT 1",
            person, number,
        )  # fmt: skip
        assert item is not None
        if lapsed := item["token"]:  # the same page again, under a new token
            arrangement = item["arrangement"]
            transaction.run("UPDATE lease SET state = 'lapsed' WHERE token = ?", lapsed)
        else:
            seed = self.random.getrandbits(64)
            arrangement = to_json(arrange(item["kind"], json.loads(item["payload"]), Random(seed)))
        row = insert_lease(transaction, token, number, person, None, arrangement, self.lease_seconds)
        if lapsed:
            transaction.run("UPDATE draft SET lease = ? WHERE lease = ?", token, lapsed)
        return lease_of({**item, **row, "now": transaction.now()})


def _check_of(submission: str, lease: Lease, content: Any) -> NewItem:
    """Return the item that has somebody else check a submission."""
    payload = {"submission": submission, "kind": lease.kind, "payload": lease.payload,
               "arrangement": lease.arrangement, "content": content}  # fmt: skip
    return NewItem("review", payload, authors=(lease.person,), warning=lease.warning)
