"""Find every place where a bug can be put."""

from __future__ import annotations

import re

from momus.tamper import mutations  # noqa: F401  (registers the kinds)
from momus.tamper.edits import Edit
from momus.tamper.registry import mutations_of
from momus.tamper.tree import Draft, Tree, should_be


def find_edits(source: str) -> list[Edit]:
    """Return all edits that put one bug into `source`, in the order of the text.

    Args:
        source: A function, a module or a script, not indented.

    Raises:
        UserError: `source` is not Python 3.
    """
    tree = Tree(source)
    edits: dict[tuple[int, int, str], Edit] = {}
    for node in tree.nodes:
        for kind, mutate in mutations_of(node):
            for draft in mutate(node, tree):
                edit = _finish(kind, draft, source)
                if _proposes_what_stands_there(edit, source):
                    continue
                edits.setdefault((edit.start, edit.stop, edit.replacement), edit)
    return sorted(edits.values(), key=lambda edit: (edit.start, edit.stop))


def _proposes_what_stands_there(edit: Edit, source: str) -> bool:
    """Whether the repair that an edit's description names is the very text that it highlights."""
    first, last = edit.start + edit.anchor[0], edit.start + edit.anchor[1]
    tampered = source[: edit.start] + edit.replacement + source[edit.stop :]
    return edit.description.startswith(should_be(tampered[first:last], "").removesuffix("."))


def _finish(kind: str, draft: Draft, source: str) -> Edit:
    """Give a draft its kind and turn the highlight into offsets from the start of the edit."""
    (start, stop), replacement = draft.span, draft.replacement
    if draft.where is None:
        anchor = _line_of(replacement, draft.line)
    elif draft.where.start <= start and stop <= draft.where.stop:
        text = source[draft.where.start : start] + replacement + source[stop : draft.where.stop]
        first = start - draft.where.start
        lo, hi = _around(text, first, first + len(replacement))
        anchor = (lo - first, hi - first)
    else:
        grown = len(replacement) - (stop - start)
        anchor = (
            draft.where.start - start + (grown if draft.where.start >= stop else 0),
            draft.where.stop - start + (grown if draft.where.stop >= stop else 0),
        )
    lines = max(source[start:stop].strip().count("\n"), replacement.strip().count("\n"))
    return Edit(kind, start, stop, replacement, anchor, draft.description, multi=lines > 0)


def _line_of(text: str, number: int) -> tuple[int, int]:
    """Return the range of one line of `text`, blank lines not counted, without the spaces around it."""
    lines = [match.span() for match in re.finditer(r"\S[^\n]*", text)]
    start, stop = lines[number]
    return start, start + len(text[start:stop].rstrip())


def _around(text: str, start: int, stop: int) -> tuple[int, int]:
    """Return the range of the line in which `text[start:stop]` begins, or of all of it where that is blank."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", start if "\n" in text[start:stop] else stop)
    line = text[first : len(text) if last < 0 else last]
    if not line.strip():
        return 0, len(text)
    first += len(line) - len(line.lstrip())
    return first, first + len(line.strip())
