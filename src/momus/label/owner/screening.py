"""Screening of labelers by the four criteria of InstructGPT, appendix B.1 (arXiv 2203.02155).

Candidates do the items of the purpose "screening" and nothing else, until an owner admits them:

1. *Flags*: agreement with the expected answers on what is sensitive (surveys with `gold`).
2. *Rankings*: agreement with the expected order of answers (rankings with `gold`).
3. *Demonstrations*: answers to sensitive prompts, graded 1 to 7 by owners.
4. *Groups*: for which topics and groups the candidate can tell what is sensitive (surveys without `gold`).

The paper's soft cut-offs are 75%, 75% and 6 of 7; it gives none for the fourth and chose by judgement in the end, on
pseudonyms. So do owners here: a candidate who passes is not admitted by the program.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from momus.errors import UserError
from momus.label.audit import log
from momus.label.database import Database, Row, Transaction
from momus.label.kinds import RankingItem, SurveyItem
from momus.label.owner.adjudication import content_in_item_order, order_distance
from momus.label.rules import RefusedError, to_json

Criterion = Literal["flags", "rankings", "demonstrations", "groups"]
CRITERIA: tuple[Criterion, ...] = ("flags", "rankings", "demonstrations", "groups")


@dataclass(frozen=True)
class Cutoffs:
    """What a candidate needs: shares, a mean grade from 1 to 7, a number of groups; 0 asks for nothing."""

    flags: float = 0.75
    rankings: float = 0.75
    demonstrations: float = 6.0
    groups: int = 0


@dataclass(frozen=True)
class Score:
    """How a candidate did by one criterion.

    Attributes:
        value: A share, a mean grade, or the number of groups; None where there is nothing yet.
        done: How many items are done (demonstrations: and graded).
        of: How many there are.
        passed: Whether the value reaches the cut-off; None while something is missing or where nothing is asked.
    """

    value: float | None
    done: int
    of: int
    passed: bool | None


@dataclass(frozen=True)
class Candidate:
    """Somebody who was screened, by pseudonym.

    Attributes:
        person: The pseudonym.
        state: "candidate", "admitted" or "declined".
        scores: By criterion.
        groups: What the candidate says to be able to tell.
        passed: Whether all that is asked for was reached; None while something is missing.
    """

    person: str
    state: Literal["candidate", "admitted", "declined"]
    scores: dict[Criterion, Score]
    groups: tuple[str, ...]
    passed: bool | None


@dataclass(frozen=True)
class _Answer:
    """What a candidate gave to an item, in the item's own order; `grades` are the owners' last ones."""

    submission: str
    content: Any
    grades: dict[str, int]


@dataclass(frozen=True)
class _Item:
    number: int
    criterion: Criterion
    payload: Any
    gold: Any


def cutoffs(database: Database) -> Cutoffs:
    """Return the cut-offs that the owner set, or the paper's."""
    return database.read(_cutoffs)


def set_cutoffs(database: Database, wanted: Mapping[str, Any], by: str) -> None:
    """Set the cut-offs.

    Raises:
        UserError: They are no numbers, or no candidate could reach them.
    """
    try:
        chosen = TypeAdapter(Cutoffs).validate_python(dict(wanted))
    except ValidationError as error:
        raise UserError(f"cut-offs: {error.errors()[0]['loc'][0]}: a number is needed") from error
    highest = {"flags": 1, "rankings": 1, "demonstrations": 7, "groups": 1000}
    for name, value in asdict(chosen).items():
        if not 0 <= value <= highest[name]:
            raise UserError(f"cut-offs: {name}: from 0 to {highest[name]}")

    def work(transaction: Transaction) -> None:
        transaction.run("DELETE FROM setting WHERE name = 'screening'")
        transaction.run("INSERT INTO setting VALUES ('screening', ?)", to_json(asdict(chosen)))
        log(transaction, by, "cut-offs", "screening", asdict(chosen))

    database.write(work)


def grade(database: Database, submission: str, score: int, by: str) -> None:
    """Grade a candidate's demonstration from 1 to 7; a later grade of the same owner replaces the first, which is kept.

    Raises:
        UserError: No grade from 1 to 7.
        RefusedError: There is no such demonstration (404).
    """
    if not 1 <= score <= 7:
        raise UserError("grade: from 1 to 7")

    def work(transaction: Transaction) -> None:
        found = transaction.value(
            "SELECT submission.id FROM submission JOIN item ON item.number = submission.item "
            "WHERE submission.id = ? AND purpose = 'screening' AND kind = 'demonstration'",
            submission,
        )
        if found is None:
            raise RefusedError(404, "no such demonstration")
        transaction.run(
            "INSERT INTO grade (submission, grader, score, at) VALUES (?, ?, ?, ?)",
            submission, by, score, transaction.now(),
        )  # fmt: skip
        log(transaction, by, "grade", submission, score)

    database.write(work)


def decide(database: Database, person: str, admitted: bool, by: str) -> None:
    """Make a candidate a labeler, or turn the candidate down: the account is paused and can be admitted later.

    Raises:
        UserError: There is no such candidate.
    """

    def work(transaction: Transaction) -> None:
        role, state = ("labeler", "active") if admitted else ("candidate", "paused")
        if not transaction.run(
            "UPDATE person SET role = ?, state = ? WHERE id = ? AND role = 'candidate' AND state <> 'erased'",
            role, state, person,
        ):  # fmt: skip
            raise UserError(f"no candidate {person!r}")
        transaction.run("UPDATE lease SET state = 'lapsed' WHERE person = ? AND state = 'held'", person)
        if not admitted:
            transaction.run("DELETE FROM session WHERE person = ?", person)
        log(transaction, by, "admit" if admitted else "turn down", person)

    database.write(work)


def candidates(database: Database) -> list[Candidate]:
    """Return candidates and those who were admitted from among them, in the order in which they came."""

    def work(transaction: Transaction) -> list[Candidate]:
        wanted, items, answers = _cutoffs(transaction), _items(transaction), _answers(transaction)
        people = transaction.rows("SELECT id, role, state FROM person WHERE state <> 'erased' ORDER BY created, id")
        shown = []
        for row in people:
            if row["role"] == "candidate" or row["id"] in answers:
                shown.append(_candidate(row, items, answers.get(row["id"], {}), wanted))
        return shown

    return database.read(work)


def covered(people: Sequence[Candidate]) -> dict[str, int]:
    """Return how many of those who were not turned down can tell for each group: a team covers them together."""
    return dict(Counter(group for one in people if one.state != "declined" for group in one.groups).most_common())


def answers_of(database: Database, person: str) -> dict[Criterion, list[dict[str, Any]]]:
    """Return what a candidate gave, to be read beside what was expected; items that are not done are left out."""

    def work(transaction: Transaction) -> dict[Criterion, list[dict[str, Any]]]:
        answers = _answers(transaction).get(person, {})
        shown: dict[Criterion, list[dict[str, Any]]] = {name: [] for name in CRITERIA}
        for item in _items(transaction):
            if (answer := answers.get(item.number)) is not None:
                shown[item.criterion].append(
                    {"item": item.payload, "gold": item.gold, **asdict(answer), "agreement": _agreement(item, answer)}
                )
        return shown

    return database.read(work)


def _cutoffs(transaction: Transaction) -> Cutoffs:
    text = transaction.value("SELECT value FROM setting WHERE name = 'screening'")
    return Cutoffs(**json.loads(text)) if text else Cutoffs()


def _items(transaction: Transaction) -> list[_Item]:
    items = []
    for row in transaction.rows("SELECT * FROM item WHERE purpose = 'screening' AND state <> 'paused' ORDER BY number"):
        gold = row["gold"] and json.loads(row["gold"])
        payload: Any = json.loads(row["payload"])
        criterion: Criterion = "demonstrations" if row["kind"] == "demonstration" else "rankings"
        if row["kind"] == "survey":
            criterion = "flags" if gold else "groups"
            payload = SurveyItem.model_validate(payload).model_dump(mode="json")
        elif row["kind"] == "ranking":
            payload = RankingItem.model_validate(payload).model_dump(mode="json")
        items.append(_Item(row["number"], criterion, payload, gold))
    return items


def _answers(transaction: Transaction) -> dict[str, dict[int, _Answer]]:
    """Return the last revision of every screening submission by person and item."""
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for row in transaction.rows("SELECT * FROM grade ORDER BY number"):
        grades[row["submission"]][row["grader"]] = row["score"]
    answers: dict[str, dict[int, _Answer]] = defaultdict(dict)
    for row in transaction.rows(
        "SELECT submission.*, kind FROM submission JOIN item ON item.number = submission.item "
        "WHERE purpose = 'screening' ORDER BY revision"
    ):
        content = content_in_item_order(row["kind"], row)
        answers[row["person"]][row["item"]] = _Answer(row["id"], content, grades.get(row["id"], {}))
    return answers


def _candidate(person: Row, items: Sequence[_Item], answers: Mapping[int, _Answer], wanted: Cutoffs) -> Candidate:
    scores = {name: _score(name, items, answers, getattr(wanted, name)) for name in CRITERIA}
    asked = [score.passed for score in scores.values() if score.of]
    passed = None if None in asked or not asked else all(asked)
    state: Literal["candidate", "admitted", "declined"] = "admitted"
    if person["role"] == "candidate":
        state = "declined" if person["state"] == "paused" else "candidate"
    return Candidate(person["id"], state, scores, _groups(items, answers), passed)


def _score(criterion: Criterion, items: Sequence[_Item], answers: Mapping[int, _Answer], needed: float) -> Score:
    asked = [item for item in items if item.criterion == criterion]
    done = [(item, answers[item.number]) for item in asked if item.number in answers]
    if criterion == "groups":
        value: float | None = float(len(_groups(items, answers))) if done else None
        count = len(done)
    else:
        values = [share for item, answer in done if (share := _agreement(item, answer)) is not None]
        value, count = (mean(values) if values else None), len(values)
    complete = bool(asked) and count == len(asked)
    # A mean of binary fractions may miss the cut-off that it is by less than anybody can see.
    return Score(value, count, len(asked), value is not None and value >= needed - 1e-9 if complete else None)


def _agreement(item: _Item, answer: _Answer) -> float | None:
    """Return how far an answer is the expected one, from 0 to 1; of a demonstration the mean grade, if there is one."""
    if item.criterion == "demonstrations":
        return mean(answer.grades.values()) if answer.grades else None
    if item.criterion == "rankings":
        return 1 - order_distance([item.gold["ranks"], answer.content["ranks"]])
    if item.criterion == "flags":
        given, expected = answer.content["values"], item.gold["values"]
        return mean(float(given.get(name) == value) for name, value in expected.items())
    return None


def _groups(items: Sequence[_Item], answers: Mapping[int, _Answer]) -> tuple[str, ...]:
    """Return the options that a candidate ticked in questions of several options."""
    ticked = []
    for item in items:
        if item.criterion == "groups" and item.number in answers:
            values = answers[item.number].content["values"]
            for question in item.payload["questions"]:
                if question["type"] == "checks":
                    ticked += values.get(question["name"], [])
    return tuple(dict.fromkeys(ticked))
