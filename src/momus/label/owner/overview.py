"""Numbers about the work: for the owner's page, its CSV and `momus label status`."""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from datetime import UTC, datetime
from statistics import median
from typing import Any

from momus.label import kinds
from momus.label.database import Database, Row, Transaction
from momus.label.owner.agreement import agreement_by_labeler, agreement_by_measure, in_item_order, scores_by_measure
from momus.label.views import prefill_use, prefilled_comments

Table = dict[str, Any]


def submissions_by(database: Database, person: str) -> list[Row]:
    """Return a labeler's submissions, newest first, last revisions only, each with `state` and a reviewer's `note`."""

    def work(transaction: Transaction) -> list[Row]:
        rows = transaction.rows(
            "SELECT submission.id, kind, status, submitted, active, verdict, note FROM submission JOIN item ON "
            "item.number = submission.item LEFT JOIN review ON review.number = (SELECT max(number) FROM review WHERE "
            "review.submission = submission.id) WHERE person = ? AND NOT EXISTS (SELECT 1 FROM submission AS later "
            "WHERE later.supersedes = submission.id) ORDER BY submitted DESC LIMIT 200",
            person,
        )
        return [
            {
                **row,
                "state": row["verdict"] or row["status"],
                "note": row["note"] or "",
                "when": time_of(row["submitted"]),
            }
            for row in rows
        ]

    return database.read(work)


def time_of(seconds: float) -> str:
    """Return a time since 1970 as people read it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def overview(database: Database) -> Table:
    """Return progress by kind, labelers, agreement and the use of prefills."""
    return database.read(_overview)


def _overview(transaction: Transaction) -> Table:
    progress = transaction.rows(
        "SELECT kind, count(*) AS items, sum(CASE WHEN purpose = 'real' THEN want ELSE 0 END) AS wanted, "
        "sum(CASE WHEN purpose = 'real' THEN accepted ELSE 0 END) AS accepted FROM item GROUP BY kind ORDER BY kind"
    )
    day = transaction.now() - 86400
    work = transaction.rows(
        "SELECT kind, item.purpose, item.gold, submission.* FROM submission JOIN item ON item.number = submission.item"
    )
    declined = {
        row["kind"]: row["n"]
        for row in transaction.rows(
            "SELECT kind, count(*) AS n FROM lease JOIN item ON item.number = lease.item "
            "WHERE lease.state = 'declined' GROUP BY kind"
        )
    }
    for row in progress:
        of_kind = [submission for submission in work if submission["kind"] == row["kind"]]
        row["wanted"], row["accepted"] = int(row["wanted"]), int(row["accepted"])
        row["surplus"] = sum(submission["status"] == "surplus" for submission in of_kind)
        row["declined"] = declined.get(row["kind"], 0)
        row["day"] = sum(submission["submitted"] > day for submission in of_kind)
        row["median"] = round(median(s["active"] for s in of_kind) / 60, 1) if of_kind else None
    held = transaction.value("SELECT count(*) AS n FROM lease WHERE state = 'held' AND expires > ?", transaction.now())
    values = scores_by_measure(transaction)
    return {
        "progress": progress,
        "pending": held,
        "people": _people(transaction, work),
        "agreement": agreement_by_measure(values),
        "labelers": agreement_by_labeler(values),
        "prefill": prefill_totals(transaction),
    }


def _people(transaction: Transaction, work: list[Row]) -> list[Row]:
    by_person: dict[str, list[Row]] = defaultdict(list)
    for row in work:
        by_person[row["person"]].append(row)
    people = []
    for row in transaction.rows("SELECT id, name FROM person ORDER BY created"):
        submissions = by_person.get(row["id"], [])
        checks = [
            matches_gold(s["kind"], json.loads(s["content"]), json.loads(s["arrangement"]), json.loads(s["gold"]))
            for s in submissions if s["purpose"] == "gold" and s["gold"]
        ]  # fmt: skip
        people.append({
            **row,
            "submitted": sum(s["revision"] == 0 for s in submissions),
            "hours": round(sum(s["active"] for s in submissions) / 3600, 2),
            "gold": f"{sum(checks)}/{len(checks)}" if checks else "",
        })  # fmt: skip
    return people


def matches_gold(kind: str, content: Table, arrangement: Table, gold: Table) -> bool:
    """Whether a judgement agrees with the expected one.

    Rankings: no pair the other way round. Comparisons: every rating within one point. Bugs: each expected one shares a
    line with one that was marked, and where none is expected none was. Surveys: the answers that are expected. Anything
    else: whatever fields are expected are the same; `note` is an explanation. Expected ranks and ratings are in the
    item's own order.
    """
    if kind == "ranking" and "ranks" in gold:
        ranks, wanted = in_item_order(content["ranks"], arrangement), gold["ranks"]
        pairs = [(i, j) for i in range(len(ranks)) for j in range(i)]
        return all((ranks[i] - ranks[j]) * (wanted[i] - wanted[j]) >= 0 for i, j in pairs)
    if kind == "comparison" and "ratings" in gold:
        ratings = in_item_order(content["ratings"], arrangement)
        return all(
            abs(rating[name] - wanted[name]) <= 1
            for rating, wanted in zip(ratings, gold["ratings"], strict=True)
            for name in kinds.ATTRIBUTES if name in wanted
        )  # fmt: skip
    if kind == "found" and "bugs" in gold:
        marked = [range(bug["first"], bug["last"] + 1) for bug in content["bugs"]]
        wanted = [range(bug["first"], bug["last"] + 1) for bug in gold["bugs"]]
        return bool(marked) == bool(wanted) and all(any(set(bug) & set(one) for one in marked) for bug in wanted)
    if kind == "survey":
        return all(content["values"].get(name) == value for name, value in gold.get("values", {}).items())
    return all(content.get(name) == value for name, value in gold.items() if name != "note")


def prefill_totals(transaction: Transaction) -> Row:
    """Return what became of prefilled comments (CriticGPT, figure 4), and comments written with and without them."""
    total = dict.fromkeys(("shown", "kept", "edited", "deleted", "added", "with", "without", "blank"), 0)
    for row in transaction.rows(
        "SELECT payload, content, submission.arrangement FROM submission JOIN item ON item.number = submission.item "
        "WHERE kind = 'critique' AND NOT EXISTS (SELECT 1 FROM submission AS later WHERE later.supersedes = "
        "submission.id)"
    ):
        content = kinds.Critique.model_validate(json.loads(row["content"]))
        if not json.loads(row["arrangement"]).get("prefilled"):
            total["without"] += 1
            total["blank"] += len(content.comments)
            continue
        before = prefilled_comments(kinds.CritiqueItem.model_validate(json.loads(row["payload"])))
        use = prefill_use(before, content.comments)
        total["with"] += 1
        total["shown"] += len(before)
        for name in ("kept", "edited", "deleted", "added"):
            total[name] += use[name]
    return total


def as_csv(shown: Table) -> str:
    """Return the tables one after the other; cells that a spreadsheet would run as formulas are quoted."""
    out = io.StringIO()
    writer = csv.writer(out)
    for name in ("progress", "people", "agreement", "labelers"):
        rows = shown[name]
        writer.writerow([name, *rows[0]] if rows else [name])
        writer.writerows(["", *(harmless(value) for value in row.values())] for row in rows)
    writer.writerow(["prefill", *shown["prefill"]])
    writer.writerow(["", *shown["prefill"].values()])
    return out.getvalue()


def harmless(value: Any) -> Any:
    """Quote a cell that a spreadsheet would run as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
