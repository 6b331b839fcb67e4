"""A conversation in the terminal: lines are read, answers shown as they come, of two models beside each other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from momus.cli.shared.output import say
from momus.errors import UserError
from momus.files import surrogate_in
from momus.terminal import visible, visible_line

if TYPE_CHECKING:
    from momus.lm.chats.conversation import Conversation
    from momus.lm.chats.protocol import Answer

_SIDE_BY_SIDE = 100
"""Columns from which on two answers stand side by side."""

_HELP = """\
/reset          begin anew
/system TEXT    begin anew behind another system's message
/retry          another answer to the last question
/help           this list
/quit           end, as Ctrl-D does
A line that ends in \\ goes on in the next; a question may begin with a space and then /."""

Show = Callable[[str], None]
Ask = Callable[["Conversation", Show], "Answer"]


def talk(conversations: Mapping[str, Conversation]) -> int:
    """Ask what is typed, line by line, until the input ends; returns the exit code.

    Args:
        conversations: By name, in the order they are shown.
    """
    if _somebody_types():
        with suppress(ImportError):
            import readline  # noqa: F401 (gives `input` a history and keys to edit with)
        say(f"{' beside '.join(map(visible_line, conversations))}. /help lists what can be done; Ctrl-D ends.")
    while (line := _read_line()) is not None:
        if line.startswith("/"):
            if not _command(line, conversations):
                return 0
        elif surrogate_in(line) is not None:
            say("(the line is not UTF-8 text, and is passed over)")
        elif line.strip():
            _show_answers(conversations, _asking(line.strip()))
    return 0


def _asking(text: str) -> Ask:
    return lambda conversation, show: conversation.ask(text, show)


def _command(line: str, conversations: Mapping[str, Conversation]) -> bool:
    """Do what a line that begins with / asks for; returns whether to go on."""
    name, _, text = line.partition(" ")
    if name in ("/quit", "/exit", "/bye"):
        return False
    if name == "/retry":
        try:
            _show_answers(conversations, lambda conversation, show: conversation.retry(show))
        except UserError as error:
            say(f"({error})")
    elif name == "/help":
        say(_HELP)
    elif name in ("/reset", "/system"):
        for conversation in conversations.values():
            conversation.reset(text.strip() if name == "/system" else None)
        say("(begun anew)")
    else:
        say(f"(no command {visible_line(name)}: /help lists them)")
    return True


def _show_answers(conversations: Mapping[str, Conversation], ask: Ask) -> None:
    """Ask every conversation the same, and show the answers as they come; Ctrl-C ends one, and the next comes."""
    names = list(conversations)
    if len(names) > 1 and sys.stdout.isatty() and Console().width >= _SIDE_BY_SIDE:
        with _columns(names) as shows:
            answers = [ask(conversations[name], show) for name, show in zip(names, shows, strict=True)]
        for name, answer in zip(names, answers, strict=True):
            _say_problem(answer, f"{visible_line(name)}: ")
        return
    for name in names:
        if len(names) > 1:
            print(_rule(name))
        answer = ask(conversations[name], lambda piece: print(visible(piece), end="", flush=True))
        print(flush=True)
        _say_problem(answer)


def _say_problem(answer: Answer, about: str = "") -> None:
    """Say what there is to know about an answer."""
    problem = answer.problem or ("cut: --max-tokens allows longer answers, or /reset" if answer.cut else "")
    if problem:
        say(f"({about}{visible_line(problem)})")


@contextmanager
def _columns(names: list[str]) -> Iterator[list[Show]]:
    """Show texts side by side: their ends while they grow, all of them in the end; yields what each is passed on to."""
    console, texts = Console(), ["" for _ in names]

    def table(lines: int | None) -> Table:
        grid = Table(*(visible_line(name) for name in names), expand=True, box=None, padding=(0, 1))
        for column in grid.columns:
            column.ratio = 1
        width = console.width // len(names) - 2
        wrapped = [Text(visible(text).strip()).wrap(console, width) for text in texts]
        grid.add_row(*(Text("\n").join(rows[-lines:] if lines else rows) for rows in wrapped))
        return grid

    with Live(console=console, transient=True, get_renderable=lambda: table(max(3, console.height - 3))):

        def show(index: int) -> Show:
            def passed_on(piece: str) -> None:
                texts[index] += piece

            return passed_on

        yield [show(index) for index in range(len(names))]
    console.print(table(None))


def _rule(name: str) -> str:
    return f"── {visible_line(name)} ".ljust(60, "─")


def _read_line() -> str | None:
    """Return the next line, with those that it goes on in; None at the end of the input."""
    lines: list[str] = []
    try:
        while not lines or lines[-1].endswith("\\"):
            lines.append(_input("… " if lines else "> "))
    except EOFError:
        if _somebody_types():
            print(flush=True)
        if not lines:
            return None
    return "\n".join(line.removesuffix("\\") for line in lines[:-1]) + "\n" * (len(lines) > 1) + "".join(lines[-1:])


def _input(prompt: str) -> str:
    """Read one line, behind a prompt where somebody types."""
    return input(prompt if _somebody_types() else "")


def _somebody_types() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()
