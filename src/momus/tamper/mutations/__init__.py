"""The kinds of bug, one family a file; importing this package registers them all: a new file is named here."""

from momus.tamper.mutations import (
    blocks,
    calls,
    conditions,
    jumps,
    literals,
    moves,
    names,
    numbers,
    operators,
    results,
)

__all__ = [
    "blocks", "calls", "conditions", "jumps", "literals", "moves", "names", "numbers", "operators", "results",
]  # fmt: skip
