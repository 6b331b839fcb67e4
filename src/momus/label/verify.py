"""What `momus label verify` checks: the audit chain, and that nothing in the store contradicts it."""

from __future__ import annotations

from momus.label.audit import FIRST_SEAL, digest, seal, seal_of
from momus.label.database import Database, Transaction
from momus.label.rules import standing


def verify(database: Database) -> tuple[list[str], int, str]:
    """Check the chain, and the store against it.

    Returns:
        What is wrong, a line each; how many rows are sealed; and the last seal, which, noted elsewhere, proves
        later that nothing before it was changed.
    """
    seal(database)
    return database.read(_check)


def _check(transaction: Transaction) -> tuple[list[str], int, str]:
    problems: list[str] = []
    before, count = FIRST_SEAL, 0
    logged: dict[str, str] = {}
    for row in transaction.rows("SELECT * FROM audit WHERE position IS NOT NULL ORDER BY position"):
        count += 1
        if row["position"] != count or row["seal"] != seal_of(before, count, row):
            problems.append(f"audit log: row {count} does not follow from the one before it")
            break
        before = row["seal"]
        if row["action"] == "submit":
            logged[row["subject"]] = row["digest"]
    submissions = transaction.rows("SELECT id, item, person, content FROM submission")
    for row in submissions:
        if row["id"] not in logged:
            problems.append(f"submission {row['id']}: not in the audit log")
        elif logged.pop(row["id"]) != digest(row["content"]):
            problems.append(f"submission {row['id']}: its content is not what the audit log says")
    problems += [f"submission {identity}: in the audit log, but missing" for identity in logged]
    for item in transaction.rows("SELECT number, want, accepted, purpose FROM item"):
        accepted = len(standing(transaction, item["number"]))
        if accepted != item["accepted"]:
            problems.append(f"item {item['number']}: {item['accepted']} accepted judgements noted, {accepted} found")
        if accepted > item["want"] and item["purpose"] == "real":
            problems.append(f"item {item['number']}: {accepted} accepted judgements where {item['want']} are wanted")
    return problems, count, before
