"""The type of `--seed`, the same in every command."""

from __future__ import annotations

from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from momus.errors import UserError

_MOST = 2**32 - 1  # what every generator of random numbers takes


def _read(words: list[str]) -> int:
    seed = int(words[0])
    if not 0 <= seed <= _MOST:
        raise UserError(f"--seed {seed}: must be from 0 to {_MOST}")
    return seed


Seed = Annotated[
    int,
    PrimitiveConstructorSpec[int](
        nargs=1,
        metavar="INT",
        instance_from_str=_read,
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""A seed: a number that is not negative; others are refused before anything is read or loaded."""
