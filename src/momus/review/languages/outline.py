"""What is in a file of another language: its functions, what it runs outside them, and what is broken."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from momus.review.languages.grammars import ATTRIBUTES, COMMENTS, Deadline, Language, Place, parse, places_in

if TYPE_CHECKING:
    from tree_sitter import Node

_STATEMENTS = {
    "declaration",
    "decorated_definition",
    "export_statement",
    "expression_statement",
    "field_declaration",
    "lexical_declaration",
    "template_declaration",
    "var_declaration",
    "variable_declaration",
}
"""What a definition may be all of: it is read with it."""

_BLOCKS = {
    "declaration_list",
    "internal_module",
    "linkage_specification",
    "mod_item",
    "namespace_definition",
    "preproc_elif",
    "preproc_else",
    "preproc_if",
    "preproc_ifdef",
}
"""What holds statements of the file itself."""

_GROUPS = _BLOCKS | {"export_statement", "expression_statement", "statement_block"}
"""What may hold definitions of the file itself."""

_NO_STATEMENTS = (
    "alias",
    "annotation_type",
    "attribute",
    "class",
    "comment",
    "enum",
    "extern_crate",
    "hash_bang",
    "identifier",
    "import",
    "include",
    "interface",
    "package",
    "preproc_call",
    "preproc_def",
    "record",
    "signature",
    "struct",
    "trait",
    "type_",
    "union",
    "use_declaration",
    "using",
)
"""What is in the names of nodes that define types or bring in names."""

_CONTAINERS = {
    "abstract_class_declaration": "name",
    "class": "name",
    "class_declaration": "name",
    "class_specifier": "name",
    "enum_declaration": "name",
    "impl_item": "type",
    "interface_declaration": "name",
    "internal_module": "name",
    "mod_item": "name",
    "namespace_definition": "name",
    "record_declaration": "name",
    "struct_specifier": "name",
    "trait_item": "name",
    "variable_declarator": "name",
}
"""What gives a function its first name, and the field with it."""


@dataclass(frozen=True)
class Definition:
    """A function: its name with those of what it is in, its lines (1-based, inclusive) and what its comment says."""

    name: str
    first: int
    last: int
    about: str = ""


@dataclass(frozen=True)
class Outline:
    """A file of another language.

    `definitions` share no line and are in order; those that do nothing are left out. `outside` are the lines of code
    outside functions, types and imports; `unread` those that do not parse.
    """

    language: str
    definitions: tuple[Definition, ...]
    outside: tuple[int, ...]
    unread: tuple[int, ...]


def read_outline(language: Language, text: str, name: str) -> Outline:
    """Outline a file.

    Args:
        language: What it is in.
        text: It, with plain newlines.
        name: What to call it in an error.

    Raises:
        UserError: It cannot be parsed in time.
    """
    data = text.encode("utf-8", "surrogatepass")
    deadline = Deadline(name)
    root = parse(language, data, deadline).root_node
    kept, broken = _survey(Place(root), language, deadline)
    whole = [_lines(place) for place in kept]
    definitions = _without_shared_lines([_definition(place, data) for place in kept if not _is_stub(place.node)])
    taken = {line for lines in whole for line in lines}
    taken |= {line for one in definitions for line in range(one.first, one.last + 1)}
    unread = {line for place in broken for line in _lines(place)} - taken
    outside = {line for place in _outside(root, kept) for line in _lines(place)} - taken - unread
    lines = text.split("\n")
    return Outline(
        language.name,
        tuple(definitions),
        tuple(sorted(line for line in outside if lines[line - 1].strip())),
        tuple(sorted(line for line in unread if lines[line - 1].strip())),
    )


def _survey(root: Place, language: Language, deadline: Deadline) -> tuple[list[Place], list[Place]]:
    """Return the functions that parse, less those inside others, in order; and what is not read for an error in it."""
    kept, broken, pending = list[Place](), dict[int, Place](), [root]
    while pending:
        place = pending.pop()
        node = place.node
        deadline.check()
        if node.is_error or node.is_missing:
            holder = _unreadable(place, language)
            broken[holder.node.id] = holder
        if _is_function(node, language) and (language.macros or not node.has_error):
            kept.append(place)
            continue
        pending += reversed(places_in(place))
    return kept, list(broken.values())


def _is_function(node: Node, language: Language) -> bool:
    if node.type in language.functions:
        return True
    value = _value(node) if node.type in language.bindings else None
    return value is not None and value.type in language.values


def _value(node: Node) -> Node | None:
    value = node.child_by_field_name("value") or node.child_by_field_name("right")
    if value is not None and value.type == "expression_list" and value.named_child_count:
        return value.named_children[0]
    return value


def _unreadable(error: Place, language: Language) -> Place:
    """Return what is not read for an error: the outermost function it is in, else the statement of a file or class."""
    functions = [place for place in error.outside() if _is_function(place.node, language)]
    if functions:
        return functions[-1]
    for place in error.outside():
        if place.outer is None or place.node.type in _BLOCKS or place.node.type.endswith(("body", "declaration_list")):
            break
        error = place
    return error


def _definition(place: Place, data: bytes) -> Definition:
    lines = _lines(place)
    names = [_name(place.node, data)]
    for outer in place.outside():
        field = _CONTAINERS.get(outer.node.type)
        if field and (named := outer.node.child_by_field_name(field)) is not None:
            names.append(_word(named, data))
    name = ".".join(name for name in reversed(names) if name)
    return Definition(name, lines.start, lines.stop - 1, _about(_statement(place), data))


def _statement(place: Place) -> Place:
    while place.outer is not None and place.outer.node.type in _STATEMENTS:
        place = place.outer
    return place


def _lines(place: Place) -> range:
    """Return the 1-based lines of a node's statement, with the attributes and decorators before it."""
    whole = _statement(place)
    first, last = whole.node.start_point.row, whole.node.end_point.row
    if whole.node.end_point.column == 0 and last > first:  # a preprocessor's line ends after its newline
        last -= 1
    for before in reversed(whole.before):
        if before.type not in ATTRIBUTES:
            break
        first = before.start_point.row
    return range(first + 1, last + 2)


def _about(whole: Place, data: bytes) -> str:
    """Return the first sentence of the comment right above a function."""
    row, comments = whole.node.start_point.row, list[str]()
    for before in reversed(whole.before):
        end = before.end_point.row - (before.end_point.column == 0)  # Rust's end after their newline
        if end != row - 1:
            break
        if before.type in COMMENTS:
            comments.append(_text(before, data))
        row = before.start_point.row
    text = "\n".join(reversed(comments))
    lines = [line.strip().removesuffix("*/").lstrip("/*!").strip() for line in text.split("\n")]
    paragraph = " ".join("\n".join(lines).strip().split("\n\n")[0].split())
    end = paragraph.find(". ")
    return (paragraph if end < 0 else paragraph[: end + 1])[:160].strip()


def _name(node: Node, data: bytes) -> str:
    if (receiver := node.child_by_field_name("receiver")) is not None:  # func (s *Server[T]) Handle
        words = re.findall(r"\w+", _text(receiver, data).partition("[")[0])
        method = node.child_by_field_name("name")
        return ".".join([*words[-1:], _word(method, data) if method else ""])
    for field in ("name", "left", "key", "property"):
        if (named := node.child_by_field_name(field)) is not None:
            return _word(named, data)
    inner: Node | None = node
    while inner is not None and (next_one := _declarator(inner)) is not None:
        inner = next_one
    return "" if inner is None or inner is node else _word(inner, data)


def _declarator(node: Node) -> Node | None:
    if node.type in ("parenthesized_declarator", "reference_declarator") and node.named_child_count:
        return node.named_children[0]
    return node.child_by_field_name("declarator")


def _word(node: Node, data: bytes) -> str:
    """Return a name in one form for all languages: `Shape.area` for `Shape<T>::area`."""
    text = re.sub(r"<[^<>]*+>", "", _text(node, data)[:400]).replace("::", ".")
    return " ".join(text.split()).strip("\"'`")[:200]


def _text(node: Node, data: bytes) -> str:
    return data[node.start_byte : node.end_byte].decode("utf-8", "replace")


def _is_stub(node: Node) -> bool:
    """Return whether a function does nothing, or has no body here."""
    value = _value(node)
    body = (node if value is None else value).child_by_field_name("body")
    if body is None:
        return node.type not in ("preproc_function_def", "macro_definition", "static_initializer")
    is_block = body.type.endswith(("block", "body", "compound_statement"))
    empty = is_block and all(child.type in COMMENTS for child in body.named_children)
    return empty and not any(child.type == "field_initializer_list" for child in node.named_children)


def _without_shared_lines(definitions: Sequence[Definition]) -> list[Definition]:
    """Join functions that stand on one line."""
    joined: list[Definition] = []
    for one in sorted(definitions, key=lambda one: one.first):
        if joined and one.first <= joined[-1].last:
            before = joined.pop()
            one = Definition(before.name, before.first, max(before.last, one.last), before.about)
        joined.append(one)
    return joined


def _outside(root: Node, kept: Sequence[Place]) -> Iterator[Place]:
    """Yield the statements of a file's own that define nothing."""
    starts = [place.node.start_byte for place in kept]
    pending = [Place(root)]
    while pending:
        for place in places_in(pending.pop()):
            node = place.node
            defines = bisect_left(starts, node.start_byte) < bisect_left(starts, node.end_byte)
            if node.type in _GROUPS if defines else node.type in _BLOCKS:
                pending.append(place)
            elif node.is_named and not (defines or node.is_error or any(w in node.type for w in _NO_STATEMENTS)):
                yield place
