"""Judgements become records: what `momus label export` writes.

Labelers are pseudonyms. `origin.group` names the item, so that a split never spreads judgements of one item; training
items are left out, gold ones stand in a folder of their own. Every record says how it was collected.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from momus import records
from momus.critique import Comment, Critique, Span, anchor, format_critique, lines_of
from momus.errors import UserError
from momus.files import write_lines, write_text
from momus.label import kinds
from momus.label.database import Database, Row, Transaction
from momus.label.feedback.deciding import decided
from momus.label.owner.agreement import in_item_order
from momus.label.rules import standing
from momus.label.verify import verify
from momus.label.views import prefill_use, prefilled_comments
from momus.records import Labeling

Lines = Mapping[str, list[str]]


def export(database: Database, out: Path) -> dict[str, int]:
    """Write all judgements that count; return how many records each file has.

    Raises:
        UserError: The folder is there already, or the store does not verify.
    """
    if out.exists():
        raise UserError(f"{out}: is there already; name another folder")
    problems, _, seal = verify(database)
    if problems:
        raise UserError(f"the store does not verify: {problems[0]} (momus label verify shows all)")
    files: dict[str, list[str]] = database.read(_all)
    for name, lines in sorted(files.items()):
        write_lines(out / name, lines)
    counts = {name: len(lines) for name, lines in sorted(files.items())}
    write_text(out / "README.md", _card(database, counts, seal))
    return counts


def _all(transaction: Transaction) -> dict[str, list[str]]:
    files: dict[str, list[str]] = defaultdict(list)
    for item in transaction.rows("SELECT * FROM item WHERE purpose IN ('real', 'gold') ORDER BY number"):
        if item["kind"] == kinds.ADJUDICATION:
            continue
        payload: Any = kinds.KINDS[item["kind"]].item.model_validate(json.loads(item["payload"]))
        rows = standing(transaction, item["number"])
        folder = "gold/" if item["purpose"] == "gold" else ""
        if item["kind"] == "critique" and not folder:
            for name, line in _critique_lines(payload, rows):
                files[name].append(line)
        for row in rows:
            content = json.loads(row["content"])
            for name, record in _records(item, payload, row, content):
                text = record if isinstance(record, str) else record.model_dump_json()
                files[f"{folder}{name}.jsonl"].append(text)
    for name, line in _decisions(transaction):
        files[f"final/{name}"].append(line)
    return files


def _decisions(transaction: Transaction) -> Iterator[tuple[str, str]]:
    """Yield what adjudicators decided, as records of the items that they decided; the last word on each."""
    decided: dict[int, tuple[Row, Any, Row]] = {}
    for item in transaction.rows("SELECT * FROM item WHERE kind = ? ORDER BY number", kinds.ADJUDICATION):
        given = json.loads(item["payload"])
        for row in standing(transaction, item["number"]):
            decided[given["item"]] = ({**item, "kind": given["kind"], "digest": given["group"]}, given["payload"], row)
    for _, (item, raw, row) in sorted(decided.items()):
        payload: Any = kinds.KINDS[item["kind"]].item.model_validate(raw)
        if isinstance(payload, kinds.CritiqueItem):
            yield from _critique_lines(payload.model_copy(update={"prefill": ""}), [row])
        for name, record in _records(item, payload, row, json.loads(row["content"])):
            if isinstance(record, str):
                record = json.dumps({**json.loads(record), "final": True}, ensure_ascii=False)
            elif isinstance(record, records.Labeled) and record.labeling is not None:
                final = record.labeling.model_copy(update={"final": True})
                record = record.model_copy(update={"labeling": final})
            yield f"{name}.jsonl", record if isinstance(record, str) else record.model_dump_json()


def _labeling(item: Row, row: Row, rationale: str = "", **more: Any) -> Labeling:
    return Labeling(
        rationale=rationale,
        shown_at=datetime.fromtimestamp(row["shown"], UTC),
        submitted_at=datetime.fromtimestamp(row["submitted"], UTC),
        active_seconds=row["active"],
        gold=item["purpose"] == "gold",
        revision=row["revision"],
        **more,
    )


def _records(item: Row, payload: Any, row: Row, content: Any) -> Iterator[tuple[str, records.Record | str]]:
    """Yield the records of one judgement, each with its file's name."""
    person, kind = row["person"], item["kind"]
    group = item["digest"][:16]
    origin = getattr(payload, "origin", records.Origin()).model_copy(update={"group": group})
    if kind == "demonstration":
        yield (
            "demonstrations",
            records.Demonstration(prompt=payload.prompt, answer=content["answer"], author=person, origin=origin),
        )
    elif kind == "edit":
        yield (
            "demonstrations",
            records.Demonstration(prompt=payload.prompt, answer=content["answer"], author=person, origin=origin),
        )
        yield "rankings", records.Ranking(
            prompt=payload.prompt, candidates=(content["answer"], payload.answer), ranks=(1, 2), labeler=person,
            authors=(person, payload.author), comment=content["why"], origin=origin,
            labeling=_labeling(item, row, content["why"]),
        )  # fmt: skip
    elif kind in ("prompt", "break"):
        yield "prompts", records.Prompt(prompt=content["prompt"], origin=origin.model_copy(update={"user": person}))
        name = "breaks" if kind == "break" else "written_prompts"
        yield name, json.dumps({**content, "labeler": person, "item": group}, ensure_ascii=False)
    elif kind == "ranking":
        yield from _ranking_records(item, payload, row, content, origin)
    elif kind in ("tamper", "found"):
        yield "tampers", _tamper(payload.task, content, kind)
    elif kind == "comparison":
        yield "comparisons", _comparison(item, payload, row, content)
    elif kind == "feedback":
        yield "feedback", decided(payload, content, person, datetime.fromtimestamp(row["submitted"], UTC))
    elif kind in ("survey", "critique"):
        use: dict[str, Any] = {"title": payload.title} if kind == "survey" else {}
        if kind == "critique":
            shown = json.loads(row["arrangement"]).get("prefilled", False)
            before = prefilled_comments(payload) if shown else {}
            use = {"prefilled": shown, **prefill_use(before, kinds.Critique.model_validate(content).comments)}
        line = {**content, **use, "labeler": person, "item": group, "seconds": row["active"]}
        yield ("surveys" if kind == "survey" else "critique_edits"), json.dumps(line, ensure_ascii=False)


def _ranking_records(
    item: Row, payload: kinds.RankingItem, row: Row, content: Any, origin: records.Origin
) -> Iterator[tuple[str, records.Record]]:
    arrangement = json.loads(row["arrangement"])
    cards = in_item_order(content["cards"], arrangement)
    yield "rankings", records.Ranking(
        prompt=payload.prompt, candidates=payload.candidates, ranks=tuple(in_item_order(content["ranks"], arrangement)),
        labeler=row["person"], authors=payload.authors, comment=content["rationale"], origin=origin,
        labeling=_labeling(item, row, content["rationale"], order=tuple(arrangement["order"])),
    )  # fmt: skip
    for i, card in enumerate(cards):
        values = {"overall": float(card["overall"]), **{name: float(on) for name, on in card["flags"].items()}}
        yield "judgements", records.Judgement(
            prompt=payload.prompt, answer=payload.candidates[i], labeler=row["person"], origin=origin,
            author=payload.authors[i] if payload.authors else "",
            values={**values, "all_bad": float(content["all_bad"])},
        )  # fmt: skip


def _tamper(task: records.Task, content: Any, kind: str) -> records.Tamper:
    """Return an answer with the bugs a labeler put in or found, each on the whole lines that were marked."""
    answer = content.get("answer", task.answer)
    lines = answer.split("\n")
    bugs = []
    for bug in content["bugs"]:
        start = sum(len(line) + 1 for line in lines[: bug["first"] - 1])
        text = "\n".join(lines[bug["first"] - 1 : bug["last"]])
        before = "\n".join(task.answer.split("\n")[bug["first"] - 1 : bug["last"]])
        span = Span(start, start + len(text))
        origin = "natural" if kind == "found" else "inserted"
        bugs.append(
            records.Bug(kind=origin, spans=(span,), description=bug["description"], original=before, replacement=text)
        )
    return records.Tamper(task=task, answer=answer, bugs=tuple(bugs))


def _comparison(item: Row, payload: kinds.ComparisonItem, row: Row, content: Any) -> records.Comparison:
    arrangement = json.loads(row["arrangement"])
    ratings = [records.Rating.model_validate(rating) for rating in in_item_order(content["ratings"], arrangement)]
    return records.Comparison(
        tamper=payload.tamper,
        critiques=payload.critiques,
        sources=payload.sources or ("",) * len(payload.critiques),
        labeler=row["person"],
        simulated=False,
        ratings=tuple(ratings),
        labeling=_labeling(item, row, content["rationale"], order=tuple(arrangement["order"])),
    )


def _critique_lines(payload: kinds.CritiqueItem, rows: list[Row]) -> Iterator[tuple[str, str]]:
    """Yield a line for each arm as `momus critique` writes it, the first labeler's; "skipped" where there is none."""
    for name, arm in (("critiques.human.jsonl", False), ("critiques.human+model.jsonl", True)):
        if arm and not payload.prefill:
            continue
        done = [row for row in rows if bool(json.loads(row["arrangement"]).get("prefilled")) == arm]
        line: dict[str, Any] = {"schema_version": 1, "index": 0, "id": payload.task.id, "critiques": [], "skipped": ""}
        if done:
            critique = critique_of(kinds.Critique.model_validate(json.loads(done[0]["content"])), payload.task.answer)
            text = format_critique(critique)
            line["critiques"] = [
                {"text": text, "critique": critique.model_dump(mode="json"), "score": None, "tokens": 0}
            ]
        else:
            line["skipped"] = "no labeler has written one"
        yield name, json.dumps(line, ensure_ascii=False)


def critique_of(written: kinds.Critique, answer: str) -> Critique:
    """Return what a labeler wrote as a critique, in the order of the places it is about."""
    comments = []
    for comment in written.comments:
        highlight = comment.highlight.strip("\n")
        span = anchor(highlight, answer, comment.line)
        # A line is written only where the quote alone would be looked for elsewhere.
        line = comment.line if span != anchor(highlight, answer) else None
        comments.append(Comment(highlight=highlight, text=kinds.one_paragraph(comment.text), span=span, line=line))
    comments.sort(key=lambda comment: lines_of(comment.span, answer)[0] if comment.span else len(answer))
    closing = "\n\n".join(kinds.one_paragraph(part) for part in written.closing.split("\n\n") if part.strip())
    return Critique(comments=tuple(comments), closing=closing)


def _card(database: Database, counts: Mapping[str, int], seal: str) -> str:
    people = database.read(lambda transaction: transaction.value("SELECT count(DISTINCT person) AS n FROM submission"))
    rows = "\n".join(f"| `{name}` | {count} |" for name, count in counts.items())
    return (
        "# Judgements of people\n\n"
        f"Collected with Momus by {people} labelers, who are named by pseudonyms. Judgements that were returned, "
        "rejected, superseded or surplus are left out.\n\n"
        f"| file | records |\n|---|---|\n{rows}\n\n"
        "Split by `origin.group` (rankings, demonstrations, judgements) or by task (tampers, comparisons): judgements "
        "of one item belong together. Records under `gold/` check labelers and are not training data. Records under "
        "`final/` are what an adjudicator decided where labelers disagreed; what those labelers judged is in the other "
        "files as well.\n\n"
        f"Last seal of the audit log: `{seal}`\n"
    )
