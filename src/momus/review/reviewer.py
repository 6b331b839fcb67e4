"""Files in, findings out: each unit becomes a task, each anchored comment a range of lines of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from momus.critics.critic import Critic
from momus.critics.open import CONFIDENCE
from momus.critics.vacuous import drop_vacuous, is_vacuous
from momus.critique import Critique, Severity, lines_of
from momus.records import Task
from momus.review.files import Source, read_source, source_of, spelled
from momus.review.units import Unit, units, windows
from momus.search.result import SearchResult


@dataclass(frozen=True)
class Finding:
    """A comment at its place in a file; lines are 1-based and inclusive, `function` empty for a script."""

    line: int
    end_line: int
    function: str
    quote: str
    text: str
    severity: Severity | None = None


@dataclass(frozen=True)
class FileReview:
    """What was found in one file, ordered by line.

    `unanchored` counts comments whose quote is not in the code (dropped, never guessed at), `omitted` those
    beyond the limit asked for, `vacuous` those that say nothing or propose what already stands there (dropped),
    `unanswered` functions of which the critic gave no critique (`problems` say why), and `unread` holds the lines too
    long for the critic.
    """

    path: Path
    findings: tuple[Finding, ...]
    units: int
    unanchored: int = 0
    omitted: int = 0
    vacuous: int = 0
    unanswered: int = 0
    problems: tuple[str, ...] = ()
    unread: tuple[int, ...] = ()


def review_sources(
    sources: Iterable[Source], critic: Critic, setting: float, max_comments: int | None = None
) -> Iterator[FileReview]:
    """Yield the review of each source as soon as it is done.

    Args:
        sources: Files that parse.
        critic: Who writes the critiques.
        setting: Of the critic's dial.
        max_comments: At most so many comments a file, the first ones in it; None keeps all.
    """
    for source in sources:
        yield _review(source, critic, setting, max_comments)


def review_code(
    code: str | Path, critic: Critic, setting: float = CONFIDENCE, max_comments: int | None = None
) -> FileReview:
    """Review Python code.

    Args:
        code: The code itself, or the path of a file with it.
        critic: What `open_critic` returned.
        setting: Where its dial stands: of a critic that votes the share of its reviews that must agree, 0 to 1; of one
            that searches the length modifier, in units of the reward.
        max_comments: At most so many comments, the first ones; None keeps all.

    Raises:
        UserError: The file cannot be read, or the code is empty or not Python 3.
    """
    source = read_source(code) if isinstance(code, Path) else source_of(code)
    return _review(source, critic, setting, max_comments)


def _review(source: Source, critic: Critic, setting: float, max_comments: int | None) -> FileReview:
    parts, unread = _parts(source, critic.fits)
    written = critic.write([_task(part, source) for part in parts]) if parts else []
    chosen = [_choose(critic, result, part.text, setting) for part, result in zip(parts, written, strict=True)]
    critiques = [critique for critique, _ in chosen]
    findings = {f for part, critique in zip(parts, critiques, strict=True) for f in _findings(part, critique)}
    kept = sorted(findings, key=lambda finding: (finding.line, finding.end_line, finding.text, finding.severity or ""))
    return FileReview(
        path=source.path,
        findings=tuple(kept[:max_comments]),
        units=len(parts),
        unanchored=sum(len(critique.unanchored) for critique in critiques),
        omitted=len(kept) - len(kept[:max_comments]),
        vacuous=sum(vacuous for _, vacuous in chosen),
        unanswered=sum(not result.candidates for result in written),
        problems=tuple(dict.fromkeys(result.problem for result in written if not result.candidates)),
        unread=tuple(unread),
    )


def _choose(critic: Critic, written: SearchResult, answer: str, setting: float) -> tuple[Critique, int]:
    """Return the critique at a setting, vacuous comments aside, and how many of those would have been in it."""
    would_be = critic.dial.choose(written, answer, setting)
    critique = critic.dial.choose(drop_vacuous(written, answer), answer, setting)
    return critique, sum(is_vacuous(comment, answer) for comment in would_be.anchored)


def tasks_of(source: Source, fits: Callable[[Task], bool]) -> tuple[list[Task], list[int]]:
    """Return what a critic is asked to review of a file, and the numbers of the lines that do not fit."""
    parts, unread = _parts(source, fits)
    return [_task(part, source) for part in parts], unread


def _parts(source: Source, fits: Callable[[Task], bool]) -> tuple[list[Unit], list[int]]:
    parts: list[Unit] = []
    unread: list[int] = []
    for unit in units(source):
        fitting, too_long = windows(unit, lambda part: fits(_task(part, source)))
        parts += fitting
        unread += too_long
    return parts, unread


def _task(unit: Unit, source: Source) -> Task:
    return Task(id=f"{spelled(source.path)}:{unit.lines[0]}", question=unit.question, answer=unit.text, split="test")


def _findings(unit: Unit, critique: Critique) -> Iterator[Finding]:
    for comment in critique.anchored:
        assert comment.span is not None
        touched = lines_of(comment.span, unit.text)
        yield Finding(
            line=unit.lines[touched.start],
            end_line=unit.lines[touched.stop - 1],
            function=unit.name,
            quote=comment.highlight,
            text=comment.text,
            severity=comment.severity,
        )
