"""A few threads for work that releases the interpreter lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import count
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_pools: dict[tuple[str, int], ThreadPoolExecutor] = {}


def _pool(purpose: str, threads: int) -> ThreadPoolExecutor:
    key = purpose, threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix=f"mgup-{purpose}")
    return _pools[key]


# A forked child inherits the executors but not their threads: work given to them never ends.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def each(work: Callable[[int], T], n: int, threads: int = 1) -> list[T]:
    """``[work(0), …, work(n - 1)]``, shared among ``threads`` threads, this one included.

    NumPy's warnings of what is not finite are off in the others, as they should be in this one.
    """
    if threads <= 1 or n <= 1:
        return [work(i) for i in range(n)]
    results: list[Any] = [None] * n
    numbers = count()

    def run() -> None:
        with np.errstate(all="ignore"):
            while (i := next(numbers)) < n:
                results[i] = work(i)

    helpers = [_pool("helper", threads - 1).submit(run) for _ in range(min(threads, n) - 1)]
    try:
        run()
    finally:
        wait(helpers)
    for helper in helpers:
        helper.result()
    return results


def uninterrupted(work: Callable[[Callable[[], bool]], T]) -> T:
    """Run ``work(stop)`` so that Ctrl-C ends it only where it asks ``stop()``.

    Python raises KeyboardInterrupt in the main thread, between any two instructions. So there the
    main thread only waits, and the work runs in another.
    """
    if threading.current_thread() is not threading.main_thread():
        return work(lambda: False)
    interrupted = threading.Event()
    try:
        return _pool("driver", 1).submit(work, interrupted.is_set).result()
    except KeyboardInterrupt:
        interrupted.set()
        # Behind it in the queue of one: this waits even if the work was just being handed over.
        _pool("driver", 1).submit(lambda: None).result()
        raise
