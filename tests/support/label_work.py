"""Scripted labelers: rankings, comparisons and critiques by people of known opinions, for numbers and figures."""

import random

from momus.label.kinds import check
from momus.label.rules import NewItem
from momus.label.views import arrange, prefilled_comments
from support.label_items import ITEMS

GOODNESS = {"Human": 3.0, "Critic": 4.2, "Human+Critic": 5.0, "Chat": 2.5}


def fill(store, labeler, items=12, labelers=4, seed=0, clock=None):
    """Have labelers judge comparisons and critiques, each with an opinion of their own and some noise."""
    draw = random.Random(seed)
    comparison = {**ITEMS["comparison"], "sources": list(GOODNESS)}
    rows = []
    for i in range(items):
        task = {**comparison["tamper"]["task"], "id": f"t{i}"}
        rows.append(NewItem("comparison", {**comparison, "tamper": {**comparison["tamper"], "task": task}}, labelers))
        rows.append(NewItem("critique", {**ITEMS["critique"], "task": {**ITEMS["critique"]["task"], "id": f"c{i}"}}, 2))
    store.add_items(rows, "b", "o")
    people = [labeler(f"labeler {number}") for number in range(labelers)]
    for shift, person in enumerate(people):
        for kind in ("comparison", "critique"):
            while lease := store.claim(person, kind, arrange):
                content = _rate(lease, draw, shift) if kind == "comparison" else _criticise(lease, draw)
                store.submit(lease.token, person, lease.token, content, 60 + 240 * draw.random(), check)
                if clock:
                    clock.now += 86400 * draw.random()
    return people


def _rate(lease, draw, shift):
    def scale(value):
        return max(1, min(7, round(value + 0.3 * shift + draw.gauss(0, 0.7))))

    ratings = []
    for i in lease.arrangement["order"]:
        good = list(GOODNESS.values())[i]
        ratings.append({
            "cbi": [scale(good)], "comprehensive": scale(good), "nitpick": scale(8 - good), "fake_problem": scale(3),
            "concise": scale(4), "overall": scale(good),
        })  # fmt: skip
    return {"ratings": ratings}


def _criticise(lease, draw):
    from momus.label.kinds import CritiqueItem

    new = {"id": "", "highlight": "return a - b", "text": "Subtracts."}
    if not lease.arrangement.get("prefilled"):
        return {"comments": [new]}
    before = prefilled_comments(CritiqueItem.model_validate(lease.payload))
    comments = [{"id": name, "highlight": quote, "text": text} for name, (quote, text) in before.items()]
    edited = {**comments[0], "text": "Edited: " + comments[0]["text"]}
    return {"comments": draw.choice([comments, comments[:1], [edited, new]])}
