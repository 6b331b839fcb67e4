"""Comments one by one, at a terminal and by the keyboard: accept, dismiss, ask why, next."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.text import Text

from momus.critics.critic import Critic
from momus.errors import UserError
from momus.review.decisions import find_unit, read_decisions, write_decisions
from momus.review.explain import explain
from momus.review.files import Source, spelled
from momus.review.findings import Finding
from momus.review.known import decide_about
from momus.review.memory import shown_in
from momus.review.result import Review
from momus.terminal import visible, visible_line

AROUND = 3
"""Lines of code shown before and after those of a comment."""

HELP = "[a]ccept  [d]ismiss  [w]hy  [n]ext  [p]revious  [q]uit"

TAKEN_BACK = "the critic took it back"


@dataclass
class Session:
    """A walk through the comments of a review.

    Every decision is kept at once, so that nothing is lost when the walk ends early.

    Attributes:
        review: What was found.
        sources: The files, by the names that findings know them by.
        root: What those names start from.
        critic: Who reviewed.
        setting: Where its dial stood.
        baseline: The file of decisions.
        console: Where to show things.
        read_key: Returns the next key pressed; "" at the end of input.
        read_line: Returns a line typed after a question; "" for none.
    """

    review: Review
    sources: Mapping[str, Source]
    root: Path
    critic: Critic
    setting: float
    baseline: Path
    console: Console
    read_key: Callable[[], str]
    read_line: Callable[[str], str]
    decided: dict[str, str] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Show each comment and do what the keys say."""
        findings = [finding for finding in self.review.shown if finding.identity is not None]
        place = 0
        while place < len(findings):
            self._show(findings[place], place + 1, len(findings))
            step = self._answer(findings[place])
            if step is None:
                break
            place = max(0, place + step)
        accepted = sum(decision == "accepted" for decision in self.decided.values())
        left = len(findings) - len(self.decided)
        self._say(f"{accepted} accepted, {len(self.decided) - accepted} dismissed, {left} left.", "bold")
        if self.decided:
            self._say(f"Decisions are in {self.baseline}", "dim")

    def _answer(self, finding: Finding) -> int | None:
        """Do what keys say about one comment; return how far to go on, or None to stop."""
        while True:
            key = self.read_key().lower()
            if key in ("q", "", "\x03", "\x04"):
                return None
            if key in ("n", " ", "\r", "\n", "j"):
                return 1
            if key in ("p", "k"):
                return -1
            if key == "w":
                self._explain(finding)
            elif key == "a":
                self._decide(finding, "accepted", "")
                return 1
            elif key == "d" and (because := self._reason(finding)):
                self._decide(finding, "dismissed", because)
                return 1
            else:
                self._say(HELP, "dim")

    def _show(self, finding: Finding, number: int, total: int) -> None:
        assert finding.identity is not None
        source = self.sources[finding.identity.path]
        lines = source.text.split("\n")
        head = f"\n{number}/{total}  {spelled(source.path)}:{finding.line}"
        about = "  ".join(filter(None, [finding.severity or "", finding.function, self.decided.get(finding.id, "")]))
        self.console.print(Text.assemble((visible(head), "bold"), f"  {visible_line(about)}"), soft_wrap=True)
        first, last = max(1, finding.line - AROUND), min(len(lines), finding.end_line + AROUND)
        for line in range(first, last + 1):
            within = finding.line <= line <= finding.end_line
            text = f"{'>' if within else ' '} {line:>5}  {visible(lines[line - 1])}"
            self.console.print(Text(text, style="reverse" if within else "dim"), soft_wrap=True)
        self.console.print(Text(visible(finding.text)))
        if finding.replacement is not None:
            self.console.print(Text(f"It proposes: {visible(finding.replacement.strip())}", style="green"))
        self._say(HELP, "dim")

    def _explain(self, finding: Finding) -> None:
        assert finding.identity is not None
        unit = find_unit(finding.identity, self.sources[finding.identity.path])
        if unit is None:
            return
        try:
            explanation = explain(self.critic, finding, unit)
        except UserError as error:
            self._say(str(error), "red")
            return
        self.console.print(Text(visible(explanation.text)))
        if explanation.stands is False:
            self.taken_back.add(finding.id)
            self._say("The critic takes the comment back: d dismisses it.", "bold")

    def _reason(self, finding: Finding) -> str:
        typed = self.read_line("Because: ").strip()
        return typed or (TAKEN_BACK if finding.id in self.taken_back else "")

    def _decide(self, finding: Finding, decision: str, because: str) -> None:
        shown = shown_in(self.review.files, self.critic.identity(), self.setting)
        try:
            made = decide_about(
                finding.id, shown, self.root, "accepted" if decision == "accepted" else "dismissed", because, ""
            )
        except UserError as error:
            self._say(str(error), "red")
            return
        write_decisions(self.baseline, [*read_decisions(self.baseline), made])
        self.decided[finding.id] = decision
        self._say(f"{decision}.", "green")

    def _say(self, text: str, style: str) -> None:
        self.console.print(visible_line(text), style=style, markup=False, highlight=False, soft_wrap=True)


def check_terminal(command: str = "--interactive") -> None:
    """Go on where there is somebody at a terminal, for what asks for keys.

    Raises:
        UserError: There is not.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(f"{command} needs a terminal: it waits for keys")


class Keyboard:
    """The keyboard of a terminal, whose keys are read one by one, without Enter; a context manager."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._descriptor)

    def __enter__(self) -> Self:
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def read_key(self) -> str:
        """Return the next key pressed; "" at the end of input, and ? for one that is no character."""
        sys.stdout.flush()
        data = os.read(self._descriptor, 1)
        if data == b"\x1b" and self._next_byte() in (b"[", b"O"):  # an arrow key or the like: its bytes are no keys
            while not b"@" <= self._next_byte() <= b"~":
                pass
            return "?"
        return data.decode("ascii", "replace")

    def _next_byte(self) -> bytes:
        """Return the next byte of a key that has several; "@", which ends one, where none comes."""
        waiting = select.select([self._descriptor], [], [], 0.02)[0]
        return (os.read(self._descriptor, 1) if waiting else b"") or b"@"

    def read_line(self, question: str) -> str:
        """Return a line typed after a question; "" at the end of input."""
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        try:
            return input(question)
        except EOFError:
            return ""
        finally:
            tty.setcbreak(self._descriptor)
