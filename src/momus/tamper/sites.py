"""Find every place where a bug can be put."""

from __future__ import annotations

from momus.tamper import mutations  # noqa: F401  (registers the kinds)
from momus.tamper.edits import Edit
from momus.tamper.registry import mutations_of
from momus.tamper.tree import Draft, Tree


def find_edits(source: str) -> list[Edit]:
    """Return all edits that put one bug into `source`, in the order of the text.

    Args:
        source: A function, a module or a script, not indented.

    Raises:
        UserError: `source` is not Python 3.
    """
    tree = Tree(source)
    found: dict[tuple[int, int, str], Edit] = {}
    for node in tree.nodes:
        for kind, mutate in mutations_of(node):
            for draft in mutate(node, tree):
                edit = _finish(kind, draft, source)
                found.setdefault((edit.start, edit.stop, edit.replacement), edit)
    return sorted(found.values(), key=lambda edit: (edit.start, edit.stop))


def _finish(kind: str, draft: Draft, source: str) -> Edit:
    """Give a draft its kind and turn the highlight into offsets from the start of the edit."""
    (start, stop), replacement = draft.span, draft.replacement
    if draft.where is None:
        stripped = replacement.strip()
        first = replacement.index(stripped)
        anchor = (first, first + len(stripped))
    else:
        grown = len(replacement) - (stop - start)
        anchor = (
            draft.where.start - start + (grown if draft.where.start >= stop else 0),
            draft.where.stop - start + (grown if draft.where.stop >= stop else 0),
        )
    lines = max(source[start:stop].strip().count("\n"), replacement.strip().count("\n"))
    return Edit(kind, start, stop, replacement, anchor, draft.description, multi=lines > 0)
