"""Files in, findings out: each unit becomes a task, each anchored comment a range of lines of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from momus.critics.critic import Critic, confidence_of, innermost, usual_setting
from momus.critics.vacuous import drop_vacuous, is_vacuous
from momus.critique import Critique, lines_of
from momus.errors import UserError
from momus.records import Task
from momus.review.context.snippets import Context
from momus.review.files import Skipped, Source, read_source, source_of, spelled
from momus.review.findings import Coverage, FileReview, Finding, Unread, Why, identify, join_lines
from momus.review.risk import risk
from momus.review.suggestion import propose
from momus.review.units import Unit, units, windows
from momus.search.result import SearchResult

TOGETHER = 16
"""Most parts that a critic is given at a time; the first time it is one, and then twice as many each time."""

Tell = Callable[["FileReview"], None]
"""Told what was found in some parts of a file, before all of it is read."""


@dataclass(frozen=True)
class Target:
    """A file to review.

    Attributes:
        source: The file as it is now.
        name: Its path from the root of the repository, which identifies its findings; by default its path.
        changed: Numbers of the lines that a change added; None where all of the file is under review.
        beside_removed: Lines beside places from which lines were only removed: comments on them are on the change.
        context: What else of the repository goes into the question about its functions.
    """

    source: Source
    name: str = ""
    changed: frozenset[int] | None = None
    beside_removed: frozenset[int] = frozenset()
    context: Context | None = None

    @property
    def on_change(self) -> frozenset[int] | None:
        """Lines whose comments are about the change; None for all."""
        return None if self.changed is None else self.changed | self.beside_removed


def review_sources(
    sources: Iterable[Source], critic: Critic, setting: float, max_comments: int | None = None
) -> Iterator[FileReview]:
    """Yield the review of each source as soon as it is done; see `review_targets`."""
    return review_targets(map(Target, sources), critic, setting, max_comments)


def review_targets(
    targets: Iterable[Target],
    critic: Critic,
    setting: float,
    max_comments: int | None = None,
    *,
    by_risk: bool = False,
    keep_going: bool = False,
    tell: Tell | None = None,
) -> Iterator[FileReview]:
    """Yield the review of each target as soon as it is done.

    Args:
        targets: What to review.
        critic: Who writes the critiques.
        setting: Of the critic's dial.
        max_comments: At most so many comments a file, the first ones in it; None keeps all.
        by_risk: Read what is most likely to be wrong first (`risk`), in whichever file it is, instead of file by file.
        keep_going: Where the critic fails for good (its server is gone), tell in the reviews what was not read.
        tell: Told of findings as soon as their part of a file is read.

    Raises:
        UserError: The critic fails, and `keep_going` is not set.
    """
    reader = _Reader(critic, setting, keep_going, tell)
    if not by_risk:
        for target in targets:
            work = _Work.plan(target, critic.fits)
            for _ in reader.read([(work, index) for index in range(len(work.parts))]):
                pass
            yield work.finish(max_comments)
        return
    works = [_Work.plan(target, critic.fits) for target in targets]
    pieces = [(work, index) for work in works for index in range(len(work.parts))]
    pieces.sort(key=lambda piece: -risk(piece[0].parts[piece[1]], piece[0].target.changed, piece[0].name))
    yield from (work.finish(max_comments) for work in works if not work.parts)
    for batch in reader.read(pieces):
        for work in dict.fromkeys(work for work, _ in batch):
            if len(work.done) == len(work.parts):
                yield work.finish(max_comments)


def review_code(
    code: str | Path, critic: Critic, setting: float | None = None, max_comments: int | None = None
) -> FileReview:
    """Review code.

    Args:
        code: Python code itself, or the path of a file with code in any language that the critic reads.
        critic: What `open_critic` returned.
        setting: Where its dial stands: of a critic that votes the share of its reviews that must agree, 0 to 1; of one
            that searches the length modifier, in units of the reward; None leaves it where it stands by itself.
        max_comments: At most so many comments, the first ones; None keeps all.

    Raises:
        UserError: The file cannot be read, the code is empty or not Python 3, or the critic does not read its language.
    """
    source = read_source(code, other_languages=True) if isinstance(code, Path) else source_of(code)
    leave_out_unreadable([source], critic)
    dial_at = usual_setting(critic.dial) if setting is None else setting
    return next(review_targets([Target(source, source.path.name)], critic, dial_at, max_comments))


def leave_out_unreadable(sources: Sequence[Source], critic: Critic) -> tuple[list[Source], list[Skipped]]:
    """Return the sources in languages that a critic reads, and the others with the reason.

    Raises:
        UserError: It reads none of them.
    """
    known = list(getattr(critic, "languages", {source.language for source in sources}))
    readable = [source for source in sources if source.language in known]
    if len(readable) == len(sources):
        return readable, []
    from momus.critics.prompted import PromptedCritic

    prompted = isinstance(innermost(critic), PromptedCritic)
    remedy = "leave out --without-comments" if prompted else "name a model that chats with --model or --url"
    reason = f"this critic reads {' and '.join(known)} only: {remedy}"
    skipped = [Skipped(s.path, f"{s.language}: {reason}", by_design=True) for s in sources if s.language not in known]
    if not readable:
        raise UserError(f"{skipped[0].path}: {skipped[0].reason}")
    return readable, skipped


def tasks_of(source: Source, fits: Callable[[Task], bool]) -> tuple[list[Task], list[int]]:
    """Return what a critic is asked to review of a file, and the numbers of the lines that do not fit."""
    work = _Work.plan(Target(source), fits)
    return work.tasks(), work.unread


def tasks_of_target(target: Target, fits: Callable[[Task], bool]) -> list[Task]:
    """Return what a critic is asked to review of a target."""
    return _Work.plan(target, fits).tasks()


def changed_tasks_of(target: Target, fits: Callable[[Task], bool]) -> list[tuple[Task, frozenset[int]]]:
    """Return what a critic is asked to review of a changed target, each with the indices of its changed lines."""
    work, touched = _Work.plan(target, fits), target.on_change or frozenset()
    changed = [frozenset(i for i, number in enumerate(part.lines) if number in touched) for part in work.parts]
    return list(zip(work.tasks(), changed, strict=True))


@dataclass(frozen=True)
class _Read:
    """What came of one part: the critique at the setting, and how many vacuous comments were dropped of it."""

    critique: Critique | None
    vacuous: int = 0
    problem: str = ""
    confidences: tuple[float | None, ...] = ()


class _Reader:
    """Gives parts to a critic, and keeps of what it writes only what the dial chooses."""

    def __init__(self, critic: Critic, setting: float, keep_going: bool, tell: Tell | None) -> None:
        self._critic, self._setting, self._keep_going, self._failure = critic, setting, keep_going, ""
        self._tell, self._together = tell, 1

    def read(self, pieces: Sequence[tuple[_Work, int]]) -> Iterator[Sequence[tuple[_Work, int]]]:
        """Read parts of files, and store in each what came of it; yield those of a time when that is done."""
        start = 0
        while batch := pieces[start : start + self._together]:
            start += len(batch)
            self._together = min(2 * self._together, TOGETHER)
            tasks = [work.task(index) for work, index in batch]
            for (work, index), task, written in zip(batch, tasks, self._write(tasks), strict=True):
                work.done[index] = self._choose(written, task.answer)
            if self._tell is not None:
                for work in dict.fromkeys(work for work, _ in batch):
                    self._tell(work.found([index for other, index in batch if other is work]))
            yield batch

    def _write(self, tasks: list[Task]) -> Sequence[SearchResult]:
        if not self._failure:
            try:
                return self._critic.write(tasks)
            except UserError as error:
                if not self._keep_going:
                    raise
                self._failure = str(error)
        return [SearchResult((), self._failure)] * len(tasks)

    def _choose(self, written: SearchResult, answer: str) -> _Read:
        """Return the critique at the setting, vacuous comments aside, and how many of those would have been in it."""
        if not written.candidates:
            return _Read(None, problem=written.problem)
        dial = self._critic.dial
        would_be = dial.choose(written, answer, self._setting)
        critique = dial.choose(drop_vacuous(written, answer), answer, self._setting)
        vacuous = sum(is_vacuous(comment, answer) for comment in would_be.anchored)
        confidences = tuple(confidence_of(comment, written, answer, dial) for comment in critique.anchored)
        return _Read(critique, vacuous, "", confidences)


@dataclass(eq=False)
class _Work:
    """A target, the parts of it that the critic reads, and what came of each; `functions` names the lines' units."""

    target: Target
    parts: list[Unit]
    unread: list[int]
    functions: dict[int, str] = field(default_factory=dict)
    done: dict[int, _Read] = field(default_factory=dict)

    @classmethod
    def plan(cls, target: Target, fits: Callable[[Task], bool]) -> _Work:
        """Cut a target into parts that fit; of a change, keep those that it touches."""
        work = cls(target, [], [])
        touched = target.on_change
        for unit in units(target.source):
            work.functions |= dict.fromkeys(unit.lines, unit.name)
            if touched is not None and not _touches(unit, touched):
                continue
            fitting, too_long = windows(unit, lambda part: fits(work._task(part)))
            chosen = [part for part in fitting if touched is None or _touches(part, touched)]
            if target.context:
                chosen = [target.context.add_to(part, lambda longer: fits(work._task(longer))) for part in chosen]
            work.parts += chosen
            work.unread += [line for line in too_long if target.changed is None or line in target.changed]
        return work

    @property
    def name(self) -> str:
        """The path that identifies the file."""
        return self.target.name or spelled(self.target.source.path)

    def tasks(self) -> list[Task]:
        """Return what the critic is asked."""
        return list(map(self._task, self.parts))

    def task(self, index: int) -> Task:
        """Return what the critic is asked of one part."""
        return self._task(self.parts[index])

    def found(self, indices: Sequence[int]) -> FileReview:
        """Return what was found in some parts that are read; inside of a change, and outside of it."""
        findings = dict.fromkeys(f for index in indices for f in self._findings(self.parts[index], self.done[index]))
        ordered = sorted(
            findings, key=lambda finding: (finding.line, finding.end_line, finding.text, finding.severity or "")
        )
        identified = identify(ordered, self.name, self.target.source.text, self.functions)
        on_change = self.target.on_change
        inside = [f for f in identified if on_change is None or not on_change.isdisjoint(range(f.line, f.end_line + 1))]
        outside = tuple(finding for finding in identified if finding not in inside)
        return FileReview(self.target.source.path, tuple(inside), len(indices), outside=outside, name=self.name)

    def finish(self, max_comments: int | None) -> FileReview:
        """Return the review of the file."""
        reads = [self.done[index] for index in range(len(self.parts))]
        whole = self.found(range(len(self.parts)))
        return replace(
            whole,
            findings=whole.findings[:max_comments],
            unanchored=sum(len(read.critique.unanchored) for read in reads if read.critique),
            omitted=len(whole.findings) - len(whole.findings[:max_comments]),
            vacuous=sum(read.vacuous for read in reads),
            unanswered=sum(read.critique is None for read in reads),
            problems=tuple(dict.fromkeys(read.problem for read in reads if read.critique is None)),
            unread=tuple(self.unread),
            coverage=self._coverage(),
            critic_read=join_lines(
                number for part, read in zip(self.parts, reads, strict=True) if read.critique for number in part.lines
            ),
        )

    def _task(self, part: Unit) -> Task:
        path = spelled(self.target.source.path)
        return Task(id=f"{path}:{part.lines[0]}", question=part.question, answer=part.text, split="test")

    def _findings(self, part: Unit, read: _Read) -> Iterator[Finding]:
        if read.critique is None:
            return
        for comment, confidence in zip(read.critique.anchored, read.confidences, strict=True):
            assert comment.span is not None
            touched = lines_of(comment.span, part.text)
            line, end_line = part.lines[touched.start], part.lines[touched.stop - 1]
            yield Finding(
                line=line,
                end_line=end_line,
                function=part.name,
                quote=comment.highlight,
                text=comment.text,
                severity=comment.severity,
                confidence=confidence,
                replacement=propose(comment.text, self.target.source, line, end_line),
            )

    def _coverage(self) -> Coverage:
        """Return of every line under review whether it was read, and else why not."""
        lines = self.target.source.text.split("\n")
        under_review = self.target.changed
        numbers = range(1, len(lines) + 1 - (not lines[-1])) if under_review is None else sorted(under_review)
        reasons: dict[int, tuple[Why, str]] = dict.fromkeys(self.unread, (Why.TOO_LONG, ""))
        if self.target.source.outline:
            reasons |= dict.fromkeys(self.target.source.outline.unread, (Why.BROKEN, ""))
        read: set[int] = set()
        for index, part in enumerate(self.parts):
            if self.done[index].critique is None:
                reasons |= dict.fromkeys(part.lines, (Why.NO_CRITIQUE, self.done[index].problem))
            else:
                read.update(part.lines)
        unread = [number for number in numbers if number not in read]
        for number in unread:
            reasons.setdefault(number, (Why.NOT_RUN if lines[number - 1].strip() else Why.BLANK, ""))
        return Coverage(
            join_lines(number for number in numbers if number in read),
            group_unread({number: reasons[number] for number in unread}),
        )


def group_unread(reasons: dict[int, tuple[Why, str]]) -> tuple[Unread, ...]:
    """Return the lines that were not read, those next to one another with the same reason together."""
    parts = [
        Unread(lines, *reason)
        for reason in dict.fromkeys(reasons.values())
        for lines in join_lines(number for number, other in reasons.items() if other == reason)
    ]
    return tuple(sorted(parts, key=lambda part: part.lines))


def _touches(unit: Unit, lines: frozenset[int]) -> bool:
    """Return whether a unit holds one of the lines, its docstring included."""
    return any(number in lines for number in range(unit.lines[0], unit.lines[-1] + 1))


def with_status(review: FileReview, change: Callable[[Finding], Finding]) -> FileReview:
    """Return a review each of whose findings was put through `change`."""
    return replace(review, findings=tuple(map(change, review.findings)), outside=tuple(map(change, review.outside)))
