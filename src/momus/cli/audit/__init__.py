"""`momus audit`: a critic reads answers that are held to be flawless; people judge, blind, whether it is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional

from momus.cli.audit.judging import count, judge
from momus.cli.shared.options import FLAT, AskingOptions, ReviewerOptions
from momus.cli.shared.seed import Seed
from momus.errors import UserError

if TYPE_CHECKING:
    from momus.critics.prompted import PromptKind
    from momus.evaluate.critics.audit import Audited
    from momus.records import Task

_SHIPPED, _FREELY = ReviewerOptions(), AskingOptions()
_SHOWN = 20


def command(
    file: Positional[str],
    out: Path,
    prompt: Literal["code", "answer"] | None = None,
    limit: int | None = None,
    confidence: float | None = None,
    most: int = 50,
    format: str | None = None,
    critic: Annotated[ReviewerOptions, FLAT] = _SHIPPED,
    cost: Annotated[AskingOptions, FLAT] = _FREELY,
    seed: Seed = 0,
) -> int:
    """Have a critic read answers that are held to be flawless and flag those it comments on, the strongest first.

    OUT/audit.jsonl has every answer with what the critic says of it. OUT/sheet.jsonl has the flagged ones and as many
    others, shuffled, without a word of which is which: people judge them with `momus audit judge OUT`, or in the
    workbench (momus label import OUT/sheet.jsonl --kind survey), and `momus audit count OUT` says how many of either
    have a real problem. Interrupted and started again with the same critic, it continues.

    Args:
        file: Answers, in any format that `momus data inspect` knows: demonstrations, tasks, or rankings, of which the
            answers in first place are read.
        out: The folder to write.
        prompt: What the answers are: code, or answers in general, for a model that chats. By default code where most of
            them are Python.
        limit: At most so many answers, drawn at random.
        confidence: Flag what the critic is at least so sure of, as of `momus review`.
        most: At most so many flagged answers on the sheet, the strongest.
        format: The file's format, where it is not to be found out.
        critic: Who reads.
        cost: What a model that chats may cost, and whether its answers are kept.
        seed: Draws the answers and the sheet.
    """
    from momus.cli.shared.costs import print_cost, print_estimate, print_fallen
    from momus.cli.shared.output import bad_rows, bar
    from momus.critics.critic import usual_setting
    from momus.critics.refine import refine
    from momus.data.convert import BadRowsError
    from momus.evaluate.critics import audit
    from momus.evaluate.instruct.feedback import records_of
    from momus.files import Ledger

    for name, value in (("limit", limit), ("most", most)):
        if value is not None and value < 1:
            raise UserError(f"--{name} {value}: must be at least 1")
    if confidence is not None and not 0 <= confidence <= 1:
        raise UserError(f"--confidence {confidence}: must be between 0 and 1")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file: name a directory")
    try:
        given = audit.flawless(records_of([file], format))
    except BadRowsError as error:
        return bad_rows(error)
    tasks, kind = audit.readable(given, prompt)
    _say_what_is_read(len(given), tasks, kind, limit)
    tasks = audit.drawn(tasks, limit, seed)
    asking, refined = cost.asking(), critic.refined()
    reader = critic.open(asking, kind)
    reader = refine(reader, refined, asking) if refined else reader
    with Ledger(out / "read.jsonl", {"critic": reader.identity(), "prompt": kind}) as ledger:
        print_estimate(asking, reader, lambda: [t for t in audit.unread(tasks, ledger) if reader.fits(t)], cost)
        with bar("Answers") as progress:
            audit.read_answers(reader, tasks, ledger, progress)
        setting = usual_setting(reader.dial) if confidence is None else confidence
        audited = audit.flag(tasks, ledger, reader.dial, setting)
    print_fallen(reader)
    print_cost(asking)
    _write(out, audit.draw(audited, most, seed), kind == "code")
    return 0


def command_for(arguments: Sequence[str]) -> Callable[..., int]:
    """Return what the first word asks for: judging a sheet, counting judgements, or else an audit."""
    words: dict[str, Callable[..., int]] = {"judge": judge, "count": count}
    return words.get(arguments[0], command) if arguments else command


def _say_what_is_read(given: int, tasks: Sequence[Task], kind: PromptKind, limit: int | None) -> None:
    from momus.cli.shared.output import say

    what = "code" if kind == "code" else "answers in general"
    left = f"; {given - len(tasks)} are the same again{' or no Python' if kind == 'code' else ''}" * (
        len(tasks) < given
    )
    say(f"{len(tasks)} of {given} answers, as {what}{left}")
    if limit is not None and limit < len(tasks):
        say(f"{limit} of these are drawn")


def _write(out: Path, audited: Sequence[Audited], code: bool) -> None:
    """Write the audit and its sheet; print what is flagged, the strongest first, and how many are."""
    from momus.cli.shared.output import say
    from momus.evaluate.critics.sheet import sheet_of
    from momus.files import write_lines
    from momus.records import write_jsonl

    sheet = sheet_of(audited, code=code)
    write_jsonl(out / "audit.jsonl", audited)
    write_lines(out / "sheet.jsonl", [item.model_dump_json() for item in sheet])
    flagged, unread = [one for one in audited if one.is_flagged], [one for one in audited if one.problem]
    if len(unread) == len(audited):
        raise UserError(
            f"none of {len(audited)} answers could be read; the first, {unread[0].task.id}: {unread[0].problem}"
        )
    for one in flagged[:_SHOWN]:
        print(_line(one))
    if len(flagged) > _SHOWN:
        print(f"and {len(flagged) - _SHOWN} more")
    say(f"{len(flagged)} of {len(audited) - len(unread)} answers are flagged: {out / 'audit.jsonl'}")
    if unread:
        say(f"{len(unread)} could not be read; the first, {unread[0].task.id}: {unread[0].problem}")
    if not flagged:
        say("Nothing is flagged, so that there is nothing to judge")
        return
    flagged_there = sum(one.number is not None for one in flagged)
    say(f"{len(sheet)} are to be judged, {flagged_there} of them flagged: momus audit judge {out}")


def _line(one: Audited) -> str:
    from momus.terminal import visible_line

    surest = one.critique.anchored[0]
    strength = "    " if one.strength is None else f"{one.strength:.2f}"
    place = f"line {surest.line}: " if surest.line else ""
    return visible_line(f"{strength}  {one.task.id}  {place}{surest.highlight.strip()[:60]}: {surest.text[:200]}")
