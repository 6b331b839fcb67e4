"""The languages that are read beside Python: their files, their grammars, and what a function is in each."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import PurePath
from typing import TYPE_CHECKING

from momus.errors import UserError

if TYPE_CHECKING:
    import tree_sitter

MAX_SECONDS = 5.0
"""How long one file may take to read."""

_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Language:
    """A language and its grammar, by the types of tree-sitter's nodes.

    `functions` are functions by themselves, `bindings` give a name to one of `values`. `calls` are calls, each with the
    field that holds what is called. In a language with `macros` an error inside a function says little, because what
    the macros stand for is not seen: such a function is read.
    """

    name: str
    suffixes: frozenset[str]
    module: str
    functions: frozenset[str]
    calls: Mapping[str, str]
    bindings: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    grammar: str = "language"
    macros: bool = False


def _javascript(name: str, suffixes: set[str], module: str, grammar: str = "language") -> Language:
    return Language(
        name,
        frozenset(suffixes),
        module,
        frozenset({"function_declaration", "generator_function_declaration", "method_definition"}),
        {"call_expression": "function", "new_expression": "constructor"},
        bindings=frozenset(
            {
                "assignment_expression",
                "export_statement",
                "field_definition",
                "pair",
                "public_field_definition",
                "variable_declarator",
            }
        ),
        values=frozenset({"arrow_function", "function_expression", "generator_function"}),
        grammar=grammar,
    )


LANGUAGES = (
    _javascript("JavaScript", {".js", ".mjs", ".cjs", ".jsx"}, "tree_sitter_javascript"),
    _javascript("TypeScript", {".ts", ".mts", ".cts"}, "tree_sitter_typescript", "language_typescript"),
    _javascript("TSX", {".tsx"}, "tree_sitter_typescript", "language_tsx"),
    Language(
        "Go",
        frozenset({".go"}),
        "tree_sitter_go",
        frozenset({"function_declaration", "method_declaration"}),
        {"call_expression": "function"},
        bindings=frozenset({"var_spec"}),
        values=frozenset({"func_literal"}),
    ),
    Language(
        "Java",
        frozenset({".java"}),
        "tree_sitter_java",
        frozenset(
            {"compact_constructor_declaration", "constructor_declaration", "method_declaration", "static_initializer"}
        ),
        {"method_invocation": "name", "object_creation_expression": "type"},
    ),
    Language(
        "C",
        frozenset({".c", ".h"}),
        "tree_sitter_c",
        frozenset({"function_definition", "preproc_function_def"}),
        {"call_expression": "function"},
        macros=True,
    ),
    Language(
        "C++",
        frozenset({".cc", ".cpp", ".cxx", ".c++", ".hh", ".hpp", ".hxx", ".h++"}),
        "tree_sitter_cpp",
        frozenset({"function_definition", "preproc_function_def"}),
        {"call_expression": "function"},
        bindings=frozenset({"init_declarator"}),
        values=frozenset({"lambda_expression"}),
        macros=True,
    ),
    Language(
        "Rust",
        frozenset({".rs"}),
        "tree_sitter_rust",
        frozenset({"function_item", "macro_definition"}),
        {"call_expression": "function"},
    ),
)

_BY_SUFFIX = {suffix: language for language in LANGUAGES for suffix in language.suffixes}
SUFFIXES = frozenset(_BY_SUFFIX)


def language_of(path: PurePath, text: str = "") -> Language | None:
    """Return the language of a file by its name, and of a header by its text; None for Python and all others."""
    if path.suffix == ".h" and any(word in text for word in ("class ", "namespace ", "template", "::")):
        return _BY_SUFFIX[".hpp"]
    return _BY_SUFFIX.get(path.suffix.lower())


@cache
def is_installed() -> bool:
    """Return whether the grammars are at hand."""
    return all(find_spec(module) for module in ("tree_sitter", *(language.module for language in LANGUAGES)))


class Deadline:
    """When the reading of one file has to end.

    Args:
        name: What to call the file.
    """

    def __init__(self, name: str) -> None:
        self._name, self._stop = name, time.monotonic() + MAX_SECONDS

    def has_passed(self, *_: object) -> bool:
        """Return whether it is over; takes what tree-sitter gives to those it asks."""
        return time.monotonic() > self._stop

    def check(self) -> None:
        """Go on, if there is time left.

        Raises:
            UserError: There is none.
        """
        if self.has_passed():
            raise UserError(f"{self._name}: too deeply nested to parse")


def parse(language: Language, data: bytes, deadline: Deadline) -> tree_sitter.Tree:
    """Parse a file.

    Args:
        language: What it is in.
        data: Its text as UTF-8.
        deadline: When to give up.

    Raises:
        UserError: It takes too long.
    """
    from tree_sitter import Parser

    try:
        return Parser(_grammar(language)).parse(
            lambda start, _: data[start : start + _CHUNK], progress_callback=deadline.has_passed
        )
    except ValueError:  # it was cancelled
        deadline.check()
        raise


@dataclass(frozen=True, eq=False)
class Place:
    """A node with what it is in, and the comments and attributes right before it."""

    node: tree_sitter.Node
    outer: Place | None = None
    before: tuple[tree_sitter.Node, ...] = ()

    def outside(self) -> Iterator[Place]:
        """Yield what it is in, inside out."""
        place = self.outer
        while place is not None:
            yield place
            place = place.outer


COMMENTS = frozenset({"block_comment", "comment", "line_comment"})
ATTRIBUTES = frozenset({"attribute_item", "decorator", "inner_attribute_item"})
"""What stands before a function and belongs to it."""


def places_in(place: Place) -> list[Place]:
    """Return the places of a node's children, of anonymous ones where there is an error."""
    inner, before = list[Place](), list["tree_sitter.Node"]()
    for child in place.node.children if place.node.has_error else place.node.named_children:
        inner.append(Place(child, place, tuple(before[-8:])))
        if child.type in COMMENTS or child.type in ATTRIBUTES:
            before.append(child)
        else:
            before.clear()
    return inner


@cache
def _grammar(language: Language) -> tree_sitter.Language:
    from tree_sitter import Language as Grammar

    return Grammar(getattr(importlib.import_module(language.module), language.grammar)())
