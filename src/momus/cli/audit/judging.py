"""`momus audit judge | count`: what people say of an audit's sheet, asked for in a terminal, and counted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from momus.errors import UserError

if TYPE_CHECKING:
    from momus.evaluate.critics.sheet import AuditCount, SheetItem
    from momus.stats.bootstrap import Interval

_RESULT = "judgements.jsonl"


def judge(word: Positional[Literal["judge"]], folder: Positional[Path], by: str = "") -> int:
    """Judge the answers on a sheet, one by one and by the keyboard; every judgement is kept at once.

    What was judged before is not asked again.

    Args:
        word: This command's name.
        folder: The audit's folder.
        by: Who judges; several people may judge the same sheet.
    """
    from rich.console import Console

    from momus.cli.audit.sitting import Sitting
    from momus.evaluate.critics.sheet import SheetJudgement
    from momus.records import read_jsonl
    from momus.review.interactive import Keyboard, check_terminal

    check_terminal("momus audit judge")
    sheet, path = _sheet(folder), folder / _RESULT
    before = list(read_jsonl(path, SheetJudgement)) if path.exists() else []
    with Keyboard() as keys:
        Sitting(sheet, path, by, Console(), keys.read_key, keys.read_line, before).run()
    return 0


def count(
    word: Positional[Literal["count"]],
    folder: Positional[Path],
    judgements: tuple[Path, ...] = (),
    json: bool = False,
) -> int:
    """Count how many flagged answers have a real problem, and how many of those in which the critic found nothing.

    Args:
        word: This command's name.
        folder: The audit's folder.
        judgements: What people said: surveys.jsonl of `momus label export`, or what `momus audit judge` kept. By
            default judgements.jsonl in the folder.
        json: Print JSON instead of lines.
    """
    import json as encoder
    from dataclasses import asdict

    from momus.evaluate.critics import sheet
    from momus.evaluate.critics.audit import Audited
    from momus.records import read_jsonl

    items = _sheet(folder)
    audited = list(read_jsonl(folder / "audit.jsonl", Audited))
    if not {one.number for one in audited} >= set(range(1, len(items) + 1)):
        raise UserError(f"{folder}: sheet and audit are not of one another: run momus audit again")
    if not judgements and not (folder / _RESULT).exists():
        raise UserError(f"{folder}: nobody has judged its sheet: run momus audit judge {folder}, or name --judgements")
    said = [row for path in judgements or (folder / _RESULT,) for row in read_jsonl(path, sheet.SheetJudgement)]
    counted = sheet.count(audited, items, said)
    print(encoder.dumps(asdict(counted)) if json else "\n".join(_lines(counted)))
    return 0


def _lines(counted: AuditCount) -> list[str]:
    from momus.stats.text import interval_text

    def share(name: str, side: int, interval: Interval) -> str:
        sure = counted.judged[side] - counted.unsure[side]
        more = f"; of {counted.unsure[side]} more nobody is sure" if counted.unsure[side] else ""
        found = interval_text(interval, ".0f", scale=100, unit=" %")
        return f"{name}: {found} have a real problem, {counted.true[side]} of {sure}{more}"

    lines = [
        share("flagged", 0, counted.flagged),
        share("unflagged", 1, counted.unflagged),
        f"difference: {interval_text(counted.more, '+.0f', scale=100)} points",
        f"false flags: {counted.judged[0] - counted.unsure[0] - counted.true[0]}",
    ]
    return lines + ([f"{counted.other} judgements are of other items"] if counted.other else [])


def _sheet(folder: Path) -> list[SheetItem]:
    from momus.evaluate.critics.sheet import SheetItem
    from momus.records import read_jsonl

    path = folder / "sheet.jsonl"
    if not path.is_file():
        raise UserError(f"{folder}: there is no sheet in it: run momus audit FILE --out {folder}")
    return list(read_jsonl(path, SheetItem))
