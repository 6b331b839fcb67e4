"""The register of mutation kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import libcst as cst

from momus.tamper.tree import Draft, Tree

Mutation = Callable[[Any, Tree], Iterator[Draft]]
MutationT = TypeVar("MutationT", bound=Callable[..., Iterator[Draft]])

KINDS: dict[str, tuple[Mutation, tuple[type[cst.CSTNode], ...]]] = {}
_by_type: dict[type[cst.CSTNode], list[tuple[str, Mutation]]] = {}


def mutation(kind: str, *types: type[cst.CSTNode]) -> Callable[[MutationT], MutationT]:
    """Register a function that is given each node of the stated types and yields drafts of edits."""

    def register(function: MutationT) -> MutationT:
        if kind in KINDS:
            raise ValueError(f"mutation kind registered twice: {kind}")
        KINDS[kind] = (function, types)
        for each in types:
            _by_type.setdefault(each, []).append((kind, function))
        return function

    return register


def mutations_of(node: cst.CSTNode) -> list[tuple[str, Mutation]]:
    """Return the kinds that apply to the type of `node`."""
    return _by_type.get(type(node), [])
