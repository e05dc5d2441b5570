"""A few threads for work that releases the interpreter lock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(threads: int) -> ThreadPoolExecutor:
    if threads not in _pools:
        # One that another thread made meanwhile is kept; this one has started no thread yet.
        _pools.setdefault(threads, ThreadPoolExecutor(threads, thread_name_prefix="mgup"))
    return _pools[threads]


# A forked child inherits the executors but not their threads: work given to them never ends.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def each(work: Callable[[int], T], n: int, threads: int = 1) -> list[T]:
    """``[work(0), …, work(n - 1)]``, shared among ``threads`` threads, this one included.

    After a failure no further piece is begun, and none is at work when the failure is raised.
    Where no other thread is to be had (they are refused when the interpreter shuts down, and
    beyond the system's limit), this one does all of it. NumPy's warnings of what is not finite are
    off in the others, as they should be in this one.
    """
    if threads <= 1 or n <= 1:
        return [work(i) for i in range(n)]
    results: list[Any] = [None] * n
    numbers = count()
    failures: list[BaseException] = []
    # Pieces are counted and not helpers: a pool that fails to start a thread may still hand the
    # work to one of its others.
    over = threading.Semaphore(0)

    def run() -> None:
        with np.errstate(all="ignore"):
            while (i := next(numbers)) < n:
                try:
                    if not failures:
                        results[i] = work(i)
                except BaseException as failure:
                    failures.append(failure)
                finally:
                    over.release()

    try:
        for _ in range(min(threads, n) - 1):
            _pool(threads - 1).submit(run)
    except RuntimeError:
        pass  # refused
    run()
    for _ in range(n):
        over.acquire()
    if failures:
        raise failures[0]
    return results
