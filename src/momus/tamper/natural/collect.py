"""Natural bugs out of problems and a model: ask, test, repair, keep; every step in one ledger, so it can be stopped."""

from __future__ import annotations

import ast
import difflib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from momus.critique import Span
from momus.files import Ledger
from momus.lm.chats.protocol import Chat
from momus.records import Bug, Tamper, Task
from momus.sandbox import Limits, run_tests, run_tests_on_each
from momus.tamper.natural.answers import code_of, question
from momus.tamper.natural.edits import VERSION
from momus.tamper.natural.problems import Problem
from momus.tamper.natural.repairs import repair_by_edit, repair_by_model, repair_question
from momus.tamper.tree import missing, should_be

TOGETHER = 64
"""Questions asked at once: what a kill may cost."""

LIMITS = Limits(seconds=2.0)
SEARCH_LIMITS = Limits(seconds=0.7)
"""Of one edit that is tried: many make loops that never end."""

WRONG = ("wrong result", "an exception", "too slow")
"""How an answer does that is Python, has the name asked for, and fails a test."""

_EDITED = f"edited {VERSION}"
"""How the ledger names a repair by an edit: with other edits there may be another."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class AnswerConfig:
    """How a model is asked for answers.

    Attributes:
        samples: Answers to each problem.
        temperature: 0 takes the likeliest answer.
        seed: Other seeds, other answers.
    """

    samples: int = 1
    temperature: float = 0.7
    seed: int = 0


@dataclass(frozen=True)
class _Answer:
    """One answer to a problem, and its name in the ledger."""

    problem: Problem
    sample: int

    @property
    def name(self) -> str:
        return f"{self.problem.id}#{self.sample}"

    def passes(self, codes: Sequence[str]) -> list[bool]:
        """Say of each of some codes whether it passes the problem's tests."""
        results = run_tests_on_each(codes, self.problem.tests, self.problem.setup, SEARCH_LIMITS)
        return [result.passed for result in results]


def collect(
    problems: Sequence[Problem], chat: Chat, repairer: Chat | None, ledger: Ledger, config: AnswerConfig, report: Report
) -> tuple[list[Tamper], dict[str, int]]:
    """Let a model answer problems and return its wrong answers with what is wrong in them, as records.

    Args:
        problems: The problems, with tests.
        chat: Who answers.
        repairer: Who is asked for a repair where no small edit passes; None asks nobody.
        ledger: What was done so far; it goes on from there.
        config: How the model is asked.
        report: Told what is being done, how much of it is done, and how much there is.

    Returns:
        The bugs, and counts: answers, how they do, and what repaired them.

    Raises:
        NoCageError: There is no cage here, or it does not hold.
        UserError: The model cannot be asked.
    """
    answers = [_Answer(problem, sample) for problem in problems for sample in range(config.samples)]
    _ask(answers, chat, ledger, config, report)
    codes = {each.name: code_of(ledger[f"answer {each.name}"]) for each in answers}
    for done, each in enumerate(answers):
        report("tested", done, len(answers))
        if (key := f"tested {each.name}") not in ledger:
            ledger.add({key: _tested(each.problem, codes[each.name])})
    wrong = [each for each in answers if ledger[f"tested {each.name}"][0] in WRONG]
    for done, each in enumerate(wrong):
        report("repaired", done, len(wrong))
        if (key := f"{_EDITED} {each.name}") not in ledger:
            ledger.add({key: repair_by_edit(codes[each.name], each.passes)})
    if repairer is not None:
        _ask_for_repairs(
            [each for each in wrong if not ledger[f"{_EDITED} {each.name}"]], codes, repairer, ledger, report
        )
    counts = Counter(ledger[f"tested {each.name}"][0] for each in answers)
    counts["answers"] = len(answers)
    tampers = []
    for each in wrong:
        how = next((how for how in (_EDITED, "remodelled") if ledger.get(f"{how} {each.name}")), None)
        counts[{_EDITED: "repaired by an edit", "remodelled": "repaired by a model", None: "not repaired"}[how]] += 1
        if how:
            complaint = ledger[f"tested {each.name}"][1]
            kind = f"natural.{'edit' if how == _EDITED else 'model'}"
            repaired = ledger[f"{how} {each.name}"]
            tampers.append(natural_bug(each.problem, each.name, codes[each.name], repaired, kind, complaint))
    return tampers, dict(counts)


def _ask(answers: Sequence[_Answer], chat: Chat, ledger: Ledger, config: AnswerConfig, report: Report) -> None:
    waiting = [each for each in answers if f"answer {each.name}" not in ledger]
    for start in range(0, len(waiting), TOGETHER):
        report("answered", len(answers) - len(waiting) + start, len(answers))
        part = waiting[start : start + TOGETHER]
        given = chat.answer([question(each.problem, each.sample, config.temperature, config.seed) for each in part])
        ledger.add({f"answer {each.name}": answer.text for each, answer in zip(part, given, strict=True)})


def _ask_for_repairs(
    wrong: Sequence[_Answer], codes: Mapping[str, str], repairer: Chat, ledger: Ledger, report: Report
) -> None:
    waiting = [each for each in wrong if f"remodelled {each.name}" not in ledger]
    for start in range(0, len(waiting), TOGETHER):
        report("repaired by the model", len(wrong) - len(waiting) + start, len(wrong))
        part = waiting[start : start + TOGETHER]
        given = repairer.answer([
            repair_question(each.problem, codes[each.name], ledger[f"tested {each.name}"][1]) for each in part
        ])  # fmt: skip
        ledger.add({
            f"remodelled {each.name}": repair_by_model(codes[each.name], answer.text, each.passes)
            for each, answer in zip(part, given, strict=True)
        })  # fmt: skip


def _tested(problem: Problem, code: str) -> tuple[str, str]:
    """Return how an answer does, and the first test that fails with what it said."""
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "no Python", ""
    result = run_tests(code, problem.tests, problem.setup, LIMITS)
    if result.passed:
        return "right", ""
    at, verdict = next((i, verdict) for i, verdict in enumerate(result.verdicts) if verdict != "passed")
    words = f"{problem.tests[at]}  # {result.messages[at] or 'AssertionError'}"
    if "is not defined" in result.messages[at] and not re.search(rf"\bdef {_tested_name(problem.tests[at])}\b", code):
        return "another name", words
    return {"failed": "wrong result", "time": "too slow"}.get(verdict, "an exception"), words


def _tested_name(test: str) -> str:
    """Return the function that a test calls first."""
    called = re.search(r"\b\w++(?=\()", test.replace("assert(", "").replace("assert (", ""))
    return called[0] if called else ""


def natural_bug(problem: Problem, name: str, wrong: str, right: str, kind: str, complaint: str) -> Tamper:
    """Return a wrong answer and its repair as a record: the bug is on the lines that the repair changes.

    Args:
        problem: What was asked.
        name: The answer's name.
        wrong: The answer.
        right: Its repair.
        kind: The kind of the bug: how the repair was found.
        complaint: The test that failed, and what it said.
    """
    before, after = wrong.splitlines(True), right.splitlines(True)
    hunks = [hunk for hunk in difflib.SequenceMatcher(None, before, after, False).get_opcodes() if hunk[0] != "equal"]
    starts = [0, *itertools.accumulate(map(len, before))]
    why = f"`{complaint.partition('  # ')[0]}` does not hold"
    spans, words = [], []
    for _, start, stop, first, last in hunks:
        span, placed = _span(before, starts, start, stop)
        spans.append(span)
        new, old = "".join(after[first:last]).strip(), "".join(before[start:stop]).strip()
        repair = should_be(new, why) if new else f"Should not be here: {why}."
        words.append(repair if old else missing(new, placed, why))
    bug = Bug(
        kind=kind,
        spans=tuple(spans),
        description=" ".join(words),
        original="".join("".join(after[first:last]) for _, _, _, first, last in hunks),
        replacement="".join("".join(before[start:stop]) for _, start, stop, _, _ in hunks),
    )
    task = Task(id=name, question=problem.text, answer=right, module=problem.id, split=problem.split)
    return Tamper(task=task, answer=wrong, bugs=(bug,))


def _span(lines: Sequence[str], starts: Sequence[int], start: int, stop: int) -> tuple[Span, str]:
    """Return the characters of some lines, or where something is missing between lines the line next to it."""
    placed = "here"
    if start == stop:
        following = next((i for i in range(start, len(lines)) if lines[i].strip()), None)
        start = following if following is not None else max(i for i in range(len(lines)) if lines[i].strip())
        stop, placed = start + 1, "before this" if following is not None else "after this"
    text = "".join(lines[start:stop])
    first = starts[start] + len(text) - len(text.lstrip())
    return Span(first, max(first + 1, starts[start] + len(text.rstrip()))), placed
