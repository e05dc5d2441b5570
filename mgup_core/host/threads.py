"""Runs work that releases the interpreter lock on a few threads."""

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
        # If another thread made a pool meanwhile, that one stays; this one has no threads yet.
        _pools.setdefault(threads, ThreadPoolExecutor(threads, thread_name_prefix="mgup"))
    return _pools[threads]


# A forked child inherits the pools without their threads, so work submitted to them never ends.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


def each(work: Callable[[int], T], n: int, threads: int = 1) -> list[T]:
    """``[work(0), …, work(n - 1)]``, computed by ``threads`` threads, this one included.

    After a failure no further piece starts, and the failure is raised when all running pieces have
    ended. Where no thread can be started (at the interpreter's shutdown, or beyond the system's
    limit), this thread computes all pieces. NumPy's floating-point warnings are off in the other
    threads; the caller turns them off in this one.
    """
    if threads <= 1 or n <= 1:
        return [work(i) for i in range(n)]
    results: list[Any] = [None] * n
    numbers = count()
    failures: list[BaseException] = []
    # The semaphore counts pieces, not threads: a pool that fails to start a thread may still give
    # the work to another of its threads.
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
        pass  # no thread could be started
    run()
    for _ in range(n):
        over.acquire()
    if failures:
        raise failures[0]
    return results
