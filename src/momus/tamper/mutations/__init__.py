"""The kinds of bug, one family a file; importing this package registers them all."""

from momus.tamper.mutations import blocks, calls, conditions, literals, moves, names, numbers, operators

__all__ = ["blocks", "calls", "conditions", "literals", "moves", "names", "numbers", "operators"]
