"""A person judges the answers on an audit's sheet at a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from momus.evaluate.critics.sheet import NO, UNSURE, YES, SheetItem, SheetJudgement
from momus.files import write_lines
from momus.terminal import visible

HELP = "A real problem?  [y]es  [n]o  [u]nsure  [p]revious  [q]uit"
_KEYS = {"y": YES, "n": NO, "u": UNSURE}


@dataclass
class Sitting:
    """A walk over the answers that one person has not judged yet; every judgement is kept at once.

    Attributes:
        sheet: The sheet.
        path: The file of judgements.
        labeler: Who judges.
        console: Where to show things.
        read_key: Returns the next key pressed; "" at the end of input.
        read_line: Returns a line typed after a question; "" for none.
        before: What the file holds.
    """

    sheet: Sequence[SheetItem]
    path: Path
    labeler: str
    console: Console
    read_key: Callable[[], str]
    read_line: Callable[[str], str]
    before: Sequence[SheetJudgement]
    kept: dict[tuple[str, str], SheetJudgement] = field(default_factory=dict)

    def run(self) -> None:
        """Show each answer and keep what the keys say."""
        self.kept = {(judgement.title, judgement.labeler): judgement for judgement in self.before}
        waiting = [item for item in self.sheet if (item.title, self.labeler) not in self.kept]
        place = 0
        while place < len(waiting):
            self.console.print(Rule(Text(f"{place + 1} of {len(waiting)}")))
            self.console.print(Text(visible(waiting[place].text)), soft_wrap=True)
            step = self._ask(waiting[place])
            if step is None:
                break
            place = max(0, place + step)
        judged = sum((item.title, self.labeler) in self.kept for item in self.sheet)
        self._say(f"{judged} of {len(self.sheet)} answers are judged: {self.path}")

    def _ask(self, item: SheetItem) -> int | None:
        """Do what keys say about one answer; return how far to go on, or None to stop."""
        self._say(HELP)
        while True:
            key = self.read_key().lower()
            if key in ("q", "", "\x03", "\x04"):
                return None
            if key == "p":
                return -1
            if key in _KEYS:
                self._keep(item, _KEYS[key], self.read_line("What is wrong? ").strip() if key == "y" else "")
                return 1
            self._say(HELP)

    def _keep(self, item: SheetItem, verdict: str, what: str) -> None:
        values = {"problem": verdict, **({"what": what} if what else {})}
        judgement = SheetJudgement(title=item.title, labeler=self.labeler, values=values)
        self.kept[item.title, self.labeler] = judgement
        write_lines(self.path, [each.model_dump_json() for each in self.kept.values()])

    def _say(self, words: str) -> None:
        self.console.print(visible(words), style="bold", markup=False, highlight=False, soft_wrap=True)
