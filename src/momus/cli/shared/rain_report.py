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
def live_answers() -> Iterator[Callable[[int, int], Callable[[str, int], None]]]:
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
    """Say in one line how an answer was found, and what a reader should know."""
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


def print_run(path: Path, as_json: bool) -> None:
    """Print a run's totals on stderr; with `as_json` its answers on stdout."""
    from momus.records import read_jsonl
    from momus.search.rain.dataset import RainAnswer

    answers = list(read_jsonl(path, RainAnswer))
    if as_json:
        print(path.read_text(encoding="utf-8"), end="")
    done = [answer for answer in answers if not answer.skipped]
    judged = sum(answer.judged for answer in done) or 1
    if skipped := [answer for answer in answers if answer.skipped]:
        say(f"{len(skipped)} prompts have no answer; the first, number {skipped[0].index}: {skipped[0].skipped}")
    met, iterations = sum(answer.met for answer in done), sum(answer.iterations for answer in done)
    forwarded, disagreed = sum(answer.forwarded for answer in done), sum(answer.disagreed for answer in done)
    abstained = sum(answer.abstained for answer in done)
    say(
        f"{len(done)} answers, {met} of them met the threshold; {iterations} iterations, {forwarded} tokens forwarded; "
        f"orders contradicted each other in {disagreed / judged:.0%} of the judgements, the "
        f"judge abstained in {abstained / judged:.0%}"
    )
    say(f"The answers are {path}")


def export_searches(path: Path, kind: str, by: str) -> str:
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
