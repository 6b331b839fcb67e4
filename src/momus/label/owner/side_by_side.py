"""Judgements of one item side by side, in words: what an adjudicator sees beside the form.

Everything that was shown to labelers in an order of their own (answers, critiques) is shown in the one that was drawn
for whoever looks at it, under the same letters as in the form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from momus.label import kinds
from momus.label.owner.agreement import DRAWN
from momus.label.owner.overview import matches_gold
from momus.label.texts import Words
from momus.label.views import LETTERS, View, view

Content = Mapping[str, Any]
Line = tuple[str, str, str]
"""A label, what was judged, and the field it is of; "" for reasons, which may differ without a disagreement."""


def adjudication_view(payload: Mapping[str, Any], arrangement: Mapping[str, Any], words: Words) -> View:
    """Return what an adjudicator sees: the item as labelers saw it, what they judged, and the same form."""
    kind, item = payload["kind"], payload["payload"]
    inner = view(kind, item, arrangement, words)
    contents = [in_shown_order(kind, judgement["content"], arrangement) for judgement in payload["judgements"]]
    return {
        **inner,
        "kind": kinds.ADJUDICATION,
        "inner": kind,
        "title": f"{words['kind.adjudication']}: {inner['title']}",
        "steps": words.lines("steps.adjudication"),
        "panels": [*inner["panels"], judgements_panel(kind, item, contents, words)],
    }


def in_shown_order(kind: str, content: Content, arrangement: Mapping[str, Any]) -> dict[str, Any]:
    """Return a judgement in the item's own order in the order shown."""
    shown = dict(content)
    for name in DRAWN.get(kind, ()):
        if name in content:
            shown[name] = [content[name][i] for i in arrangement["order"]]
    return shown


def judgements_panel(kind: str, item: Mapping[str, Any], contents: Sequence[Content], words: Words) -> View:
    """Return a table with a column for each judgement; `contents` are in the order shown."""
    columns = [{label: (text, field) for label, text, field in _LINES[kind](item, c, words)} for c in contents]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    rows = []
    for label in labels:
        cells = [column[label][0] for column in columns]
        field = columns[0][label][1]
        differs = bool(field) and len(set(cells)) > 1
        rows.append({"label": label, "cells": cells, "differs": differs, "field": field})
    names = [words["adjudicate.column"].format(number + 1) for number in range(len(contents))]
    return {"type": "judgements", "label": words["panel.judgements"], "columns": names, "rows": rows,
            "contents": [dict(content) for content in contents]}  # fmt: skip


def training_feedback(
    kind: str, item: Mapping[str, Any], arrangement: Mapping[str, Any], content: Content, gold: Content, words: Words
) -> dict[str, Any]:
    """Return how a training task was done: `right`, a `note` that explains it, and a table of yours and the expected.

    Args:
        kind: The item's kind.
        item: What it holds.
        arrangement: The order in which it was shown.
        content: What was given back, in that order.
        gold: The expected fields of it, in the item's own order.
        words: The labeler's language.
    """
    note = gold.get("note", "")
    expected = {name: value for name, value in gold.items() if name != "note"}
    wanted = _expected(kind, content, in_shown_order(kind, expected, arrangement))
    if kind in _LINES:
        table = judgements_panel(kind, item, [content, wanted], words)
        rows = [row for row in table["rows"] if row["field"] in _fields(kind, expected)]
    else:
        names = [(name, words.get(f"field.{name}", name)) for name in expected]
        cells = [(label, [str(content.get(name, "")), str(expected[name])]) for name, label in names]
        rows = [{"label": label, "cells": pair, "differs": pair[0] != pair[1]} for label, pair in cells]
    right = matches_gold(kind, dict(content), dict(arrangement), dict(gold))
    return {
        "right": right,
        "note": note,
        "columns": [words["training.yours"], words["training.expected"]],
        "rows": rows,
    }


def _fields(kind: str, expected: Content) -> set[str]:
    """Return the fields of which something is expected."""
    if kind == "comparison":
        return {name for rating in expected.get("ratings", ()) for name in rating}
    if kind == "survey":
        return set(expected.get("values", ()))
    return {*expected, *({"bugs", "comments"} if "nothing" in expected else ())}


def _expected(kind: str, content: Content, gold: Content) -> Content:
    """Return a whole judgement out of what is expected: what nothing is expected of is as it was given."""
    if kind == "comparison":
        pairs = zip(content["ratings"], gold.get("ratings", content["ratings"]), strict=True)
        return {**content, "ratings": [{**given, **wanted} for given, wanted in pairs]}
    if kind == "ranking":
        pairs = zip(content["cards"], gold.get("cards", content["cards"]), strict=True)
        return {**content, **gold, "cards": [{**given, **wanted} for given, wanted in pairs]}
    if kind == "survey":
        return {**content, "values": {**content["values"], **gold.get("values", {})}}
    nothing = {"bugs": (), "comments": ()} if gold.get("nothing") else {}
    return {**content, **nothing, **gold}


def _ranking(item: Content, content: Content, words: Words) -> list[Line]:
    ranks: list[int] = content["ranks"]
    places = [" = ".join(LETTERS[i] for i, rank in enumerate(ranks) if rank == place) for place in sorted(set(ranks))]
    flags = [
        f"{LETTERS[i]}: {words[f'flag.{name}']}"
        for i, card in enumerate(content["cards"]) for name in kinds.FLAGS if card["flags"].get(name)
    ]  # fmt: skip
    return [
        (words["adjudicate.order"], " > ".join(places), "ranks"),
        (words["field.overall"], _lettered([card["overall"] for card in content["cards"]]), "cards"),
        (words["adjudicate.ticked"], "\n".join(flags), "cards"),
        (words["field.all_bad"], words["adjudicate.yes" if content["all_bad"] else "adjudicate.no"], "all_bad"),
        (words["adjudicate.why"], content["rationale"], ""),
    ]


def _comparison(item: Content, content: Content, words: Words) -> list[Line]:
    ratings = content["ratings"]
    bugs = [
        (words["field.cbi"].format(i + 1), _lettered([rating["cbi"][i] for rating in ratings]), "cbi")
        for i in range(len(ratings[0]["cbi"]))
    ]
    rest = [
        (words[f"field.{name}"], _lettered([rating[name] for rating in ratings]), name) for name in kinds.ATTRIBUTES
    ]
    return [*bugs, *rest, (words["adjudicate.why"], content["rationale"], "")]


def _found(item: Content, content: Content, words: Words) -> list[Line]:
    bugs = [
        f"{_lines(bug['first'], bug['last'], words)}: {bug.get('description', '')}".removesuffix(": ")
        for bug in content["bugs"]
    ]
    return [(words["field.bugs"], "\n\n".join(bugs) or words["field.nothing"], "bugs")]


def _critique(item: Content, content: Content, words: Words) -> list[Line]:
    comments = [f"“{comment['highlight']}”\n{comment['text']}" for comment in content["comments"]]
    return [
        (words["field.comments"], "\n\n".join(comments) or words["field.nothing"], "comments"),
        (words["ui.closing"], content["closing"], ""),
    ]


def _survey(item: Content, content: Content, words: Words) -> list[Line]:
    lines = []
    for question in kinds.SurveyItem.model_validate(item).questions:
        value = content["values"].get(question.name, "")
        text = "\n".join(value) if isinstance(value, list | tuple) else str(value)
        lines.append((question.text, text, "" if question.type == "text" else question.name))
    return lines


_LINES: Mapping[str, Callable[[Content, Content, Words], list[Line]]] = {
    "ranking": _ranking,
    "comparison": _comparison,
    "found": _found,
    "critique": _critique,
    "survey": _survey,
}


def _lettered(values: Sequence[object]) -> str:
    return "  ".join(f"{LETTERS[i]} {value}" for i, value in enumerate(values))


def _lines(first: int, last: int, words: Words) -> str:
    return words["ui.line"].format(first) if first == last else words["ui.lines"].format(first, last)
