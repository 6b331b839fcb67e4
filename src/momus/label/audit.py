"""The log of everything that happened, chained by hashes; `verify.py` checks it.

A row is written in the transaction of what it records, and sealed shortly after, in batches: it gets the next position
and `seal = SHA-256(seal before, row)`. Taking out, putting in or changing a sealed row breaks every seal after it.
Rows hold ids and digests only, so erasing a person's name leaves the chain as it is.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from momus.label.database import Database, Row, Transaction

BATCH = 500
FIRST_SEAL = "0" * 64


def digest(content: Any) -> str:
    """Return the SHA-256 of text, or of what JSON makes of anything else."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def log(transaction: Transaction, actor: str, action: str, subject: str, content: Any = "") -> None:
    """Record what was done to what by whom; of the content only its digest is kept."""
    transaction.run(
        "INSERT INTO audit (at, actor, action, subject, digest) VALUES (?, ?, ?, ?, ?)",
        transaction.now(), actor, action, subject, digest(content),
    )  # fmt: skip


def seal(database: Database) -> int:
    """Chain rows that are not sealed yet; return how many. Safe to call from several processes at once."""
    total = 0
    while count := database.write(_seal_batch):
        total += count
    return total


def _seal_batch(transaction: Transaction) -> int:
    if transaction.for_update:
        transaction.value("SELECT pg_advisory_xact_lock(712019)")
    last = transaction.row(
        "SELECT position, seal FROM audit WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1"
    ) or {"position": 0, "seal": FIRST_SEAL}
    position, before = last["position"], last["seal"]
    rows = transaction.rows(f"SELECT * FROM audit WHERE position IS NULL ORDER BY number LIMIT {BATCH}")
    for row in rows:
        position, before = position + 1, seal_of(before, position + 1, row)
        transaction.run("UPDATE audit SET position = ?, seal = ? WHERE number = ?", position, before, row["number"])
    return len(rows)


def seal_of(before: str, position: int, row: Row) -> str:
    """Return the seal of a row that follows the seal `before`."""
    fields = [row[name] for name in ("actor", "action", "subject", "digest")]
    return digest([before, position, repr(float(row["at"])), *fields])
