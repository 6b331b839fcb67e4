"""Context of functions in other languages: by the names of functions alone, read through tree-sitter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from momus.errors import UserError
from momus.review.context.snippets import Kind, Snippet, cut_snippet
from momus.review.files import Source, read_sources
from momus.review.languages.grammars import Deadline, language_of, parse
from momus.review.languages.outline import Definition
from momus.review.units import Unit

_MOST = 12
"""Places of one kind for one function."""

_NAME = re.compile(r"[A-Za-z_$][\w$]*")


def look_up_by_name(root: Path, functions: Sequence[tuple[Source, Unit]]) -> list[tuple[Snippet, ...]]:
    """Return for each function the functions whose names it calls, and those that call its name.

    Args:
        root: Of the repository, resolved.
        functions: Of files in other languages than Python.
    """
    try:
        sources = [s for s in read_sources([root], other_languages=True)[0] if s.outline is not None]
    except UserError:  # nothing there can be read
        return [()] * len(functions)
    return [tuple(_around(root, source, unit, sources)) for source, unit in functions]


def _around(root: Path, source: Source, unit: Unit, sources: Sequence[Source]) -> Iterator[Snippet]:
    called = called_names(source, unit)
    short = unit.name.rpartition(".")[2]
    alike = [other for other in sources if other.language == source.language]
    here = source.path.resolve()
    counts: dict[Kind, int] = {"definition": 0, "caller": 0, "test": 0}
    for kind in counts:
        for other in alike:
            assert other.outline is not None
            path = other.path.resolve().relative_to(root).as_posix()
            is_test = "test" in path.lower() or "spec" in other.path.name.lower()
            for one in other.outline.definitions:
                if counts[kind] >= _MOST or (other.path.resolve() == here and one.first == unit.lines[0]):
                    continue
                if kind == "definition":
                    wanted = not is_test and one.name.rpartition(".")[2] in called
                else:
                    wanted = bool(short) and is_test == (kind == "test") and _names(other, one, short)
                if wanted:
                    counts[kind] += 1
                    text = cut_snippet(other.text.split("\n"), one.first, one.last)
                    yield Snippet(kind, path, one.first, one.name, text)


def called_names(source: Source, unit: Unit) -> frozenset[str]:
    """Return the last names of what a unit calls."""
    language = language_of(source.path, source.text)
    if language is None:
        return frozenset()
    data = source.text.encode("utf-8", "surrogatepass")
    deadline = Deadline(str(source.path))
    lines, names, pending = set(unit.lines), set[str](), [parse(language, data, deadline).root_node]
    while pending:
        node = pending.pop()
        deadline.check()
        if node.end_point.row + 1 < unit.lines[0] or node.start_point.row + 1 > unit.lines[-1]:
            continue
        field = language.calls.get(node.type)
        if field and node.start_point.row + 1 in lines and (named := node.child_by_field_name(field)) is not None:
            words = _NAME.findall(data[named.start_byte : named.end_byte][-200:].decode("utf-8", "replace"))
            names.update(words[-1:])
        pending += node.named_children
    return frozenset(names)


def _names(source: Source, one: Definition, name: str) -> bool:
    lines = source.text.split("\n")[one.first - 1 : one.last]
    return any(name in _NAME.findall(line) for line in lines)
