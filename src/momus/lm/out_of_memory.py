"""Work that may not fit into memory at once: halved until it does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from momus.errors import UserError

T = TypeVar("T")

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")  # of CUDA, MPS, CPU, cuBLAS


def run_within_memory(
    items: Sequence[T], size: int, work: Callable[[Sequence[T]], None], free: Callable[[], None]
) -> int:
    """Do `work` on all items, `size` at once; where memory runs out, on half as many from then on.

    Args:
        items: What is to be done.
        size: Most items at once.
        work: Does some items; may be called again with items it failed on.
        free: Gives back what memory it can.

    Returns:
        Most items at once that are known to fit.

    Raises:
        UserError: Memory runs out even for one item.
    """
    done = 0
    while done < len(items):
        part = items[done : done + size]
        try:
            work(part)
            done += len(part)
            continue
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the handler, whose traceback would keep what is to be freed.
        free()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(part) == 1:
            raise UserError(
                "out of memory with a single sample: use a smaller model, a shorter prompt or fewer new tokens"
            )
        size = (len(part) + 1) // 2
        warnings.warn(f"out of memory with {len(part)} samples at once: going on with {size}", stacklevel=4)
    return size


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an allocation that failed, on a GPU or not, from other errors."""
    message = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(word in message for word in _WORDS)
