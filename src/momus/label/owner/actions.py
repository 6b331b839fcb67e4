"""What an owner does to work under way: pause and resume it, and have a labeler's work done again.

Nothing is changed or removed. Work that is to be done again gets a verdict of its own row, as a reviewer's does, so
its items are short of a judgement and are handed out as before. Everything is in the audit log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from momus.errors import UserError
from momus.label.audit import digest, log
from momus.label.database import Database, Row, Transaction
from momus.label.kinds import ADJUDICATION
from momus.label.rules import STRUCK, Purpose, Verdict, apply_verdict, last_verdict

By = Literal["others", "same"]
_VERDICTS: dict[By, Verdict] = {"others": "rejected", "same": "returned"}


@dataclass(frozen=True)
class Batch:
    """Items that were imported together and are of one kind and purpose; `paused` of them are not handed out."""

    name: str
    kind: str
    purpose: Purpose
    items: int
    wanted: int
    accepted: int
    paused: int


def batches(database: Database) -> list[Batch]:
    """Return all batches, in the order in which they came."""
    rows = database.read(
        lambda transaction: transaction.rows(
            "SELECT batch, kind, purpose, count(*) AS items, sum(CASE WHEN purpose = 'real' THEN want ELSE 0 END) AS "
            "wanted, sum(accepted) AS accepted, sum(CASE WHEN state = 'paused' THEN 1 ELSE 0 END) AS paused FROM item "
            "WHERE kind <> ? GROUP BY batch, kind, purpose ORDER BY min(number)",
            ADJUDICATION,
        )
    )
    counts = ("items", "wanted", "accepted", "paused")
    return [Batch(row["batch"], row["kind"], row["purpose"], *(int(row[name]) for name in counts)) for row in rows]


def pause_project(database: Database, by: str) -> None:
    """Hand out nothing more; whoever is in the middle of a task may finish it."""

    def work(transaction: Transaction) -> None:
        transaction.run("INSERT INTO setting VALUES ('paused', '1') ON CONFLICT (name) DO NOTHING")
        log(transaction, by, "pause", "project")

    database.write(work)


def resume_project(database: Database, by: str) -> None:
    """Hand out tasks again."""

    def work(transaction: Transaction) -> None:
        transaction.run("DELETE FROM setting WHERE name = 'paused'")
        log(transaction, by, "resume", "project")

    database.write(work)


def set_batch_paused(database: Database, batch: str, paused: bool, by: str, kind: str = "", purpose: str = "") -> int:
    """Pause the items of a batch, or let them go on; return how many there are.

    Args:
        database: The workbench.
        batch: The batch's name.
        paused: Whether they are to be paused.
        by: Who says so.
        kind: Only those of a kind; all by default.
        purpose: Only those for a purpose; all by default.

    Raises:
        UserError: There is no such batch.
    """

    def work(transaction: Transaction) -> int:
        state = "'paused'" if paused else "CASE WHEN purpose = 'real' AND want <= accepted THEN 'done' ELSE 'open' END"
        count = transaction.run(
            f"UPDATE item SET state = CASE WHEN (state = 'paused') = ? THEN state ELSE {state} END "
            "WHERE batch = ? AND (kind = ? OR ? = '') AND (purpose = ? OR ? = '')",
            paused, batch, kind, kind, purpose, purpose,
        )  # fmt: skip
        if not count:
            raise UserError(f"no batch {batch!r}")
        # A batch is named as its owner likes: the log holds no text that somebody wrote.
        log(transaction, by, "pause" if paused else "resume", f"batch {digest(batch)[:16]}", [batch, kind, purpose])
        return count

    return database.write(work)


def work_of(database: Database, person: str) -> list[Row]:
    """Return how many of a labeler's judgements count, of each kind: what `redo` would take back."""

    def work(transaction: Transaction) -> list[Row]:
        kinds = [row["kind"] for row in _standing_of(transaction, person, "")]
        return [{"kind": kind, "count": kinds.count(kind)} for kind in sorted(set(kinds))]

    return database.read(work)


def redo(database: Database, person: str, kind: str, by_whom: By, reason: str, by: str) -> int:
    """Have a labeler's accepted judgements done again, by others or by the same labeler; return how many.

    They no longer count and are kept. Gold and training items stay as they are: they say how good the labeler is.

    Args:
        database: The workbench.
        person: Whose judgements.
        kind: Of which kind; "" for all.
        by_whom: "others": the items are assigned anew, never to this labeler. "same": the labeler finds them returned,
            under *My work*; until they are done again others may take them, too.
        reason: Why; the labeler reads it.
        by: Who says so.

    Raises:
        UserError: No reason, no such labeler, or nothing that counts.
    """
    if not reason.strip():
        raise UserError("say why it has to be done again: the labeler reads it")

    def work(transaction: Transaction) -> int:
        if transaction.value("SELECT id FROM person WHERE id = ?", person) is None:
            raise UserError(f"no labeler {person!r}")
        rows = _standing_of(transaction, person, kind)
        if not rows:
            raise UserError("no judgement of this labeler counts: there is nothing to be done again")
        for row in rows:
            apply_verdict(transaction, row["id"], by, _VERDICTS[by_whom], reason)
            _close_checks(transaction, row["id"])
        log(transaction, by, f"redo by {by_whom}", person, [kind, reason, [row["id"] for row in rows]])
        return len(rows)

    return database.write(work)


def _standing_of(transaction: Transaction, person: str, kind: str) -> Sequence[Row]:
    """Return a labeler's judgements of real items that count, in the order of the items (so that locks are too)."""
    rows = transaction.rows(
        "SELECT submission.id, item.kind FROM submission JOIN item ON item.number = submission.item WHERE person = ? "
        "AND status = 'accepted' AND purpose = 'real' AND (kind = ? OR ? = '') AND NOT EXISTS (SELECT 1 FROM "
        "submission AS later WHERE later.supersedes = submission.id) ORDER BY item",
        person, kind, kind,
    )  # fmt: skip
    return [row for row in rows if last_verdict(transaction, row["id"]) not in STRUCK]


def _close_checks(transaction: Transaction, submission: str) -> None:
    """Hand out no more checks of a judgement that is to be done again."""
    transaction.run(
        "UPDATE item SET state = 'done' WHERE kind = 'review' AND state = 'open' AND payload LIKE ?",
        f'%"submission": "{submission}"%',
    )
