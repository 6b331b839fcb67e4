"""Judgements of one item side by side, in words: what an adjudicator sees beside the form.

Everything that was shown to labelers in an order of their own (answers, critiques) is shown in the one that was drawn
for whoever looks at it, under the same letters as in the form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from momus.label import kinds
from momus.label.texts import Words
from momus.label.views import LETTERS, View, view

Content = Mapping[str, Any]
Line = tuple[str, str, bool]
"""A label, what was judged, and whether a difference in it is a disagreement (a reason in words is none)."""


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
    for name in {"ranking": ("cards", "ranks"), "comparison": ("ratings",)}.get(kind, ()):
        shown[name] = [content[name][i] for i in arrangement["order"]]
    return shown


def judgements_panel(kind: str, item: Mapping[str, Any], contents: Sequence[Content], words: Words) -> View:
    """Return a table with a column for each judgement; `contents` are in the order shown."""
    columns = [{label: (text, matters) for label, text, matters in _LINES[kind](item, c, words)} for c in contents]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    rows = []
    for label in labels:
        cells = [column.get(label, ("", True)) for column in columns]
        differs = any(matters for _, matters in cells) and len({text for text, _ in cells}) > 1
        rows.append({"label": label, "cells": [text for text, _ in cells], "differs": differs})
    names = [words["adjudicate.column"].format(number + 1) for number in range(len(contents))]
    return {"type": "judgements", "label": words["panel.judgements"], "columns": names, "rows": rows,
            "contents": [dict(content) for content in contents]}  # fmt: skip


def _ranking(item: Content, content: Content, words: Words) -> list[Line]:
    ranks: list[int] = content["ranks"]
    places = [" = ".join(LETTERS[i] for i, rank in enumerate(ranks) if rank == place) for place in sorted(set(ranks))]
    flags = [
        f"{LETTERS[i]}: {words[f'flag.{name}']}"
        for i, card in enumerate(content["cards"]) for name in kinds.FLAGS if card["flags"].get(name)
    ]  # fmt: skip
    return [
        (words["adjudicate.order"], " > ".join(places), True),
        (words["field.overall"], _lettered([card["overall"] for card in content["cards"]]), True),
        (words["adjudicate.ticked"], "\n".join(flags), True),
        (words["field.all_bad"], words["adjudicate.yes" if content["all_bad"] else "adjudicate.no"], True),
        (words["adjudicate.why"], content["rationale"], False),
    ]


def _comparison(item: Content, content: Content, words: Words) -> list[Line]:
    ratings = content["ratings"]
    bugs = [
        (words["field.cbi"].format(i + 1), _lettered([rating["cbi"][i] for rating in ratings]), True)
        for i in range(len(ratings[0]["cbi"]))
    ]
    rest = [
        (words[f"field.{name}"], _lettered([rating[name] for rating in ratings]), True) for name in kinds.ATTRIBUTES
    ]
    return [*bugs, *rest, (words["adjudicate.why"], content["rationale"], False)]


def _found(item: Content, content: Content, words: Words) -> list[Line]:
    bugs = [
        f"{_lines(bug['first'], bug['last'], words)} ({words['ui.' + bug['severity']]}): {bug['description']}"
        for bug in content["bugs"]
    ]
    return [(words["field.bugs"], "\n\n".join(bugs) or words["field.nothing"], True)]


def _critique(item: Content, content: Content, words: Words) -> list[Line]:
    comments = [f"“{comment['highlight']}”\n{comment['text']}" for comment in content["comments"]]
    return [
        (words["field.comments"], "\n\n".join(comments) or words["field.nothing"], True),
        (words["ui.closing"], content["closing"], False),
    ]


def _survey(item: Content, content: Content, words: Words) -> list[Line]:
    lines = []
    for question in kinds.SurveyItem.model_validate(item).questions:
        value = content["values"].get(question.name, "")
        text = "\n".join(value) if isinstance(value, list | tuple) else str(value)
        lines.append((question.text, text, question.type != "text"))
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
