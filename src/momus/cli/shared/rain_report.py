"""What `momus rain` shows: the answer as it grows, what came out, and how; and the searches as training data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from momus.cli.shared.output import say

if TYPE_CHECKING:
    from momus.search.rain.dataset import RainAnswer


@contextmanager
def shown() -> Iterator[Callable[[int, int], Callable[[str, int], None]]]:
    """Show the answer as it grows, and is taken back, where somebody is looking."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(stderr=True)
    with Live(console=console, transient=True, auto_refresh=False) as live:

        def showing(index: int, total: int) -> Callable[[str, int], None]:
            def show(text: str, iterations: int) -> None:
                if console.is_terminal:
                    head = f"{index + 1}/{total}, {iterations} iterations: "
                    printable = "".join(c if c.isprintable() or c == "\n" else "·" for c in text)
                    live.update(Text(head, style="dim") + Text(printable[-2000:], style="default"), refresh=True)

            return show

        yield showing


def print_answer(answer: RainAnswer, as_json: bool) -> None:
    """Print one answer, and say on stderr how it was found."""
    if as_json:
        print(answer.model_dump_json())
        return
    print(answer.skipped or answer.answer)
    if not answer.skipped:
        say(_summary(answer))


def _summary(answer: RainAnswer) -> str:
    """Say in one line how an answer was found, and what is to be known about it."""
    judged = answer.judged or 1
    parts = [
        f"{len(answer.sets)} token sets, {answer.iterations} iterations, {answer.forwarded} tokens forwarded",
        "threshold met" if answer.met else "threshold not met",
        {"end": "ended by itself", "length": "cut at --max-tokens"}.get(answer.stopped, f"out of {answer.stopped}"),
        f"orders contradicted each other in {answer.disagreed / judged:.0%} of {answer.judged} judgements",
    ]
    parts += [f"the judge abstained in {answer.abstained / judged:.0%}"] if answer.abstained else []
    compared = "siblings not compared" if answer.embedding == "none" else f"siblings compared by {answer.embedding}"
    return "; ".join([*parts, compared])


def tell(path: Path, as_json: bool) -> None:
    """Say what a run came to; print its answers as JSON where that is wanted."""
    from momus.records import read_jsonl
    from momus.search.rain.dataset import RainAnswer

    answers = list(read_jsonl(path, RainAnswer))
    if as_json:
        print(path.read_text(encoding="utf-8"), end="")
    done = [own for own in answers if not own.skipped]
    judged = sum(own.judged for own in done) or 1
    if skipped := [own for own in answers if own.skipped]:
        say(f"{len(skipped)} prompts have no answer; the first, number {skipped[0].index}: {skipped[0].skipped}")
    say(
        f"{len(done)} answers, {sum(own.met for own in done)} of them met the threshold; "
        f"{sum(own.iterations for own in done)} iterations, {sum(own.forwarded for own in done)} tokens forwarded; "
        f"orders contradicted each other in {sum(own.disagreed for own in done) / judged:.0%} of the judgements, the "
        f"judge abstained in {sum(own.abstained for own in done) / judged:.0%}"
    )
    say(f"The answers are {path}")


def exported(path: Path, kind: str, by: str) -> str:
    """Write the searches of a run as training data next to it; returns a line that says what was written."""
    from momus.records import Record, read_jsonl, write_jsonl
    from momus.search.rain.dataset import RainAnswer, demonstrations, preferences

    answers = list(read_jsonl(path, RainAnswer))
    made: list[Record] = list(preferences(answers, by) if kind == "preferences" else demonstrations(answers, by))
    if not made:
        why = "no sibling was worse" if kind == "preferences" else "no answer met the threshold"
        return f"There are no {kind}: {why}"
    target = path.with_name(f"{kind}.jsonl")
    write_jsonl(target, made)
    return f"{len(made)} {kind} are {target}"
