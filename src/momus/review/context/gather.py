"""Context for files under review: looked up once for all their functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from momus.critics.critic import Critic, innermost
from momus.errors import UserError
from momus.review.context.by_name import look_up_by_name
from momus.review.context.python import look_up_python
from momus.review.context.snippets import Context, Snippet
from momus.review.files import Source, spelled
from momus.review.reviewer import Target
from momus.review.scope import find_root
from momus.review.units import Unit, units

MAX_INTENT = 4_000
"""Characters of a commit's message or a pull request's text."""


def add_context(
    targets: Sequence[Target], critic: Critic, budget: int, root: Path | None = None, intent: str = ""
) -> list[Target]:
    """Return targets with context for their functions, for a critic that is prompted.

    Args:
        targets: What to review.
        critic: Who reviews: the trained ones know functions by themselves only.
        budget: Most tokens for one function.
        root: Of the repository; by default the one that the first target is in.
        intent: What the change is for: a commit's message or a pull request's text.

    Raises:
        UserError: The critic takes no context, or jedi is not installed.
    """
    from momus.critics.prompted import PromptedCritic

    writer = innermost(critic)
    if not isinstance(writer, PromptedCritic):
        raise UserError("--context is for a model that chats: name one with --model or --url")
    root = root or find_root(targets[0].source.path.resolve().parent)
    changed = {id(target.source): target.on_change for target in targets}

    def wanted(source: Source, unit: Unit) -> bool:
        lines = changed[id(source)]
        return lines is None or not lines.isdisjoint(range(unit.lines[0], unit.lines[-1] + 1))

    sources = [target.source for target in targets]
    contexts = gather(root, sources, budget, writer.count, intent=intent, wanted=wanted)
    return [replace(target, context=context) for target, context in zip(targets, contexts, strict=True)]


def list_context(targets: Iterable[Target]) -> list[str]:
    """Return a line for each function that was read with other code: what of it."""
    return [
        f"{spelled(target.source.path)}:{line} {name or 'script'} was read with {'; '.join(map(str, snippets))}"
        for target in targets
        if target.context
        for line, (name, snippets) in sorted(target.context.given.items())
    ]


def gather(
    root: Path,
    sources: Sequence[Source],
    budget: int,
    count: Callable[[str], int],
    *,
    intent: str = "",
    wanted: Callable[[Source, Unit], bool] = lambda source, unit: True,
) -> list[Context]:
    """Return for each file what goes with its functions.

    Args:
        root: Of the repository: nothing outside it is read.
        sources: The files under review.
        budget: Most tokens for one function.
        count: How many tokens a text has.
        intent: What the change is for: a commit's message or a pull request's text.
        wanted: Which functions to look up.

    Raises:
        UserError: jedi is not installed.
    """
    root = root.resolve()
    contexts = [Context(intent[:MAX_INTENT], {}, budget, count) for _ in sources]
    inside = [i for i, source in enumerate(sources) if source.path.resolve().is_relative_to(root)]
    functions = [(i, unit) for i in inside for unit in units(sources[i]) if wanted(sources[i], unit)]
    for is_python, look_up in ((True, look_up_python), (False, look_up_by_name)):
        asked = [(i, unit) for i, unit in functions if (sources[i].outline is None) == is_python]
        found = look_up(root, [(sources[i], unit) for i, unit in asked]) if asked else []
        for (i, unit), snippets in zip(asked, found, strict=True):
            contexts[i].snippets[unit.lines[0]] = _ordered(snippets)
    return contexts


def _ordered(snippets: Sequence[Snippet]) -> tuple[Snippet, ...]:
    """Return snippets so that each kind comes first in turn: definitions, callers, tests, and shorter ones before."""
    by_kind = [
        sorted((s for s in snippets if s.kind == kind), key=lambda s: len(s.text))
        for kind in ("definition", "caller", "test")
    ]
    longest = max(map(len, by_kind), default=0)
    return tuple(group[place] for place in range(longest) for group in by_kind if place < len(group))
