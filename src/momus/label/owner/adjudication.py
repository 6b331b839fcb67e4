"""Adjudication: where labelers' judgements of one item disagree, somebody who judged none of them decides.

A decision is the submission of an item of its own (kind "adjudication", batch "item N"), so leases, drafts, corrections
and the audit log are those of all other work. It is kept beside the labelers' judgements and replaces none of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random
from statistics import mean
from typing import Any, Literal

from momus.critique import anchor, lines_of
from momus.label.database import Database, Row, Transaction
from momus.label.kinds import ADJUDICATION, SurveyItem
from momus.label.owner.agreement import DRAWN, in_item_order
from momus.label.rules import (
    MAY_JUDGE,
    Lease,
    NewItem,
    RefusedError,
    add_item,
    check_active,
    has_place,
    item_name,
    standing,
)
from momus.label.store import Store
from momus.label.views import arrange
from momus.stats.agreement import preference_agreement

Contents = Sequence[Mapping[str, Any]]

LEAST = 0.25
"""Items whose judgements disagree less are not listed at first."""
_LONGEST = 100  # characters of an item in the list


@dataclass(frozen=True)
class Dispute:
    """An item whose judgements disagree.

    Attributes:
        item: Its number.
        kind: Its kind.
        about: How it begins.
        judgements: How many count.
        disagreement: From 0 (all the same) to 1 (`measure`).
        state: "open"; "held" by somebody who is deciding it; "decided"; or "own": whoever asks has judged it, and
            somebody else has to decide.
        by: Who decided it.
        decided: When, in seconds since 1970.
    """

    item: int
    kind: str
    about: str
    judgements: int
    disagreement: float
    state: Literal["open", "held", "decided", "own"]
    by: str = ""
    decided: float = 0.0


def disputes(database: Database, person: str, least: float = LEAST) -> list[Dispute]:
    """Return items that have all their judgements and whose judgements disagree: open ones first, then the worst."""

    def work(transaction: Transaction) -> list[Dispute]:
        listed = []
        for item in transaction.rows(
            "SELECT * FROM item WHERE purpose = 'real' AND accepted > 1 AND accepted >= want ORDER BY number"
        ):
            if item["kind"] not in _MEASURES:
                continue
            payload = json.loads(item["payload"])
            rows = standing(transaction, item["number"])
            value = measure(item["kind"], payload, [content_in_item_order(item["kind"], row) for row in rows])
            if value > 0 and value >= least:
                state = _state(transaction, item, rows, person)
                listed.append(Dispute(item["number"], item["kind"], _about(payload), len(rows), value, **state))
        return sorted(listed, key=lambda one: (one.state == "decided", -one.disagreement, one.item))

    return database.read(work)


def take(store: Store, item: int, person: str) -> Lease:
    """Let somebody decide an item; what was begun is resumed.

    Raises:
        RefusedError: There is no such item (404); its judgements no longer disagree, this person judged it, gave it
            back or decided it, or somebody else is deciding it (409).
    """

    def work(transaction: Transaction) -> Lease:
        check_active(transaction, person)
        row = transaction.row(f"SELECT * FROM item WHERE number = ?{transaction.for_update}", item)
        if row is None or row["kind"] not in _MEASURES:
            raise RefusedError(404, "no such item")
        rows = standing(transaction, item)
        if len(rows) < 2:
            raise RefusedError(409, "this item no longer has two judgements")
        decision = _decision_item(transaction, row, rows)
        add_item(transaction, decision, _batch(item), person)
        number = transaction.value("SELECT number FROM item WHERE digest = ?", _name(decision, item))
        held = transaction.value(
            "SELECT token FROM lease WHERE item = ? AND person = ? AND state = 'held' AND expires > ?",
            number, person, transaction.now(),
        )  # fmt: skip
        if held is not None:
            return store.resume(transaction, held, person)
        transaction.row(f"SELECT number FROM item WHERE number = ?{transaction.for_update}", number)
        free = transaction.value(f"SELECT number FROM item WHERE number = ? AND {MAY_JUDGE}", number, person, person)
        if free is None:
            raise RefusedError(409, "you have judged, decided or given back this item: somebody else has to decide")
        if not has_place(transaction, number, person):
            raise RefusedError(409, "somebody else is deciding this item, or has decided it")
        return store.hand_out(transaction, number, person, _arrange)

    return store.database.write(work)


def decision_of(transaction: Transaction, item: int) -> Row | None:
    """Return the submission that decided an item last; None where nobody has."""
    for row in transaction.rows(
        "SELECT number FROM item WHERE kind = ? AND batch = ? ORDER BY number DESC", ADJUDICATION, _batch(item)
    ):
        if rows := standing(transaction, row["number"]):
            return rows[0]
    return None


def content_in_item_order(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a labeler submitted with everything that was shown in a drawn order in the item's own."""
    content: dict[str, Any] = json.loads(row["content"])
    arrangement = json.loads(row["arrangement"])
    for name in DRAWN.get(kind, ()):
        content[name] = in_item_order(content[name], arrangement)
    return content


def measure(kind: str, payload: Mapping[str, Any], contents: Contents) -> float:
    """Return how far judgements of one item disagree, from 0 to 1.

    Rankings and comparisons: the share of pairs (of answers, of critiques by their overall rating) that two labelers
    do not put in the same order; a tie of either counts half, one of both nothing. For comparisons also the share of
    bugs that one labeler says are pointed out and another that they are missed; the larger of the two. Bugs and
    comments: how far the marked lines differ (1 less their Jaccard index). Surveys: the mean over questions of how far
    the answers lie apart; texts are left out.
    """
    return _MEASURES[kind](payload, contents) if len(contents) > 1 else 0.0


def order_distance(scores: Sequence[Sequence[float]]) -> float:
    """Return the mean over pairs of labelers of the share of pairs of things that they do not order alike."""
    apart = []
    for first, second in combinations(scores, 2):
        for i, j in combinations(range(len(first)), 2):
            if (first[i] == first[j]) and (second[i] == second[j]):
                apart.append(0.0)
            else:
                apart.append(1 - preference_agreement([((first[i], first[j]), (second[i], second[j]))]))
    return mean(apart) if apart else 0.0


def _of_ranking(payload: Mapping[str, Any], contents: Contents) -> float:
    return order_distance([[-rank for rank in content["ranks"]] for content in contents])


def _of_comparison(payload: Mapping[str, Any], contents: Contents) -> float:
    order = order_distance([[rating["overall"] for rating in content["ratings"]] for content in contents])
    included = [[value for rating in content["ratings"] for value in rating["cbi"]] for content in contents]
    disputed = [max(values) > 4 > min(values) for values in zip(*included, strict=True)]
    return max(order, mean(disputed) if disputed else 0.0)


def _jaccard_distance(first: set[Any], second: set[Any]) -> float:
    return 1 - len(first & second) / len(first | second) if first | second else 0.0


def _pairwise(sets: Sequence[set[Any]]) -> float:
    return mean(_jaccard_distance(first, second) for first, second in combinations(sets, 2))


def _of_found(payload: Mapping[str, Any], contents: Contents) -> float:
    return _pairwise([{n for bug in c["bugs"] for n in range(bug["first"], bug["last"] + 1)} for c in contents])


def _of_critique(payload: Mapping[str, Any], contents: Contents) -> float:
    answer = payload["task"]["answer"]

    def lines(content: Mapping[str, Any]) -> set[int]:
        spans = [anchor(c["highlight"].strip("\n"), answer, c.get("line")) for c in content["comments"]]
        return {line for span in spans if span is not None for line in lines_of(span, answer)}

    return _pairwise([lines(content) for content in contents])


def _of_survey(payload: Mapping[str, Any], contents: Contents) -> float:
    apart = []
    for question in SurveyItem.model_validate(payload).questions:
        answers = [content["values"].get(question.name) for content in contents]
        kind = question.type
        if kind == "scale" and all(isinstance(answer, int) for answer in answers):
            apart.append(mean(abs(first - second) / 6 for first, second in combinations(answers, 2)))
        elif kind == "choice":
            apart.append(mean(first != second for first, second in combinations(answers, 2)))
        elif kind == "checks":
            apart.append(_pairwise([set(answer or ()) for answer in answers]))
    return mean(apart) if apart else 0.0


_MEASURES: Mapping[str, Callable[[Mapping[str, Any], Contents], float]] = {
    "ranking": _of_ranking,
    "comparison": _of_comparison,
    "found": _of_found,
    "critique": _of_critique,
    "survey": _of_survey,
}


def _arrange(kind: str, payload: Any, random: Random) -> dict[str, Any]:
    """Draw an order as for the item itself; whoever decides sees no prefill."""
    drawn = arrange(payload["kind"], payload["payload"], random)
    return {**drawn, "prefilled": False} if "prefilled" in drawn else drawn


def _batch(item: int) -> str:
    return f"item {item}"


def _name(decision: NewItem, item: int) -> str:
    return item_name(_batch(item), decision.kind, decision.purpose, decision.payload)


def _decision_item(transaction: Transaction, item: Row, rows: Sequence[Row]) -> NewItem:
    """Return the item by which a dispute is decided; other judgements make another item."""
    judgements = [
        {"submission": row["id"], "content": content_in_item_order(item["kind"], row)}
        for row in sorted(rows, key=lambda row: str(row["id"]))  # by an id that was drawn: columns name nobody
    ]
    payload = {"item": item["number"], "group": item["digest"][:16], "kind": item["kind"],
               "payload": json.loads(item["payload"]), "judgements": judgements}  # fmt: skip
    authors = transaction.rows("SELECT person FROM author WHERE item = ?", item["number"])
    people = sorted({row["person"] for row in [*rows, *authors]})
    return NewItem(ADJUDICATION, payload, authors=people, warning=item["warning"])


def _state(transaction: Transaction, item: Row, rows: Sequence[Row], person: str) -> dict[str, Any]:
    decision = _decision_item(transaction, item, rows)
    number = transaction.value("SELECT number FROM item WHERE digest = ?", _name(decision, item["number"]))
    if number is not None and (decided := standing(transaction, number)):
        return {"state": "decided", "by": decided[0]["person"], "decided": decided[0]["submitted"]}
    if person in decision.authors:
        return {"state": "own"}
    if number is not None and not has_place(transaction, number, person):
        return {"state": "held"}
    return {"state": "open"}


def _about(payload: Mapping[str, Any]) -> str:
    """Return how an item begins, in one line."""
    task = payload.get("tamper", payload).get("task", {})
    text = payload.get("prompt") or task.get("question") or payload.get("title") or payload.get("text") or ""
    if not isinstance(text, str):
        text = text[-1]["content"]
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST].rstrip() + " …"
