"""What people decided about comments: dismissed with a reason, or accepted; kept in a file of the repository.

The file is JSON Lines, sorted, a decision a line, so that branches merge well. A decision holds as long as the code
that the comment is about stays as it is, wherever it moves in its definition, and whichever words the critic chooses
next time; when the code changes, it expires. A comment in the code, `# momus: ignore[reason]`, on the line or above it,
dismisses too, and moves with the code.

A decision is a judgement of a comment that was shown (`Decision.judgement`), with the code that it was about: it can
raise the threshold of a dial and train a reward model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from momus.critique import Comment, Critique, format_critique
from momus.files import write_lines
from momus.records import Judgement, Record, Task, read_jsonl
from momus.records.types import Origin
from momus.review.files import Source
from momus.review.findings import FileReview, Finding
from momus.review.identity import Identity, match, normalise_code
from momus.review.reviewer import with_status
from momus.review.units import Unit, units

BASELINE = "momus-baseline.jsonl"
"""The file's name, in the root of the repository, where no other is configured."""

ACCEPTED = "accepted"
"""The scale of a judgement: 1 for a comment that was accepted, 0 for one that was dismissed."""

_IGNORE = re.compile(r"(?:#|//|/\*) ?momus: ?ignore(?:\[([^\]\n]{1,200})\])?")


class Decision(Record):
    """A decision about one comment, by its code (`Identity`).

    Attributes:
        path: The file, from the root of the repository.
        function: The enclosing definition's dotted name.
        code: The lines that the comment is about, normalised.
        number: How many equal pieces of code stand before it in the definition.
        nth: How many comments about the same piece came before it.
        decision: What was decided.
        because: Why.
        by: Who decided, where that is to be known.
        quote: What the comment quotes.
        text: What it says.
        question: What the definition should do, as the critic was told.
        answer: The definition as it was.
        critic: Who wrote it: the kind of critic.
        setting: Where the dial stood.
        confidence: The highest setting at which the comment is made; None where that is not known.
    """

    path: str
    function: str
    code: str
    number: int = 0
    nth: int = 0
    decision: Literal["dismissed", "accepted"]
    because: str = ""
    by: str = ""
    quote: str
    text: str
    question: str = ""
    answer: str
    critic: str = ""
    setting: float = 0.0
    confidence: float | None = None

    @model_validator(mode="after")
    def _holds_a_comment(self) -> Decision:
        self._comment()
        return self

    def _comment(self) -> Comment:
        return Comment(highlight=self.quote.strip("\n"), text=self.text)

    @property
    def identity(self) -> Identity:
        """What the comment is known by."""
        return Identity(self.path, self.function, self.code, self.number, self.nth)

    def judgement(self) -> Judgement:
        """Return the decision as a judgement of the critique that is this one comment."""
        from momus.lm.prompts import prompt_of

        return Judgement(
            prompt=prompt_of(Task(id=self.identity.fingerprint, question=self.question, answer=self.answer)),
            answer=format_critique(Critique(comments=(self._comment(),))),
            values={ACCEPTED: float(self.decision == "accepted")},
            author=self.critic,
            labeler=self.by,
            origin=Origin(format="momus-review", place=self.path, id=self.identity.fingerprint, group=self.function),
        )


def read_decisions(path: Path) -> list[Decision]:
    """Read a file of decisions; one that is not there holds none.

    Raises:
        UserError: A line is no decision.
    """
    return list(read_jsonl(path, Decision)) if path.exists() else []


def write_decisions(path: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions sorted by their place; of two about one comment the last stands."""
    last = {decision.identity: decision for decision in decisions}
    ordered = sorted(last.values(), key=lambda d: (d.path, d.function, d.code, d.number, d.nth))
    write_lines(path, (decision.model_dump_json() for decision in ordered))


def apply_decisions(
    reviews: Sequence[FileReview],
    decisions: Sequence[Decision],
    renamed: Mapping[str, str],
    exists: Callable[[str], bool],
) -> list[FileReview]:
    """Return reviews whose findings have the status that was decided; see `match`."""
    known = {decision.identity: decision for decision in decisions}
    current = [f.identity for review in reviews for f in (*review.findings, *review.outside) if f.identity]
    decided = {new: known[old] for old, new in match(list(known), current, renamed, exists).items()}

    def change(finding: Finding) -> Finding:
        decision = decided.get(finding.identity) if finding.identity else None
        return finding if decision is None else replace(finding, status=decision.decision, because=decision.because)

    return [with_status(review, change) for review in reviews]


def apply_ignores(review: FileReview, source: Source) -> FileReview:
    """Return a review whose findings are dismissed where a comment in the code says so."""
    reasons = read_ignores(source.text)

    def change(finding: Finding) -> Finding:
        lines = [line for line in range(finding.line, finding.end_line + 1) if line in reasons]
        if not lines:
            return finding
        return replace(finding, status="dismissed", because=reasons[lines[0]], in_source=True)

    return with_status(review, change) if reasons else review


def read_ignores(text: str) -> dict[int, str]:
    """Return for numbers of lines the reason why comments on them are dismissed; one without a reason counts not."""
    reasons: dict[int, str] = {}
    if "momus:" not in text:
        return reasons
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if "momus:" in line and (ignore := _IGNORE.search(" ".join(line.split()))) and ignore[1]:
            reasons[number] = ignore[1].strip()
            if not normalise_code([line]):  # a line of its own is about the next one
                after = next((n for n in range(number, len(lines)) if lines[n].strip()), number)
                reasons[after + 1] = ignore[1].strip()
    return reasons


def is_expired(decision: Decision, source: Source) -> bool:
    """Return whether the code that a decision is about is in its definition no more, of a file as it is now."""
    return find_unit(decision.identity, source) is None


def find_unit(identity: Identity, source: Source) -> Unit | None:
    """Return the definition that holds the code of an identity; None where it is not there any more."""
    return next((unit for unit, _ in find_places(identity, source)), None)


def find_places(identity: Identity, source: Source) -> Iterator[tuple[Unit, tuple[int, ...]]]:
    """Yield each place where the code of an identity stands: its definition and the numbers of its lines."""
    size = identity.code.count("\n") + 1
    for unit in units(source):
        if unit.name == identity.function:
            normalised = (
                (n, normalise_code([line])) for n, line in zip(unit.lines, unit.text.split("\n"), strict=True)
            )
            lines = [(number, line) for number, line in normalised if line]
            for start in range(len(lines) - size + 1):
                numbers, code = zip(*lines[start : start + size], strict=True)
                if "\n".join(code) == identity.code:
                    yield unit, numbers
