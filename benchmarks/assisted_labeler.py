"""Does a critique help who judges? A model says whether answers are right, with and without critiques of them.

    momus data bugs mbpp.jsonl --model 0.5B --split all --out bugs        # wrong answers, and what mends each
    python benchmarks/assisted_labeler.py mbpp.jsonl --bugs bugs/bugs.jsonl --labeler 1.5B --critic 0.5B --out read

Tests have said which answers are right. Of every problem the labeler reads a wrong answer and the same one mended;
without --bugs these are the reference solution and the same with an inserted bug that fails its tests (in the cage).
It reads each

- alone;
- with the critic's critique of it, which may be "No problems found.";
- with its critique where it has a comment, and alone where it has none (of the same verdicts: nobody is asked again);
- not at all: where the critic has a comment the answer is taken for wrong;
- with an empty one, which points at a line and says nothing;
- with a misleading one, which says at a line of this answer what the critic said of another.

It chooses between A (right) and B (wrong), in both orders: the probability is free of a liking for a letter. Accuracy
is the share of answers on the right side of one half, and in pairs the share of problems whose right answer is held to
be likelier right. Intervals: 95 %, problems resampled; differences are paired. Everything asked is kept in --out, and
the command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from momus.critics.critic import usual_setting
from momus.critics.open import open_at_setting
from momus.critics.prompted import number_lines
from momus.critics.scores.judged import Verdicts
from momus.critics.vacuous import drop_vacuous
from momus.critique import Comment, Critique
from momus.errors import UserError
from momus.files import Ledger, digest, write_json
from momus.lm.chats.open import open_chat
from momus.match.ask import fenced
from momus.records import Tamper, Task, read_jsonl
from momus.sandbox.testing import run_tests
from momus.search.result import RewardSource
from momus.stats.bootstrap import Interval, mean_interval
from momus.tamper.insert import tamper
from momus.tamper.natural.problems import Problem, read_problems

AT_ONCE = 8
TRIES = 8
EMPTY = "There may be a problem on this line."
CONDITIONS = ("alone", "critique", "empty", "misleading")
COMMENTS, CRITIC = "comments", "critic"
"""The condition in which a critique without a comment is not shown, and the critic by itself: a comment is "wrong"."""

ASK = """You check code. Say whether it does what it should in every case.

What it should do, between marks, as data:
{question}

The code, its lines numbered:
{code}
{critique}
Is the code right?
{labels}
Answer with the letter alone."""

REVIEW = """
A reviewer, who may be mistaken, wrote of it:
{critique}
"""


@dataclass(frozen=True)
class Answer:
    """An answer, and whether the tests say that it is right."""

    task: Task
    right: bool

    @property
    def name(self) -> str:
        """Its name in the ledger."""
        return f"{self.task.id} {'right' if self.right else 'wrong'}"


def pairs_of(
    problems: Sequence[Problem], bugs: Path | None, limit: int, seed: int, skip: int = 0
) -> list[tuple[Answer, Answer]]:
    """Return of at most so many problems a right and a wrong answer that differ in little, without the first ones."""
    if bugs is not None:
        one_each = {record.task.module: record for record in reversed(list(read_jsonl(bugs, Tamper))) if record.bugs}
        made = list(one_each.values())
        Random(seed).shuffle(made)
    else:
        made, drawn = [], list(problems)
        Random(seed).shuffle(drawn)
        for problem in drawn:
            if len(made) == skip + limit:
                break
            made += filter(None, [inserted(problem, seed)])
    return [
        (Answer(record.task, True), Answer(record.task.model_copy(update={"answer": record.answer}), False))
        for record in made[skip : skip + limit]
    ]


def inserted(problem: Problem, seed: int) -> Tamper | None:
    """Return the reference solution with a bug that fails a test, None where none is found or the reference fails."""
    task = Task(id=problem.id, question=problem.text, answer=problem.code, module=problem.id, split=problem.split)
    if not run_tests(problem.code, problem.tests, problem.setup).passed:
        return None
    return insert_bug(task, problem, seed)


def insert_bug(task: Task, problem: Problem, seed: int) -> Tamper | None:
    """Return a right answer with a bug that fails one of the problem's tests, None where none is found."""
    for attempt in range(TRIES):
        made = tamper(task, 1, Random(f"{seed} {task.id} {attempt}"))
        if made is not None and made.bugs and not run_tests(made.answer, problem.tests, problem.setup).passed:
            return made
    return None


def open_reviewer(model: str) -> Any:
    """Return the critic of a model, for its usual setting."""
    return open_at_setting(model, RewardSource(), None, None, None)[0]


def write_critiques(answers: Sequence[Answer], critic: Any, ledger: Ledger) -> dict[str, Critique]:
    """Have the critic review every answer as `momus review` would."""
    waiting = [one for one in answers if f"critique {one.name}" not in ledger]
    for start in range(0, len(waiting), AT_ONCE):
        part = waiting[start : start + AT_ONCE]
        for one, written in zip(part, critic.write([each.task for each in part]), strict=True):
            code, dial = one.task.answer, critic.dial
            critique = dial.choose(drop_vacuous(written, code), code, usual_setting(dial))
            said = Critique(comments=critique.anchored)
            ledger.add({f"critique {one.name}": said.model_dump(mode="json")})
    return {one.name: Critique.model_validate(ledger[f"critique {one.name}"]) for one in answers}


def shown(condition: str, at: int, answers: Sequence[Answer], critiques: dict[str, Critique], seed: int) -> str:
    """Return what the labeler is shown beside an answer, "" for nothing."""
    one = answers[at]
    lines = [number for number, line in enumerate(one.task.answer.split("\n"), 1) if line.strip()]
    line = Random(f"{seed} {one.name}").choice(lines)
    if condition == "alone":
        return ""
    if condition == "critique":
        return comments_of(critiques[one.name], one.task.answer) or "No problems found."
    if condition == "empty":
        return f"line {line}: {EMPTY}"
    others = [*answers[at + 1 :], *answers[:at]]
    elsewhere = (c for other in others if other.task.id != one.task.id for c in critiques[other.name].comments)
    words = next((comment.text for comment in elsewhere), "")
    return f"line {line}: {words}" if words else "No problems found."


def comments_of(critique: Critique, answer: str) -> str:
    """Return what a critique says, a comment a line, each with its line's number; "" where it has none."""
    return "\n".join(f"line {line_of(comment, answer)}: {comment.text}" for comment in critique.comments)


def line_of(comment: Comment, answer: str) -> int:
    """Return the line that a comment begins on, from 1."""
    assert comment.span is not None
    return answer.count("\n", 0, comment.span.start) + 1


def prompt_of(task: Task, critique: str) -> str:
    """Return what the labeler is asked, with the slot {labels} left."""
    code = fenced(number_lines(task.answer))
    review = REVIEW.replace("{critique}", fenced(critique)) if critique else ""
    head, rest = ASK.split("{question}")
    before, rest = rest.split("{code}")
    between, after = rest.split("{critique}")
    return f"{head}{fenced(task.question)}{before}{code}{between}{review}{after}"


def ask(asked: Mapping[str, str], verdicts: Verdicts, ledger: Ledger) -> None:
    """Have the labeler judge what the ledger does not have yet, by name.

    Raises:
        UserError: It gave no verdict.
    """
    waiting = [name for name in asked if name not in ledger]
    for start in range(0, len(waiting), AT_ONCE):
        part = waiting[start : start + AT_ONCE]
        said = verdicts.ask([asked[name] for name in part])
        if problem := next((problem for _, problem in said if problem), ""):
            raise UserError(f"the labeler gave no verdict: {problem}")
        ledger.add({name: value for name, (value, _) in zip(part, said, strict=True)})
        print(f"{len(asked) - len(waiting) + start + len(part)}/{len(asked)} verdicts", flush=True)


def judge(
    answers: Sequence[Answer], critiques: dict[str, Critique], verdicts: Verdicts, ledger: Ledger, seed: int
) -> dict[str, dict[str, float]]:
    """Return by condition and answer how likely the labeler holds it to be right."""
    asked = {
        f"{condition} {one.name}": prompt_of(one.task, shown(condition, at, answers, critiques, seed))
        for condition in CONDITIONS
        for at, one in enumerate(answers)
    }
    ask(asked, verdicts, ledger)
    found = {condition: {one.name: ledger[f"{condition} {one.name}"] for one in answers} for condition in CONDITIONS}
    comments = {one.name for one in answers if critiques[one.name].comments}
    only = {name: found["critique" if name in comments else "alone"][name] for name in found["alone"]}
    return {**found, COMMENTS: only, CRITIC: {name: float(name not in comments) for name in only}}


def measure(pairs: Sequence[tuple[Answer, Answer]], said: dict[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Return for each condition accuracy, accuracy in pairs, how often "right" is said, and what changed."""
    sides: dict[str, list[float]] = {}
    ordered: dict[str, list[float]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for condition, chances in said.items():
        both = [(chances[right.name], chances[wrong.name]) for right, wrong in pairs]
        sides[condition] = [((right > 0.5) + (wrong <= 0.5)) / 2 for right, wrong in both]
        ordered[condition] = [(right > wrong) + (right == wrong) / 2 for right, wrong in both]
        rows[condition] = {
            "accuracy": mean_interval(sides[condition]),
            "in pairs": mean_interval(ordered[condition]),
            "says right": sum((right > 0.5) + (wrong > 0.5) for right, wrong in both) / (2 * len(both)),
        }
        for name, values in (("accuracy", sides), ("in pairs", ordered)):
            changes = [now - before for now, before in zip(values[condition], values[CONDITIONS[0]], strict=True)]
            rows[condition][f"{name}, change"] = mean_interval(changes)
    return rows


def table(rows: dict[str, dict[str, Any]], pairs: int) -> str:
    """Return the table of what was measured."""

    def text(interval: Interval, sign: str = "") -> str:
        ends = f" ({100 * interval.low:{sign}.0f} to {100 * interval.high:{sign}.0f})" if interval.has_ends else ""
        return f"{100 * interval.value:{sign}.0f}{ends}"

    lines = [f"{pairs} problems, a right and a wrong answer of each; percent", ""]
    lines.append(f"{'':12}{'accuracy':>22}{'change':>24}{'in pairs':>22}{'change':>24}{'says right':>12}")
    for name, row in rows.items():
        cells = [text(row["accuracy"]), text(row["accuracy, change"], "+")]
        cells += [text(row["in pairs"]), text(row["in pairs, change"], "+")]
        shown = f"{cells[0]:>22}{cells[1]:>24}{cells[2]:>22}{cells[3]:>24}"
        lines.append(f"{name:12}{shown}{100 * row['says right']:>12.0f}")
    return "\n".join(lines)


def main() -> None:
    """Ask, keep what was said, and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("problems", type=Path, help="problems with tests, in MBPP's format")
    options.add_argument("--bugs", type=Path, help="wrong answers and what mends them, by momus data bugs")
    options.add_argument("--labeler", required=True, help="the model that judges")
    options.add_argument("--critic", required=True, help="the model that writes critiques")
    options.add_argument("--limit", type=int, default=40, help="problems, a right and a wrong answer of each")
    options.add_argument("--skip", type=int, default=0, help="problems to pass over first")
    options.add_argument("--out", type=Path, required=True, help="folder of what was asked")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    pairs = pairs_of(read_problems(chosen.problems), chosen.bugs, chosen.limit, chosen.seed, chosen.skip)
    answers = [one for pair in pairs for one in pair]
    names = digest([(one.name, one.task.answer) for one in answers])
    with Ledger(chosen.out / "critiques.jsonl", {"critic": chosen.critic, "answers": names}) as ledger:
        missing = any(f"critique {one.name}" not in ledger for one in answers)
        critiques = write_critiques(answers, open_reviewer(chosen.critic) if missing else None, ledger)
    labeler = Verdicts(open_chat(chosen.labeler))
    settings = {"labeler": chosen.labeler, "asked": digest(ASK, REVIEW, EMPTY), "seed": chosen.seed, "answers": names}
    with Ledger(chosen.out / "verdicts.jsonl", settings) as ledger:
        said = judge(answers, critiques, labeler, ledger, chosen.seed)
    rows = measure(pairs, said)
    write_json(chosen.out / "measured.json", rows, indent=1)
    flagged = [bool(critiques[one.name].comments) for one in answers]
    print(
        f"The critic comments on {sum(flagged[1::2])} of {len(pairs)} wrong answers and {sum(flagged[::2])} right ones"
    )
    print(table(rows, len(pairs)))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from error
