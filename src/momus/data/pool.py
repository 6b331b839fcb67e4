"""A map over a stream by several processes: in order, in bounded memory, gone when the one that started them is."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

from momus.errors import UserError

_BATCH = 512

T = TypeVar("T")
R = TypeVar("R")

_made: Callable[[Any], Any] | Exception | None = None  # of this process, where it is one of the pool


def in_order(make: Callable[[], Callable[[T], R]], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield `make()(item)` for every item, in order; each process calls `make` once.

    A stream of less than a batch of 512 is not worth a process and is mapped in this one, as is any with one worker.
    Otherwise `make`, the items and the results must pickle, and at most two batches for each process are under way.

    Raises:
        UserError: A process was killed.
    """
    stream = iter(items)
    first = list(islice(stream, _BATCH))
    if workers == 1 or len(first) < _BATCH:
        if first:
            yield from map(make(), chain(first, stream))
        return
    # Fresh processes, not forks: the one that calls may have threads.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (make,))

    def submit(batch: list[T]) -> Future[list[R]]:
        with _interrupts_held():  # submitting starts a process where one is wanting
            return pool.submit(_mapped, batch)

    try:
        under_way = deque([submit(first)])
        while under_way:
            while len(under_way) < 2 * workers and (batch := list(islice(stream, _BATCH))):
                under_way.append(submit(batch))
            yield from under_way.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(f"one of {workers} processes was killed: free some memory, or use fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, and for good from processes started meanwhile: it is for the one that owns the pool."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(make: Callable[[], Callable[[Any], Any]]) -> None:
    global _made
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _made = make()
    except Exception as error:  # raised where it is waited for: raised here it would be printed by every process
        _made = error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _mapped(batch: list[Any]) -> list[Any]:
    if isinstance(_made, Exception):
        raise _made
    assert _made is not None
    return [_made(item) for item in batch]
