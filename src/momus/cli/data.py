"""`momus data`: what a file of feedback holds, and its records as Momus keeps them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from momus.cli.bugs.natural import Bugs
from momus.cli.data_critics import Critiques, Rate, Tampers

if TYPE_CHECKING:
    from collections import Counter

    from momus.data.convert import Problems, Summary
    from momus.data.formats import Format
    from momus.data.sources import Source

Kind = Literal["prompts", "demonstrations", "judgements", "rankings", "tasks"]


@dataclass(frozen=True)
class Inspect:
    """Say what a file holds: its format, kinds and numbers of records, licences, labelers, ties, lengths, problems."""

    file: Positional[str]
    """A file, a directory written by save_to_disk, or a data set of the Hugging Face hub."""
    format: str | None = None
    """Its format, where it is not to be found out."""

    def run(self) -> int:
        """Print the summary; bad rows are part of it."""
        from momus.data.convert import recognise, summarise
        from momus.data.sources import watched

        source, format = recognise(self.file, self.format)
        with _progress() as progress:
            summary = summarise(watched(source, progress), format)
        print(_described(source, format, self.format is not None, summary))
        return 0


@dataclass(frozen=True)
class Convert:
    """Write a file's records as JSON Lines, whole or not at all."""

    file: Positional[str]
    """A file, a directory written by save_to_disk, or a data set of the Hugging Face hub."""
    out: Path
    """The file to write."""
    format: str | None = None
    """Its format, where it is not to be found out."""
    kind: Kind | None = None
    """Which records, where there are several kinds; tasks are the code in answers."""
    licence: str = ""
    """The licence of records that state none themselves."""
    skip_bad: bool = False
    """Leave bad rows out, and write the others."""

    def run(self) -> int:
        """Write the file, or print every bad row."""
        from momus.data.convert import convert, recognise
        from momus.data.licences import is_non_commercial
        from momus.data.sources import watched
        from momus.terminal import visible

        source, format = recognise(self.file, self.format)
        with _progress() as progress:
            watching = watched(source, progress)
            written, problems = convert(watching, format, self.out, self.kind, self.licence, self.skip_bad)
        _print_problems(problems, "left out: ")
        if problems.left_out:
            print(f"momus: not kept: {visible(_counted_fields(problems.left_out))}", file=sys.stderr)
        print(f"{written} records of {format.name} in {self.out}", file=sys.stderr)
        licence = self.licence or source.licence
        if not licence:
            print("no licence is stated: name it with --licence", file=sys.stderr)
        elif is_non_commercial(licence):
            print(f"the licence {licence} allows no commercial use", file=sys.stderr)
        return 0


@dataclass(frozen=True)
class Prompts:
    """Choose prompts to train on, as InstructGPT does: few of one beginning, few of one user, split by user.

    Personal data in the training split becomes placeholders; what was found where is in OUT with the ending
    .report.json.
    """

    file: Positional[str]
    """Prompts, or records that have prompts: a file, a saved directory, a data set of the hub."""
    out: Path
    """The file to write: prompts with their split."""
    against: tuple[str, ...] = ()
    """Evaluation sets: a prompt that shares 13 words in a row with one is left out."""
    prefix: int = 200
    """Prompts that begin with the same so many characters are one."""
    per_user: int = 200
    """At most so many prompts of one user."""
    by: Literal["user", "group"] = "user"
    """Whose prompts are limited and kept in one split."""
    format: str | None = None
    """The format of the file, where it is not to be found out."""
    keep_personal: bool = False
    """Leave personal data in the training split as it is."""
    regions: tuple[str, ...] = ("US", "GB", "KR")
    """Countries whose telephone numbers are looked for without a country code."""
    workers: int | None = None
    """Processes that look for personal data; by default one for each CPU."""
    skip_bad: bool = False
    """Leave bad rows out, and use the others."""

    def run(self) -> int:
        """Write the prompts chosen, and say how many each rule took out."""
        from momus.data.prompts import PromptRules, Redaction, choose_prompts, report_path
        from momus.errors import UserError

        if self.prefix < 1 or self.per_user < 1:
            raise UserError("--prefix and --per-user must be at least 1")
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers {self.workers}: must be at least 1")
        rules = PromptRules(self.prefix, self.per_user, self.by)
        redact = None if self.keep_personal else Redaction(self.regions, self.workers or os.cpu_count() or 1)
        with _progress() as progress:
            report, problems = choose_prompts(
                self.file, self.out, rules, self.against, self.format, self.skip_bad, redact, progress
            )
        _print_problems(problems, "left out: ")
        lines = [f"{number:>9} {what}" for what, number in report.counts.items()]
        if report.personal is not None and report.places is not None:
            lines += [f"{number:>9} [{kind}] for personal data" for kind, number in sorted(report.personal.items())]
            where = f": {report_path(self.out)} says where" if report.places else ""
            lines.append(f"{len(report.places):>9} training prompts with personal data{where}")
        print("\n".join(lines), file=sys.stderr)
        return 0


Action = Inspect | Convert | Prompts | Tampers | Rate | Critiques | Bugs


def command(action: Annotated[Action, tyro.conf.arg(name="")]) -> int:
    """Read the ecosystem's data formats, and make the data that critics are trained on (docs/guides/data.md)."""
    from momus.data.convert import BadRowsError, Problems

    try:
        return action.run()
    except BadRowsError as error:
        _print_problems(Problems(list(error.problems), error.count), "error: ")
        print("momus: error: nothing written: mend these rows, or --skip-bad", file=sys.stderr)
        return error.exit_code


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many rows were read; yields what to call with the number."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("Rows read", total=None)
        yield lambda count: bars.update(bar, completed=count)


def _print_problems(problems: Problems, how: str) -> None:
    from momus.terminal import visible

    for problem in problems.first:
        print(f"momus: {how}{visible(' '.join(str(problem).split()))}", file=sys.stderr)
    if problems.count > len(problems.first):
        print(f"momus: {how}{problems.count - len(problems.first)} more bad rows", file=sys.stderr)


def _described(source: Source, format: Format, given: bool, summary: Summary) -> str:
    from momus.data.licences import is_non_commercial
    from momus.terminal import visible

    lines = [
        f"file      {source.name} ({source.kind})",
        f"format    {format.name} ({'as told' if given else 'it has ' + format.known_by})",
        f"rows      {summary.rows}",
        *([f"fields    {_named(summary.fields, 20)}"] if summary.fields else []),
        f"records   {_counted(summary.records) or 'none'}",
    ]
    if summary.candidates:
        sizes = ", ".join(f"{number} of {k}" for k, number in sorted(summary.candidates.items()))
        lines.append(f"answers   {sizes}; {summary.tied} rankings with ties")
    if summary.scales:
        lines.append(f"scales    {_counted(summary.scales)}")
    if summary.labelers:
        lines.append(f"labelers  {_named(summary.labelers)}")
    if set(summary.datasets) - {""}:
        lines.append(f"data sets {_named(summary.datasets)}")
    if set(summary.languages) - {""}:
        lines.append(f"languages {_named(summary.languages)}")
    if summary.licences:
        notes = " (no commercial use)" if any(map(is_non_commercial, summary.licences)) else ""
        lines.append(f"licences  {_named(summary.licences)}{notes}")
    for title, lengths in (("prompts", summary.prompt_lengths), ("answers", summary.answer_lengths)):
        if lengths:
            low, middle, high, top = (_quantile(lengths, share) for share in (0.05, 0.5, 0.95, 1.0))
            lines.append(f"{title}   5% {low}, half {middle}, 95% {high}, longest {top} characters")
    if summary.empty:
        lines.append(f"empty     {summary.empty} answers")
    for number, example in enumerate(summary.examples, 1):
        text = example.model_dump_json(exclude_defaults=True)
        lines.append(f"example {number} {text if len(text) <= 600 else text[:600] + ' …'}")
    if summary.problems.left_out:
        lines.append(f"not kept  {_counted_fields(summary.problems.left_out)}")
    lines.append(f"problems  {summary.problems.count}")
    lines += [f"  {' '.join(str(problem).split())}" for problem in summary.problems.first]
    if summary.problems.count > len(summary.problems.first):
        lines.append(f"  and {summary.problems.count - len(summary.problems.first)} more")
    return "\n".join(visible(line) for line in lines)


def _counted_fields(names: Counter[str], most: int = 12) -> str:
    """Name the fields that are in no record, the most frequent first, and in how many rows or messages they were."""
    shown = ", ".join(f"{name} ({number})" for name, number in names.most_common(most))
    return shown + (f", and {len(names) - most} more fields" if len(names) > most else "")


def _counted(names: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in names.most_common())


def _named(names: Counter[str], most: int = 5) -> str:
    """Show the most frequent names with their numbers, and how many there are."""
    known = [(name, number) for name, number in names.most_common() if name]
    shown = ", ".join(f"{name} ({number})" for name, number in known[:most])
    more = f", … {len(known)} in all" if len(known) > most else ""
    unnamed = f"{names['']} not stated" if names[""] else ""
    return "; ".join(part for part in (shown + more, unnamed) if part)


def _quantile(lengths: Counter[int], share: float) -> int:
    """Return the smallest length that at least this share does not exceed."""
    wanted, seen = share * lengths.total(), 0
    for value in sorted(lengths):
        seen += lengths[value]
        if seen >= wanted:
            return value
    return max(lengths)
