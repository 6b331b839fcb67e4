"""Does a model know problems by heart? It completes truncated ones.

Of each problem the first half of the words is shown and, by itself, the first half of its solution's lines; the model
goes on by its likeliest tokens. Words are hard to guess: where the rest of a problem's sentence comes back verbatim,
the problem was in what the model was trained on. A line of a solution can be guessed more often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from momus.files import Ledger
from momus.lm.engine import Engine
from momus.tamper.natural.problems import Problem

MOST_PROBLEMS = 100
"""Problems that are asked about, spread evenly over all."""

_TOGETHER = 64
_MOST_WORDS, _MOST_LINE = 32, 48  # tokens


def probe(problems: Sequence[Problem], engine: Callable[[], Engine], ledger: Ledger) -> dict[str, float]:
    """Return the shares of problems whose text, and of solutions whose next line, a model completes verbatim.

    Args:
        problems: The problems.
        engine: Gives the model, which is loaded only where something is left to ask.
        ledger: What was done so far; it goes on from there.
    """
    problems = problems[:: -(-len(problems) // MOST_PROBLEMS)]
    waiting = [problem for problem in problems if f"known {problem.id}" not in ledger]
    for start in range(0, len(waiting), _TOGETHER):
        part = waiting[start : start + _TOGETHER]
        texts = _continued(engine(), [_half_of_words(problem.text)[0] for problem in part], _MOST_WORDS)
        lines = _continued(engine(), [_half_of_lines(problem)[0] for problem in part], _MOST_LINE)
        ledger.add({
            f"known {problem.id}": [
                _begins(text, _half_of_words(problem.text)[1]), _begins(line, _half_of_lines(problem)[1])
            ]
            for problem, text, line in zip(part, texts, lines, strict=True)
        })  # fmt: skip
    marks = [ledger[f"known {problem.id}"] for problem in problems]
    names = ("of problems are completed verbatim from half of their words",
             "of solutions are continued by the very next line")  # fmt: skip
    return {name: sum(mark[i] for mark in marks) / len(marks) for i, name in enumerate(names)}


def _continued(engine: Engine, texts: Sequence[str], most: int) -> list[str]:
    prefixes = [engine.encode(text, bos=False) for text in texts]
    samples = engine.sample(prefixes, key=0, max_tokens=most, temperature=0)
    return [group[0].text for group in samples]


def _half_of_words(text: str) -> tuple[str, str]:
    words = text.split()
    half = (len(words) + 1) // 2
    return " ".join(words[:half]), " ".join(words[half:])


def _half_of_lines(problem: Problem) -> tuple[str, str]:
    """Return the problem's text with the first half of its solution, and the next line."""
    lines = [line.rstrip() for line in problem.code.split("\n") if line.strip()]
    half = max(1, len(lines) // 2)
    shown = "\n".join(lines[:half])
    return f"# {problem.text}\n{shown}\n", lines[half] if half < len(lines) else ""


def _begins(text: str, rest: str) -> bool:
    """Whether a text begins with the rest, white space aside; never where there is no rest."""
    wanted = rest.split()
    return bool(wanted) and text.split()[: len(wanted)] == wanted
