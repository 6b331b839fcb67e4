"""How far labelers agree: on every attribute, and each of them with the others."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import nan
from typing import Any

from momus.label import kinds
from momus.label.database import Row, Transaction
from momus.label.rules import standing
from momus.stats.agreement import (
    ScorePair,
    kendall_tau_b,
    kendall_w,
    krippendorff_alpha,
    preference_agreement,
)

ScoresByPerson = dict[str, list[float]]
"""The scores that each labeler gave the same things, in the same order."""


DRAWN: Mapping[str, tuple[str, ...]] = {"ranking": ("cards", "ranks"), "comparison": ("ratings",)}
"""The fields of a judgement whose values stand in the order that was drawn for the labeler, by kind."""


def in_item_order(values: list[Any], arrangement: dict[str, Any]) -> list[Any]:
    """Turn values in the order shown back into the order of the item."""
    order = arrangement["order"]
    return [values[order.index(i)] for i in range(len(order))]


def scores_of(kind: str, content: dict[str, Any], arrangement: dict[str, Any]) -> dict[str, list[float]]:
    """Return the values of each attribute of a ranking or comparison, higher is more, in the item's order."""
    if kind == "ranking":
        cards = in_item_order(content["cards"], arrangement)
        ranks = in_item_order(content["ranks"], arrangement)
        return {"order": [-float(rank) for rank in ranks], "overall": [float(card["overall"]) for card in cards]}
    ratings = in_item_order(content["ratings"], arrangement)
    scores = {name: [float(rating[name]) for rating in ratings] for name in kinds.ATTRIBUTES}
    if ratings and ratings[0]["cbi"]:
        scores["cbi"] = [float(value) for rating in ratings for value in rating["cbi"]]
    return scores


def scores_by_measure(transaction: Transaction) -> dict[str, list[ScoresByPerson]]:
    """Return for every measure ("comparison: overall") the scores of each item that two labelers or more judged."""
    values: dict[str, list[ScoresByPerson]] = defaultdict(list)
    for item in transaction.rows(
        "SELECT number, kind FROM item WHERE kind IN ('comparison', 'ranking') AND accepted > 1 AND purpose = 'real'"
    ):
        judged: dict[str, ScoresByPerson] = defaultdict(dict)
        for row in standing(transaction, item["number"]):
            content, arrangement = json.loads(row["content"]), json.loads(row["arrangement"])
            for name, scores in scores_of(item["kind"], content, arrangement).items():
                judged[name][row["person"]] = scores
        for name, by_person in judged.items():
            values[f"{item['kind']}: {name}"].append(by_person)
    return dict(sorted(values.items()))


def agreement_by_measure(values: dict[str, list[ScoresByPerson]]) -> list[Row]:
    """Return a row for each measure.

    `pairwise` is how often two labelers prefer the same of two things, `tau_b` the mean of Kendall's tau-b over pairs
    of labelers and items, `w` the mean of Kendall's W over items, `alpha` Krippendorff's, ordinal, of the values.
    """
    rows = []
    for name, items in values.items():
        pairs = [pair for by_person in items for pair in combinations(_in_order(by_person), 2)]
        labelers = sorted({person for by_person in items for person in by_person})
        ratings = [
            [by_person[p][i] if p in by_person else None for by_person in items for i in range(_length(by_person))]
            for p in labelers
        ]
        rows.append({
            "measure": name, "n": len(items), "pairwise": preference_agreement(pairs), "tau_b": _mean_tau(pairs),
            "w": _mean([kendall_w([[-x for x in scores] for scores in by_person.values()]) for by_person in items]),
            "alpha": krippendorff_alpha(ratings, "ordinal"),
        })  # fmt: skip
    return rows


def agreement_by_labeler(values: dict[str, list[ScoresByPerson]]) -> list[Row]:
    """Return a row for each labeler and measure: how far they agree with the others on the items that they share."""
    rows = []
    for name, items in values.items():
        for person in sorted({person for by_person in items for person in by_person}):
            shared = [by_person for by_person in items if person in by_person]
            pairs = [
                (by_person[person], by_person[other])
                for by_person in shared for other in sorted(by_person) if other != person
            ]  # fmt: skip
            rows.append({
                "person": person, "measure": name, "n": len(shared), "pairwise": preference_agreement(pairs),
                "tau_b": _mean_tau(pairs),
            })  # fmt: skip
    return sorted(rows, key=lambda row: (row["person"], row["measure"]))


def _in_order(by_person: ScoresByPerson) -> list[list[float]]:
    return [by_person[person] for person in sorted(by_person)]


def _length(by_person: ScoresByPerson) -> int:
    return len(next(iter(by_person.values())))


def _mean_tau(pairs: Sequence[ScorePair]) -> float:
    return _mean([kendall_tau_b(first, second) for first, second in pairs])


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are determined; NaN where none is."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else nan
