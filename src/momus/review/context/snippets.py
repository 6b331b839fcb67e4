"""Pieces of other code that a critic is given with a function, cut to a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from momus.review.units import Unit

Kind = Literal["definition", "caller", "test"]

_WHAT: dict[Kind, str] = {"definition": "called here", "caller": "calls it", "test": "tests it"}

MAX_LINES = 40
"""Lines of one snippet; of a longer definition the first ones."""


@dataclass(frozen=True)
class Snippet:
    """A piece of another place of the repository.

    Attributes:
        kind: Why it is here.
        path: Its file, from the root of the repository.
        first: Its first line, from 1.
        name: What it defines, or in what it stands.
        text: Its lines without the indentation of the first.
    """

    kind: Kind
    path: str
    first: int
    name: str
    text: str

    @property
    def last(self) -> int:
        """Its last line, inclusive."""
        return self.first + self.text.count("\n")

    def __str__(self) -> str:
        return f"{self.name} ({self.path}:{self.first}-{self.last}), {_WHAT[self.kind]}"


@dataclass
class Context:
    """What goes into the question beside one file's functions.

    Attributes:
        intent: What the change is for: a commit's message or a pull request's text.
        snippets: For the first line of a function what goes with it, what matters most first.
        budget: Most tokens of it for one function.
        count: How many tokens a text has.
        given: For the first line of each part that got some, the name of its function and what it got (`add_to`).
    """

    intent: str
    snippets: dict[int, tuple[Snippet, ...]]
    budget: int
    count: Callable[[str], int]
    given: dict[int, tuple[str, tuple[Snippet, ...]]] = field(default_factory=dict)

    def add_to(self, part: Unit, fits: Callable[[Unit], bool]) -> Unit:
        """Return a part of a file with as much context in its question as the budget and the critic's length allow."""
        best, taken = part, list[Snippet]()
        if self.intent and fits(with_intent := ask_with(part, self.intent, ())):
            best = with_intent
        for snippet in self._of(part):
            longer = [*taken, snippet]
            if self.count(write_snippets(longer)) > self.budget:
                continue
            if fits(candidate := ask_with(part, self.intent, longer)):
                best, taken = candidate, longer
        if taken:
            self.given[part.lines[0]] = part.name, tuple(taken)
        return best

    def _of(self, part: Unit) -> Iterable[Snippet]:
        within = range(part.lines[0], part.lines[-1] + 1)
        return dict.fromkeys(s for line, snippets in self.snippets.items() if line in within for s in snippets)


def ask_with(part: Unit, intent: str, snippets: Sequence[Snippet]) -> Unit:
    """Return a part with what is known beside it in its question."""
    pieces = [part.question]
    if intent.strip():
        pieces.append(f"The change is described so:\n{intent.strip()}")
    if snippets:
        pieces.append(f"Other code of the repository, to read it by, not to be reviewed:\n\n{write_snippets(snippets)}")
    return replace(part, question="\n\n".join(filter(None, pieces)))


def write_snippets(snippets: Sequence[Snippet]) -> str:
    """Return snippets as text, each under its place."""
    return "\n\n".join(f"{snippet}:\n{snippet.text}" for snippet in snippets)


def cut_snippet(lines: Sequence[str], first: int, last: int) -> str:
    """Return lines `first` to `last`, from 1, without the first one's indentation, the first ones of many."""
    chosen = lines[first - 1 : min(last, first - 1 + MAX_LINES)]
    margin = chosen[0][: len(chosen[0]) - len(chosen[0].lstrip())] if chosen else ""
    return "\n".join(line.removeprefix(margin).rstrip() for line in chosen)
