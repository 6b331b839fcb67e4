"""Records become items: what `momus label import` reads for each kind of task."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from momus.errors import UserError
from momus.files import JsonError, json_lines
from momus.label.database import Database
from momus.label.feedback.drafts import read_drafts
from momus.label.kinds import KINDS
from momus.label.rules import NewItem, Purpose
from momus.records import Comparison, Demonstration, Judgement, Prompt, Ranking, Record, Tamper, Task

SCREENED = ("survey", "ranking", "demonstration")
"""What candidates are screened by (owner/screening.py)."""
LONGEST_WARNING = 1000
LOW = 3
"""An answer rated so, from 1 to 7, or lower is worth a search for its bug."""
_MOST_CANDIDATES = 9


def read_items(
    name: str, kind: str, want: int, purpose: Purpose, critiques: Mapping[str, Path] | None = None
) -> list[NewItem]:
    """Read items of a kind: JSON Lines of the kind's own (`gold` beside them), or records of Momus or others.

    Args:
        name: A file, or what `momus data` reads; of the kind feedback a folder of documents and their feedback.
        kind: What is to be done with them.
        want: Judgements for each.
        purpose: Whether they are real, gold, training or screening items.
        critiques: For critiques to start from or to compare: who wrote them, and the file by `momus critique`.

    Raises:
        UserError: There is nothing in it that could become such an item; the message names the first bad line.
    """
    if kind == "feedback" and Path(name).is_dir():
        return read_drafts(Path(name), want)
    rows = _rows(Path(name)) if Path(name).suffix in (".jsonl", ".json") and Path(name).is_file() else None
    if rows and set(rows[0][1]) - {"gold", "warning"} <= set(KINDS[kind].item.model_fields):
        return [_own_item(f"{name}:{number}", row, kind, want, purpose) for number, row in rows]
    records = [_record(f"{name}:{number}", row) for number, row in rows or ()]
    if None in records or not records:
        records = list(_foreign(name))
    payloads = list(_PAYLOADS[kind](record for record in records if record is not None))
    if critiques:
        payloads = list(_with_critiques(kind, payloads, critiques))
    if not payloads:
        raise UserError(f"{name}: nothing in it can become an item of the kind {kind!r}")
    items = [NewItem(kind, _checked(name, kind, payload), want, purpose) for payload in payloads]
    if purpose != "real" and (purpose, kind) != ("screening", "demonstration"):
        raise UserError(f"{name}: {purpose} items are JSON Lines of the kind's own fields and `gold`")
    return items


def authors_by_task(database: Database) -> dict[str, set[str]]:
    """Return who wrote a critique of, or a bug into, each task: they never judge critiques of it."""
    rows = database.read(
        lambda transaction: transaction.rows(
            "SELECT DISTINCT payload, person FROM submission JOIN item ON item.number = submission.item "
            "WHERE kind IN ('critique', 'tamper', 'found', 'adjudication')"
        )
    )
    authors: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        payload = json.loads(row["payload"])
        task = payload.get("payload", payload).get("task")  # a decision holds the item that it decides
        if task is not None:
            authors[task["id"]].add(row["person"])
    return authors


def without_authors(items: Sequence[NewItem], authors: Mapping[str, set[str]]) -> list[NewItem]:
    """Return items with those who may not judge them."""
    barred = []
    for item in items:
        task = item.payload.get("tamper", item.payload).get("task", {})
        known = authors.get(task.get("id", ""), set()) if item.kind in ("comparison", "critique") else set()
        barred.append(replace(item, authors=sorted({*item.authors, *known})))
    return barred


def demo_items() -> list[NewItem]:
    """Return one small item of every kind that labelers choose, to try the workbench."""
    from importlib.resources import files

    text = (files("momus.label") / "texts" / "demo.json").read_text(encoding="utf-8")
    return [NewItem(kind, _checked("demo", kind, payload), want=3) for kind, payload in json.loads(text).items()]


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    for number, row in json_lines(path):
        if isinstance(row, JsonError):
            raise UserError(f"{path}:{number}: {row}")
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: not an object")
        rows.append((number, row))
    return rows


def _own_item(place: str, row: dict[str, Any], kind: str, want: int, purpose: Purpose) -> NewItem:
    gold = row.pop("gold", None)
    if purpose == "screening" and kind not in SCREENED:
        raise UserError(f"--kind {kind}: candidates are screened by {', '.join(SCREENED)}")
    without = purpose == "screening" and kind != "ranking" and gold is None
    if purpose != "real" and not without and not isinstance(gold, dict):
        raise UserError(f"{place}: gold: an object with the expected fields of the judgement is needed")
    warning = row.pop("warning", "")
    if not isinstance(warning, str) or len(warning) > LONGEST_WARNING:
        raise UserError(f"{place}: warning: a text of at most {LONGEST_WARNING} characters")
    payload = _checked(place, kind, row)
    if isinstance(gold, dict):
        _check_gold(place, kind, payload, gold)
    return NewItem(kind, payload, want, purpose, gold, warning=warning)


def _check_gold(place: str, kind: str, payload: Mapping[str, Any], gold: Mapping[str, Any]) -> None:
    """Raise UserError where what is expected could not be compared with what a labeler gives."""
    if kind == "ranking":
        ranks = gold.get("ranks")
        count = len(payload["candidates"])
        if not isinstance(ranks, list) or len(ranks) != count or not all(isinstance(rank, int) for rank in ranks):
            raise UserError(f"{place}: gold: ranks: {count} places are needed")
    elif kind == "comparison":
        ratings, count = gold.get("ratings"), len(payload["critiques"])
        if not isinstance(ratings, list) or len(ratings) != count or not all(isinstance(one, dict) for one in ratings):
            raise UserError(f"{place}: gold: ratings: an object for each of {count} critiques is needed")
    elif kind == "found" and "bugs" in gold:
        bugs = gold["bugs"]
        if not isinstance(bugs, list) or not all(
            isinstance(bug, dict) and all(isinstance(bug.get(name), int) for name in ("first", "last")) for bug in bugs
        ):
            raise UserError(f"{place}: gold: bugs: each needs its first and last line")
    elif kind == "survey":
        values = gold.get("values")
        names = {question["name"] for question in payload["questions"]}
        if not isinstance(values, dict) or not values or not set(values) <= names:
            raise UserError(f"{place}: gold: values: expected answers to {', '.join(sorted(names))} are needed")


def _checked(place: str, kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    try:
        checked: dict[str, Any] = KINDS[kind].item.model_validate(payload).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return checked


def _record(place: str, row: dict[str, Any]) -> Record | None:
    """Return a row as the record of Momus that its fields say it is; None where it is none."""
    fields: tuple[tuple[str, type[Record]], ...] = (("tamper", Comparison), ("bugs", Tamper), ("question", Task))
    for field, kind in fields:
        if field in row:
            try:
                return kind.model_validate(row)
            except ValidationError as error:
                first = error.errors()[0]
                raise UserError(f"{place}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return None


def _foreign(name: str) -> Iterator[Record]:
    from momus.data.convert import Problems, read, recognise
    from momus.data.sources import Problem

    problems = Problems()
    for record in read(*recognise(name)):
        if isinstance(record, Problem):
            problems.add(record)
        else:
            yield record
    if problems.count:
        more = f" (and {problems.count - 1} more bad rows)" if problems.count > 1 else ""
        raise UserError(f"{problems.first[0]}{more}")


def _prompts(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    seen = set()
    for record in records:
        if isinstance(record, Prompt | Demonstration | Judgement | Ranking):
            key = record.model_dump_json(include={"prompt"})
            if key not in seen:
                seen.add(key)
                yield {"prompt": record.prompt, "origin": record.origin}


def _rankings(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield rankings to be done again, and the answers of different authors to one prompt."""
    answers: dict[str, list[Demonstration]] = defaultdict(list)
    for record in records:
        if isinstance(record, Ranking):
            yield {
                "prompt": record.prompt,
                "candidates": record.candidates[:_MOST_CANDIDATES],
                "authors": record.authors[:_MOST_CANDIDATES],
                "origin": record.origin,
            }
        elif isinstance(record, Demonstration):
            answers[record.model_dump_json(include={"prompt"})].append(record)
    for group in answers.values():
        if len(group) > 1:
            some = group[:_MOST_CANDIDATES]
            yield {
                "prompt": some[0].prompt,
                "candidates": [one.answer for one in some],
                "authors": [one.author for one in some],
                "origin": some[0].origin,
            }


def _answers(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        if isinstance(record, Demonstration) and isinstance(record.answer, str):
            yield {
                "prompt": record.prompt, "answer": record.answer, "author": record.author, "origin": record.origin,
            }  # fmt: skip


def _tasks(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        if isinstance(record, Task):
            yield {"task": record}
        elif isinstance(record, Tamper):
            yield {"task": record.task.model_copy(update={"answer": record.answer})}


def _low(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """Yield answers that were rated low; a task by itself is taken to be one."""
    for record in records:
        if isinstance(record, Judgement) and isinstance(record.prompt, str) and isinstance(record.answer, str):
            rating = record.values.get("overall")
            if rating is not None and rating <= LOW:
                name = record.origin.id or record.origin.place
                task = Task(id=name, question=record.prompt, answer=record.answer)
                yield {"task": task, "rating": rating}
        else:
            yield from _tasks([record])


def _comparisons(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    for record in records:
        if isinstance(record, Comparison):
            yield {"tamper": record.tamper, "critiques": record.critiques, "sources": record.sources}
        elif isinstance(record, Tamper):
            yield {"tamper": record, "critiques": (), "sources": ()}


def _none(records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    return iter(())


_PAYLOADS: Mapping[str, Callable[[Iterable[Record]], Iterator[dict[str, Any]]]] = {
    "demonstration": _prompts,
    "ranking": _rankings,
    "edit": _answers,
    "tamper": _tasks,
    "found": _low,
    "critique": _tasks,
    "comparison": _comparisons,
    "prompt": _none,
    "break": _none,
    "survey": _none,
    "feedback": _none,
}


def _with_critiques(
    kind: str, payloads: Iterable[dict[str, Any]], critiques: Mapping[str, Path]
) -> Iterator[dict[str, Any]]:
    """Add critiques by task: the first to start from, or one of each to compare."""
    by_task: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for source, path in critiques.items():
        for number, row in _rows(path):
            if not isinstance(row.get("id"), str) or not isinstance(row.get("critiques"), list):
                raise UserError(f"{path}:{number}: not what momus critique or momus label export wrote")
            if row["critiques"]:
                by_task[row["id"]].append((source, str(row["critiques"][0]["text"])))
    for payload in payloads:
        task = payload["tamper"].task if kind == "comparison" else payload["task"]
        written = by_task.get(task.id, [])
        if kind == "critique":
            source, text = written[0] if written else ("", "")
            yield {**payload, "prefill": text, "prefill_source": source}
        elif len(written) > 1:
            pairs = list(chain(zip(payload["sources"], payload["critiques"], strict=True), written))[:4]
            yield {**payload, "sources": [source for source, _ in pairs], "critiques": [text for _, text in pairs]}
